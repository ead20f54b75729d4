//! Key lists in any text and each format: nothing panics, the keys that are taken are found, and no message holds one.

use palisade::api_key::{ApiKeys, KeyFormat};

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    for format in [KeyFormat::Json, KeyFormat::Lines, KeyFormat::Toml] {
        match ApiKeys::parse(text, format) {
            Ok(keys) => {
                assert_ne!(keys.count(), 0);
                assert!(keys.verify(b"").is_none());
                if format == KeyFormat::Lines {
                    lines(&keys, text);
                }
            }
            Err(error) => {
                let message = format!("{error} {error:?}");
                for line in text.lines().map(str::trim) {
                    assert!(line.len() < 16 || !message.contains(line), "{message}");
                }
            }
        }
    }
}

/// Every line that is a key, and not a digest of one, lets in.
fn lines(keys: &ApiKeys, text: &str) {
    for line in text.lines().map(str::trim) {
        let is_comment = line.is_empty() || line.starts_with('#');
        let found = keys.verify(line.as_bytes());
        assert_eq!(
            found.is_some(),
            !is_comment && !line.starts_with("sha256:"),
            "{line:?}"
        );
        if let Some(found) = found {
            assert!(found.identity().id().starts_with("key-"));
        }
    }
}
