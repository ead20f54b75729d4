//! The keys, by their digests.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{
    api_key::{
        error::Fault,
        identity::ApiKeyIdentity,
        record::{MAX_KEY_LEN, Record, is_visible},
    },
    secret::digest::SecretDigest,
};

/// How long a previous key is not told of again.
const QUIET: Duration = Duration::from_secs(60);

/// All valid keys.
pub(crate) struct Table {
    /// A hash that a client would have to choose is that of a digest, which it cannot choose: no hash is computed from it.
    entries: HashMap<MapKey, Entry, BuildHasherDefault<OwnHash>>,
    /// What a presented key is compared with if there is none like it, so that the work is the same.
    nobody: SecretDigest,
    created: Instant,
}

pub(crate) struct Entry {
    pub(crate) identity: ApiKeyIdentity,
    pub(crate) is_previous: bool,
    /// Milliseconds after `created` before which the use of this key is not told of.
    quiet_until: AtomicU64,
}

impl Table {
    pub(crate) fn new(records: &[Record], now: Instant) -> Result<Self, Fault> {
        let mut entries = HashMap::default();
        let mut ids = HashSet::new();
        for record in records {
            if !is_visible(&record.id) {
                return Err(Fault::Id);
            }
            if !record
                .scopes
                .iter()
                .all(|scope| is_visible(scope) && !scope.contains(['"', '\\']))
            {
                return Err(Fault::Scope);
            }
            if !ids.insert(&record.id) {
                return Err(Fault::DuplicateId);
            }
            let identity = ApiKeyIdentity::new(&record.id, &record.scopes);
            for (index, digest) in record.digests.iter().enumerate() {
                let entry = Entry {
                    identity: identity.clone(),
                    is_previous: index > 0,
                    quiet_until: AtomicU64::new(0),
                };
                if entries.insert(MapKey(digest.clone()), entry).is_some() {
                    return Err(Fault::DuplicateKey);
                }
            }
        }
        if entries.is_empty() {
            return Err(Fault::NoKeys);
        }
        Ok(Self {
            entries,
            // No key has this digest that anybody could find.
            nobody: SecretDigest::zeros(),
            created: now,
        })
    }

    /// Finds the entry of a presented key.
    pub(crate) fn find(&self, presented: &[u8]) -> Option<&Entry> {
        if presented.len() > MAX_KEY_LEN {
            return None;
        }
        let digest = MapKey(SecretDigest::hash(presented));
        let (stored, entry) = match self.entries.get_key_value(&digest) {
            Some((stored, entry)) => (&stored.0, Some(entry)),
            None => (&self.nobody, None),
        };
        if stored.is(&digest.0) { entry } else { None }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the use of a previous key should be told of now.
    pub(crate) fn is_worth_telling(&self, entry: &Entry, now: Instant) -> bool {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = millis(now.saturating_duration_since(self.created));
        let until = entry.quiet_until.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(QUIET));
        // Of all requests at the same time, one wins.
        now >= until
            && entry
                .quiet_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// A digest as a key of the map.
struct MapKey(SecretDigest);

impl PartialEq for MapKey {
    /// Compares all bytes, wherever they differ, for the map compares as well; the comparison that counts is the last one.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.as_bytes().iter().zip(other.0.as_bytes());
        pairs.fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

impl Eq for MapKey {}

impl Hash for MapKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

/// Takes the first bytes of a digest for its hash.
#[derive(Default)]
pub(crate) struct OwnHash(u64);

impl Hasher for OwnHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keys: &[String]) -> Table {
        let record = |(id, key): (usize, &String)| {
            let digest = SecretDigest::hash(key.as_bytes());
            Record::single(&format!("id-{id}"), digest)
        };
        let records: Vec<_> = keys.iter().enumerate().map(record).collect();
        Table::new(&records, Instant::now()).unwrap()
    }

    #[track_caller]
    fn check(table: &Table, key: &str, expected: Option<&str>) {
        let found = table.find(key.as_bytes());
        assert_eq!(found.map(|it| it.identity.id()), expected);
    }

    #[test]
    fn each_of_many_keys_is_found_as_itself() {
        let keys: Vec<_> = (0..1000).map(|it| format!("key number {it}")).collect();
        let table = table(&keys);
        assert_eq!(table.len(), 1000);
        for (id, key) in keys.iter().enumerate() {
            check(&table, key, Some(&format!("id-{id}")));
            check(&table, &format!("{key}!"), None);
        }
    }

    #[test]
    fn a_key_is_hashed_up_to_its_longest_length() {
        let keys = [511, 512, 513].map(|length| "a".repeat(length));
        let table = table(&keys);
        check(&table, &keys[0], Some("id-0"));
        check(&table, &keys[1], Some("id-1"));
        // As a digest, it can stand in a store.
        check(&table, &keys[2], None);
    }
}
