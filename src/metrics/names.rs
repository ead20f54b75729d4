//! Names of metrics and labels. They are stable: dashboards and alerts may rely on them.

/// Tells how many bans are active, or over and not yet noticed to be.
#[cfg(feature = "jail")]
pub const BANS_ACTIVE: &str = "palisade_bans_active";
/// Counts bans, in dry run too: the decisions tell which policies enforce.
#[cfg(feature = "jail")]
pub const BANS_TOTAL: &str = "palisade_bans_total";
/// Counts clients that should have been banned and were not.
#[cfg(feature = "jail")]
pub const BANS_SKIPPED_TOTAL: &str = "palisade_bans_skipped_total";
/// Counts bans that ended.
#[cfg(feature = "jail")]
pub const UNBANS_TOTAL: &str = "palisade_unbans_total";
/// Counts API keys that were presented and not simply right.
pub const AUTH_TOTAL: &str = "palisade_auth_total";
/// Counts clients' addresses that are not simply known.
pub const CLIENT_IP_TOTAL: &str = "palisade_client_ip_total";
/// Tells how many places keys have in the table of a limit; those whose quotas are full again are given away when they are needed.
#[cfg(feature = "rate-limit")]
pub const KEYS: &str = "palisade_keys";
/// Counts charges that went to shared rows because the table of a limit had no place.
#[cfg(feature = "rate-limit")]
pub const OVERFLOWED_TOTAL: &str = "palisade_overflowed_total";
/// Counts how often secrets were loaded, or could not be.
#[cfg(feature = "secrets")]
pub const SECRET_LOADS_TOTAL: &str = "palisade_secret_loads_total";
/// Tells when a secret was loaded or replaced last, in seconds since 1970.
#[cfg(feature = "secrets")]
pub const SECRET_LAST_CHANGE_TIMESTAMP_SECONDS: &str =
    "palisade_secret_last_change_timestamp_seconds";
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
/// Label: whether a secret could be loaded.
#[cfg(feature = "secrets")]
pub const LABEL_OUTCOME: &str = "outcome";
/// Label: why an event was suppressed, a client banned or not, or a ban over.
pub const LABEL_REASON: &str = "reason";
/// Label: what became of an address or a key.
pub const LABEL_RESULT: &str = "result";
/// Label: the name of a secret, as the application asks for it.
#[cfg(feature = "secrets")]
pub const LABEL_SECRET: &str = "secret";
