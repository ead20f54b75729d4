//! Paths and patterns of paths in any text: nothing panics, an exempt folder is never left, and a trap is found however it is written.

use palisade::{https::PathPattern, jail::TrapPaths};

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    // Text is a pattern, and what stands behind a line feed is a path.
    let (pattern, path) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(parsed) = pattern.parse::<PathPattern>() {
        assert_eq!(parsed.to_string(), pattern);
        let literal = pattern.trim_end_matches('*');
        if parsed.matches(path) {
            assert!(path.starts_with(literal));
            is_plain(path);
        }
    }
    let folder = PathPattern::below("/open/");
    for path in [path, &format!("/open/{path}")] {
        if folder.matches(path) {
            assert!(path.len() > "/open/".len() && path.starts_with("/open/"));
            is_plain(path);
        }
    }

    let traps = TrapPaths::common();
    let _ = traps.is_touched_by(path);
    if let Ok(one) = TrapPaths::new().with_path(pattern) {
        if pattern.starts_with("**/") {
            assert!(one.is_touched_by(&pattern.replacen("**", "/deep", 1)));
        } else if pattern.len() <= 1024 {
            assert!(one.is_touched_by(pattern), "{pattern}");
            assert!(one.is_touched_by(&format!("/x/../{pattern}")), "{pattern}");
        }
        let _ = one.is_touched_by(path);
    }
}

/// Whoever normalizes such a path finds nothing to change.
fn is_plain(path: &str) {
    assert!(!path.contains("//") && !path.contains(['%', ';', '\\', '?', '#']));
    assert!(path.is_ascii() && !path.contains(|c: char| c.is_ascii_control() || c == ' '));
    assert!(path.split('/').skip(1).all(|it| it != "." && it != ".."));
}
