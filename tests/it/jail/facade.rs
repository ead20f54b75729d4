//! The jail in the facade: outermost, with the facade's sink and clock.

use std::net::SocketAddr;

use http::{Request, StatusCode};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr},
    clock::ManualClock,
    event::{Action, SecurityEvent},
    jail::{Jail, Rule},
    policy::{Check, Policy, Rejection, RequestHead},
};
use tower::{Layer, ServiceExt, service_fn};

use super::support::{CLIENT, Events, addr, handler, jail, ready, seconds};

/// Refuses everything but `/`.
struct Refuse(Action, StatusCode);

impl Policy for Refuse {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        match request.uri().path() {
            "/" => Check::admit(),
            _ => Check::reject(Rejection::new(self.0, self.1, "refused")),
        }
    }
}

fn request(path: &str) -> Request<()> {
    let peer = SocketAddr::new(addr(CLIENT), 50_000);
    let request = Request::get(path).extension(PeerAddr::from(peer));
    request.body(()).unwrap()
}

#[test]
fn refusals_further_in_count() {
    let events = Events::default();
    let clock = ManualClock::new();
    let scopes = Rule::action(Action::ApiKeyScopeMissing).with_limit(2);
    let layer = SecurityLayer::builder(ClientIpSource::Peer)
        .policy(Refuse(Action::ApiKeyScopeMissing, StatusCode::FORBIDDEN))
        .jail(Jail::builder().rule(scopes))
        .clock(clock.clone())
        .sink(events.sink())
        .build();
    let service = layer.layer(service_fn(handler));
    let status = |path| {
        ready(service.clone().oneshot(request(path)))
            .unwrap()
            .status()
    };

    assert_eq!(status("/"), 200);
    assert_eq!(status("/x"), 403);
    assert_eq!(status("/"), 200);
    assert_eq!(status("/x"), 403);
    assert_eq!(status("/"), 403);
    let actions: Vec<_> = events.take().iter().map(SecurityEvent::action).collect();
    assert_eq!(
        actions,
        [
            Action::ApiKeyScopeMissing,
            Action::ApiKeyScopeMissing,
            Action::ClientBanned,
            Action::BannedClientDenied,
        ]
    );

    clock.advance(seconds(600));
    assert_eq!(status("/"), 200);
    assert_eq!(layer.jail().unwrap().counts().expired(), 1);
}

/// A layer of this crate further in, in a gate of its own, is told apart by what it decided and not by how a responder put it.
#[test]
fn refusals_of_other_layers_count_as_decided() {
    use palisade::enforce::EnforceLayer;

    let inner = EnforceLayer::new(Refuse(Action::ApiKeyRejected, StatusCode::UNAUTHORIZED))
        .with_responder(|_: &Rejection, _: &http::request::Parts| {
            http::Response::new(String::from("no"))
        });
    let layer = SecurityLayer::builder(ClientIpSource::Peer)
        .jail(jail())
        .build();
    let service = layer.layer(inner.layer(service_fn(handler)));
    let status = |path| {
        ready(service.clone().oneshot(request(path)))
            .unwrap()
            .status()
    };
    for _ in 0..5 {
        assert_eq!(status("/x"), 200);
    }
    assert_eq!(status("/"), 403);
}

#[cfg(feature = "rate-limit")]
#[test]
fn k25_a_rate_limit_bans_where_it_is_asked_for_and_the_ban_comes_first() {
    use palisade::rate_limit::Quota;

    for (rule, expected) in [
        (Rule::status(StatusCode::UNAUTHORIZED), [200, 429, 429, 429]),
        (
            Rule::status(StatusCode::TOO_MANY_REQUESTS).with_limit(2),
            [200, 429, 429, 403],
        ),
    ] {
        let layer = SecurityLayer::builder(ClientIpSource::Peer)
            .rate_limit(Quota::per_hour(1))
            .jail(Jail::builder().rule(rule))
            .build();
        let service = layer.layer(service_fn(handler));
        let statuses = expected.map(|_| {
            ready(service.clone().oneshot(request("/")))
                .unwrap()
                .status()
                .as_u16()
        });
        assert_eq!(statuses, expected);
    }
}

#[cfg(feature = "metrics")]
#[test]
fn the_parts_of_the_facade_are_counted_apart() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let builder = SecurityLayer::builder(ClientIpSource::Peer)
            .policy(Refuse(Action::IpBlocked, StatusCode::FORBIDDEN))
            .jail(jail());
        let _ = builder.build();
    });
    let text = scrape.render();
    for part in [
        "policy=\"known_peer\"",
        "policy=\"jail\"",
        "policy=\"Refuse\"",
    ] {
        assert!(text.contains(part), "{part} {text}");
    }
    assert!(!text.contains("SecurityPolicies"));
}
