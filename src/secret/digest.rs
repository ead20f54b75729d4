//! Digests of secrets, and comparing by them.

use std::{error::Error, fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::zeroize_stack;

use crate::secret::content::{SecretContent, scrub_registers};

/// The SHA-256 digest of a secret, which can tell whether a presented value is that secret.
///
/// A digest is not usable in place of the secret. It protects long random secrets, such as API keys; one that a person made up can
/// be guessed from its digest. `Debug` shows nothing of it, and comparing takes the same time whatever differs.
///
/// # Example
///
/// ```
/// use palisade::secret::{SecretDigest, SecretString};
///
/// let digest = SecretDigest::of(&SecretString::from("correct horse"));
/// assert!(digest.matches(b"correct horse"));
/// assert!(!digest.matches(b"battery staple"));
///
/// let text = digest.to_text();
/// assert!(text.starts_with("sha256:"));
/// assert!(text.parse::<SecretDigest>()?.matches(b"correct horse"));
/// assert!("sha256:abc".parse::<SecretDigest>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Computes the digest of a secret, and wipes what computing it leaves on the stack.
    #[must_use]
    pub fn of<S: SecretContent + ?Sized>(secret: &SecretBox<S>) -> Self {
        Self::wiping(secret.expose_secret().raw())
    }

    /// Returns whether `presented` is the secret. Its time depends on the length of `presented` alone.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.is(&Self::hash(presented))
    }

    /// Returns the digest as text for a configuration file: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(PREFIX.len() + 64);
        text.push_str(PREFIX);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 0xf] {
                text.extend(char::from_digit(nibble.into(), 16));
            }
        }
        text
    }

    /// Computes the digest of what a client presented, which lies in the server's buffers anyway.
    pub(crate) fn hash(presented: &[u8]) -> Self {
        Self(Sha256::digest(presented).into())
    }

    pub(crate) fn wiping(secret: &[u8]) -> Self {
        let digest = hash_below(secret);
        // Without optimization the blocks of the message are spilled to the stack.
        zeroize_stack::<8192>();
        scrub_registers(secret.len());
        digest
    }

    /// A digest that no known text has.
    pub(crate) fn zeros() -> Self {
        Self([0; 32])
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

const PREFIX: &str = "sha256:";

/// Has a stack frame of its own, below that of the caller, which can then wipe it.
#[inline(never)]
fn hash_below(secret: &[u8]) -> SecretDigest {
    SecretDigest::hash(secret)
}

impl FromStr for SecretDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix(PREFIX).ok_or(ParseDigestError(()))?;
        let mut digits = hex.chars().map(|c| c.to_digit(16));
        let mut next = || -> Option<u8> { u8::try_from(digits.next()??).ok() };
        let mut digest = [0; 32];
        for byte in &mut digest {
            let (high, low) = (next(), next());
            *byte = match (high, low) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(ParseDigestError(())),
            };
        }
        match digits.next() {
            None => Ok(Self(digest)),
            Some(_) => Err(ParseDigestError(())),
        }
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest([REDACTED])")
    }
}

/// Text is not the digest of a secret. It does not show the text, which may be the secret.
#[derive(Clone, Debug)]
pub struct ParseDigestError(());

impl fmt::Display for ParseDigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("digest is not \"sha256:\" and 64 hexadecimal digits")
    }
}

impl Error for ParseDigestError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1: the digest of "abc".
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digests_are_those_of_the_standard() {
        let digest = SecretDigest::of(&SecretBox::<str>::from("abc"));
        assert_eq!(digest.to_text(), ABC);
        assert!(ABC.parse::<SecretDigest>().unwrap().matches(b"abc"));
        assert!(
            ABC.to_uppercase()
                .replace("SHA", "sha")
                .parse::<SecretDigest>()
                .unwrap()
                .matches(b"abc")
        );
    }

    #[test]
    fn only_whole_digests_parse() {
        for text in [
            "",
            "sha256:",
            "abc",
            &ABC[7..],
            &ABC[..70],
            &format!("{ABC}0"),
            &ABC.replace("ba", "bg"),
        ] {
            let error = text.parse::<SecretDigest>().unwrap_err();
            assert_eq!(
                error.to_string(),
                "digest is not \"sha256:\" and 64 hexadecimal digits",
                "{text}"
            );
        }
    }

    #[test]
    fn e09_only_the_secret_itself_matches() {
        let secret = SecretBox::<str>::from("hunter2-SECRET-value");
        let digest = SecretDigest::of(&secret);
        assert!(digest.matches(b"hunter2-SECRET-value"));
        for presented in [
            &b"Xunter2-SECRET-value"[..],
            b"hunter2-SECRET-valuX",
            b"hunter2-SECRET-valu",
            b"hunter2-SECRET-value ",
            b"",
            &vec![b'h'; 1 << 20],
        ] {
            assert!(!digest.matches(presented));
        }
        assert_eq!(format!("{digest:?}"), "SecretDigest([REDACTED])");
    }
}
