//! The bounded table of bans.

use std::{
    hash::RandomState,
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::{DashMap, mapref::entry::Entry};

use crate::{
    jail::{
        ban::{Ban, Record},
        key::BanKey,
    },
    metrics::{level::Level, names::BANS_ACTIVE},
};

/// How often a full table is looked through for what can go.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// The bans, and for some time those that are over, so that a ban time can grow.
///
/// An active ban is never dropped before its time to make room for another.
#[derive(Debug)]
pub(crate) struct BanTable {
    map: DashMap<BanKey, Record, RandomState>,
    max: usize,
    len: AtomicUsize,
    /// How many bans are not known to be over.
    active: Level,
    last_sweep: Mutex<Option<Instant>>,
}

/// What came of looking for a ban.
#[derive(Debug)]
pub(crate) enum Found {
    Active(Ban, Duration),
    /// There is none, and this caller is the one to tell that there was.
    JustOver(Record),
    Nothing,
}

/// What came of making a ban.
#[derive(Debug)]
pub(crate) enum Made {
    /// The client is banned already.
    Already,
    Full,
    New {
        ban: Ban,
        /// A former ban of the client whose end nobody had noticed.
        over: Option<Record>,
    },
}

impl BanTable {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            map: DashMap::default(),
            max,
            len: AtomicUsize::new(0),
            active: Level::new(BANS_ACTIVE, &[]),
            last_sweep: Mutex::new(None),
        }
    }

    /// Looks for a ban. Reads no clock while nobody is banned.
    pub(crate) fn find(&self, key: BanKey, now: impl FnOnce() -> Instant) -> Found {
        if self.active() == 0 {
            return Found::Nothing;
        }
        let now = match self.map.get(&key) {
            Some(record) if !record.is_over => {
                let now = now();
                if record.is_active(now) {
                    let left = record.end.saturating_duration_since(now);
                    return Found::Active(record.ban.clone(), left);
                }
                now
            }
            _ => return Found::Nothing,
        };
        // The guard of `get` is gone: the shard may be locked anew.
        match self.map.entry(key) {
            Entry::Occupied(entry) => match self.notice(entry, now) {
                Some(record) => Found::JustOver(record),
                None => Found::Nothing,
            },
            Entry::Vacant(_) => Found::Nothing,
        }
    }

    /// Makes a ban unless there is one, or in the place of it; `make` is told how many bans of the client are remembered.
    pub(crate) fn make(
        &self,
        key: BanKey,
        now: Instant,
        replaces: bool,
        make: impl FnOnce(u32) -> Record,
    ) -> Made {
        match self.map.entry(key) {
            Entry::Occupied(mut entry) => {
                let former = entry.get();
                if former.is_active(now) {
                    if !replaces {
                        return Made::Already;
                    }
                    // Nobody is told of its end, for it has another one.
                    let record = make(0);
                    let ban = record.ban.clone();
                    entry.insert(record);
                    return Made::New { ban, over: None };
                }
                let before = if now < former.forget {
                    former.ban.count
                } else {
                    0
                };
                let record = make(before);
                let ban = record.ban.clone();
                let former = entry.insert(record);
                if former.is_over {
                    self.active.raise();
                }
                let over = (!former.is_over).then_some(former);
                Made::New { ban, over }
            }
            Entry::Vacant(entry) => {
                if !self.reserve() {
                    return Made::Full;
                }
                let record = make(0);
                let ban = record.ban.clone();
                self.active.raise();
                entry.insert(record);
                Made::New { ban, over: None }
            }
        }
    }

    /// Returns the ban of a client and how much of it is left, and notices nothing.
    pub(crate) fn peek(&self, key: BanKey, now: Instant) -> Option<(Ban, Duration)> {
        let record = self.map.get(&key).filter(|it| it.is_active(now))?;
        Some((
            record.ban.clone(),
            record.end.saturating_duration_since(now),
        ))
    }

    /// Returns whether the client is banned.
    pub(crate) fn is_active(&self, key: BanKey, now: Instant) -> bool {
        self.active() != 0 && self.map.get(&key).is_some_and(|it| it.is_active(now))
    }

    /// Puts a ban back that was made before, unless the client has one or the table is full.
    pub(crate) fn restore(&self, record: Record) {
        if let Entry::Vacant(entry) = self.map.entry(record.ban.key)
            && self.reserve()
        {
            if !record.is_over {
                self.active.raise();
            }
            entry.insert(record);
        }
    }

    /// Puts a ban in the place of the one that the client has, or of none; returns `false` where the table is full. The client is not free for a moment.
    #[cfg(feature = "redis")]
    pub(crate) fn replace(&self, record: Record) -> bool {
        let is_over = record.is_over;
        let was_over = match self.map.entry(record.ban.key) {
            Entry::Occupied(mut entry) => entry.insert(record).is_over,
            Entry::Vacant(entry) => {
                if !self.reserve() {
                    return false;
                }
                entry.insert(record);
                true
            }
        };
        match (was_over, is_over) {
            (false, true) => self.active.lower(),
            (true, false) => self.active.raise(),
            (false, false) | (true, true) => {}
        }
        true
    }

    /// Drops a ban and the memory of it; returns it where it was active or its end not yet noticed.
    pub(crate) fn lift(&self, key: BanKey) -> Option<Record> {
        let (_, record) = self.map.remove(&key)?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        if record.is_over {
            return None;
        }
        self.active.lower();
        Some(record)
    }

    /// Drops what is over and need not be remembered, and returns the bans whose end has just been noticed.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Record> {
        self.drop_where(now, |record| record.forget <= now)
    }

    /// Makes room in a full table by forgetting all that is over, from time to time.
    pub(crate) fn make_room(&self, now: Instant) -> Vec<Record> {
        let mut last = self
            .last_sweep
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_duration_since(last) < SWEEP_PAUSE) {
            return Vec::new();
        }
        *last = Some(now);
        self.drop_where(now, |_| true)
    }

    /// Returns the record of a client.
    #[cfg(feature = "redis")]
    pub(crate) fn record(&self, key: BanKey) -> Option<Record> {
        self.map.get(&key).map(|it| it.value().clone())
    }

    /// Returns how many bans there may be.
    #[cfg(feature = "redis")]
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Returns all records, active or not.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.map.iter().map(|it| it.value().clone()).collect()
    }

    /// Returns how many bans are not known to be over.
    pub(crate) fn active(&self) -> usize {
        self.active.value()
    }

    /// Takes a place in the table, if there is one.
    fn reserve(&self) -> bool {
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < self.max).then_some(len + 1)
            })
            .is_ok()
    }

    /// Notices the ends of bans, and drops those that are over and of which `can_go` says so.
    fn drop_where(&self, now: Instant, can_go: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut over = Vec::new();
        self.map.retain(|_, record| {
            if record.is_active(now) {
                return true;
            }
            if !mem::replace(&mut record.is_over, true) {
                self.active.lower();
                over.push(record.clone());
            }
            if can_go(record) {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            true
        });
        over
    }

    /// Notices the end of a ban, once.
    fn notice(
        &self,
        mut entry: dashmap::mapref::entry::OccupiedEntry<'_, BanKey, Record>,
        now: Instant,
    ) -> Option<Record> {
        let record = entry.get_mut();
        if record.is_active(now) || mem::replace(&mut record.is_over, true) {
            return None;
        }
        self.active.lower();
        let over = record.clone();
        if over.forget <= now {
            entry.remove();
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        Some(over)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const TIME: Duration = Duration::from_secs(600);

    fn make(table: &BanTable, number: u32, now: Instant, memory: Duration) -> Made {
        let key = BanKey::V4(number);
        table.make(key, now, false, |before| Record {
            ban: Ban {
                key,
                rule: "test".into(),
                start: SystemTime::UNIX_EPOCH,
                end: SystemTime::UNIX_EPOCH + TIME,
                count: before + 1,
            },
            end: now + TIME,
            forget: now + TIME + memory,
            enforced: true,
            is_over: false,
        })
    }

    #[track_caller]
    fn check_counts(table: &BanTable, len: usize, active: usize) {
        assert_eq!(table.map.len(), len);
        assert_eq!(table.len.load(Ordering::Relaxed), len);
        assert_eq!(table.active(), active);
    }

    #[test]
    fn a_ban_takes_the_place_of_another_in_a_full_table() {
        let table = BanTable::new(1);
        let now = Instant::now();
        assert!(matches!(
            make(&table, 1, now, TIME),
            Made::New { over: None, .. }
        ));
        let key = BanKey::V4(1);
        let record = table.map.get(&key).unwrap().clone();
        let longer = |_| Record {
            end: now + 2 * TIME,
            forget: now + 2 * TIME,
            ..record.clone()
        };
        assert!(matches!(table.make(key, now, false, longer), Made::Already));
        assert!(matches!(
            table.make(key, now, true, longer),
            Made::New { over: None, .. }
        ));
        check_counts(&table, 1, 1);
        assert!(table.is_active(key, now + TIME));
        #[cfg(feature = "redis")]
        {
            let over = Record {
                is_over: true,
                ..record.clone()
            };
            assert!(table.replace(over));
            check_counts(&table, 1, 0);
            assert!(table.replace(record.clone()));
            check_counts(&table, 1, 1);
            let other = Record {
                ban: Ban {
                    key: BanKey::V4(2),
                    ..longer(0).ban
                },
                ..longer(0)
            };
            assert!(!table.replace(other));
            check_counts(&table, 1, 1);
        }
    }

    #[test]
    fn a_ban_ends_once() {
        let table = BanTable::new(10);
        let now = Instant::now();
        let key = BanKey::V4(1);
        assert!(matches!(make(&table, 1, now, TIME), Made::New { .. }));
        assert!(matches!(make(&table, 1, now, TIME), Made::Already));
        let last = now + TIME.saturating_sub(Duration::from_nanos(1));
        assert!(matches!(table.find(key, || last), Found::Active(..)));
        assert!(matches!(table.find(key, || now + TIME), Found::JustOver(_)));
        assert!(matches!(table.find(key, || now + TIME), Found::Nothing));
        check_counts(&table, 1, 0);
        // Once its end has been noticed, no clock that steps back revives it.
        assert!(matches!(table.find(key, || now), Found::Nothing));
        assert!(table.sweep(now + TIME * 2).is_empty());
        check_counts(&table, 0, 0);
    }

    #[test]
    fn former_bans_are_counted_while_remembered() {
        let table = BanTable::new(10);
        let start = Instant::now();
        let count = |made| match made {
            Made::New { ban, over } => (ban.count, over.is_some()),
            other => panic!("{other:?}"),
        };
        assert_eq!(count(make(&table, 1, start, TIME)), (1, false));
        assert_eq!(count(make(&table, 1, start + TIME, TIME)), (2, true));
        table.sweep(start + TIME * 2);
        assert_eq!(count(make(&table, 1, start + TIME * 2, TIME)), (3, false));
        assert_eq!(count(make(&table, 1, start + TIME * 4, TIME)), (1, true));
        check_counts(&table, 1, 1);
    }

    #[test]
    fn a_full_table_gives_up_no_active_ban() {
        let table = BanTable::new(2);
        let now = Instant::now();
        make(&table, 1, now, TIME);
        make(&table, 2, now + Duration::from_secs(1), TIME);
        assert!(matches!(make(&table, 3, now, TIME), Made::Full));
        assert!(table.make_room(now).is_empty());
        check_counts(&table, 2, 2);
        // Looking through the table is not repeated for every client of a flood.
        assert!(table.make_room(now + SWEEP_PAUSE / 2).is_empty());
        assert_eq!(table.make_room(now + TIME).len(), 1);
        check_counts(&table, 1, 1);
        assert!(matches!(make(&table, 3, now, TIME), Made::New { .. }));
        check_counts(&table, 2, 2);
    }

    #[test]
    fn lifting_forgets() {
        let table = BanTable::new(2);
        let now = Instant::now();
        make(&table, 1, now, TIME);
        assert!(table.lift(BanKey::V4(1)).is_some());
        assert!(table.lift(BanKey::V4(1)).is_none());
        check_counts(&table, 0, 0);
    }
}
