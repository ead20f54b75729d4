//! The facade: all protections of a service as one layer.
//!
//! [`SecurityLayer::builder`] starts from the one choice that has no safe default, where the client's address comes from. What is not
//! asked for is not done; what is, is done in an order that costs an attacker most and the service least: whoever may not come at all
//! uses up no state.
//!
//! | order | part | refuses with |
//! |---|---|---|
//! | 1 | client address | 500 where the server does not hand over the peer |
//! | 2 | jail | 403 where the client is banned |
//! | 3 | deny lists | 403 |
//! | 4 | allow lists | 403 |
//! | 5 | rate limit | 429 |
//! | 6 | policies of one's own | what they say |

pub(crate) mod builder;
pub(crate) mod known_peer;
pub(crate) mod layer;

pub use self::{
    builder::SecurityBuilder,
    layer::{SecurityLayer, SecurityPolicies},
};
