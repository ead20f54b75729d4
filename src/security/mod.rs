//! The facade: all protections of a service as one layer.
//!
//! [`SecurityLayer::builder`] starts from the one choice that has no safe default, where the client's address comes from. What is not
//! asked for is not done; what is, is done in an order that costs an attacker most and the service least: whoever may not come at all
//! uses up no state.
//!
//! | order | part | refuses with |
//! |---|---|---|
//! | 1 | [response headers](SecurityBuilder::response_headers) | nothing |
//! | 2 | client address | 500 where the server does not hand over the peer |
//! | 3 | HSTS | nothing: the field stands on every secure response from here on |
//! | 4 | jail | 403 |
//! | 5 | [deny list](SecurityBuilder::deny) | 403 |
//! | 6 | [allow list](SecurityBuilder::allow) | 403 |
//! | 7 | [hosts](SecurityBuilder::hosts) | 400 or 421 |
//! | 8 | [HTTPS](SecurityBuilder::https) | 403, or a redirect |
//! | 9 | rate limit, then [limits with settings of their own](SecurityBuilder::limit) | 429, 503 |
//! | 10 | API keys | 401 |
//! | 11 | [policies of one's own](SecurityBuilder::policy) | what they say |

pub(crate) mod builder;
pub(crate) mod explain;
pub(crate) mod known_peer;
pub(crate) mod layer;
#[cfg(feature = "secrets")]
pub(crate) mod secret_events;

#[cfg(feature = "secrets")]
pub use self::secret_events::secret_events;
pub use self::{
    builder::SecurityBuilder,
    explain::{ExplainedGate, Explanation, GateVerdict},
    layer::{SecurityLayer, SecurityPolicies},
};
