//! What this instance has to tell the others.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::{Notify, watch};

use crate::{
    jail::{file::StoredBan, key::BanKey},
    shared_store::store::RedisStore,
};

/// What is to be told of a client.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is banned.
    Ban(StoredBan, Standing),
    /// Its ban was lifted at that time.
    Lift(SystemTime),
}

/// Which ban of another instance one takes the place of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Of none.
    Never = 0,
    /// Of one that ends earlier.
    Longer = 1,
    /// Of any: somebody has ordered it.
    Always = 2,
}

/// What this instance has to tell the others, the last word for each client. It is bounded: where it is full, all bans are told again later.
pub(crate) struct Outbox {
    pub(crate) store: RedisStore,
    changes: Mutex<HashMap<BanKey, Change>>,
    max: usize,
    /// There is something to do.
    pub(crate) wake: Notify,
    /// Not all that was to be told is in the box.
    overflowed: AtomicBool,
    /// A task sees to the box.
    running: AtomicBool,
    /// How often the bans of the others have been read as a whole.
    synced: watch::Sender<u64>,
}

impl Outbox {
    pub(crate) fn new(store: RedisStore, max: usize) -> Self {
        Self {
            store,
            changes: Mutex::default(),
            max,
            wake: Notify::new(),
            overflowed: AtomicBool::new(false),
            running: AtomicBool::new(false),
            synced: watch::Sender::new(0),
        }
    }

    /// Tells a change some time soon.
    pub(crate) fn push(&self, key: BanKey, change: Change) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.contains_key(&key) || self.has_room(&mut changes, &change) {
            changes.insert(key, change);
        }
        drop(changes);
        self.wake.notify_one();
    }

    /// Puts a change back that could not be told, or tells one that is no news, unless there is a later one.
    pub(crate) fn put_back(&self, key: BanKey, change: Change) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.contains_key(&key) && self.has_room(&mut changes, &change) {
            changes.insert(key, change);
        }
    }

    /// Returns whether there is room for the change of one more client. A ban that finds none is told with all others later; that one was lifted is told
    /// by nobody else, so it takes the place of a ban.
    fn has_room(&self, changes: &mut HashMap<BanKey, Change>, change: &Change) -> bool {
        if changes.len() < self.max {
            return true;
        }
        self.overflowed.store(true, Ordering::Relaxed);
        if let Change::Ban(..) = change {
            return false;
        }
        let mut bans = changes.iter();
        let ban = bans.find(|(_, it)| matches!(it, Change::Ban(..)));
        let ban = ban.map(|(key, _)| *key);
        ban.is_some_and(|key| changes.remove(&key).is_some())
    }

    /// Takes all changes out.
    pub(crate) fn take(&self) -> Vec<(BanKey, Change)> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.drain().collect()
    }

    /// Returns whether something is to be told of a client.
    pub(crate) fn has(&self, key: BanKey) -> bool {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.contains_key(&key)
    }

    pub(crate) fn take_overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }

    /// Returns whether the caller is the one to start the task.
    pub(crate) fn must_start(&self) -> bool {
        !self.running.load(Ordering::Relaxed) && !self.running.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn stopped(&self) {
        self.running.store(false, Ordering::Relaxed);
    }

    pub(crate) fn note_synced(&self) {
        self.synced
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn synced(&self) -> watch::Receiver<u64> {
        self.synced.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use secrecy::SecretString;

    use super::*;
    use crate::{event::sink::NullSink, jail::ban::Ban};

    fn outbox(max: usize) -> Outbox {
        let hash_key = SecretString::from("0123456789abcdef");
        let store = RedisStore::builder("redis://127.0.0.1:1", hash_key).sink(NullSink);
        Outbox::new(store.build().unwrap(), max)
    }

    fn key(last: u8) -> BanKey {
        let net = format!("203.0.113.{last}/32").parse().unwrap();
        BanKey::of_net(net).unwrap()
    }

    fn ban(last: u8) -> Change {
        let ban = Ban {
            key: key(last),
            rule: "rule".into(),
            start: UNIX_EPOCH,
            end: UNIX_EPOCH + Duration::from_secs(60),
            count: 1,
        };
        let forget = ban.end;
        Change::Ban(StoredBan { ban, forget }, Standing::Never)
    }

    #[test]
    fn a_full_box_says_so_once_and_takes_news_of_those_in_it() {
        let outbox = outbox(2);
        for last in [1, 2, 1, 2] {
            outbox.push(key(last), ban(last));
        }
        assert!(!outbox.take_overflowed());
        outbox.push(key(3), ban(3));
        outbox.push(key(1), Change::Lift(UNIX_EPOCH));
        assert_eq!([1, 2, 3].map(|it| outbox.has(key(it))), [true, true, false]);
        assert!(outbox.take_overflowed());
        assert!(!outbox.take_overflowed());
        let taken = outbox.take();
        let lifted = |it: &(BanKey, Change)| matches!(it.1, Change::Lift(UNIX_EPOCH));
        assert_eq!(taken.len(), 2);
        assert!(taken.iter().all(|it| lifted(it) == (it.0 == key(1))));
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn what_could_not_be_told_gives_way_to_what_is_later() {
        let outbox = outbox(2);
        outbox.push(key(1), Change::Lift(UNIX_EPOCH));
        outbox.put_back(key(1), ban(1));
        outbox.put_back(key(2), ban(2));
        assert!(!outbox.take_overflowed());
        // Nor does it make the box larger: it is told with all others.
        outbox.put_back(key(3), ban(3));
        assert!(outbox.take_overflowed());
        let lifted = |it: (BanKey, Change)| (it.0 == key(1), matches!(it.1, Change::Lift(_)));
        let mut taken: Vec<_> = outbox.take().into_iter().map(lifted).collect();
        taken.sort_unstable();
        assert_eq!(taken, [(false, false), (true, true)]);
    }

    #[test]
    fn what_was_lifted_is_not_lost_in_a_full_box() {
        let outbox = outbox(2);
        outbox.push(key(1), ban(1));
        outbox.push(key(2), Change::Lift(UNIX_EPOCH));
        outbox.push(key(3), Change::Lift(UNIX_EPOCH));
        assert_eq!([1, 2, 3].map(|it| outbox.has(key(it))), [false, true, true]);
        // The ban is told again.
        assert!(outbox.take_overflowed());
        outbox.push(key(4), Change::Lift(UNIX_EPOCH));
        assert!(!outbox.has(key(4)));
    }

    #[test]
    fn one_task_sees_to_the_box_at_a_time() {
        let outbox = outbox(1);
        assert!(outbox.must_start());
        assert!(!outbox.must_start());
        outbox.stopped();
        assert!(outbox.must_start());
    }
}
