//! Security events: what was refused, whom, by which policy and why.
//!
//! A policy's refusal becomes exactly one [`SecurityEvent`], which goes to the layer's [`EventSink`]. With the feature `tracing`
//! (a default) the sink is `TracingSink` behind flood control; a closure, a tuple of sinks or [`NullSink`] will do
//! as well.
//!
//! An event holds no query string, no header value but the user agent and `X-Request-Id`, and no secret. Text that a client chose (method, path, user
//! agent) is cut to 256 bytes and its control characters are escaped before any sink sees it, so that it cannot forge a log line.
//!
//! # Sinks
//!
//! | sink | feature | writes |
//! |---|---|---|
//! | `TracingSink` | `tracing` | through `tracing`, target `palisade::security` |
//! | `EcsLayer`, for `tracing_subscriber` | `tracing-subscriber` | what comes through `tracing` as ECS 9 JSON lines, to any `MakeWriter` |
//! | [`LineSink`] with [`EcsLines`] | | ECS 9 JSON lines to any writer, from a thread of its own |
//! | [`LineSink`] with [`TextLines`] | | lines for fail2ban, `CrowdSec` and eyes |
//! | [`ChannelSink`] | | to a channel of the application's |
//! | closures, `Option`, `Arc`, tuples | | to whatever you like |
//!
//! In front of any of them stand `FloodControl` (feature `flood-control`), which records the first occurrence and counts the rest, and
//! [`PrivacySink`], which cuts, keys (feature `privacy`) or omits addresses. The usual order is flood control, then privacy, then the sink.
//! A sink cannot fail a request: panics are caught, errors are counted, and what does not fit into a queue is lost and told.
//!
//! Counters do not depend on any of this: see [`metrics`](crate::metrics).
//!
//! # Schema
//!
//! Every event has an action, a reason, a number ([`SecurityEvent::sequence`], taken for suppressed events too: a gap that no summary
//! explains is a loss) and, as far as they are known, the policy, the client's address (the one that the decision was made by), the
//! peer's address, method, path, user agent, request identifier and the status of the answer. A refusal that a dry run observes has no
//! outcome, the type `info` instead of `denied`, a level of `info` at most, and `labels.enforced` is `false`. What any client can cause at
//! will, such as a header that is too large to be looked through, has the level `debug`.
//!
//! A correct refusal is a *success* in the sense of ECS; it is the type that says `denied`. `events_suppressed` is a summary:
//! [`count`](SecurityEvent::count) occurrences of [`suppressed`](SecurityEvent::suppressed) between
//! [`start`](SecurityEvent::start) and [`end`](SecurityEvent::end), for the reason `repeat` (of one client), `flood` (beyond the budget)
//! or `sink_full`. "Recorded" says what flood control lets through within a window; "`decision`" is the label of
//! [`DECISIONS_TOTAL`](crate::metrics::DECISIONS_TOTAL) that a rejection is counted under, and every event is counted in
//! [`EVENTS_TOTAL`](crate::metrics::EVENTS_TOTAL).
//!
#![doc = include_str!("schema.md")]
//!
//! # Example
//!
//! A request that is let in makes no event, one that is refused makes one:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{SecurityLayer, client_ip::{ClientIpSource, PeerAddr}, event::{Action, ChannelSink}};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let (sink, events) = ChannelSink::bounded(100);
//! let security = SecurityLayer::builder(ClientIpSource::Peer).deny("198.51.100.0/24".parse()?).sink(sink).build();
//! let service = ServiceBuilder::new()
//!     .layer(security)
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
//! let request = |client: [u8; 4]| {
//!     let peer = SocketAddr::from((client, 50_000));
//!     Request::get("/notes?page=2").extension(PeerAddr::from(peer)).body(())
//! };
//!
//! assert_eq!(service.clone().oneshot(request([203, 0, 113, 7])?).await?.status(), 200);
//! assert!(events.try_recv().is_err());
//!
//! assert_eq!(service.oneshot(request([198, 51, 100, 7])?).await?.status(), 403);
//! let event = events.try_recv()?;
//! assert_eq!(event.action(), Action::IpBlocked);
//! assert_eq!(event.client(), Some([198, 51, 100, 7].into()));
//! assert_eq!(event.rule().map(|it| it.to_string()).as_deref(), Some("198.51.100.0/24"));
//! assert_eq!(event.path().as_deref(), Some("/notes")); // never the query
//! # Ok(()) }
//! ```
//!
//! What a client chose cannot forge a line:
//!
//! ```
//! use palisade::event::{Action, EventSink, SecurityEvent};
//!
//! let sink = |event: &SecurityEvent<'_>| {
//!     assert_eq!(event.action(), Action::RateLimitExceeded);
//!     assert_eq!(event.path().as_deref(), Some("/login\\u{a}forged"));
//! };
//! sink.record(&SecurityEvent::new(Action::RateLimitExceeded, "quota exceeded").with_path("/login\nforged"));
//! ```

pub(crate) mod address;
#[cfg(feature = "privacy")]
pub(crate) mod address_key;
#[cfg(feature = "flood-control")]
pub(crate) mod budget;
pub(crate) mod channel;
pub(crate) mod default_sink;
pub(crate) mod ecs;
#[cfg(feature = "tracing-subscriber")]
pub(crate) mod ecs_layer;
pub(crate) mod fingerprint;
#[cfg(feature = "flood-control")]
pub(crate) mod flood;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod model;
pub(crate) mod owasp;
pub(crate) mod privacy;
#[cfg(feature = "flood-control")]
pub(crate) mod repeats;
pub(crate) mod sanitize;
pub(crate) mod schema;
pub(crate) mod sink;
pub(crate) mod text;
pub(crate) mod time;
#[cfg(feature = "flood-control")]
pub(crate) mod totals;
#[cfg(feature = "tracing")]
pub(crate) mod tracing;

#[cfg(feature = "privacy")]
pub use self::address_key::{AddressKey, AddressKeyError};
#[cfg(feature = "tracing-subscriber")]
pub use self::ecs_layer::EcsLayer;
#[cfg(feature = "flood-control")]
pub use self::flood::FloodControl;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingSink;
pub use self::{
    address::EventAddress,
    channel::ChannelSink,
    ecs::EcsLines,
    fingerprint::{Fingerprint, FingerprintKey},
    lines::{LineFormat, LineSink},
    model::{Action, SecurityEvent, Severity},
    privacy::{AddressPrivacy, PrivacySink},
    sink::{EventSink, NullSink, SharedSink},
    text::TextLines,
};
