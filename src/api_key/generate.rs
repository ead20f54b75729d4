//! New keys.

use std::{error::Error, fmt};

use secrecy::{SecretBox, SecretString};
use zeroize::Zeroizing;

use crate::secret::digest::SecretDigest;

/// A new random API key and its digest.
///
/// The key is for the client and is shown once; the digest is for the store, which then holds nothing that could be used.
///
/// # Example
///
/// ```
/// use palisade::{api_key::{ApiKeys, NewApiKey}, secret::ExposeSecret};
///
/// let new = NewApiKey::generate("notes_")?;
/// let key = new.key().expose_secret();
/// assert!(key.starts_with("notes_"));
///
/// let keys = ApiKeys::single("alice", new.digest())?;
/// assert_eq!(keys.verify(key.as_bytes()).ok_or("refused")?.identity().id(), "alice");
/// assert!(keys.verify(b"notes_0000").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NewApiKey {
    key: SecretString,
    digest: SecretDigest,
}

impl NewApiKey {
    /// Makes a key of 256 random bits in hexadecimal digits behind a prefix, by which people and scanners of leaked keys know whose it is.
    ///
    /// # Errors
    ///
    /// Fails if the operating system gives no random bits, or if the prefix is not at most 32 ASCII letters, digits, `_` and `-`.
    pub fn generate(prefix: &str) -> Result<Self, NewApiKeyError> {
        let is_allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
        if prefix.len() > 32 || !prefix.bytes().all(is_allowed) {
            return Err(NewApiKeyError(
                "prefix is not made of letters, digits, '_' and '-'",
            ));
        }
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random)
            .map_err(|_| NewApiKeyError("operating system gives no random bits"))?;
        // Long enough from the start: growing would leave a copy behind.
        let mut key = Zeroizing::new(String::with_capacity(prefix.len() + 64));
        key.push_str(prefix);
        for byte in *random {
            for nibble in [byte >> 4, byte & 0xf] {
                key.extend(char::from_digit(nibble.into(), 16));
            }
        }
        let key = SecretBox::new(Box::<str>::from(key.as_str()));
        Ok(Self {
            digest: SecretDigest::of(&key),
            key,
        })
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &SecretString {
        &self.key
    }

    /// Returns the digest of the key.
    #[must_use]
    pub fn digest(&self) -> &SecretDigest {
        &self.digest
    }
}

/// Why no key could be made.
#[derive(Clone, Debug)]
pub struct NewApiKeyError(&'static str);

impl fmt::Display for NewApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for NewApiKeyError {}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn keys_are_long_and_differ() {
        let [a, b] = [(), ()].map(|()| NewApiKey::generate("a_").unwrap());
        assert_eq!(a.key().expose_secret().len(), 66);
        assert_ne!(a.key().expose_secret(), b.key().expose_secret());
        assert!(a.digest().matches(a.key().expose_secret().as_bytes()));
        assert!(!a.digest().matches(b.key().expose_secret().as_bytes()));
        assert!(!format!("{a:?}").contains(a.key().expose_secret()));
    }

    #[test]
    fn prefixes_are_plain() {
        for prefix in ["a b", "ä", "\"", &"a".repeat(33)] {
            let error = NewApiKey::generate(prefix).unwrap_err().to_string();
            assert!(
                error.starts_with("prefix is not made of letters"),
                "{error}"
            );
        }
        let longest = "a".repeat(32);
        let key = NewApiKey::generate(&longest).unwrap();
        assert!(key.key().expose_secret().starts_with(&longest));
    }
}
