//! The security layer of an API service: one value that a builder makes and a router is wrapped in.
//!
//! # Quick example
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "rate-limit"))]
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use std::net::SocketAddr;
//! use axum::{Router, routing::get};
//! use palisade::{SecurityLayer, client_ip::ClientIpSource, rate_limit::Quota};
//!
//! let security = SecurityLayer::builder(ClientIpSource::Peer)
//!     .rate_limit(Quota::per_second(50).with_burst(100))
//!     .build();
//!
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(security);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # Ok(()) }
//! ```
//!
//! # Overview
//!
//! - [`SecurityLayer`] is all of it as one layer, in the right order: see [`security`]. [`config`] makes it from a file.
//! - [`client_ip`] finds out who is calling, and believes nobody it was not told to believe; [`proxy_protocol`] does so for load balancers
//!   that speak it.
//! - [`ip_filter`] lets in, or keeps out, by [sets of addresses](ip_set) that can be reloaded; [`jail`] bans by itself.
//! - [`rate_limit`] limits how often a client may come, and [`in_flight`] how often at the same time.
//! - [`https`] lets no plain text in, or redirects it, and keeps browsers with HTTPS; [`host`] refuses requests for hosts that are not
//!   served; [`response_headers`] puts security headers on every response.
//! - `shared_store` lets instances share limits and bans, through Redis or Valkey.
//! - [`secret`] loads secrets, wipes and rotates them; [`api_key`] lets in whoever presents a key.
//! - [`policy`] is what a protection is: a decision about the head of a request. Write your own, and
//!   [`EnforceLayer`](enforce::EnforceLayer) carries it out.
//! - [`event`] tells what was refused, whom, and why; [`metrics`] counts it; [`respond`] is how a refusal looks.
//!
//! # Each part alone
//!
//! Every part is also a layer of its own, for axum, `ServiceBuilder`, hyper and tonic, with any body and any error type. State lives in the
//! layer: make it once, and clone it.
//!
#![cfg_attr(feature = "rate-limit", doc = "```")]
#![cfg_attr(not(feature = "rate-limit"), doc = "```ignore")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{client_ip::PeerAddr, rate_limit::{Quota, RateLimitLayer}};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(Quota::per_minute(1)))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) }));
//!
//! for expected in [200, 429] {
//!     let peer: SocketAddr = "203.0.113.7:50000".parse()?;
//!     let request = Request::get("/").extension(PeerAddr::from(peer)).body(())?;
//!     assert_eq!(service.clone().oneshot(request).await?.status(), expected);
//! }
//! # Ok(()) }
//! ```
//!
//! axum and tonic hand the peer over by themselves (features `axum` and `tonic`); with plain hyper the loop that accepts inserts a
//! [`PeerAddr`](client_ip::PeerAddr). tonic's body needs [`StatusOnly`](respond::StatusOnly) as responder, and turns refusals into a `grpc-status`.
//!
//! # Guide
//!
//! The [`guide`] has a page for each choice: [the client's address](guide::client_address), [quotas](guide::quotas), [HTTPS](guide::https),
//! [secrets](guide::secrets), [events](guide::events), [bans](guide::bans), [several instances](guide::instances),
//! [deployment](guide::deployment); the [threat model](guide::threat_model), [troubleshooting](guide::troubleshooting),
//! [migration](guide::migration) from other crates and servers, and a [comparison](guide::comparison) with them.
//!
//! # What it does not do
//!
//! It is no web application firewall (it looks at no bodies), no user management, and no protection from floods that fill the network
//! before a request is read. The [whole list](guide::limits) says who does.
//!
//! # Crate features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `axum` | | the peer from `ConnectInfo`; extractors |
//! | `flood-control` | by `tracing` | [`FloodControl`](event::FloodControl) of security events |
//! | `in-flight` | | [`in_flight`] |
//! | `jail` | | [`jail`] |
//! | `jail-admin` | | the jail's [router](jail::admin_router) for administrators |
//! | `metrics` | | counters through the `metrics` facade; [counts](SecurityLayer::counts) need no feature |
//! | `privacy` | | [keyed addresses](event::AddressPrivacy) in events |
//! | `proxy-protocol` | | [`proxy_protocol`] |
//! | `rate-limit` | yes | [`rate_limit`]: governor's arithmetic |
//! | `redis` | | [`shared_store`]: limits and bans that instances share through Redis or Valkey |
//! | `redis-tls` | | TLS to that store, by rustls |
//! | `schema` | | the JSON schema of [`config`], by schemars |
//! | `secrets` | | [`secret`] and [`api_key`] |
//! | `serde` | | [`config`]: the facade from TOML, JSON, YAML or whatever else serde reads |
//! | `tokio` | | tasks that reload secrets and save bans |
//! | `tonic` | | the peer from tonic's `TcpConnectInfo` |
//! | `tracing` | yes | [`TracingSink`](event::TracingSink), the default sink |
//! | `tracing-subscriber` | | [`EcsLayer`](event::EcsLayer), which writes ECS JSON lines |
//!
//! # Layout
//!
//! A file imports only from floors below its own; `mod.rs` files and this one define nothing.
//!
//! | floor | what |
//! |---|---|
//! | 1 | [`clock`], `from_text` (values of configuration), [`metrics`], `path` (paths in disguise) |
//! | 2 | [`event`] |
//! | 3 | [`ip_set`] |
//! | 4 | [`client_ip`]; [`secret`], which knows none of the others but the clock |
//! | 5 | [`policy`]: policy, decision, rejection, receipt, composition; `shared_store`: the connection to Redis |
//! | 6 | [`respond`] |
//! | 7 | [`enforce`]: the one gate service of the crate |
//! | 8 | [`api_key`], [`host`], [`ip_filter`], [`jail`], [`proxy_protocol`], [`rate_limit`], [`response_headers`] |
//! | 9 | [`https`], which redirects to hosts; [`in_flight`], which has the limiter's keys |
//! | 10 | [`security`]: the facade, the one place that knows the order |
//! | 11 | [`config`]: the facade as data |
//!
//! A test holds the crate to these floors, and to no two files that import each other.
//!
//! What must never be: no policy and nothing under it knows tower. Only [`Enforce`](enforce::Enforce), the client-address service, the one for
//! [response headers](response_headers) and
//! [`TrackBody`](enforce::TrackBody) implement `Service`. Nothing reads a forwarding header without trusted proxies in hand. Nothing reads a clock
//! but through [`Clock`](clock::Clock), save what waits for other machines or for files: that goes by the runtime's. No request path allocates in proportion to what a client sends, takes a lock across an await,
//! blocks, panics, or logs a query, a secret, or a header value but the user agent and the request's identifier. State lives in the layer's `Arc`, and no client can make it grow
//! without end.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "secrets")]
pub mod api_key;
pub mod client_ip;
pub mod clock;
#[cfg(feature = "serde")]
pub mod config;
pub mod enforce;
pub mod event;
#[cfg(feature = "serde")]
mod from_text;
// Pages of text: nothing of it is compiled. Its examples need all features.
#[cfg(any(
    all(doc, not(doctest)),
    all(
        doctest,
        feature = "axum",
        feature = "flood-control",
        feature = "jail",
        feature = "rate-limit",
        feature = "secrets"
    )
))]
pub mod guide;
pub mod host;
pub mod https;
#[cfg(feature = "in-flight")]
pub mod in_flight;
pub mod ip_filter;
pub mod ip_set;
#[cfg(feature = "jail")]
pub mod jail;
pub mod metrics;
#[cfg(any(feature = "jail", all(feature = "rate-limit", feature = "serde")))]
mod path;
pub mod policy;
#[cfg(feature = "proxy-protocol")]
pub mod proxy_protocol;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod respond;
pub mod response_headers;
#[cfg(feature = "secrets")]
pub mod secret;
pub mod security;
#[cfg(feature = "redis")]
pub mod shared_store;

pub use self::security::SecurityLayer;

/// The README's code is compiled with the documentation tests.
#[cfg(all(doctest, feature = "axum", feature = "rate-limit"))]
#[doc = include_str!("../README.md")]
struct Readme;
