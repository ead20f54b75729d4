//! From text to keys: they are turned into digests where they are read, so that no copy of a key is made.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

use crate::{
    api_key::{
        error::Fault,
        record::{MAX_KEY_LEN, Record, is_visible},
    },
    secret::digest::SecretDigest,
};

/// Shorter keys can be guessed.
const MIN_KEY_LEN: usize = 16;

/// How a text holds API keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// A JSON object of ids.
    ///
    /// The value of an id is a key, an array of keys, or an object with `keys` (one, or an array) and `scopes` (an array). The first key of an id is
    /// current, the others are about to be retired. Wherever a key may stand, its digest may stand in its place:
    /// `sha256:` and 64 hexadecimal digits.
    Json,
    /// A key, or its digest, per line. Blank lines and lines that begin with `#` count for nothing.
    ///
    /// The id of a key is `key-` and the first 8 hexadecimal digits of its digest. None has a scope.
    Lines,
    /// A TOML table of ids, with the same values as in JSON.
    Toml,
}

impl KeyFormat {
    pub(crate) fn parse(self, text: &str) -> Result<Vec<Record>, Fault> {
        match self {
            // What a parser says may quote the text.
            Self::Json => serde_json::from_str(text)
                .map(|Records(it)| it)
                .map_err(|_| Fault::Json),
            Self::Lines => lines(text),
            Self::Toml => toml::from_str(text)
                .map(|Records(it)| it)
                .map_err(|_| Fault::Toml),
        }
        .and_then(checked)
    }
}

fn checked(records: Vec<Record>) -> Result<Vec<Record>, Fault> {
    match records
        .iter()
        .any(|record| record.is_bad || !is_visible(&record.id))
    {
        false => Ok(records),
        true if records.iter().all(|record| !record.is_bad) => Err(Fault::Id),
        true => Err(Fault::Key),
    }
}

fn lines(text: &str) -> Result<Vec<Record>, Fault> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let digest = digest(line).ok_or(Fault::Key)?;
            let text = digest.to_text();
            let start: String = text.chars().skip("sha256:".len()).take(8).collect();
            Ok(Record::single(&format!("key-{start}"), digest))
        })
        .collect()
}

/// Makes a digest of a key, or takes it for one.
fn digest(text: &str) -> Option<SecretDigest> {
    if text.starts_with("sha256:") {
        return text.parse().ok();
    }
    let is_key = (MIN_KEY_LEN..=MAX_KEY_LEN).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_graphic());
    is_key.then(|| SecretDigest::wiping(text.as_bytes()))
}

struct Records(Vec<Record>);

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;

        impl<'de> Visitor<'de> for Ids {
            type Value = Records;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Records, A::Error> {
                // All are kept, so that an id which is there twice is found out.
                let mut records = Vec::new();
                while let Some((id, value)) = map.next_entry::<String, Value>()? {
                    records.push(Record {
                        id,
                        is_bad: value.keys.iter().any(Option::is_none) || value.keys.is_empty(),
                        digests: value.keys.into_iter().flatten().collect(),
                        scopes: value.scopes,
                    });
                }
                Ok(Records(records))
            }
        }

        deserializer.deserialize_map(Ids)
    }
}

