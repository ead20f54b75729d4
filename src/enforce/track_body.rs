//! Sees the end of response bodies, for policies that ask for it.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::policy::receipt::{Outcome, Receipts};

/// Receipts that wait for the end of the body, on their way through the extensions of the response.
#[derive(Clone)]
pub(crate) struct BodyReceipts(Arc<Mutex<Receipts>>);

impl BodyReceipts {
    /// Leaves receipts in the extensions of a response, beside those that a gate further in has left.
    pub(crate) fn leave(receipts: Receipts, extensions: &mut Extensions) {
        // Into a list of this response's own: extensions may have been cloned, and another response may share the one found.
        let mut all = Self::take(extensions);
        all.extend(receipts);
        extensions.insert(Self(Arc::new(Mutex::new(all))));
    }

    fn take(extensions: &mut Extensions) -> Receipts {
        extensions
            .remove::<Self>()
            .map(|it| std::mem::take(&mut *it.lock()))
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Receipts> {
        // Nothing that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles receipts that wait for [`Until::BodyEnd`](crate::policy::Until::BodyEnd) when the response's body has ended.
///
/// It stands outside the [`EnforceLayer`](crate::enforce::EnforceLayer) whose policies ask for that, and is the only layer here that
/// changes the body's type.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrackBodyLayer;

impl TrackBodyLayer {
    /// Creates the layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for TrackBodyLayer {
    type Service = TrackBody<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TrackBody { inner }
    }
}

/// The service of [`TrackBodyLayer`].
#[derive(Clone, Debug)]
pub struct TrackBody<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TrackBody<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<TrackedBody<ResBody>>;
    type Error = S::Error;
    type Future = TrackBodyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        TrackBodyFuture {
            is_head: request.method() == Method::HEAD,
            future: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of [`TrackBody`].
    #[derive(Debug)]
    pub struct TrackBodyFuture<F> {
        #[pin]
        future: F,
        is_head: bool,
    }
}

impl<F, ResBody, E> Future for TrackBodyFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: Body,
{
    type Output = Result<Response<TrackedBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let (mut head, inner) = response.into_parts();
        let mut body = TrackedBody {
            inner,
            status: head.status,
            announced: announced(&head.headers),
            receipts: BodyReceipts::take(&mut head.extensions),
        };
        // Servers do not poll a body that says at once that it is empty, nor one that is not to be sent: RFC 9110, section 6.4.1.
        let is_sent = !*this.is_head
            && head.status != StatusCode::NO_CONTENT
            && head.status != StatusCode::NOT_MODIFIED;
        if !is_sent || is_over(&body.inner) || body.announced == Some(0) {
            std::mem::take(&mut body.receipts).settle(Outcome::Ended(body.status));
        }
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

pin_project! {
    /// A response body whose end is seen. Dropped before its end, it tells so.
    pub struct TrackedBody<B> {
        #[pin]
        inner: B,
        status: StatusCode,
        // What is still to come of the length announced in the head.
        announced: Option<u64>,
        receipts: Receipts,
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if !this.receipts.is_empty() {
            let is_last = match &frame {
                Some(Err(_)) => {
                    std::mem::take(this.receipts).settle(Outcome::Failed);
                    false
                }
                Some(Ok(frame)) => {
                    if let (Some(rest), Some(data)) = (this.announced.as_mut(), frame.data_ref()) {
                        let length = u64::try_from(data.remaining()).unwrap_or(u64::MAX);
                        *rest = rest.saturating_sub(length);
                    }
                    // Nothing follows the trailers: RFC 9110, section 6.5.
                    frame.is_trailers() || *this.announced == Some(0) || is_over(&*this.inner)
                }
                None => true,
            };
            if is_last {
                std::mem::take(this.receipts).settle(Outcome::Ended(*this.status));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for TrackedBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            status: StatusCode::OK,
            announced: None,
            receipts: Receipts::default(),
        }
    }
}

impl<B: From<String>> From<String> for TrackedBody<B> {
    fn from(text: String) -> Self {
        Self {
            inner: B::from(text),
            status: StatusCode::OK,
            announced: None,
            receipts: Receipts::default(),
        }
    }
}

impl<B> fmt::Debug for TrackedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody")
            .field("status", &self.status)
            .field("receipts", &self.receipts)
            .finish_non_exhaustive()
    }
}

/// The length that the head announces, after which a server stops polling whatever the body says of itself.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether a server would stop polling: it does once the announced length is out, and need not see the end itself.
fn is_over(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}
