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
//! | 9 | rate limit, then [limits with settings of their own](SecurityBuilder::limit), those of requests in flight among them | 429, 503 |
//! | 10 | API keys | 401; 403 without the scope |
//! | 11 | [policies of one's own](SecurityBuilder::policy) | what they say |
//!
//! # Example
//!
#![cfg_attr(feature = "rate-limit", doc = "```")]
#![cfg_attr(not(feature = "rate-limit"), doc = "```ignore")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{
//!     SecurityLayer,
//!     client_ip::{ClientIpSource, PeerAddr, SchemeSource, TlsConnection},
//!     event::NullSink,
//!     https::{Hsts, Https},
//!     rate_limit::Quota,
//!     response_headers::ResponseHeaders,
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let security = SecurityLayer::builder(ClientIpSource::Peer)
//!     .deny("198.51.100.0/24".parse()?)
//!     .https(Https::reject(SchemeSource::Listener).with_hsts(Hsts::one_year()))
//!     .rate_limit(Quota::per_minute(1))
//!     .response_headers(ResponseHeaders::api())
//!     .sink(NullSink)
//!     .build();
//! let service = ServiceBuilder::new()
//!     .layer(security)
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
//! let ask = async |client: [u8; 4], secure: bool| {
//!     let mut request = Request::new(());
//!     request.extensions_mut().insert(PeerAddr::from(SocketAddr::from((client, 50_000))));
//!     if secure {
//!         request.extensions_mut().insert(TlsConnection::new());
//!     }
//!     service.clone().oneshot(request).await.map(|response| response.status().as_u16())
//! };
//!
//! // Who is on the list does not get as far as to be told about HTTPS, and who came by plain text uses up no quota.
//! assert_eq!(ask([198, 51, 100, 7], false).await?, 403);
//! assert_eq!(ask([203, 0, 113, 7], false).await?, 403);
//! assert_eq!(ask([203, 0, 113, 7], true).await?, 200);
//! assert_eq!(ask([203, 0, 113, 7], true).await?, 429);
//! # Ok(()) }
//! ```

pub(crate) mod builder;
pub(crate) mod explain;
pub(crate) mod known_peer;
pub(crate) mod layer;
pub(crate) mod policies;
#[cfg(feature = "secrets")]
pub(crate) mod secret_events;

#[cfg(feature = "secrets")]
pub use self::secret_events::secret_events;
pub use self::{
    builder::SecurityBuilder,
    explain::{ExplainedGate, Explanation, GateVerdict},
    layer::SecurityLayer,
    policies::SecurityPolicies,
};
