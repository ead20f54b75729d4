//! The PROXY protocol, versions 1 and 2: the address of the client from a proxy that passes TCP through.
//!
//! A load balancer that does not look into connections cannot write headers. It can write one line or block in front of the connection
//! instead, which says who connected to it. [`ProxyProtocol`] reads it, [`ProxyProtocolListener`] (feature `axum`) does so for
//! `axum::serve`. Both leave the address in the request as a [`PeerAddr`](crate::client_ip::PeerAddr), so that everything behind them
//! takes it for the peer: with [`ClientIpSource::Peer`](crate::client_ip::ClientIpSource::Peer) it is the client, and with
//! any other source it is the first hop that has to be trusted.
//!
//! # What is believed
//!
//! The addresses of the proxies have to be named, and a listener that expects the protocol expects it on every connection: nothing is
//! guessed from the first bytes, because whoever can choose between talking with and without a header can choose an address. A
//! connection is closed if it comes from anyone else, if the header is malformed, or if it is not complete in time. A proxy that connects for itself,
//! as health checks do (`UNKNOWN`, `LOCAL`), is its own peer.
//!
//! # Example
//!
//! With axum:
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::Router;
//! use palisade::{
//!     SecurityLayer,
//!     client_ip::{ClientIpSource, PeerAddr},
//!     ip_set::IpSet,
//!     proxy_protocol::{ProxyProtocol, ProxyProtocolListener},
//! };
//!
//! let proxies: IpSet = "10.0.0.0/28".parse()?;
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
//! let listener = ProxyProtocolListener::new(listener, ProxyProtocol::new(proxies)?);
//! let app: Router = Router::new().layer(SecurityLayer::builder(ClientIpSource::Peer).build());
//! axum::serve(listener, app.into_make_service_with_connect_info::<PeerAddr>()).await?;
//! # Ok(()) }
//! ```
//!
//! With any other server, in the task of the connection and before TLS:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use palisade::{client_ip::PeerAddr, ip_set::IpSet, proxy_protocol::ProxyProtocol};
//!
//! let protocol = ProxyProtocol::new("10.0.0.0/28".parse::<IpSet>()?)?;
//! let bytes = &b"PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\r\nGET / HTTP/1.1\r\n"[..];
//!
//! let (rest, peer) = protocol.accept(bytes, "10.0.0.1:40000".parse()?).await?;
//! assert_eq!(peer, PeerAddr::Tcp("203.0.113.7:51000".parse()?));
//! assert!(rest.starts_with(b"GET"));
//!
//! assert!(protocol.accept(bytes, "198.51.100.66:40000".parse()?).await.is_err());
//! # Ok(()) }
//! ```

pub(crate) mod accept;
pub(crate) mod header;
#[cfg(feature = "axum")]
pub(crate) mod listener;

#[cfg(feature = "axum")]
pub use self::listener::ProxyProtocolListener;
pub use self::{
    accept::{ProxyProtocol, ProxyProtocolError},
    header::HeaderError,
};
