//! Allow lists and deny lists of addresses.
//!
//! An [`IpDenylist`] refuses whom it covers, an [`IpAllowlist`] refuses whom it does not cover; [`IpFilterLayer`] enforces either or
//! both. Where both are given, the deny list is asked first and wins, however specific the entries are.
//!
//! Both fail closed. A client that cannot be [known](crate::client_ip::ClientIp::Unknown) is on no allow list, and must not escape a
//! ban by hiding either: a deny list refuses it, too, unless it is told otherwise. An allow list cannot be made empty.
//!
//! Lists are [`IpSet`](crate::ip_set::IpSet)s, or [`IpList`](crate::ip_set::IpList)s, which can be replaced while the service runs, by hand
//! or [from a file](crate::ip_set::IpListFile). A request sees one generation of a list. The response to a refused request tells
//! neither the entry nor the address; the event has both, the name of the list and its generation.
//!
//! # Behind proxies
//!
//! The lists judge the client that [`ClientIpLayer`](crate::client_ip::ClientIpLayer) resolved, which must be outside. The address of a proxy
//! never satisfies an allow list for a client behind it. A request that went through trusted proxies *alone*
//! ([`ClientIp::AllTrusted`](crate::client_ip::ClientIp::AllTrusted)) is allowed only if it came straight from one, without a header:
//! otherwise any machine in a network of proxies could write the address it needs. [`IpAllowlist::with_proxies_behind_proxies`] changes that.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::IpAddr};
//! use http::{Request, Response};
//! use palisade::{
//!     client_ip::{ClientIpLayer, ClientIpSource, PeerAddr},
//!     ip_filter::{IpAllowlist, IpDenylist, IpFilterLayer},
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let allow: IpAllowlist = "10.0.0.0/8, 2001:db8::/32".parse()?;
//! let deny: IpDenylist = "10.6.6.0/24".parse()?;
//! let service = ServiceBuilder::new()
//!     .layer(ClientIpLayer::new(ClientIpSource::Peer))
//!     .layer(IpFilterLayer::new(deny, allow))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
//!
//! let ask = async |addr: IpAddr| {
//!     let request = Request::builder().extension(PeerAddr::Tcp((addr, 50_000).into())).body(());
//!     service.clone().oneshot(request.unwrap()).await.unwrap().status()
//! };
//! assert_eq!(ask("10.1.2.3".parse()?).await, 200);
//! assert_eq!(ask("10.6.6.6".parse()?).await, 403);
//! assert_eq!(ask("203.0.113.7".parse()?).await, 403);
//! # Ok(()) }
//! ```

pub(crate) mod allowlist;
pub(crate) mod denylist;
pub(crate) mod layer;
pub(crate) mod subject;

pub use self::{
    allowlist::{IpAllowlist, IpAllowlistError},
    denylist::IpDenylist,
    layer::IpFilterLayer,
    subject::{IpSubject, UnknownClients},
};
