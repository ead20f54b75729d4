//! Makes text that a client chose harmless to a log.

use std::{borrow::Cow, fmt::Write as _};

/// Longest text of a client's choice in an event, in bytes.
pub(crate) const MAX_TEXT: usize = 256;

/// Cuts `text` to [`MAX_TEXT`] bytes and escapes whatever could end a line, move a cursor or turn the reading direction.
pub(crate) fn sanitize(text: &str) -> Cow<'_, str> {
    let cut = cut(text);
    if !cut.contains(is_harmful) {
        return Cow::Borrowed(cut);
    }
    let mut clean = String::with_capacity(cut.len() + 16);
    for c in cut.chars() {
        if is_harmful(c) {
            // Writing to a `String` cannot fail.
            let _ = write!(clean, "\\u{{{:x}}}", u32::from(c));
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn is_harmful(c: char) -> bool {
    // `is_control` covers C0, DEL and C1, hence ESC and the one-byte CSI.
    c.is_control()
        || matches!(
            c,
            '\u{061c}' // Arabic letter mark
            | '\u{200b}'..='\u{200f}' // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // isolates and invisible operators
            | '\u{feff}' // byte order mark
            | '\u{fff9}'..='\u{fffb}' // interlinear annotation
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(sanitize(text), expected);
    }

    #[test]
    fn harmless_text_is_borrowed() {
        assert!(matches!(sanitize("/notes/7?é"), Cow::Borrowed(_)));
    }

    #[test]
    fn harmful_characters_are_escaped() {
        check("a\r\nb", "a\\u{d}\\u{a}b");
        check("\u{1b}[31m", "\\u{1b}[31m");
        check("\u{9b}31m", "\\u{9b}31m");
        check("\u{202e}gnp.exe", "\\u{202e}gnp.exe");
        check("a\u{2028}b\0", "a\\u{2028}b\\u{0}");
        check("\u{7f}\u{feff}", "\\u{7f}\\u{feff}");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = format!("{}é", "x".repeat(MAX_TEXT - 1));
        check(&text, &"x".repeat(MAX_TEXT - 1));
        let text = "y".repeat(10 * MAX_TEXT);
        check(&text, &"y".repeat(MAX_TEXT));
    }
}
