//! How keys are hashed.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

use foldhash::{SharedSeed, quality::FoldHasher};

use crate::rate_limit::store::places::KeyHash;

/// Hashes keys with random keys of its own.
///
/// Two keys with the same hash share a row of the table: whoever finds a key with the hash of another client's can spend what that client has.
/// Text is a caller's own choice, so it is hashed with `SipHash`, which is made to withstand that. An address is no free choice and has 32 to 128
/// bits: it is hashed with foldhash, whose result is as random for whoever does not know its seeds, and nobody gets to see a hash. It takes 10
/// instructions in the place of 150.
pub(crate) struct KeyHasher {
    text: RandomState,
    /// The seeds for addresses. They are drawn from the operating system, as those of `RandomState` are; foldhash itself would draw weaker ones.
    first: u64,
    second: SharedSeed,
}

impl KeyHasher {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self {
            text: RandomState::new(),
            first: random.hash_one(1),
            second: SharedSeed::from_u64(random.hash_one(2)),
        }
    }

    /// Hashes a key that may be text.
    pub(crate) fn of<K: Hash + ?Sized>(&self, key: &K) -> KeyHash {
        KeyHash::new(self.text.hash_one(key))
    }

    /// Returns a hasher for keys of several parts, which may be text.
    pub(crate) fn for_parts(&self) -> DefaultHasher {
        self.text.build_hasher()
    }

    /// Returns a hasher for an address alone.
    #[inline]
    pub(crate) fn for_address(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.first, &self.second)
    }
}

/// Ends a hash.
#[inline]
pub(crate) fn finish(hasher: &impl Hasher) -> KeyHash {
    KeyHash::new(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_limiters_hash_alike() {
        let [one, other] = [KeyHasher::new(), KeyHasher::new()].map(|hasher| {
            let mut parts = hasher.for_parts();
            "key".hash(&mut parts);
            let mut address = hasher.for_address();
            7_u64.hash(&mut address);
            [hasher.of("key"), finish(&parts), finish(&address)]
        });
        for (one, other) in one.into_iter().zip(other) {
            assert_ne!(one, other);
        }
    }
}
