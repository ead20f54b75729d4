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

pub(crate) mod fingerprint;
pub(crate) mod model;
pub(crate) mod sanitize;
pub(crate) mod sink;
#[cfg(feature = "tracing")]
pub(crate) mod tracing;

#[cfg(feature = "tracing")]
pub use self::tracing::TracingSink;
pub use self::{
    fingerprint::{Fingerprint, FingerprintKey},
    model::{Action, SecurityEvent, Severity},
    sink::{EventSink, NullSink, SharedSink},
};
