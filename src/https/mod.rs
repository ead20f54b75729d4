//! HTTPS or nothing: requests over plain text are refused or redirected, and browsers are told to stay with HTTPS.
//!
//! # Refuse or redirect
//!
//! For an API, refuse: [`Https::reject`], the default of this crate. A client with `http://` in its configuration that is redirected goes on
//! working. So nobody notices that it sends its key over plain text, once per request, for years. A client that is refused is mended on the
//! first day. The key of that first request has leaked all the same, and an event `credential_over_plaintext` reports its
//! [fingerprint](crate::event::FingerprintKey), by which who has the keys can find and revoke it.
//!
//! For what people open in a browser, redirect: [`Https::redirect_to`]. `GET` and `HEAD` are redirected with 308, everything else is refused,
//! for a form that was posted in plain text has been read by then. The target is a host of your configuration or one of a list of yours, never
//! just what the request says. Where one port serves both, [`Https::with_redirect_for_browsers_only`] tells them apart.
//!
//! To switch, exchange one constructor for the other; all other settings stay. [`DryRun`](crate::policy::DryRun) shows beforehand who would
//! be refused, and [`Https::with_temporary_redirect`] keeps browsers from remembering.
//!
//! # How the scheme is known
//!
//! A request came over HTTPS if the connection bears [`TlsConnection`], which a TLS listener of your own sets, or if a trusted proxy says so in
//! the one header that [`SchemeSource`] names. The request's own URI is never asked: over plain text, too, anybody may write
//! `GET https://…` or send `:scheme: https`. Whoever is no trusted proxy may send what it likes.
//!
//! # Redirect loops
//!
//! A proxy that decrypts HTTPS passes plain text on. If it does not say that the client used HTTPS, every request looks like plain text: the client
//! is redirected to where it comes from, over and over. The event `redirect_loop_suspected` says so, at most once an hour, and says what
//! to set at the proxy: in nginx `proxy_set_header X-Forwarded-Proto $scheme;`. If the header is set and clients are redirected all the same, the
//! proxy's address is not among the trusted ones: of that there is `https_redirected` alone, at the level of debugging and once per client, and the
//! metric `palisade_decisions_total{decision="redirected"}`, which rises with each request.
//!
//! # Strict transport security
//!
//! [`Hsts`] goes on responses over HTTPS only, refusals among them, and never replaces a field of the application's own. It is left out for hosts
//! that are addresses. So a proxy must pass the client's `Host` on (nginx: `proxy_set_header Host $host;`); with the address of the
//! upstream in its place there is no field.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use palisade::{
//!     client_ip::{SchemeSource, TlsConnection},
//!     https::{Hsts, Https, HttpsLayer, PathPattern, RedirectTarget},
//! };
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! let app = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) });
//!
//! // An API.
//! let api = HttpsLayer::new(
//!     Https::reject(SchemeSource::Listener)
//!         .with_hsts(Hsts::one_year())
//!         .with_exempt_path(PathPattern::exact("/healthz")),
//! )
//! .layer(app);
//!
//! let secure = Request::get("/").extension(TlsConnection::new()).body(())?;
//! let response = api.clone().oneshot(secure).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
//!
//! let plain = Request::get("https://api.example.com/").body(())?;
//! assert_eq!(api.clone().oneshot(plain).await?.status(), 403);
//! assert_eq!(api.oneshot(Request::get("/healthz").body(())?).await?.status(), 200);
//!
//! // A site.
//! let target: RedirectTarget = "www.example.com".parse()?;
//! let site = HttpsLayer::new(Https::redirect_to(SchemeSource::Listener, target)).layer(app);
//!
//! let response = site.clone().oneshot(Request::get("/a?b=c").body(())?).await?;
//! assert_eq!(response.status(), 308);
//! assert_eq!(response.headers()["location"], "https://www.example.com/a?b=c");
//! assert_eq!(site.oneshot(Request::post("/a").body(())?).await?.status(), 403);
//! # Ok(()) }
//! ```
//!
//! [`SchemeSource`]: crate::client_ip::SchemeSource
//! [`TlsConnection`]: crate::client_ip::TlsConnection

mod credential;
#[cfg(feature = "serde")]
pub(crate) mod deserialize;
pub(crate) mod exempt;
pub(crate) mod hsts;
pub(crate) mod layer;
pub(crate) mod policy;
pub(crate) mod target;

pub use self::{
    exempt::{PathPattern, PathPatternError},
    hsts::{Hsts, HstsError},
    layer::HttpsLayer,
    policy::{HstsPolicy, Https},
    target::{RedirectTarget, RedirectTargetError},
};
