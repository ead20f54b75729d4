//! Security header fields on every response.
//!
//! [`ResponseHeadersLayer`] puts the fields of a preset on whatever the service answers, refusals of other layers among them: so it stands
//! outermost. A field that the application has set itself is kept.
//!
//! | field | [`api`](ResponseHeaders::api), the default | [`html`](ResponseHeaders::html) |
//! |---|---|---|
//! | `Cache-Control` | `no-store` | – |
//! | `Content-Security-Policy` | `default-src 'none'; frame-ancestors 'none'` | `default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'` |
//! | `Cross-Origin-Opener-Policy` | – | `same-origin` |
//! | `Cross-Origin-Resource-Policy` | – | `same-origin` |
//! | `Permissions-Policy` | – | `camera=(), geolocation=(), microphone=()` |
//! | `Referrer-Policy` | `no-referrer` | `strict-origin-when-cross-origin` |
//! | `X-Content-Type-Options` | `nosniff` | `nosniff` |
//! | `X-Frame-Options` | `DENY` | `DENY` |
//!
//! The first column is what OWASP recommends for REST services. Both leave `Strict-Transport-Security` to [`Hsts`](crate::https::Hsts), which
//! knows whether the request came over HTTPS, and neither sends `X-XSS-Protection` or `Expect-CT`, which do harm or nothing. Responses that switch
//! protocols (101) are left alone.
//!
//! A response that shall be cached needs a `Cache-Control` of its own, also on its 304.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//! use http::{Request, Response, header};
//! use palisade::{
//!     event::NullSink,
//!     host::AllowedHostsLayer,
//!     response_headers::{ResponseHeaders, ResponseHeadersLayer},
//! };
//! use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
//!
//! let app = service_fn(|_: Request<()>| async {
//!     let response = Response::builder().header("server", "secret/1.2.3").header("cache-control", "max-age=60");
//!     Ok::<_, http::Error>(response.body(String::from("hello"))?)
//! });
//! let headers = ResponseHeaders::api()
//!     .without(header::REFERRER_POLICY)
//!     .removing(header::SERVER);
//!
//! let response = ResponseHeadersLayer::new(headers).layer(app).oneshot(Request::new(())).await?;
//! assert_eq!(response.headers()["x-content-type-options"], "nosniff");
//! assert_eq!(response.headers()["cache-control"], "max-age=60");
//! assert!(!response.headers().contains_key("referrer-policy"));
//! assert!(!response.headers().contains_key("server"));
//!
//! // A refusal further in bears them, too.
//! let refused = ServiceBuilder::new()
//!     .layer(ResponseHeadersLayer::new(ResponseHeaders::api()))
//!     .layer(AllowedHostsLayer::new("api.example.com".parse()?).with_sink(NullSink))
//!     .service(app)
//!     .oneshot(Request::get("/").header("host", "evil.example").body(())?)
//!     .await?;
//! assert_eq!(refused.status(), 421);
//! assert_eq!(refused.headers()["x-content-type-options"], "nosniff");
//! # Ok(()) }
//! ```

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::policy::fields::{has_lists, insert_beside_lists, insert_beside_singles};

/// Which header fields are put on responses, and which are taken off.
#[derive(Clone, Debug)]
pub struct ResponseHeaders {
    fields: Vec<Field>,
    removed: Vec<HeaderName>,
}

#[derive(Clone, Debug)]
struct Field {
    name: HeaderName,
    value: HeaderValue,
    precedence: Precedence,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Precedence {
    /// The application's own field is kept.
    Application,
    /// The application's own fields are replaced.
    Ours,
}

impl ResponseHeaders {
    /// Creates the preset for APIs.
    #[must_use]
    pub fn api() -> Self {
        Self::preset([
            (CACHE_CONTROL, "no-store"),
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; frame-ancestors 'none'",
            ),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ])
    }

