//! The facade: all protections as one layer.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::connect_info::{ConnectInfo, MockConnectInfo},
    routing::get,
};
use http::{Request, StatusCode, header::RETRY_AFTER};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr, SchemeSource, TrustedProxies},
    clock::ManualClock,
    event::Action,
    host::AllowedHosts,
    https::{Hsts, Https},
    rate_limit::Quota,
    response_headers::ResponseHeaders,
    security::SecurityBuilder,
};
use tower::ServiceExt;

use crate::support::{RecordingSink, request};

fn router<R>(builder: SecurityBuilder<R>) -> Router
where
    R: palisade::respond::Respond<Body>,
{
    Router::new()
        .route("/a", get(|| async { "a" }))
        .route("/b", get(|| async { "b" }))
        .layer(builder.build())
}

async fn status(app: &Router, request: Request<Body>) -> u16 {
    app.clone()
        .oneshot(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_missing_peer_is_refused_and_the_operator_told_once_per_window() {
    let (sink, clock) = (RecordingSink::default(), ManualClock::new());
    let builder = SecurityLayer::builder(ClientIpSource::Peer)
        .sink(sink.clone())
        .clock(clock.clone());
    let app = router(builder);
    let without_peer = || Request::get("/a").body(Body::empty()).unwrap();

    for _ in 0..10 {
        assert_eq!(status(&app, without_peer()).await, 500);
    }
    let events = sink.take();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action(), Action::ClientUnknown);
    assert!(
        events[0]
            .reason()
            .contains("into_make_service_with_connect_info::<SocketAddr>()")
    );

    clock.advance(Duration::from_secs(60));
    assert_eq!(status(&app, without_peer()).await, 500);
    assert_eq!(sink.take_words(), ["client_unknown"]);
    assert_eq!(status(&app, request("/a")).await, 200);
}

#[tokio::test]
async fn one_quota_holds_for_all_routes_and_each_client_has_its_own() {
    let clock = ManualClock::new();
    let builder = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_minute(2))
        .clock(clock.clone());
    let app = router(builder);
    assert_eq!(status(&app, request("/a")).await, 200);
    assert_eq!(status(&app, request("/nothing")).await, 404);
    let refused = app.clone().oneshot(request::<Body>("/b")).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()[RETRY_AFTER], "30");

    let other: SocketAddr = "198.51.100.7:1".parse().unwrap();
    let mut request_of_other: Request<Body> = request("/a");
    request_of_other
        .extensions_mut()
        .insert(PeerAddr::from(other));
    assert_eq!(status(&app, request_of_other).await, 200);

    clock.advance(Duration::from_secs(30));
    assert_eq!(status(&app, request("/b")).await, 200);
    assert_eq!(status(&app, request("/b")).await, 429);
}

#[tokio::test]
async fn of_two_quotas_both_or_neither_is_charged() {
    let clock = ManualClock::new();
    let builder = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_second(1))
        .rate_limit(Quota::per_hour(3))
        .clock(clock.clone());
    let app = router(builder);
    for _ in 0..3 {
        assert_eq!(status(&app, request("/a")).await, 200);
        // Refused by the first quota; were the second charged, it would be spent after two rounds.
        assert_eq!(status(&app, request("/a")).await, 429);
        clock.advance(Duration::from_secs(1));
    }
    let refused = app.clone().oneshot(request::<Body>("/a")).await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(wait, 1197);
}

#[tokio::test]
async fn quotas_of_one_name_and_more_than_eight_are_all_enforced() {
    let mut builder = SecurityLayer::builder(ClientIpSource::Peer);
    for limit in (2..=12).rev() {
        builder = builder
            .rate_limit(Quota::per_hour(limit))
            .rate_limit(Quota::per_hour(limit))
            .rate_limit(Quota::per_hour(limit).with_burst(limit + 1));
    }
    let app = router(builder);
    assert_eq!(status(&app, request("/a")).await, 200);
    assert_eq!(status(&app, request("/a")).await, 200);
    assert_eq!(status(&app, request("/a")).await, 429);
}

#[tokio::test]
async fn the_peer_is_found_where_axum_leaves_it() {
    let app = router(SecurityLayer::builder(ClientIpSource::Peer).rate_limit(Quota::per_hour(1)));
    let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
    let mut real = Request::get("/a").body(Body::empty()).unwrap();
    real.extensions_mut().insert(ConnectInfo(peer));
    assert_eq!(status(&app, real).await, 200);

    let mapped: SocketAddr = "[::ffff:203.0.113.7]:2".parse().unwrap();
    let mocked = app.layer(MockConnectInfo(mapped));
    let mock = Request::get("/a").body(Body::empty()).unwrap();
    assert_eq!(status(&mocked, mock).await, 429);
}

#[tokio::test]
async fn the_peer_can_be_found_by_a_closure() {
    #[derive(Clone)]
    struct Own(SocketAddr);

    let builder = SecurityLayer::builder(ClientIpSource::Peer)
        .peer(|extensions| extensions.get::<Own>().map(|own| own.0.into()));
    let app = router(builder);
    // The usual places are not looked at.
    assert_eq!(status(&app, request("/a")).await, 500);
    let mut own: Request<Body> = request("/a");
    own.extensions_mut()
        .insert(Own("203.0.113.7:1".parse().unwrap()));
    assert_eq!(status(&app, own).await, 200);
}

#[tokio::test]
async fn policies_of_ones_own_come_last_and_refusals_look_as_one_likes() {
    let builder = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_hour(1))
        .policy(crate::support::Quota::new(0))
        .responder(palisade::respond::StatusOnly);
    let app = router(builder);
    let own = app.clone().oneshot(request::<Body>("/a")).await.unwrap();
    assert_eq!(own.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(own.headers()[RETRY_AFTER], "2");
    assert!(!own.headers().contains_key("content-type"));
    let limited = app.clone().oneshot(request::<Body>("/a")).await.unwrap();
    assert_eq!(limited.headers()[RETRY_AFTER], "3600");
}

#[tokio::test]
async fn every_part_refuses_in_its_turn_and_hsts_stands_on_refusals() {
    let proxies: TrustedProxies = "203.0.113.7".parse().unwrap();
    let builder = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies.clone()))
        .response_headers(ResponseHeaders::api())
        .deny("198.51.100.0/24".parse().unwrap())
        .allow("198.51.100.0/24, 192.0.2.0/24".parse().unwrap())
        .hosts(AllowedHosts::new(["api.example.com"]).unwrap())
        .https(Https::reject(SchemeSource::XForwardedProto(proxies)).with_hsts(Hsts::one_year()))
        .rate_limit(Quota::per_hour(1));
    let app = router(builder);

    let check = async |client: &str, proto: &str, host: &str, expected: u16| {
        let mut request: Request<Body> = request("/a");
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", client.parse().unwrap());
        headers.insert("x-forwarded-proto", proto.parse().unwrap());
        headers.insert("host", host.parse().unwrap());
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{client} {proto} {host}");
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers.contains_key("strict-transport-security"),
            proto == "https"
        );
    };
    check("198.51.100.7", "http", "other.example", 403).await;
    check("198.51.100.7", "https", "api.example.com", 403).await;
    check("203.0.113.99", "https", "api.example.com", 403).await;
    check("192.0.2.7", "https", "other.example", 421).await;
    check("192.0.2.7", "http", "api.example.com", 403).await;
    // None of the refusals so far has cost quota.
    check("192.0.2.7", "https", "api.example.com", 200).await;
    check("192.0.2.7", "https", "api.example.com", 429).await;
    check("192.0.2.8", "https", "api.example.com", 200).await;
}
