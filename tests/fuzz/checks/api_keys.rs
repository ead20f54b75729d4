//! Key lists in any text and each format: nothing panics, the keys that are taken are found, and no message holds one.

use palisade::api_key::{ApiKeys, KeyFormat};

thread_local! {
    /// What is said of other texts, one for each thing that can be wrong: a message that is one of these holds nothing of any text.
    static MESSAGES: Vec<String> = [
        (KeyFormat::Json, "{}"),
        (KeyFormat::Json, "["),
        (KeyFormat::Json, r#"{"x": "short"}"#),
        (KeyFormat::Json, r#"{"": "0123456789abcdef"}"#),
        (KeyFormat::Json, r#"{"x": "0123456789abcdef", "x": "123456789abcdef0"}"#),
        (KeyFormat::Json, r#"{"x": "0123456789abcdef", "y": "0123456789abcdef"}"#),
        (KeyFormat::Json, r#"{"x": {"keys": "0123456789abcdef", "scopes": [""]}}"#),
        (KeyFormat::Toml, "["),
    ]
    .map(|(format, text)| {
        let error = ApiKeys::parse(text, format).expect_err("nothing valid");
        format!("{error} {error:?}")
    })
    .into();
}

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
            Err(error) => MESSAGES.with(|messages| {
                let message = format!("{error} {error:?}");
                assert!(messages.contains(&message), "{message}");
            }),
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
