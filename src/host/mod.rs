//! Which hosts a service answers for.
//!
//! `Host`, `:authority` and a target in absolute form are the client's text. Servers hand them on as they come: without a host, with two,
//! with garbage, with places that contradict each other. Whoever builds links, picks a tenant or keys a cache by them then does what a stranger says.
//! [`AllowedHostsLayer`] lets nothing through that is not addressed to a host the service is known by:
//!
//! | the request | answer | event |
//! |---|---|---|
//! | names no host, two, a malformed one, or user information | 400 | `host_malformed` |
//! | names different hosts in different places | 400 | `host_malformed` |
//! | names a host that is not in the list | 421 | `host_not_served` |
//!
//! It looks at the request itself. Where a proxy in front writes another `Host`, list that one, or let the proxy keep the client's
//! (nginx: `proxy_set_header Host $host`). Health checks that come by address need the address in the list.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use palisade::host::AllowedHostsLayer;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(AllowedHostsLayer::new("api.example.com, *.tenants.example.com".parse()?))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) }));
//!
//! let request = Request::get("/").header("host", "api.example.com").body(())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), 200);
//! let request = Request::get("/").header("host", "evil.example").body(())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), 421);
//! let request = Request::get("/").body(())?;
//! assert_eq!(service.oneshot(request).await?.status(), 400);
//! # Ok(()) }
//! ```

pub(crate) mod allowed;
pub(crate) mod layer;

pub use self::{
    allowed::{AllowedHosts, AllowedHostsError},
    layer::AllowedHostsLayer,
};
pub use crate::client_ip::authority::{HostError, RequestHost};