/// What stands beside an id. A key that is none is `None`.
#[derive(Default)]
struct Value {
    keys: Vec<Option<SecretDigest>>,
    scopes: Vec<String>,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, keys, or keys and scopes")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value {
            keys: vec![digest(text)],
            scopes: Vec::new(),
        })
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.visit_str(&Zeroizing::new(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut value = Value::default();
        while let Some(Value { keys, scopes }) = seq.next_element()? {
            // An array in an array is no key.
            match (&*keys, &*scopes) {
                ([_], []) => value.keys.extend(keys),
                _ => value.keys.push(None),
            }
        }
        Ok(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut value = Value::default();
        while let Some(field) = map.next_key::<String>()? {
            match &*field {
                "keys" => value.keys = map.next_value::<Value>()?.keys,
                "scopes" => value.scopes = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(A::Error::custom("unknown field"));
                }
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::api_key::table::Table;

    const A: &str = "aaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbb";

    /// Shows who is found by the keys: id, `!` where it is a previous one, and scopes.
    #[track_caller]
    fn check(format: KeyFormat, text: &str, expected: Result<&str, Fault>) {
        let table = format
            .parse(text)
            .and_then(|records| Table::new(&records, Instant::now()));
        let found = table.map(|table| {
            let shown = [A, B].map(|key| match table.find(key.as_bytes()) {
                None => String::from("-"),
                Some(entry) => {
                    let scopes: Vec<_> = entry.identity.scopes().collect();
                    let mark = if entry.is_previous { "!" } else { "" };
                    format!("{}{mark}[{}]", entry.identity.id(), scopes.join(","))
                }
            });
            shown.join(" ")
        });
        assert_eq!(found.as_deref().map_err(|fault| *fault), expected, "{text}");
    }

    fn digest_of(key: &str) -> String {
        SecretDigest::hash(key.as_bytes()).to_text()
    }

    #[test]
    fn json_maps_ids_to_keys() {
        let check = |text: &str, expected| {
            check(
                KeyFormat::Json,
                &text.replace('A', A).replace('B', B),
                expected,
            );
        };
        check(r#"{"x": "A"}"#, Ok("x[] -"));
        check(r#"{"x": "A", "y": "B"}"#, Ok("x[] y[]"));
        check(r#"{"x": ["A", "B"]}"#, Ok("x[] x![]"));
        check(
            r#"{"x": {"keys": ["B", "A"], "scopes": ["r", "w"]}}"#,
            Ok("x![r,w] x[r,w]"),
        );
        check(r#"{"x": {"scopes": ["r"], "keys": "A"}}"#, Ok("x[r] -"));
        check(&format!(r#"{{"x": "{}"}}"#, digest_of(A)), Ok("x[] -"));
        // The escape is that of the first letter of the key.
        check(r#"{"x": "\u0061aaaaaaaaaaaaaaa"}"#, Ok("x[] -"));

        check("{}", Err(Fault::NoKeys));
        check("", Err(Fault::Json));
        check("[]", Err(Fault::Json));
        check(r#"{"x": 1}"#, Err(Fault::Json));
        check(r#"{"x": "A""#, Err(Fault::Json));
        check(r#"{"x": {"key": "A"}}"#, Err(Fault::Json));
        check(r#"{"x": "short"}"#, Err(Fault::Key));
        check(r#"{"x": "A with blanks"}"#, Err(Fault::Key));
        check(r#"{"x": "sha256:abc"}"#, Err(Fault::Key));
        check(r#"{"x": []}"#, Err(Fault::Key));
        check(r#"{"x": [["A"], ["B", "A"]]}"#, Err(Fault::Key));
        check(r#"{"x": {"scopes": ["r"]}}"#, Err(Fault::Key));
        check(
            r#"{"x": {"keys": "A", "scopes": ["\"r"]}}"#,
            Err(Fault::Scope),
        );
        check(
            r#"{"x": {"keys": "A", "scopes": ["r w"]}}"#,
            Err(Fault::Scope),
        );
        check(r#"{"": "A"}"#, Err(Fault::Id));
        check(r#"{"x\n": "A"}"#, Err(Fault::Id));
        check(r#"{"x": "A", "x": "B"}"#, Err(Fault::DuplicateId));
        check(r#"{"x": "A", "y": "A"}"#, Err(Fault::DuplicateKey));
    }

    #[test]
    fn toml_maps_ids_to_keys() {
        let check = |text: &str, expected| {
            check(
                KeyFormat::Toml,
                &text.replace('A', A).replace('B', B),
                expected,
            );
        };
        check("x = 'A'\ny = 'B'", Ok("x[] y[]"));
        check("x = ['A', 'B']", Ok("x[] x![]"));
        check("x = \"\\u0061aaaaaaaaaaaaaaa\"", Ok("x[] -"));
        check("[x]\nkeys = 'A'\nscopes = ['r']", Ok("x[r] -"));
        check("x = 1", Err(Fault::Toml));
        check("x = 'A'\nx = 'B'", Err(Fault::Toml));
        check("x", Err(Fault::Toml));
        check("", Err(Fault::NoKeys));
        check("x = 'short'", Err(Fault::Key));
    }

    #[test]
    fn lines_are_keys() {
        let id = |key: &str| format!("key-{}", &digest_of(key)[7..15]);
        let (a, b) = (id(A), id(B));
        check(KeyFormat::Lines, A, Ok(&format!("{a}[] -")));
        check(
            KeyFormat::Lines,
            &format!("# keys\n\n{A}\r\n{B}\n"),
            Ok(&format!("{a}[] {b}[]")),
        );
        check(KeyFormat::Lines, &digest_of(B), Ok(&format!("- {b}[]")));
        check(KeyFormat::Lines, "", Err(Fault::NoKeys));
        check(KeyFormat::Lines, "short", Err(Fault::Key));
        check(KeyFormat::Lines, &"a".repeat(513), Err(Fault::Key));
        check(
            KeyFormat::Lines,
            &format!("{A}\n{A}"),
            Err(Fault::DuplicateId),
        );
    }
}
