//! What flood control has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    event::{
        model::Action,
        schema::{ACTIONS, SLOTS, slot_name},
    },
    metrics::{
        counter::Counter,
        names::{EVENTS_SUPPRESSED_TOTAL, LABEL_ACTION, LABEL_REASON},
    },
};

/// How many events of an action have been counted instead of recorded, ever.
pub(crate) struct Suppressed {
    pub(crate) repeat: Counter,
    pub(crate) flood: Counter,
}

impl Suppressed {
    pub(crate) fn new(slot: usize) -> Self {
        let counter = |reason| {
            let labels = [(LABEL_ACTION, slot_name(slot)), (LABEL_REASON, reason)];
            Counter::new(EVENTS_SUPPRESSED_TOTAL, &labels)
        };
        Self {
            repeat: counter("repeat"),
            flood: counter("flood"),
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.repeat.value() + self.flood.value()
    }
}

/// When events occurred.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// How many events of each action await a summary.
pub(crate) struct Totals {
    slots: [Total; SLOTS],
    /// When the summary is due; `u64::MAX` where there is nothing to sum up.
    due: AtomicU64,
}

struct Total {
    count: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
}

impl Totals {
    pub(crate) fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| Total {
                count: AtomicU64::new(0),
                first: AtomicU64::new(u64::MAX),
                last: AtomicU64::new(0),
            }),
            due: AtomicU64::new(u64::MAX),
        }
    }

    /// Adds to the total of an action; returns whether nothing is due yet.
    pub(crate) fn add(&self, slot: usize, count: u64, first: u64, last: u64) -> bool {
        if let Some(total) = self.slots.get(slot) {
            total.first.fetch_min(first, Ordering::Relaxed);
            total.last.fetch_max(last, Ordering::Relaxed);
            total.count.fetch_add(count, Ordering::Relaxed);
        }
        self.due.load(Ordering::Relaxed) == u64::MAX
    }

    pub(crate) fn set_due(&self, due: u64) {
        self.due.store(due, Ordering::Relaxed);
    }

    /// Returns to one caller only that a summary is due.
    pub(crate) fn take_due(&self, now: u64) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        due <= now
            && self
                .due
                .compare_exchange(due, u64::MAX, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Takes all totals that are not zero.
    pub(crate) fn take(&self) -> impl Iterator<Item = (Action, u64, Span)> {
        self.slots.iter().enumerate().filter_map(|(slot, total)| {
            let count = total.count.swap(0, Ordering::Relaxed);
            if count == 0 {
                return None;
            }
            let span = Span {
                first: total.first.swap(u64::MAX, Ordering::Relaxed),
                last: total.last.swap(0, Ordering::Relaxed),
            };
            let action = ACTIONS.get(slot).copied();
            Some((action.unwrap_or(Action::Custom("custom")), count, span))
        })
    }
}
