//! A writer of one JSON object, which cannot write an invalid one. A key must be given once.

use std::fmt::Write as _;

use crate::event::sanitize::is_harmful;

/// Writes the members of an object.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl Object<'_> {
    /// Writes an object to the end of `out`.
    pub(crate) fn write(out: &mut String, members: impl FnOnce(&mut Object<'_>)) {
        out.push('{');
        members(&mut Object { out, empty: true });
        out.push('}');
    }

    /// Writes a member whose value is text, if there is one.
    pub(crate) fn text(&mut self, key: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.key(key);
            push_text(self.out, value.as_ref());
        }
    }

    /// Writes a member whose value is a list of texts, unless it is empty.
    pub(crate) fn texts(&mut self, key: &str, values: &[&str]) {
        let [first, rest @ ..] = values else {
            return;
        };
        self.key(key);
        self.out.push('[');
        push_text(self.out, first);
        for value in rest {
            self.out.push(',');
            push_text(self.out, value);
        }
        self.out.push(']');
    }

    /// Writes a member whose value is a number, if there is one.
    pub(crate) fn number(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(key);
            // Writing to a `String` cannot fail.
            let _ = write!(self.out, "{value}");
        }
    }

    /// Writes a member whose value is true or false, if there is one.
    pub(crate) fn boolean(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.key(key);
            self.out.push_str(if value { "true" } else { "false" });
        }
    }

    /// Writes a member whose value is an object, unless it is empty.
    pub(crate) fn object(&mut self, key: &str, members: impl FnOnce(&mut Object<'_>)) {
        let (start, empty) = (self.out.len(), self.empty);
        self.key(key);
        self.out.push('{');
        let mut object = Object {
            out: &mut *self.out,
            empty: true,
        };
        members(&mut object);
        if object.empty {
            self.out.truncate(start);
            self.empty = empty;
        } else {
            self.out.push('}');
        }
    }

    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        push_text(self.out, key);
        self.out.push(':');
    }
}

/// Writes a string. RFC 8259, section 7, asks to escape quotes, backslashes and C0; what else moves a cursor or turns the reading
/// direction is escaped too.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if is_harmful(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(members: impl FnOnce(&mut Object<'_>), expected: &Value) {
        let mut out = String::new();
        Object::write(&mut out, members);
        assert_eq!(&serde_json::from_str::<Value>(&out).unwrap(), expected);
    }

    #[test]
    fn members_are_written_in_all_kinds() {
        check(|_| {}, &json!({}));
        check(
            |object| {
                object.object("empty", |object| object.object("inner", |_| {}));
                object.text("none", None::<&str>);
                object.text("text", Some("a\"b\\c\n\u{9b}\u{202e}\u{e0001}é"));
                object.texts("none", &[]);
                object.texts("texts", &["a", "b"]);
                object.object("outer", |object| {
                    object.number("number", Some(u64::MAX));
                    object.boolean("boolean", Some(false));
                    object.object("none", |object| object.number("none", None));
                });
                object.object("none", |_| {});
                object.boolean("last", Some(true));
            },
            &json!({
                "text": "a\"b\\c\n\u{9b}\u{202e}\u{e0001}é",
                "texts": ["a", "b"],
                "outer": { "number": u64::MAX, "boolean": false },
                "last": true,
            }),
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_nothing_harmful_is_raw(key in any::<String>(), value in any::<String>()) {
            let mut out = String::new();
            Object::write(&mut out, |object| object.text(&key, Some(&value)));
            prop_assert!(!out.contains(is_harmful));
            let back: Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(&back[&key], &Value::from(value));
        }
    }
}
