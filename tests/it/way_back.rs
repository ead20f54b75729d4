//! What receipts learn of how a request ended.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_LENGTH, request::Parts,
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty, Full};
use palisade::{
    enforce::{EnforceLayer, TrackBodyLayer},
    event::NullSink,
    policy::{Check, Rejection, RequestHead, Until},
};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use crate::support::{
    FnPolicy, Hello, OddError, Refuse, Settled, gate, later, poll, rejection, request,
};

#[tokio::test]
async fn the_way_back_sees_the_status() {
    let settled = Settled::default();
    let service = gate(settled.policy(Until::Head)).layer(service_fn(|_: Request<()>| async {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        Ok::<_, Infallible>(response)
    }));
    service.oneshot(request("/")).await.unwrap();
    assert_eq!(settled.take(), ["answered 418"]);
}

#[tokio::test]
async fn the_way_back_sees_an_inner_error() {
    let settled = Settled::default();
    let policies = (settled.policy(Until::Head), settled.policy(Until::BodyEnd));
    let service = gate(policies).layer(service_fn(|_: Request<()>| async {
        Err::<Response<String>, _>(OddError(3))
    }));
    let error = service.oneshot(request("/")).await.unwrap_err();
    assert_eq!(error, OddError(3));
    assert_eq!(settled.take(), ["failed", "failed"]);
}

#[test]
fn the_way_back_sees_a_panic_as_dropped() {
    let settled = Settled::default();
    let policies = Arc::new((settled.policy(Until::Head), settled.policy(Until::BodyEnd)));
    let shared = || EnforceLayer::shared(Arc::clone(&policies)).with_sink(NullSink);

    let mut in_call = shared().layer(service_fn(
        |_: Request<()>| -> std::future::Ready<Result<Response<String>, Infallible>> {
            panic!("in call")
        },
    ));
    let result = catch_unwind(AssertUnwindSafe(|| drop(in_call.call(request("/")))));
    assert!(result.is_err());
    assert_eq!(settled.take(), ["dropped", "dropped"]);

    let hello = Hello::default();
    let in_policy = FnPolicy(|_: &RequestHead<'_>| Check::later(async { panic!("in policy") }));
    let mut in_policy = gate((Arc::clone(&policies), in_policy)).layer(hello.clone());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let future = pin!(in_policy.call(request::<()>("/")));
        poll(future).is_ready()
    }));
    assert!(result.is_err());
    assert_eq!(settled.take(), ["dropped", "dropped"]);
    assert_eq!(hello.calls(), 0);

    let mut in_poll = shared().layer(service_fn(|_: Request<()>| {
        poll_fn(|_| -> Poll<Result<Response<String>, Infallible>> { panic!("in poll") })
    }));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let future = pin!(in_poll.call(request("/")));
        poll(future).is_ready()
    }));
    assert!(result.is_err());
    assert_eq!(settled.take(), ["dropped", "dropped"]);
}

/// A body of these frames that knows nothing of its length.
struct Frames(Vec<Result<Frame<Bytes>, OddError>>);

