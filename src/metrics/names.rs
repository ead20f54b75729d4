//! Names of metrics and labels. They are stable: dashboards and alerts may rely on them.

/// Tells how many bans are active, or over and not yet noticed to be.
#[cfg(feature = "jail")]
pub const BANS_ACTIVE: &str = "palisade_bans_active";
/// Counts decisions, each once.
pub const DECISIONS_TOTAL: &str = "palisade_decisions_total";
/// Tells whether a policy enforces (1) or only observes (0).
pub const ENFORCED: &str = "palisade_enforced";
/// Counts security events, before flood control.
pub const EVENTS_TOTAL: &str = "palisade_events_total";
/// Counts events that flood control counted instead of recording.
pub const EVENTS_SUPPRESSED_TOTAL: &str = "palisade_events_suppressed_total";
/// Counts events that a sink lost.
pub const SINK_ERRORS_TOTAL: &str = "palisade_sink_errors_total";
/// Counts decisions that the shared store has not made.
#[cfg(feature = "redis")]
pub const STORE_FAILURES_TOTAL: &str = "palisade_store_failures_total";
/// Tells whether the shared store answers (1) or is away (0).
#[cfg(feature = "redis")]
pub const STORE_UP: &str = "palisade_store_up";
/// Measures the time until all policies of a layer have decided.
pub const CHECK_DURATION_SECONDS: &str = "palisade_check_duration_seconds";

/// Label: the word of the action of an event, `custom` for those of an application.
pub const LABEL_ACTION: &str = "action";
/// Label: what was decided.
pub const LABEL_DECISION: &str = "decision";
/// Label: how an event was lost.
pub const LABEL_ERROR: &str = "error";
/// Label: the layer a policy belongs to.
pub const LABEL_LAYER: &str = "layer";
/// Label: the name of a policy.
pub const LABEL_POLICY: &str = "policy";
/// Label: why an event was suppressed.
pub const LABEL_REASON: &str = "reason";
