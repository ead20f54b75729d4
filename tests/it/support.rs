//! What the tests share.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use palisade::{
    client_ip::PeerAddr,
    enforce::EnforceLayer,
    event::{Action, EventSink, NullSink, SecurityEvent},
    policy::{
        Admission, Check, Decision, Outcome, Policy, PolicySet, Rejection, RequestHead, Until,
    },
};
use tower::Service;

/// The action of the refusals of these tests.
pub(crate) const REFUSED: Action = Action::Custom("refused");

/// Makes a request as a server hands it over that accepted a connection from 203.0.113.7.
pub(crate) fn request<B: Default>(path: &str) -> Request<B> {
    let peer: SocketAddr = "203.0.113.7:50000".parse().unwrap();
    Request::builder()
        .uri(path)
        .extension(PeerAddr::from(peer))
        .body(B::default())
        .unwrap()
}

/// Makes a rejection that a client may try again after two seconds.
pub(crate) fn rejection() -> Rejection {
    Rejection::new(REFUSED, StatusCode::TOO_MANY_REQUESTS, "too many requests")
        .with_policy("test".into())
        .with_retry_after(Duration::from_secs(2))
}

/// Makes a layer whose events nobody wants.
pub(crate) fn gate<P: PolicySet>(policies: P) -> EnforceLayer<P> {
    EnforceLayer::new(policies).with_sink(NullSink)
}

/// Polls a future once.
pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// An error like no other.
#[derive(Debug, PartialEq)]
pub(crate) struct OddError(pub(crate) u8);

/// A sink that keeps the events.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordingSink(Arc<Mutex<Vec<SecurityEvent<'static>>>>);

impl RecordingSink {
    pub(crate) fn take(&self) -> Vec<SecurityEvent<'static>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Returns the words of the events, those not enforced with a `?`.
    pub(crate) fn take_words(&self) -> Vec<String> {
        self.take()
            .iter()
            .map(|it| {
                let mark = if it.enforced() { "" } else { "?" };
                format!("{}{mark}", it.action().as_str())
            })
            .collect()
    }
}

impl EventSink for RecordingSink {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.lock().unwrap().push(event.clone().into_owned());
    }
}

/// Writes down how receipts were settled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled(Arc<Mutex<Vec<String>>>);

impl Settled {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Makes a receipt.
    pub(crate) fn receipt(&self) -> impl FnOnce(Outcome<'_>) + Send + use<> {
        let settled = self.clone();
        move |outcome| {
            let word = match outcome {
                Outcome::Answered(head) => format!("answered {}", head.status.as_u16()),
                Outcome::Dropped => "dropped".into(),
                Outcome::Ended(status) => format!("ended {}", status.as_u16()),
                Outcome::Failed => "failed".into(),
                Outcome::Refused(rejection) => format!("refused {}", rejection.status().as_u16()),
                other => format!("{other:?}"),
            };
            settled.0.lock().unwrap().push(word);
        }
    }

    /// Makes a policy that admits with one receipt.
    pub(crate) fn policy(&self, until: Until) -> impl Policy + use<> {
        let settled = self.clone();
        FnPolicy(move |_: &RequestHead<'_>| {
            Check::Ready(
                Admission::new()
                    .with_receipt(until, settled.receipt())
                    .into(),
            )
        })
    }
}

/// A policy from a closure.
pub(crate) struct FnPolicy<F>(pub(crate) F);

impl<F: Fn(&RequestHead<'_>) -> Check + Send + Sync + 'static> Policy for FnPolicy<F> {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        self.0(request)
    }
}

/// A policy that admits this many requests and refuses all others.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: usize,
    seen: AtomicUsize,
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Self {
        let seen = AtomicUsize::new(0);
        Self { limit, seen }
    }
}

impl Policy for Quota {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        if self.seen.fetch_add(1, Ordering::SeqCst) < self.limit {
            Check::admit()
        } else {
            Check::reject(rejection())
        }
    }
}

/// A policy that refuses every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refuse;

impl Policy for Refuse {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        Check::reject(rejection())
    }
}

/// Makes a policy that takes a second and then decides so.
pub(crate) fn later(decide: fn() -> Decision) -> impl Policy {
    FnPolicy(move |_: &RequestHead<'_>| {
        Check::later(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            decide()
        })
    })
}

/// A service that says `hello` and counts its calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hello(Arc<AtomicUsize>);

impl Hello {
    pub(crate) fn calls(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl<B> Service<Request<B>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Full::from("hello"))))
    }
}

/// A service that panics where it is called without having been ready; a clone is not ready.
#[derive(Debug, Default)]
pub(crate) struct Fussy {
    is_ready: bool,
}

impl Clone for Fussy {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B> Service<Request<B>> for Fussy {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called unready");
        ready(Ok(Response::new(String::new())))
    }
}