impl Frames {
    fn new(frames: impl IntoIterator<Item = Result<Frame<Bytes>, OddError>>) -> Self {
        let mut frames: Vec<_> = frames.into_iter().collect();
        frames.reverse();
        Self(frames)
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = OddError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OddError>>> {
        Poll::Ready(self.0.pop())
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// Reads this many frames of a tracked response, drops it, and tells after each step how receipts were settled.
#[track_caller]
fn track<B: Body>(method: &str, response: Response<B>, reads: usize) -> Vec<Vec<String>> {
    let settled = Settled::default();
    let gates = gate(settled.policy(Until::BodyEnd));
    let own = |_: &Rejection, _: &Parts| -> Response<B> { panic!("nothing refuses here") };
    let response = Cell::new(Some(response));
    let mut service = TrackBodyLayer::new().layer(gates.with_responder(own).layer(service_fn(
        |_: Request<()>| {
            let response = response.take().unwrap();
            async move { Ok::<_, Infallible>(response) }
        },
    )));
    let mut request = request("/");
    *request.method_mut() = method.parse().unwrap();
    let future = pin!(service.call(request));
    let Poll::Ready(Ok(response)) = poll(future) else {
        panic!("the response is there at once")
    };
    let mut seen = vec![settled.take()];
    let mut body = Box::pin(response.into_body());
    for _ in 0..reads {
        let _ = poll(pin!(body.frame()));
        seen.push(settled.take());
    }
    drop(body);
    seen.push(settled.take());
    seen
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_way_back_sees_the_end_of_a_streamed_body() {
    let body = Frames::new([Ok(data("a")), Ok(data("b"))]);
    let seen = track("GET", Response::new(body), 4);
    assert_eq!(seen, [&NOTHING[..], &[], &[], &["ended 200"], &[], &[]]);
}

#[test]
fn the_way_back_sees_the_end_of_an_empty_body() {
    let seen = track("GET", Response::new(Empty::<Bytes>::new()), 0);
    assert_eq!(seen, [&["ended 200"][..], &[]]);
}

#[test]
fn the_way_back_sees_the_end_of_a_body_of_known_length() {
    let seen = track("GET", Response::new(Full::<Bytes>::from("hello")), 1);
    assert_eq!(seen, [&[][..], &["ended 200"], &[]]);
}

#[test]
fn the_way_back_sees_the_end_of_a_body_whose_head_announces_the_length() {
    let body = Frames::new([Ok(data("he")), Ok(data("llo")), Ok(data("never read"))]);
    let mut response = Response::new(body);
    let length = HeaderValue::from_static("5");
    response.headers_mut().insert(CONTENT_LENGTH, length);
    let seen = track("GET", response, 2);
    assert_eq!(seen, [&NOTHING[..], &[], &["ended 200"], &[]]);
}

#[test]
fn the_way_back_sees_the_end_of_a_body_at_its_trailers() {
    let body = Frames::new([Ok(data("a")), Ok(Frame::trailers(HeaderMap::new()))]);
    let seen = track("GET", Response::new(body), 2);
    assert_eq!(seen, [&NOTHING[..], &[], &["ended 200"], &[]]);
}

#[test]
fn the_way_back_sees_a_body_that_is_not_to_be_sent_as_ended() {
    let seen = track("HEAD", Response::new(Full::<Bytes>::from("hello")), 0);
    assert_eq!(seen, [&["ended 200"][..], &[]]);
    let mut response = Response::new(Frames::new([Ok(data("a"))]));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    assert_eq!(track("GET", response, 0), [&["ended 304"][..], &[]]);
}

#[test]
fn the_way_back_sees_a_body_dropped_half_way() {
    let body = Frames::new([Ok(data("a")), Ok(data("b"))]);
    let seen = track("GET", Response::new(body), 1);
    assert_eq!(seen, [&NOTHING[..], &[], &["dropped"]]);
}

#[test]
fn the_way_back_sees_a_body_that_fails() {
    let body = Frames::new([Ok(data("a")), Err(OddError(1))]);
    let seen = track("GET", Response::new(body), 3);
    assert_eq!(seen, [&NOTHING[..], &[], &["failed"], &[], &[]]);
}

#[tokio::test]
async fn without_track_body_the_end_of_the_body_is_seen_as_dropped() {
    let settled = Settled::default();
    let service = gate(settled.policy(Until::BodyEnd)).layer(Hello::default());
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert!(settled.take().is_empty());
    drop(response);
    assert_eq!(settled.take(), ["dropped"]);
}

#[tokio::test]
async fn nested_gates_both_see_the_end_of_the_body() {
    let (outer, inner) = (Settled::default(), Settled::default());
    let service = gate(inner.policy(Until::BodyEnd)).layer(Hello::default());
    let service = gate(outer.policy(Until::BodyEnd)).layer(service);
    let service = TrackBodyLayer::new().layer(service);
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert!(outer.take().is_empty() && inner.take().is_empty());
    response.into_body().collect().await.unwrap();
    assert_eq!(outer.take(), ["ended 200"]);
    assert_eq!(inner.take(), ["ended 200"]);
}

#[tokio::test]
async fn responses_that_share_extensions_do_not_share_receipts() {
    let (outer, inner) = (Settled::default(), Settled::default());
    let service = gate(inner.policy(Until::BodyEnd)).layer(Hello::default());
    let first = service.oneshot(request::<()>("/")).await.unwrap();
    // As a cache would do it.
    let kept = first.extensions().clone();
    let cache = service_fn(|_: Request<()>| {
        let mut response = Response::new(String::new());
        *response.extensions_mut() = kept.clone();
        ready(Ok::<_, Infallible>(response))
    });
    let service = gate(outer.policy(Until::BodyEnd)).layer(cache);
    let one = service.clone().oneshot(request("/")).await.unwrap();
    let other = service.clone().oneshot(request("/")).await.unwrap();
    drop(one);
    assert_eq!(outer.take(), ["dropped"]);
    drop(other);
    assert_eq!(outer.take(), ["dropped"]);
    drop((service, first));
    assert_eq!(inner.take(), ["dropped"]);
}

#[tokio::test(start_paused = true)]
async fn the_way_back_sees_the_refusal_of_a_policy_further_in() {
    let settled = Settled::default();
    let layer = gate((
        settled.policy(Until::Head),
        settled.policy(Until::BodyEnd),
        Refuse,
        settled.policy(Until::Head),
    ));
    let service = layer.layer(Hello::default());
    service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(settled.take(), ["refused 429", "refused 429"]);

    // A gate further in is an inner service like any other.
    let service = gate(settled.policy(Until::Head)).layer(gate(Refuse).layer(Hello::default()));
    service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(settled.take(), ["answered 429"]);

    // Nor does it matter that the refusal takes time.
    let policies = (settled.policy(Until::Head), later(|| rejection().into()));
    let service = gate(policies).layer(Hello::default());
    service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(settled.take(), ["refused 429"]);
}