    /// Creates the preset for pages in browsers.
    #[must_use]
    pub fn html() -> Self {
        Self::preset([
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
            ),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("permissions-policy"),
                "camera=(), geolocation=(), microphone=()",
            ),
            (REFERRER_POLICY, "strict-origin-when-cross-origin"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ])
    }

    /// Creates a list without any field.
    #[must_use]
    pub fn none() -> Self {
        Self::preset([])
    }

    /// Puts a field on responses that have none of that name. It takes the place of the preset's.
    #[must_use]
    pub fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(name, value, Precedence::Application)
    }

    /// Puts a field on all responses, in the place of all of that name. It takes the place of the preset's.
    #[must_use]
    pub fn with_override(self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(name, value, Precedence::Ours)
    }

    /// Puts no field of that name on responses. The application may.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "names are passed by value to all of these"
    )]
    pub fn without(mut self, name: HeaderName) -> Self {
        self.fields.retain(|field| field.name != name);
        self
    }

    /// Takes the fields of that name off all responses, as `Server` and `X-Powered-By`. The default is to take off none.
    ///
    /// Where the server itself adds the field after all layers, as a proxy does, it has to be switched off there.
    #[must_use]
    pub fn removing(mut self, name: HeaderName) -> Self {
        self = self.without(name.clone());
        if !self.removed.contains(&name) {
            self.removed.push(name);
        }
        self
    }

    fn preset<const N: usize>(fields: [(HeaderName, &'static str); N]) -> Self {
        let fields = fields.map(|(name, value)| Field {
            name,
            value: HeaderValue::from_static(value),
            precedence: Precedence::Application,
        });
        Self {
            fields: fields.into(),
            removed: Vec::new(),
        }
    }

    fn set(mut self, name: HeaderName, value: HeaderValue, precedence: Precedence) -> Self {
        self = self.without(name.clone());
        self.removed.retain(|removed| *removed != name);
        self.fields.push(Field {
            name,
            value,
            precedence,
        });
        self
    }

    fn does_something(&self) -> bool {
        !self.fields.is_empty() || !self.removed.is_empty()
    }

    fn apply(&self, status: StatusCode, headers: &mut HeaderMap) {
        // The fields of a 101 belong to the protocol that is switched to.
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        for name in &self.removed {
            headers.remove(name);
        }
        // One growth of the map instead of several; where it cannot grow, neither field nor response is lost.
        let _ = headers.try_reserve(self.fields.len());
        // Asked once: no field of these makes a list.
        let insert_if_absent = if has_lists(headers) {
            insert_beside_lists
        } else {
            insert_beside_singles
        };
        for field in &self.fields {
            match field.precedence {
                Precedence::Application => {
                    insert_if_absent(headers, &field.name, field.value.clone());
                }
                Precedence::Ours => {
                    let _ = headers.try_insert(&field.name, field.value.clone());
                }
            }
        }
    }
}

impl Default for ResponseHeaders {
    /// Creates the preset for [APIs](Self::api).
    fn default() -> Self {
        Self::api()
    }
}

/// Puts security header fields on every response. It stands outermost.
#[derive(Clone, Debug, Default)]
pub struct ResponseHeadersLayer {
    headers: Arc<ResponseHeaders>,
}

impl ResponseHeadersLayer {
    /// Creates a layer from the list of fields.
    #[must_use]
    pub fn new(headers: ResponseHeaders) -> Self {
        Self {
            headers: Arc::new(headers),
        }
    }
}

impl<S> Layer<S> for ResponseHeadersLayer {
    type Service = SetResponseHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetResponseHeaders {
            inner,
            headers: Arc::clone(&self.headers),
        }
    }
}

/// The service of [`ResponseHeadersLayer`].
#[derive(Clone, Debug)]
pub struct SetResponseHeaders<S> {
    inner: S,
    headers: Arc<ResponseHeaders>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SetResponseHeaders<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = SetResponseHeadersFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        SetResponseHeadersFuture {
            future: self.inner.call(request),
            headers: self
                .headers
                .does_something()
                .then(|| Arc::clone(&self.headers)),
        }
    }
}

pin_project! {
    /// The future of [`SetResponseHeaders`].
    pub struct SetResponseHeadersFuture<F> {
        #[pin]
        future: F,
        headers: Option<Arc<ResponseHeaders>>,
    }
}

impl<F, B, E> Future for SetResponseHeadersFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.future.poll(cx));
        if let (Some(list), Ok(response)) = (this.headers, &mut result) {
            let status = response.status();
            list.apply(status, response.headers_mut());
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for SetResponseHeadersFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetResponseHeadersFuture")
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
