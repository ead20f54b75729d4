//! The limit of requests at the same time: group L of the case tables.

use std::{convert::Infallible, net::IpAddr};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use palisade::{
    client_ip::PeerAddr,
    enforce::{Enforce, TrackBody, TrackedBody},
    in_flight::{InFlight, InFlightLayer, Overload},
    rate_limit::{MissingKey, RateLimitKey},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::RecordingSink;

fn request(client: &str, key: &str) -> Request<()> {
    let client: IpAddr = client.parse().unwrap();
    Request::builder()
        .header("x-key", key)
        .extension(PeerAddr::Tcp((client, 1).into()))
        .body(())
        .unwrap()
}

async fn call(layer: &InFlightLayer, request: Request<()>) -> Response<TrackedBody<Full<Bytes>>> {
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::from("slowly")))
    }));
    service.oneshot(request).await.unwrap()
}

const A: &str = "203.0.113.7";
const B: &str = "203.0.113.8";

#[tokio::test]
async fn a_permit_comes_back_when_the_body_has_ended() {
    // L01.
    let sink = RecordingSink::default();
    let policy = InFlight::new(1);
    let layer = InFlightLayer::from(policy.clone()).with_sink(sink.clone());
    let first = call(&layer, request(A, "")).await;
    assert_eq!(first.status(), 200);
    assert_eq!(policy.keys_in_flight(), 1);
    let refused = call(&layer, request(A, "")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(sink.take_words(), ["in_flight_exceeded"]);
    // Another client is counted apart, and another layer knows nothing of this one: L02, L04.
    assert_eq!(call(&layer, request(B, "")).await.status(), 200);
    let other = InFlightLayer::new(5);
    assert_eq!(call(&other, request(A, "")).await.status(), 200);

    let body = first.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "slowly");
    assert_eq!(policy.keys_in_flight(), 0);
    assert_eq!(call(&layer, request(A, "")).await.status(), 200);
}

#[tokio::test]
async fn a_permit_comes_back_when_the_client_goes_away() {
    // L03: while the handler runs, and while the body is sent.
    let policy = InFlight::new(1);
    let layer = InFlightLayer::from(policy.clone());
    let mut service: TrackBody<Enforce<_, InFlight>> = layer.layer(service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    }));
    let running = service.call(request(A, ""));
    assert_eq!(policy.keys_in_flight(), 1);
    assert_eq!(call(&layer, request(A, "")).await.status(), 429);
    drop(running);
    assert_eq!(policy.keys_in_flight(), 0);

    let response = call(&layer, request(A, "")).await;
    assert_eq!(policy.keys_in_flight(), 1);
    drop(response);
    assert_eq!(policy.keys_in_flight(), 0);
}

#[tokio::test]
async fn a_key_may_have_several_parts() {
    // L05.
    let header = RateLimitKey::header(HeaderName::from_static("x-key"));
    let layer =
        InFlightLayer::from(InFlight::new(2).with_key(RateLimitKey::client_ip().and(header)));
    let _first = call(&layer, request(A, "k1")).await;
    let _second = call(&layer, request(A, "k1")).await;
    assert_eq!(call(&layer, request(A, "k1")).await.status(), 429);
    assert_eq!(call(&layer, request(A, "k2")).await.status(), 200);
    assert_eq!(call(&layer, request(B, "k1")).await.status(), 200);
}

#[tokio::test]
async fn a_missing_part_is_a_choice() {
    for (missing, expected) in [
        (MissingKey::Refuse, [400, 400]),
        (MissingKey::Share, [200, 429]),
        (MissingKey::Skip, [200, 200]),
    ] {
        let key = RateLimitKey::header(HeaderName::from_static("x-other"));
        let layer = InFlightLayer::from(InFlight::new(1).with_key(key.when_missing(missing)));
        let first = call(&layer, request(A, "")).await;
        let second = call(&layer, request(B, "")).await;
        assert_eq!([first.status(), second.status()], expected, "{missing:?}");
    }
}

#[tokio::test]
async fn the_service_can_be_the_one_that_is_full() {
    let policy = InFlight::new(1)
        .with_key(RateLimitKey::global())
        .with_overload(Overload::ServiceUnavailable);
    let layer = InFlightLayer::from(policy);
    let _first = call(&layer, request(A, "")).await;
    let second = call(&layer, request(B, "")).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn no_more_keys_than_there_is_room_for() {
    let layer = InFlightLayer::from(InFlight::new(5).with_max_keys(1));
    let first = call(&layer, request(A, "")).await;
    assert_eq!(call(&layer, request(A, "")).await.status(), 200);
    let refused = call(&layer, request(B, "")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    assert_eq!(call(&layer, request(B, "")).await.status(), 200);
}

#[tokio::test]
async fn room_for_no_key_is_room_for_one() {
    let layer = InFlightLayer::from(InFlight::new(1).with_max_keys(0));
    let first = call(&layer, request(A, "")).await;
    assert_eq!(first.status(), 200);
    let refused = call(&layer, request(B, "")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}
