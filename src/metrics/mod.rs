//! Counters of what the crate decided, exact and independent of events.
//!
//! Counters are always kept, as plain atomics: [`EnforceLayer::counts`](crate::enforce::EnforceLayer::counts) and
//! [`SharedSink::counts`](crate::event::SharedSink::counts) read them, for an application that brings its own metrics. With the feature
//! `metrics` they are also handed to the recorder of the `metrics` facade. The handles are made when a layer or a sink is built, at 0:
//! **install the recorder first**, or nothing will ever reach it.
//!
//! | metric | kind | labels | counts |
//! |---|---|---|---|
//! | `palisade_bans_active` | gauge | none | bans that are active, of all jails together (feature `jail`) |
//! | [`DECISIONS_TOTAL`] | counter | `layer`, `policy`, `decision` | decisions, each once: see below |
//! | [`ENFORCED`] | gauge | `layer`, `policy` | 1 where the policy enforces, 0 in dry run |
//! | [`EVENTS_TOTAL`] | counter | `action` | security events raised, before flood control |
//! | [`EVENTS_SUPPRESSED_TOTAL`] | counter | `action`, `reason` | events that were counted instead of recorded; `reason` is `repeat` or `flood` |
//! | [`SINK_ERRORS_TOTAL`] | counter | `error` | events that a sink lost; `error` is `full`, `panic` or `write` |
//! | `palisade_store_failures_total` | counter | `error` | decisions that the shared store has not made, and why (feature `redis`) |
//! | `palisade_store_up` | gauge | `policy` | 1 where the shared store answers, 0 where it is away; `policy` is its prefix (feature `redis`) |
//! | [`CHECK_DURATION_SECONDS`] | histogram | none | time until all policies have decided; opt-in: [`EnforceLayer::with_check_duration`](crate::enforce::EnforceLayer::with_check_duration) |
//!
//! The values of `decision`, of which every decision has exactly one:
//!
//! | `decision` | the request |
//! |---|---|
//! | `allowed` | passed this policy |
//! | `denied` | was refused |
//! | `redirected` | was redirected to HTTPS |
//! | `unkeyed` | was refused because there is nothing to count it under |
//! | `would_deny` | passed because the policy is in [dry run](crate::policy::DryRun) |
//!
//! Every label value comes from code or configuration, never from a request: a client cannot make a new series.

pub(crate) mod counter;
pub(crate) mod duration;
#[cfg(feature = "jail")]
pub(crate) mod level;
pub(crate) mod names;

#[cfg(feature = "jail")]
pub use self::names::BANS_ACTIVE;
#[cfg(feature = "redis")]
pub use self::names::{STORE_FAILURES_TOTAL, STORE_UP};
pub use self::{
    duration::DurationCounts,
    names::{
        CHECK_DURATION_SECONDS, DECISIONS_TOTAL, ENFORCED, EVENTS_SUPPRESSED_TOTAL, EVENTS_TOTAL,
        LABEL_ACTION, LABEL_DECISION, LABEL_ERROR, LABEL_LAYER, LABEL_POLICY, LABEL_REASON,
        SINK_ERRORS_TOTAL,
    },
};
