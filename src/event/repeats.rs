//! What flood control remembers of an event.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use crate::event::{
    address::EventAddress,
    model::{Action, SecurityEvent},
    schema::Class,
};

/// The occurrences of one event within a window.
pub(crate) struct Repeats {
    pub(crate) action: Action,
    pub(crate) enforced: bool,
    pub(crate) policy: Option<Box<str>>,
    pub(crate) client: Option<EventAddress<'static>>,
    pub(crate) began: u64,
    pub(crate) began_system: SystemTime,
    pub(crate) ends: u64,
    pub(crate) count: AtomicU64,
    pub(crate) last: AtomicU64,
}

impl Repeats {
    pub(crate) fn new(
        event: &SecurityEvent<'_>,
        now: u64,
        window: u64,
        system_now: SystemTime,
    ) -> Self {
        let condition = event.action().schema().class == Class::Condition;
        Self {
            action: event.action(),
            enforced: event.enforced(),
            policy: event.policy().map(Into::into),
            client: event
                .client_address()
                .filter(|_| !condition)
                .map(|it| it.clone().into_owned()),
            began: now,
            began_system: system_now,
            ends: now.saturating_add(window),
            count: AtomicU64::new(0),
            last: AtomicU64::new(now),
        }
    }

    /// Counts a repeat; returns whether it is one.
    pub(crate) fn repeat(&self, now: u64) -> bool {
        let repeats = now < self.ends;
        if repeats {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.last.fetch_max(now, Ordering::Relaxed);
        }
        repeats
    }

    /// Takes what was counted so far out of a window that goes on.
    pub(crate) fn counted(&self) -> Option<Self> {
        let count = self.count.swap(0, Ordering::Relaxed);
        (count != 0).then(|| Self {
            action: self.action,
            enforced: self.enforced,
            policy: self.policy.clone(),
            client: self.client.clone(),
            began: self.began,
            began_system: self.began_system,
            ends: self.ends,
            count: AtomicU64::new(count),
            last: AtomicU64::new(self.last.load(Ordering::Relaxed)),
        })
    }

    /// Returns the event that says how many repeats there were until `last`.
    pub(crate) fn summary(&self, count: u64, last: u64) -> SecurityEvent<'_> {
        let end = self.began_system + Duration::from_nanos(last.saturating_sub(self.began));
        let mut event = SecurityEvent::new(Action::EventsSuppressed, "repeat")
            .with_suppressed(self.action)
            .with_count(count)
            .with_span(self.began_system, Some(end));
        if let Some(policy) = &self.policy {
            event = event.with_policy(&**policy);
        }
        if let Some(client) = &self.client {
            event = event.with_client_address(client.clone());
        }
        if !self.enforced {
            event = event.observed();
        }
        event
    }
}
