//! Makes text that a client chose harmless to a log.

use std::{borrow::Cow, fmt::Write as _};

/// Longest text of a client's choice in an event, in bytes, the mark of a cut apart.
pub(crate) const MAX_TEXT: usize = 256;

/// Stands at the end of text that was cut.
const MARK: char = '…';

/// Escapes whatever could end a line, move a cursor or turn the reading direction, and cuts the result to [`MAX_TEXT`] bytes and a
/// mark. Text that has been through it comes out unchanged.
pub(crate) fn sanitize(text: &str) -> Cow<'_, str> {
    let unmarked = text.strip_suffix(MARK).unwrap_or(text);
    if unmarked.len() <= MAX_TEXT && !unmarked.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len().min(MAX_TEXT) + 16);
    for c in text.chars() {
        let end = clean.len();
        if is_harmful(c) {
            // Writing to a `String` cannot fail.
            let _ = write!(clean, "\\u{{{:x}}}", u32::from(c));
        } else {
            clean.push(c);
        }
        if MAX_TEXT < clean.len() {
            clean.truncate(end);
            clean.push(MARK);
            break;
        }
    }
    Cow::Owned(clean)
}

/// Sanitizes bytes, of which those that are no UTF-8 are replaced.
pub(crate) fn sanitize_bytes(bytes: &[u8]) -> Cow<'_, str> {
    // What lies beyond the cap, the mark and one more character need not be looked at.
    let head = bytes.get(..MAX_TEXT + 8).unwrap_or(bytes);
    match String::from_utf8_lossy(head) {
        Cow::Borrowed(text) => sanitize(text),
        Cow::Owned(text) => Cow::Owned(sanitize(&text).into_owned()),
    }
}

/// Whether a character has no place in one line of a log.
pub(crate) fn is_harmful(c: char) -> bool {
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
    use proptest::prelude::*;

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

    // I05
    #[test]
    fn long_text_is_cut_at_a_character_and_marked() {
        let full = "x".repeat(MAX_TEXT);
        check(&full, &full);
        let text = format!("{}é", "x".repeat(MAX_TEXT - 1));
        check(&text, &format!("{}…", "x".repeat(MAX_TEXT - 1)));
        check(&"y".repeat(65536), &format!("{}…", "y".repeat(MAX_TEXT)));
        // An escape is left out whole.
        let text = format!("{}\n", "x".repeat(MAX_TEXT - 4));
        check(&text, &format!("{}…", "x".repeat(MAX_TEXT - 4)));
    }

    proptest! {
        #[test]
        fn nothing_harmful_or_long_is_left(bytes in prop::collection::vec(any::<u8>(), 0..600), text in "\\PC{0,300}|.{0,300}") {
            for clean in [sanitize_bytes(&bytes), sanitize(&text)] {
                prop_assert!(clean.len() <= MAX_TEXT + MARK.len_utf8());
                prop_assert!(!clean.contains(is_harmful));
                prop_assert_eq!(sanitize(&clean), &*clean);
            }
        }
    }
}
