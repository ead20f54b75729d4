//! Who is calling: the peer of the connection and the client behind it.
//!
//! [`ClientIpLayer`] resolves the client once per request and leaves a [`ClientContext`] in the request's extensions.
//! Every policy of the crate reads that and nothing else, so that limits, lists and events can never disagree about an address.
//! With the feature `axum`, [`ClientContext`] and [`ClientIp`] are extractors. What the server says of the connection is never changed.
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
//!
//! As a layer it refuses nobody by itself; what stands further in refuses whom it does not know. A trusted proxy that sends something that is
//! no address gets its client nowhere:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{
//!     client_ip::{ClientContext, ClientIpLayer, ClientIpSource, PeerAddr, TrustedProxies},
//!     event::NullSink,
//!     ip_filter::{IpAllowlist, IpFilterLayer},
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let proxies: TrustedProxies = "10.0.0.1".parse()?;
//! let allow: IpAllowlist = "203.0.113.0/24".parse()?;
//! let service = ServiceBuilder::new()
//!     .layer(ClientIpLayer::new(ClientIpSource::XForwardedFor(proxies)).with_sink(NullSink))
//!     .layer(IpFilterLayer::allow(allow).with_sink(NullSink))
//!     .service(service_fn(|request: Request<()>| async move {
//!         let client = ClientContext::of(request.extensions()).map(|it| it.client().to_string());
//!         Ok::<_, Infallible>(Response::new(client.unwrap_or_default()))
//!     }));
//! let request = |forwarded: &str| {
//!     let proxy: SocketAddr = ([10, 0, 0, 1], 50_000).into();
//!     Request::get("/").header("x-forwarded-for", forwarded).extension(PeerAddr::from(proxy)).body(())
//! };
//!
//! let response = service.clone().oneshot(request("6.6.6.6, 203.0.113.7")?).await?;
//! assert_eq!((response.status().as_u16(), response.body().as_str()), (200, "203.0.113.7"));
//! assert_eq!(service.oneshot(request("203.0.113.7, nonsense")?).await?.status(), 403);
//! # Ok(()) }
//! ```
//!
//! # What an attacker can do, and what is done about it
//!
//! Only the address of the peer is a fact, and only for TCP: it takes a handshake. Everything in a header is text. A client may send any
//! header, any number of times, and proxies mostly *add* to what they were sent. So:
//!
//! - **The peer comes first.** A forwarding header counts only if the peer is one of the [`TrustedProxies`]. By default nobody is trusted.
//! - **One source, and it is named.** There is no trying of one header after the other: whichever the proxies do not set, the client does.
//! - **From the right.** The entry that our own proxy wrote is the last one of the last line. What stands before it was there when it
//!   came, and is believed only as far as it was written by another trusted proxy. Nothing before the first entry that is not
//!   trusted is even parsed.
//! - **Malformed means unknown.** An entry that a trusted proxy wrote and that is no address is not skipped, which would step into the
//!   client's own text, and not replaced by the proxy's address, which an allow list may well cover.
//! - **Addresses are canonical.** `::ffff:10.0.0.1` is `10.0.0.1`; ports, brackets and zones are taken off. Leading zeros and other
//!   spellings that are read differently in different places are malformed.
//! - **Work is bounded.** At most 8 KiB and 32 entries of a header are looked at, and nothing is allocated for them. Servers hand over
//!   header fields of several hundred kilobytes.
//! - **The scheme is not in the URI.** A client may write `GET https://…` over plain text. [`SchemeSource`] asks the connection or a trusted proxy.
//! - **The authority is a claim.** [`ClientContext::authority`] returns the host that the request names, or why there is no single one: it is
//!   missing, doubled, malformed, or named differently in two places. Who wrote it is the client:
//!   [`AllowedHosts`](crate::host::AllowedHosts) says which ones are served, and only it reads `X-Forwarded-Host`.
//!
//! What remains: whoever can connect from a trusted address can be anybody. List the proxies, not the network they are in. And what a
//! proxy passes on under *another* name is not looked at here, but it reaches the handlers: [`ClientIpLayer::without_untrusted_headers`] removes what
//! comes from others than trusted proxies, and nothing that a trusted proxy lets pass. Have the proxy clear the names that it does not set.
//!
//! # The walk
//!
//! ```text
//!  client            proxy A            proxy B            this server
//!  203.0.113.7  ──►  10.0.0.2      ──►  10.0.0.1      ──►  trusts 10.0.0.0/28
//!  sends             adds who           adds who
//!  "6.6.6.6"         connected:         connected:
//!                    203.0.113.7        10.0.0.2
//!
//!  X-Forwarded-For:  6.6.6.6,  203.0.113.7,  10.0.0.2          peer: 10.0.0.1
//!                    ───┬───   ─────┬─────   ────┬───                ───┬───
//!                       │           │            │                      │
//!                       │           │            │        1. trusted? ──┘ no: the peer is the client
//!                       │           │            └─────── 2. trusted? yes: go on
//!                       │           └──────────────────── 3. trusted? no: THE CLIENT
//!                       └──────────────────────────────── never looked at
//!
//!  malformed, hidden or unspecified entry, or a cap reached:  Unknown
//!  nothing left and everything was trusted:                   AllTrusted
//! ```
//!
//! [`ClientIp::AllTrusted`] is told apart because it may be a machine in the proxies' network that wrote a header of its own. Without a
//! header (a health check, an administrator behind the proxies) it is the peer.
//!
//! # Which source to choose
//!
//! | in front of the service | source |
//! |---|---|
//! | nothing | [`ClientIpSource::Peer`] |
//! | proxies with known addresses | [`ClientIpSource::XForwardedFor`] with their addresses; [`ClientIpSource::Forwarded`] if they send that instead |
//! | proxies with changing addresses, which alone can reach the service | the same, with [`TrustedProxies::hops`] |
//! | a content delivery network | [`ClientIpSource::Header`] with the header it *replaces*, and the network's addresses, [reloaded](TrustedProxies::from_list) |
//! | a load balancer for TCP | [`ClientIpSource::Peer`] behind the PROXY protocol (`proxy_protocol`, feature `proxy-protocol`) |
//! | a proxy on the same machine, through a Unix socket | any of these, with [`TrustedProxies::with_unix_sockets`] |
//!
//! A service that can be reached both directly and through a proxy needs no second rule: for those who come directly the peer is not
//! trusted, and is the client.
//!
//! # What proxies send
//!
//! | proxy | what arrives | note |
//! |---|---|---|
//! | nginx | nothing by itself; with `$proxy_add_x_forwarded_for` an entry at the end of `X-Forwarded-For`; with `X-Real-IP $remote_addr` one address | replacing (`X-Forwarded-For $remote_addr`) at the outermost proxy is cleaner |
//! | `HAProxy` | `option forwardfor`: a *new line* of `X-Forwarded-For` at the end; `option forwarded`: `Forwarded` | lines are one list here, whatever their number |
//! | Envoy | an entry at the end of `X-Forwarded-For`, only with `use_remote_address: true` | its `xff_num_trusted_hops` counts one less than [`TrustedProxies::hops`] |
//! | Traefik | an entry at the end of `X-Forwarded-For`, and `X-Real-Ip`; drops what untrusted peers sent | `forwardedHeaders.trustedIPs` must name the proxies before it |
//! | Caddy | `X-Forwarded-For` of its own; keeps what it was sent only from `trusted_proxies` | |
//! | AWS ALB | an entry at the end of `X-Forwarded-For` (mode `append`, the default), on request with the client's port | in the mode `preserve` the client's own text arrives: not usable |
//! | AWS `CloudFront` | `CloudFront-Viewer-Address`, always with a port and IPv6 without brackets, if the policy asks for it | read as such by its name |
//! | Cloudflare | `CF-Connecting-IP`, which it replaces, and an entry at the end of `X-Forwarded-For` | let nobody but its addresses in |
//! | Azure Application Gateway | entries of `X-Forwarded-For` with a port, `ip:port` | read as any other |
//!
//! In front of each, try it: send `X-Forwarded-For: 6.6.6.6` from outside. The answer must be your address.

pub(crate) mod authority;
pub(crate) mod context;
#[cfg(feature = "serde")]
pub(crate) mod deserialize;
#[cfg(feature = "axum")]
pub(crate) mod extract;
mod forwarded;
mod ipv4;
pub(crate) mod layer;
mod marks;
mod named_host;
mod node;
pub(crate) mod peer;
pub(crate) mod proxies;
mod resolve;
pub(crate) mod scheme;
pub(crate) mod source;
pub(crate) mod unknown;
mod walk;
mod x_forwarded_for;

#[cfg(feature = "axum")]
pub use self::extract::MissingClientContext;
pub use self::{
    context::{ClientContext, ClientIp},
    layer::{ClientIpLayer, ResolveClientIp},
    peer::{PeerAddr, PeerSource},
    proxies::{TrustedProxies, TrustedProxiesError},
    scheme::{ResolvedScheme, SchemeOrigin, SchemeSource, TlsConnection},
    source::ClientIpSource,
    unknown::{UnknownClient, UnknownReason},
};
