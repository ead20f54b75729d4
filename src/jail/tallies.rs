//! What a jail has done, in numbers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    jail::rule::Rule,
    metrics::{
        counter::Counter,
        names::{BANS_SKIPPED_TOTAL, BANS_TOTAL, LABEL_REASON, UNBANS_TOTAL},
    },
};

/// What has happened since the start.
#[derive(Debug)]
pub(crate) struct Tallies {
    /// Bans by the name of their rule. There are few: looking one up costs nothing beside making a ban.
    banned: Vec<(Arc<str>, Counter)>,
    denied: AtomicU64,
    given_up: AtomicU64,
    expired: Counter,
    lifted: Counter,
    exempt: Counter,
    foreign_page: Counter,
    full: Counter,
    unknown: Counter,
    pub(crate) told_full: Mutex<Option<Instant>>,
}

/// Why a client that should have been banned was not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Skipped {
    Exempt,
    ForeignPage,
    Full,
    Unknown,
}

impl Tallies {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut banned: Vec<(Arc<str>, Counter)> = Vec::new();
        let names = rules.iter().map(|rule| Arc::clone(rule.shared_name()));
        for name in names.chain([TRAP.into(), MANUAL.into()]) {
            if banned.iter().all(|(other, _)| *other != name) {
                let counter = Counter::new(BANS_TOTAL, &[(LABEL_REASON, &name)]);
                banned.push((name, counter));
            }
        }
        let skipped = |reason| Counter::new(BANS_SKIPPED_TOTAL, &[(LABEL_REASON, reason)]);
        let ended = |reason| Counter::new(UNBANS_TOTAL, &[(LABEL_REASON, reason)]);
        Self {
            banned,
            denied: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            expired: ended("expired"),
            lifted: ended("manual"),
            exempt: skipped("exempt"),
            foreign_page: skipped("foreign_page"),
            full: skipped("full"),
            unknown: skipped("unknown"),
            told_full: Mutex::new(None),
        }
    }

    pub(crate) fn note_banned(&self, rule: &str) {
        if let Some((_, counter)) = self.banned.iter().find(|(name, _)| **name == *rule) {
            counter.increment();
        }
    }

    pub(crate) fn note_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_expired(&self) {
        self.expired.increment();
    }

    pub(crate) fn note_lifted(&self) {
        self.lifted.increment();
    }

    pub(crate) fn note_skipped(&self, why: Skipped) {
        match why {
            Skipped::Exempt => self.exempt.increment(),
            Skipped::ForeignPage => self.foreign_page.increment(),
            Skipped::Full => self.full.increment(),
            Skipped::Unknown => self.unknown.increment(),
        }
    }

    pub(crate) fn banned(&self) -> u64 {
        self.banned.iter().map(|(_, counter)| counter.value()).sum()
    }

    pub(crate) fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    pub(crate) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn expired(&self) -> u64 {
        self.expired.value()
    }

    pub(crate) fn lifted(&self) -> u64 {
        self.lifted.value()
    }

    pub(crate) fn skipped(&self) -> u64 {
        let counters = [&self.exempt, &self.foreign_page, &self.full, &self.unknown];
        counters.into_iter().map(Counter::value).sum()
    }
}

/// The name under which traps ban.
pub(crate) const TRAP: &str = "trap";

/// The name under which clients are banned by hand.
pub(crate) const MANUAL: &str = "manual";
