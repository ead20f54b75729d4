//! Counters of what the crate decided, exact and independent of events.
//!
//! Counters are always kept, as plain atomics: [`EnforceLayer::counts`](crate::enforce::EnforceLayer::counts) and
//! [`SharedSink::counts`](crate::event::SharedSink::counts) read them, for an application that brings its own metrics. With the feature
//! `metrics` they are also handed to the recorder of the `metrics` facade. The handles are made when a layer or a sink is built, at 0:
//! **install the recorder first**, or nothing will ever reach it.
//!
//! | metric | kind | labels | counts |
//! |---|---|---|---|
//! | [`AUTH_TOTAL`] | counter | `result` | API keys that were not simply right: `failure`, `scope_missing`, or `previous`, which is told once a minute and key |
//! | `palisade_bans_active` | gauge | none | bans that are active, of all jails together (feature `jail`) |
//! | `palisade_bans_skipped_total` | counter | `reason` | clients that should have been banned: `exempt`, `foreign_page`, `full` or `unknown` (feature `jail`) |
//! | `palisade_bans_total` | counter | `reason` | bans, by the name of their rule, or `trap`, or `manual` (feature `jail`) |
//! | [`CLIENT_IP_TOTAL`] | counter | `result` | addresses that were not simply known: `malformed`, `unknown`, `untrusted_header` |
//! | [`DECISIONS_TOTAL`] | counter | `layer`, `policy`, `decision` | decisions, each once: see below |
//! | [`ENFORCED`] | gauge | `layer`, `policy` | 1 where the policy enforces, 0 in dry run |
//! | [`EVENTS_TOTAL`] | counter | `action` | security events raised, before flood control |
//! | [`EVENTS_SUPPRESSED_TOTAL`] | counter | `action`, `reason` | events that were counted instead of recorded; `reason` is `repeat` or `flood` |
//! | `palisade_keys` | gauge | `policy` | places that keys have in the table of a limit, by the name of its first quota (feature `rate-limit`) |
//! | `palisade_overflowed_total` | counter | `policy` | charges to shared rows because the table had no place (feature `rate-limit`) |
//! | [`SINK_ERRORS_TOTAL`] | counter | `error` | events that a sink lost; `error` is `full`, `panic` or `write` |
//! | `palisade_secret_last_change_timestamp_seconds` | gauge | `secret` | when a secret was loaded or replaced last (feature `secrets`) |
//! | `palisade_secret_loads_total` | counter | `secret`, `outcome` | loads of secrets, `success` or `failure` (feature `secrets`) |
//! | `palisade_unbans_total` | counter | `reason` | bans that ended: `expired` or `manual` (feature `jail`) |
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
//! Secrets are counted by [`secret_events`](crate::security::secret_events), under the names that the application asks for; these series
//! appear with the first load. All others are there from the start.
//!
//! Every label value comes from code or configuration, never from a request: a client cannot make a new series.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{SecurityLayer, client_ip::{ClientIpSource, PeerAddr}, event::NullSink};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let security = SecurityLayer::builder(ClientIpSource::Peer).deny("198.51.100.0/24".parse()?).sink(NullSink).build();
//! let service = ServiceBuilder::new()
//!     .layer(security.clone())
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
//! for (client, expected) in [([203, 0, 113, 7], 200), ([198, 51, 100, 7], 403)] {
//!     let peer = SocketAddr::from((client, 50_000));
//!     let request = Request::get("/").extension(PeerAddr::from(peer)).body(())?;
//!     assert_eq!(service.clone().oneshot(request).await?.status(), expected);
//! }
//!
//! let counts = security.counts();
//! let deny = counts.iter().find(|it| it.denied() > 0).ok_or("nobody was refused")?;
//! assert_eq!((deny.allowed(), deny.denied()), (1, 1));
//! # Ok(()) }
//! ```

pub(crate) mod counter;
pub(crate) mod duration;
#[cfg(any(feature = "jail", feature = "rate-limit"))]
pub(crate) mod level;
pub(crate) mod names;

#[cfg(feature = "jail")]
pub use self::names::{BANS_ACTIVE, BANS_SKIPPED_TOTAL, BANS_TOTAL, UNBANS_TOTAL};
#[cfg(feature = "rate-limit")]
pub use self::names::{KEYS, OVERFLOWED_TOTAL};
#[cfg(feature = "secrets")]
pub use self::names::{
    LABEL_OUTCOME, LABEL_SECRET, SECRET_LAST_CHANGE_TIMESTAMP_SECONDS, SECRET_LOADS_TOTAL,
};
#[cfg(feature = "redis")]
pub use self::names::{STORE_FAILURES_TOTAL, STORE_UP};
pub use self::{
    duration::DurationCounts,
    names::{
        AUTH_TOTAL, CHECK_DURATION_SECONDS, CLIENT_IP_TOTAL, DECISIONS_TOTAL, ENFORCED,
        EVENTS_SUPPRESSED_TOTAL, EVENTS_TOTAL, LABEL_ACTION, LABEL_DECISION, LABEL_ERROR,
        LABEL_LAYER, LABEL_POLICY, LABEL_REASON, LABEL_RESULT, SINK_ERRORS_TOTAL,
    },
};
