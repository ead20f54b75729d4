//! Secrets in any bytes, from a file and from the environment: nothing panics, what is taken is what was there, and no message holds it.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

use palisade::secret::{ExposeSecret as _, SecretLoader, SecretString};

thread_local! {
    static DIRECTORY: tempfile::TempDir = tempfile::tempdir().expect("a directory");
}

pub(crate) fn check(data: &[u8]) {
    DIRECTORY.with(|directory| {
        fs::write(directory.path().join("KEY"), data).expect("a file");
        let file = SecretLoader::new()
            .without_directories()
            .with_directory(directory.path())
            .with_environment(|_| None);
        let value = OsString::from_vec(data.to_vec());
        let environment = SecretLoader::new()
            .without_directories()
            .with_environment(move |name| (name == "KEY").then(|| value.clone()));
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
                Err(error) => hides(&format!("{error} {error:?}"), data),
            }
            match request.bytes() {
                Ok(secret) => assert_eq!(secret.expose_secret(), data),
                Err(error) => assert!(data.is_empty(), "{error}"),
            }
            if let Err(error) = request.parse::<u8>() {
                hides(&format!("{error} {error:?}"), data);
            }
        }
    });
}

/// A text is only looked for where it cannot stand in a message by chance.
fn hides(message: &str, data: &[u8]) {
    if 12 <= data.len()
        && let Ok(text) = str::from_utf8(data)
    {
        assert!(!message.contains(text.trim()), "{message}");
    }
}
