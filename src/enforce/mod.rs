//! The one gate service of the crate: it carries out what policies decide.
//!
//! [`EnforceLayer`] takes any [`PolicySet`](crate::policy::PolicySet); the layers of the crate are policies in an `EnforceLayer`. A refusal is a
//! *response*: the inner service's error type and body types pass through untouched, and so does its readiness.
//!
//! All state lives in the layer, so that the routes of a router, clones of the service and connections share it.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//! use http::{Method, Request, Response, StatusCode};
//! use palisade::{
//!     enforce::EnforceLayer,
//!     event::Action,
//!     policy::{Check, Policy, Rejection, RequestHead},
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! struct ReadOnly;
//!
//! impl Policy for ReadOnly {
//!     fn check(&self, request: &RequestHead<'_>) -> Check {
//!         match request.method() {
//!             &Method::GET | &Method::HEAD => Check::admit(),
//!             _ => Check::reject(Rejection::new(
//!                 Action::Custom("not_read_only"),
//!                 StatusCode::FORBIDDEN,
//!                 "this service is read-only today",
//!             )),
//!         }
//!     }
//! }
//!
//! let service = ServiceBuilder::new()
//!     .layer(EnforceLayer::new(ReadOnly))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) }));
//!
//! let response = service.clone().oneshot(Request::get("/").body(())?).await?;
//! assert_eq!(response.status(), 200);
//! let response = service.oneshot(Request::post("/").body(())?).await?;
//! assert_eq!(response.status(), 403);
//! # Ok(()) }
//! ```

pub(crate) mod counts;
pub(crate) mod future;
pub(crate) mod gate;
pub(crate) mod layer;
pub(crate) mod track_body;

pub use self::{
    counts::PolicyCounts,
    future::ResponseFuture,
    gate::Refusal,
    layer::{Enforce, EnforceLayer},
    track_body::{TrackBody, TrackBodyFuture, TrackBodyLayer, TrackedBody},
};
