//! Counters that can be read back and that a recorder may follow.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// A counter. With the feature `metrics` it is one of the recorder that was installed when it was made, too.
pub(crate) struct Counter {
    value: AtomicU64,
    #[cfg(feature = "metrics")]
    handle: ::metrics::Counter,
}

impl Counter {
    /// Makes a counter at 0.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "only a recorder needs a name")
    )]
    pub(crate) fn new(name: &'static str, labels: &[(&'static str, &str)]) -> Self {
        Self {
            value: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            handle: {
                describe(name);
                ::metrics::counter!(name, owned(labels))
            },
        }
    }

    #[inline]
    pub(crate) fn increment(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.handle.increment(1);
    }

    pub(crate) fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

/// Sets a gauge of the recorder; without one there is nobody to tell.
#[cfg(feature = "metrics")]
pub(crate) fn set_gauge(name: &'static str, labels: &[(&'static str, &str)], value: f64) {
    describe(name);
    ::metrics::gauge!(name, owned(labels)).set(value);
}

/// Counts something under a name that is known only now.
#[cfg(all(feature = "metrics", feature = "secrets"))]
pub(crate) fn count(name: &'static str, labels: &[(&'static str, &str)]) {
    describe(name);
    ::metrics::counter!(name, owned(labels)).increment(1);
}

#[cfg(feature = "metrics")]
pub(crate) fn owned(labels: &[(&'static str, &str)]) -> Vec<::metrics::Label> {
    labels
        .iter()
        .map(|(name, value)| ::metrics::Label::new(*name, (*value).to_owned()))
        .collect()
}

#[cfg(feature = "metrics")]
pub(crate) fn describe(name: &'static str) {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    use crate::metrics::names;

    match name {
        #[cfg(feature = "jail")]
        names::BANS_ACTIVE => describe_gauge!(name, "Active bans."),
        #[cfg(feature = "jail")]
        names::BANS_TOTAL => describe_counter!(name, "Bans by the rule that made them."),
        #[cfg(feature = "jail")]
        names::BANS_SKIPPED_TOTAL => {
            describe_counter!(
                name,
                "Clients that should have been banned and were not, by reason."
            );
        }
        #[cfg(feature = "jail")]
        names::UNBANS_TOTAL => describe_counter!(name, "Bans that ended, by reason."),
        #[cfg(feature = "rate-limit")]
        names::KEYS => describe_gauge!(name, "Places that keys have in the table of a limit."),
        #[cfg(feature = "rate-limit")]
        names::OVERFLOWED_TOTAL => {
            describe_counter!(name, "Charges to shared rows for lack of a place.");
        }
        names::AUTH_TOTAL => {
            describe_counter!(name, "API keys that were not simply right, by result.");
        }
        names::CLIENT_IP_TOTAL => {
            describe_counter!(
                name,
                "Clients' addresses that were not simply known, by result."
            );
        }
        #[cfg(feature = "secrets")]
        names::SECRET_LOADS_TOTAL => describe_counter!(name, "Loads of secrets, by outcome."),
        #[cfg(feature = "secrets")]
        names::SECRET_LAST_CHANGE_TIMESTAMP_SECONDS => describe_gauge!(
            name,
            Unit::Seconds,
            "When a secret was loaded or replaced last, since 1970."
        ),
        names::DECISIONS_TOTAL => describe_counter!(name, "Decisions of policies."),
        names::ENFORCED => {
            describe_gauge!(name, "Whether a policy enforces (1) or only observes (0).");
        }
        names::EVENTS_TOTAL => describe_counter!(name, "Security events, before flood control."),
        names::EVENTS_SUPPRESSED_TOTAL => {
            describe_counter!(
                name,
                "Security events that were counted instead of recorded."
            );
        }
        names::SINK_ERRORS_TOTAL => describe_counter!(name, "Security events that a sink lost."),
        #[cfg(feature = "redis")]
        names::STORE_FAILURES_TOTAL => {
            describe_counter!(name, "Decisions that the shared store has not made.");
        }
        #[cfg(feature = "redis")]
        names::STORE_UP => {
            describe_gauge!(name, "Whether the shared store answers (1) or is away (0).");
        }
        names::CHECK_DURATION_SECONDS => describe_histogram!(
            name,
            Unit::Seconds,
            "Time until all policies of a layer have decided."
        ),
        _ => {}
    }
}
