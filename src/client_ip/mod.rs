//! Who is calling: the peer of the connection and the client behind it.
//!
//! [`ClientIpLayer`] resolves the client once per request and leaves a [`ClientContext`] in the request's extensions.
//! Every policy of the crate reads that and nothing else, so that limits, lists and events can never disagree about an address.
//!
//! A client that cannot be known is [`ClientIp::Unknown`], which is a result and not an absence: allow lists refuse it, limiters
//! key it apart, and an event says why.
//!
//! # Example
//!
//! ```
//! use std::net::SocketAddr;
//! use http::Request;
//! use palisade::client_ip::{ClientContext, ClientIp, ClientIpSource, PeerAddr};
//!
//! let peer: SocketAddr = "203.0.113.7:50000".parse()?;
//! let mut request = Request::new(());
//! request.extensions_mut().insert(PeerAddr::from(peer));
//! let (parts, ()) = request.into_parts();
//!
//! let context = ClientIpSource::Peer.resolve(&parts);
//! assert_eq!(context.client(), ClientIp::Known(peer.ip()));
//!
//! let (parts, ()) = Request::new(()).into_parts();
//! assert!(ClientIpSource::Peer.resolve(&parts).client().addr().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod context;
#[cfg(feature = "axum")]
pub(crate) mod extract;
mod forwarded;
pub(crate) mod layer;
mod node;
pub(crate) mod peer;
pub(crate) mod proxies;
mod resolve;
pub(crate) mod scheme;
pub(crate) mod source;
mod walk;
mod x_forwarded_for;

#[cfg(feature = "axum")]
pub use self::extract::MissingClientContext;
pub use self::{
    context::{ClientContext, ClientIp, UnknownClient, UnknownReason},
    layer::{ClientIpLayer, ResolveClientIp},
    peer::{PeerAddr, PeerSource},
    proxies::{TrustedProxies, TrustedProxiesError},
    scheme::{ResolvedScheme, SchemeOrigin, SchemeSource, TlsConnection},
    source::ClientIpSource,
};
