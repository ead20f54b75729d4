//! The keyed hash under which clients are known to the store.

use std::{fmt, hash::Hasher};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use zeroize::Zeroizing;

/// The key that all instances share.
#[derive(Clone)]
pub(crate) struct HashKey(Zeroizing<[u8; 16]>);

impl HashKey {
    /// Derives the key of a secret of any length.
    pub(crate) fn new(secret: &SecretString) -> Self {
        let digest = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(secret.expose_secret())
            .finalize();
        let mut key = Zeroizing::new([0; 16]);
        for (byte, digest) in key.iter_mut().zip(digest) {
            *byte = digest;
        }
        Self(key)
    }

    pub(crate) fn hasher(&self) -> WideHasher {
        WideHasher(SipHasher24::new_with_key(&self.0))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey([REDACTED])")
    }
}

/// SipHash-2-4 with 128 bits, so that no two clients ever meet by chance, and the same on every machine: numbers are written as little-endian
/// ones of fixed width.
pub(crate) struct WideHasher(SipHasher24);

impl WideHasher {
    pub(crate) fn finish_wide(&self) -> u128 {
        self.0.finish128().as_u128()
    }
}

impl Hasher for WideHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_u16(&mut self, number: u16) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_i16(&mut self, number: i16) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_i32(&mut self, number: i32) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_i64(&mut self, number: i64) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_i128(&mut self, number: i128) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_isize(&mut self, number: isize) {
        self.write_i64(number as i64);
    }
}

/// Keeps the key apart from whatever else the same secret may be used for.
const DOMAIN: &[u8] = b"palisade shared store 1\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secret: &str, value: impl std::hash::Hash) -> u128 {
        let mut hasher = HashKey::new(&SecretString::from(secret)).hasher();
        value.hash(&mut hasher);
        hasher.finish_wide()
    }

    #[test]
    fn instances_with_the_same_secret_agree() {
        assert_eq!(
            check("a secret", ("x", 7_u64, 3_usize)),
            check("a secret", ("x", 7_u64, 3_usize))
        );
        assert_ne!(check("a secret", "x"), check("another one", "x"));
        assert_ne!(check("a secret", "x"), check("a secret", "y"));
    }

    /// Or machines would not know each other's clients.
    #[test]
    fn numbers_are_written_as_little_endian_ones_of_fixed_width() {
        #[track_caller]
        fn same(write: impl FnOnce(&mut WideHasher), bytes: &[u8]) {
            let key = HashKey::new(&SecretString::from("a secret"));
            let [mut one, mut other] = [key.hasher(), key.hasher()];
            write(&mut one);
            other.write(bytes);
            assert_eq!(one.finish_wide(), other.finish_wide());
            assert_eq!(one.finish(), other.finish());
            assert_ne!(one.finish(), key.hasher().finish());
        }
        let long = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        same(|it| it.write_u8(1), &long[..1]);
        same(|it| it.write_u16(0x0201), &long[..2]);
        same(|it| it.write_u32(0x0403_0201), &long[..4]);
        same(|it| it.write_u64(0x0807_0605_0403_0201), &long[..8]);
        same(|it| it.write_u128(u128::from_le_bytes(long)), &long);
        same(|it| it.write_usize(0x0403_0201), &[1, 2, 3, 4, 0, 0, 0, 0]);
        same(|it| it.write_i8(-2), &[254]);
        same(|it| it.write_i16(-2), &[254, 255]);
        same(|it| it.write_i32(-2), &[254, 255, 255, 255]);
        same(|it| it.write_i64(0x0807_0605_0403_0201), &long[..8]);
        same(|it| it.write_i128(i128::from_le_bytes(long)), &long);
        same(|it| it.write_isize(0x0403_0201), &[1, 2, 3, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let key = HashKey::new(&SecretString::from("a secret"));
        assert_eq!(format!("{key:?}"), "HashKey([REDACTED])");
    }
}
