//! Limits how many requests of a client are being served at the same time.
//!
//! A rate limit counts requests as they come; this counts them while they run. A request has ended when its response's body has, or when the client
//! has gone away. Nothing is queued: what is too much is refused at once.
//!
//! [`InFlightLayer`] sees the end of bodies by itself. The policy [`InFlight`] within another layer sees them where a
//! [`TrackBodyLayer`](crate::enforce::TrackBodyLayer) stands outside of that one; else a request has ended when the head of its response is there. A
//! connection that becomes another protocol's, as a WebSocket's, has sent its response.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{client_ip::PeerAddr, in_flight::InFlightLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let service = ServiceBuilder::new()
//!     .layer(InFlightLayer::new(1))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("slowly"))) }));
//!
//! let request = || {
//!     let peer: SocketAddr = ([203, 0, 113, 7], 50_000).into();
//!     Request::builder().extension(PeerAddr::from(peer)).body(())
//! };
//! let first = service.clone().oneshot(request()?).await?;
//! assert_eq!(first.status(), 200);
//! // The body of the first response has not been sent yet.
//! assert_eq!(service.clone().oneshot(request()?).await?.status(), 429);
//! drop(first);
//! assert_eq!(service.oneshot(request()?).await?.status(), 200);
//! # Ok(()) }
//! ```

pub(crate) mod layer;
pub(crate) mod policy;

pub use self::{
    layer::InFlightLayer,
    policy::{InFlight, Overload},
};
