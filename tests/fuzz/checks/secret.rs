//! Secrets in any bytes, from a file and from the environment: nothing panics, what is taken is what was there, and no message holds it.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::Path};

use palisade::secret::{ExposeSecret as _, SecretLoader, SecretString};

thread_local! {
    static DIRECTORY: tempfile::TempDir = tempfile::tempdir().expect("a directory");
}

/// Contents of other secrets, one for each thing that can be wrong.
const OTHERS: [&[u8]; 6] = [
    b"",
    b" \n",
    b"latin-1 \xe9",
    b"nul \0",
    b"a line\nanother",
    b"no number",
];

pub(crate) fn check(data: &[u8]) {
    DIRECTORY.with(|directory| {
        let messages = load(directory.path(), data);
        let text = str::from_utf8(data).unwrap_or_default().trim();
        // A short text may stand in a message by chance, and a long one may be a piece of what is said of any secret.
        let says = |messages: &[String]| messages.iter().any(|it| it.contains(text));
        if 12 <= text.len() && says(&messages) {
            let by_chance = OTHERS.map(|other| says(&load(directory.path(), other)));
            assert!(by_chance.contains(&true), "{messages:?}");
        }
    });
}

/// Loads it, checks what is taken, and returns the messages of what is refused.
fn load(directory: &Path, data: &[u8]) -> Vec<String> {
    fs::write(directory.join("KEY"), data).expect("a file");
    let file = SecretLoader::new()
        .without_directories()
        .with_directory(directory)
        .with_environment(|_| None);
    let value = OsString::from_vec(data.to_vec());
    let environment = SecretLoader::new()
        .without_directories()
        .with_environment(move |name| (name == "KEY").then(|| value.clone()));
    let mut messages = Vec::new();
    for (loader, is_file) in [(file, true), (environment, false)] {
        let request = loader.secret("KEY");
        match request.text() {
            Ok(secret) => {
                let rest = data.strip_prefix(secret.expose_secret().as_bytes());
                let rest = rest.expect("the secret is what stands there");
                let newline = is_file && [&b"\n"[..], b"\r\n"].contains(&rest);
                assert!(rest.is_empty() || newline);
                assert!(!secret.expose_secret().is_empty());
                // As that of any other: a short secret may stand in a type's name by chance.
                let other = SecretString::from("another");
                assert_eq!(format!("{secret:?}"), format!("{other:?}"));
                assert!(request.optional_text().expect("it is there").is_some());
            }
            Err(error) => messages.push(format!("{error} {error:?}")),
        }
        match request.bytes() {
            Ok(secret) => assert_eq!(secret.expose_secret(), data),
            Err(error) => assert!(data.is_empty(), "{error}"),
        }
        if let Err(error) = request.parse::<u8>() {
            messages.push(format!("{error} {error:?}"));
        }
    }
    messages
}
