//! Fingerprints of credentials: enough to recognize one, too little to use it.

use std::{
    fmt,
    hash::{BuildHasher, Hasher as _, RandomState},
};

use siphasher::sip::SipHasher24;

/// The fingerprint of a credential under a [`FingerprintKey`]: enough to recognize it, too little to use or to guess it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint(u64);

/// Writes the fingerprint as 16 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The key that fingerprints of credentials are made with.
///
/// Without the key nobody can tell from a fingerprint whether a guessed credential is the right one. With it, an owner can: run
/// [`fingerprint`](Self::fingerprint) over the credentials that have been handed out, and revoke the one that an event reports. Instances that
/// share a key report the same fingerprint for the same credential.
///
/// # Example
///
/// ```
/// use palisade::event::FingerprintKey;
///
/// let key = FingerprintKey::new([7; 16]);
/// assert_eq!(key.fingerprint(b"token"), key.fingerprint(b"token"));
/// assert_ne!(key.fingerprint(b"token"), key.fingerprint(b"other"));
/// assert_ne!(key.fingerprint(b"token"), FingerprintKey::random().fingerprint(b"token"));
/// ```
#[derive(Clone)]
pub struct FingerprintKey(SipHasher24);

impl FingerprintKey {
    /// Takes 16 secret bytes.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// Makes up a key that this process alone has.
    #[must_use]
    pub fn random() -> Self {
        // The standard library seeds its hashers from the operating system; it hands the seed out as hashes only.
        let state = RandomState::new();
        let key = u128::from(state.hash_one(0_u8)) << 64 | u128::from(state.hash_one(1_u8));
        Self::new(key.to_ne_bytes())
    }

    /// Makes the fingerprint of a credential.
    #[must_use]
    pub fn fingerprint(&self, credential: &[u8]) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(credential);
        Fingerprint(hasher.finish())
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_siphash_2_4() {
        // The first test vectors of the SipHash paper's reference: key 00..0f, messages of 0 and of 15 bytes.
        let key = FingerprintKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let message = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        assert_eq!(key.fingerprint(&[]).to_string(), "726fdb47dd0e0e31");
        assert_eq!(key.fingerprint(&message).to_string(), "a129ca6149be45e5");
    }

    #[test]
    fn random_keys_differ_and_are_not_shown() {
        let (a, b) = (FingerprintKey::random(), FingerprintKey::random());
        assert_ne!(a.fingerprint(b"x"), b.fingerprint(b"x"));
        assert_eq!(format!("{a:?}"), "FingerprintKey(..)");
    }
}
