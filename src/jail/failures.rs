//! The bounded table of failures.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::jail::{key::BanKey, window::Window};

/// How many counters a shard holds at most: so few that looking through all of them is quick.
const PER_SHARD: usize = 256;

/// One counter per client and rule. Only failures make counters: a client that behaves leaves no trace.
///
/// It is sharded by hand and not by the concurrent map that holds the bans: to make room it must look through one shard and no more,
/// or each failure of a flood would cost a walk through the whole table. Which shard a client falls into is keyed, so that nobody can
/// aim at one.
#[derive(Debug)]
pub(crate) struct FailureTable {
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
    hasher: RandomState,
    len: AtomicUsize,
}

type Shard = HashMap<(BanKey, usize), Counter>;

#[derive(Debug)]
struct Counter {
    window: Window,
    span: Duration,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Noted {
    Counted,
    /// It was counted, and another client's counter was given up for it.
    CountedInstead,
    Reached,
}

impl FailureTable {
    pub(crate) fn new(max: usize) -> Self {
        let shards = (max / PER_SHARD).max(1);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            per_shard: (max / shards).max(1),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
        }
    }

    /// Notes a failure of `key` under a rule.
    pub(crate) fn note(
        &self,
        key: BanKey,
        rule: usize,
        now: Instant,
        limit: usize,
        span: Duration,
    ) -> Noted {
        let mut shard = self.shard(key);
        let mut noted = Noted::Counted;
        if !shard.contains_key(&(key, rule))
            && self.per_shard <= shard.len()
            && !self.drop_over(&mut shard, now)
        {
            self.drop_stalest(&mut shard);
            noted = Noted::CountedInstead;
        }
        let mut counter = match shard.entry((key, rule)) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                self.len.fetch_add(1, Ordering::Relaxed);
                entry.insert_entry(Counter {
                    window: Window::default(),
                    span,
                })
            }
        };
        if counter.get_mut().window.note(now, limit, span) {
            counter.remove();
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Noted::Reached;
        }
        noted
    }

    /// Forgets the failures of `key` under a rule.
    pub(crate) fn forget(&self, key: BanKey, rule: usize) {
        // Most clients have no counter: no lock for them while nobody has one.
        if self.len() != 0 && self.shard(key).remove(&(key, rule)).is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops all counters that are over.
    pub(crate) fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            self.drop_over(&mut lock(shard), now);
        }
    }

    /// Returns how many counters there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn shard(&self, key: BanKey) -> MutexGuard<'_, Shard> {
        let count = self.shards.len() as u64;
        let index = usize::try_from(self.hasher.hash_one(key) % count).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "a remainder is less than the divisor"
        )]
        lock(&self.shards[index])
    }

    /// Drops the counters that are over, and returns whether there were any.
    fn drop_over(&self, shard: &mut Shard, now: Instant) -> bool {
        let before = shard.len();
        shard.retain(|_, counter| !counter.window.is_over(now, counter.span));
        self.len.fetch_sub(before - shard.len(), Ordering::Relaxed);
        shard.len() < before
    }

    /// Drops the counter whose last failure is the longest ago.
    ///
    /// New clients are counted in its place, for otherwise whoever once fills the table could keep it full with one failure per client
    /// and window, and everybody else would go uncounted.
    fn drop_stalest(&self, shard: &mut Shard) {
        let stalest = shard
            .iter()
            .min_by_key(|(_, counter)| counter.window.last())
            .map(|(key, _)| *key);
        if let Some(key) = stalest {
            shard.remove(&key);
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A panic leaves no counter half written.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(600);

    fn key(number: u32) -> BanKey {
        BanKey::V4(number)
    }

    #[test]
    fn a_flood_of_clients_stays_bounded() {
        for max in [1, 10, 1000] {
            let table = FailureTable::new(max);
            let now = Instant::now();
            for number in 0..20_000 {
                table.note(key(number), 0, now, 5, SPAN);
                assert!(table.len() <= max);
            }
            assert!(max / 2 <= table.len());
        }
    }

    #[test]
    fn the_stalest_counter_makes_room() {
        let table = FailureTable::new(3);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for number in 0..3 {
            let now = at(u64::from(number));
            assert_eq!(table.note(key(number), 0, now, 3, SPAN), Noted::Counted);
        }
        assert_eq!(table.note(key(0), 0, at(3), 3, SPAN), Noted::Counted);
        // Client 1 failed longest ago.
        assert_eq!(table.note(key(9), 0, at(4), 3, SPAN), Noted::CountedInstead);
        assert_eq!(table.note(key(0), 0, at(5), 3, SPAN), Noted::Reached);
        assert_eq!(table.note(key(2), 0, at(6), 3, SPAN), Noted::Counted);
    }

    #[test]
    fn counters_that_are_over_make_room_first() {
        let table = FailureTable::new(2);
        let start = Instant::now();
        table.note(key(0), 0, start, 3, SPAN);
        table.note(key(1), 0, start + SPAN / 2, 3, SPAN);
        let noted = table.note(key(2), 0, start + SPAN, 3, SPAN);
        assert_eq!(noted, Noted::Counted);
        assert_eq!(table.len(), 2);
        table.sweep(start + SPAN * 2);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn rules_count_apart() {
        let table = FailureTable::new(10);
        let now = Instant::now();
        assert_eq!(table.note(key(0), 0, now, 2, SPAN), Noted::Counted);
        assert_eq!(table.note(key(0), 1, now, 2, SPAN), Noted::Counted);
        table.forget(key(0), 1);
        assert_eq!(table.note(key(0), 1, now, 2, SPAN), Noted::Counted);
        assert_eq!(table.note(key(0), 0, now, 2, SPAN), Noted::Reached);
        assert_eq!(table.len(), 1);
    }
}
