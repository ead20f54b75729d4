//! What this instance has to tell the others.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use crate::{
    jail::{file::StoredBan, key::BanKey},
    shared_store::store::RedisStore,
};

/// What is to be told of a client.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is banned; `true` where the ban takes the place of another.
    Ban(StoredBan, bool),
    /// Its ban is lifted.
    Lift,
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
        if changes.len() < self.max || changes.contains_key(&key) {
            changes.insert(key, change);
        } else {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        drop(changes);
        self.wake.notify_one();
    }

    /// Puts a change back that could not be told, unless there is a later one.
    pub(crate) fn put_back(&self, key: BanKey, change: Change) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.entry(key).or_insert(change);
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
