//! Security events: what was refused, whom, by which policy and why.
//!
//! A policy's refusal becomes exactly one [`SecurityEvent`], which goes to the layer's [`EventSink`]. With the feature `tracing`
//! (a default) the sink is [`TracingSink`]; a closure, a tuple of sinks or [`NullSink`] will do as well.
//!
//! An event holds no query string, no header value but the user agent, and no secret. Text that a client chose (method, path, user
//! agent) is cut to 256 bytes and its control characters are escaped before any sink sees it, so that it cannot forge a log line.
//!
//! # Example
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
