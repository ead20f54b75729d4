//! One decision, one event: section H of the cases.

use std::time::Duration;

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode, request::Parts};
use palisade::{
    client_ip::{ClientContext, ClientIp, UnknownReason},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::{Action, NullSink, Severity, TracingSink},
    policy::{Check, Decision, DryRun, Policy, Rejection, RequestHead},
};
use tower::{Layer, Service, ServiceExt};
use tower_http::trace::TraceLayer;

use super::support::{
    Buffer, CLIENT, Collector, Handler, Limit, Refuse, block_on, flood_control, from, layer,
    request, send,
};

#[test]
fn h01_to_h04_a_limit_is_recorded_once_per_client_and_window() {
    let (clock, events, handler) = (ManualClock::new(), Collector::default(), Handler::default());
    let layer = EnforceLayer::new(Limit::default())
        .with_sink(flood_control(&clock, events.clone()))
        .with_clock(clock.clone());
    let service = handler.behind(&layer);

    // H01
    assert_eq!([0; 2].map(|_| send(&service, request(CLIENT))), [200; 2]);
    assert!(events.take().is_empty());
    assert_eq!(layer.counts()[0].allowed(), 2);
    assert_eq!(layer.counts()[0].label().layer(), "rate_limit");
    assert_eq!(layer.counts()[0].label().policy(), "api");

    // H02
    assert_eq!(send(&service, request(CLIENT)), 429);
    let [event] = &events.take()[..] else {
        panic!("one event")
    };
    assert_eq!(event.action().as_str(), "rate_limit_exceeded");
    assert_eq!(event.policy(), Some("api"));
    assert_eq!(event.client(), Some(CLIENT.parse().unwrap()));
    assert_eq!(event.method().as_deref(), Some("GET"));
    assert_eq!(event.path().as_deref(), Some("/notes/7"));
    assert_eq!(event.status(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert!(event.ecs_types().contains(&"denied"));
    assert_eq!(event.ecs_outcome(), Some("success"));
    assert_eq!(event.action().ecs_categories(), ["web", "network"]);
    let first = clock_time(&clock);

    // H03
    for _ in 4..=1000 {
        clock.advance(Duration::from_millis(10));
        assert_eq!(send(&service, request(CLIENT)), 429);
    }
    assert!(events.take().is_empty());
    assert_eq!(layer.counts()[0].denied(), 998);
    assert_eq!(layer.counts()[0].allowed(), 2);
    let last = clock_time(&clock);

    // H04: the window of the events and that of the limit are both over.
    clock.advance(Duration::from_secs(60));
    assert_eq!([0; 2].map(|_| send(&service, request(CLIENT))), [200; 2]);
    assert!(events.take().is_empty());
    assert_eq!(send(&service, request(CLIENT)), 429);
    let recorded = events.take();
    let [summary, event] = &recorded[..] else {
        panic!("{recorded:?}")
    };
    assert_eq!(summary.action(), Action::EventsSuppressed);
    assert_eq!(summary.suppressed(), Some(Action::RateLimitExceeded));
    assert_eq!(summary.count(), Some(997));
    assert_eq!(summary.reason(), "repeat");
    assert_eq!(summary.policy(), Some("api"));
    assert_eq!(summary.client(), Some(CLIENT.parse().unwrap()));
    assert_eq!((summary.start(), summary.end()), (Some(first), Some(last)));
    assert_eq!(summary.severity(), Severity::Warn);
    assert_eq!(event.action(), Action::RateLimitExceeded);
}

fn clock_time(clock: &ManualClock) -> std::time::SystemTime {
    palisade::clock::Clock::system_now(clock)
}

#[test]
fn h05_two_clients_are_two_events() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let refuse = layer(
        Refuse(Action::RateLimitExceeded, 429),
        flood_control(&clock, events.clone()),
    );
    let service = Handler::default().behind(&refuse);
    for client in [CLIENT, "203.0.113.8", CLIENT, "203.0.113.8"] {
        send(&service, request(client));
    }
    let clients: Vec<_> = events
        .take()
        .iter()
        .map(|it| it.client().unwrap().to_string())
        .collect();
    assert_eq!(clients, [CLIENT, "203.0.113.8"]);
}

#[test]
fn h06_events_do_not_depend_on_an_access_log() {
    let events = Collector::default();
    let refuse = layer(Refuse(Action::RateLimitExceeded, 429), events.clone());
    let router = || Router::new().route("/notes/7", get(|| async { "hello" }));
    let trace = TraceLayer::new_for_http();
    for router in [
        router().layer(trace.clone()).layer(refuse.clone()),
        router().layer(refuse.clone()).layer(trace.clone()),
    ] {
        let request = request(CLIENT).map(|()| axum::body::Body::empty());
        let response = block_on(router.oneshot(request)).unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(events.actions(), ["rate_limit_exceeded"]);
    }
}

#[test]
fn h07_without_a_sink_or_subscriber_nothing_else_changes() {
    let layers = [
        layer(Limit::default(), NullSink),
        layer(Limit::default(), TracingSink),
        EnforceLayer::new(Limit::default()),
    ];
    for layer in layers {
        let service = Handler::default().behind(&layer);
        let statuses = [0; 4].map(|_| send(&service, request(CLIENT)));
        assert_eq!(statuses, [200, 200, 429, 429]);
        assert_eq!(
            (layer.counts()[0].allowed(), layer.counts()[0].denied()),
            (2, 2)
        );
    }
}

#[test]
fn h09_an_outer_refusal_is_the_only_event_and_no_inner_policy_counts() {
    let events = Collector::default();
    let layer = layer(
        (Refuse(Action::IpNotAllowed, 403), Limit::default()),
        events.clone(),
    );
    assert_eq!(
        send(&Handler::default().behind(&layer), request(CLIENT)),
        403
    );
    let recorded = events.take();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].action(), Action::IpNotAllowed);
    assert_eq!(recorded[0].policy(), Some("api"));
    let counts = layer.counts();
    assert_eq!((counts[0].denied(), counts[0].allowed()), (1, 0));
    assert_eq!((counts[1].denied(), counts[1].allowed()), (0, 0));
}

#[test]
fn h10_and_h11_a_redirect_is_no_denial() {
    let events = Collector::default();
    let redirect = layer(Refuse(Action::HttpsRedirected, 308), events.clone());
    assert_eq!(
        send(&Handler::default().behind(&redirect), request(CLIENT)),
        308
    );
    let recorded = events.take();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].severity(), Severity::Debug);
    assert_eq!(recorded[0].ecs_outcome(), Some("success"));
    assert!(!recorded[0].ecs_types().contains(&"denied"));
    assert_eq!(
        (
            redirect.counts()[0].denied(),
            redirect.counts()[0].redirected()
        ),
        (0, 1)
    );

    let refuse = layer(Refuse(Action::HttpsRequired, 403), events.clone());
    assert_eq!(
        send(&Handler::default().behind(&refuse), request(CLIENT)),
        403
    );
    let recorded = events.take();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].severity(), Severity::Warn);
    assert_eq!(
        (refuse.counts()[0].denied(), refuse.counts()[0].redirected()),
        (1, 0)
    );
}

#[test]
fn h13_to_h15_addresses_are_those_the_decision_used() {
    let events = Collector::default();
    let layer = layer(Refuse(Action::IpBlocked, 403), events.clone());
    let service = Handler::default().behind(&layer);
    let plain = || Request::new(());

    // H13
    send(&service, from(CLIENT, "10.0.0.1", plain()));
    let event = events.take().remove(0);
    assert_eq!(event.client(), Some(CLIENT.parse().unwrap()));
    assert_eq!(event.peer(), Some("10.0.0.1".parse().unwrap()));

    // H15
    send(
        &service,
        from("::ffff:203.0.113.7", "::ffff:10.0.0.1", plain()),
    );
    let event = events.take().remove(0);
    assert_eq!(event.client(), Some(CLIENT.parse().unwrap()));
    assert_eq!(event.peer(), Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn h14_an_unknown_client_has_no_address_but_a_reason() {
    let events = Collector::default();
    let layer = layer(Limit::default(), events.clone());
    let service = Handler::default().behind(&layer);
    let mut request = Request::new(());
    let unknown = ClientIp::unknown(UnknownReason::MissingPeer, None);
    request
        .extensions_mut()
        .insert(ClientContext::new(unknown, None));
    for request in [request, Request::new(())] {
        assert_eq!(send(&service, request), 500);
        let recorded = events.take();
        assert_eq!(recorded.len(), 1);
        assert_eq!(recorded[0].action(), Action::RateLimitKeyMissing);
        assert_eq!(recorded[0].reason(), "client is not known");
        assert!(recorded[0].client_address().is_none());
    }
    assert_eq!(
        (layer.counts()[0].unkeyed(), layer.counts()[0].denied()),
        (2, 0)
    );
}

/// Refuses, but only after a moment.
struct Later;

impl Policy for Later {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        Check::later(async {
            tokio::task::yield_now().await;
            Decision::Reject(Rejection::new(
                Action::IpBlocked,
                StatusCode::FORBIDDEN,
                "address is blocked",
            ))
        })
    }
}

#[test]
fn h16_a_request_dropped_before_its_decision_leaves_no_trace() {
    let events = Collector::default();
    let limit = layer(Refuse(Action::IpBlocked, 403), events.clone());
    drop(Handler::default().behind(&limit).oneshot(request(CLIENT)));
    let later = layer(Later, events.clone());
    drop(Handler::default().behind(&later).call(request(CLIENT)));
    assert!(events.take().is_empty());
    assert_eq!(limit.counts()[0].denied() + later.counts()[0].denied(), 0);

    assert_eq!(
        send(&Handler::default().behind(&later), request(CLIENT)),
        403
    );
    assert_eq!(events.actions(), ["ip_blocked"]);
    assert_eq!(later.counts()[0].denied(), 1);
}

#[test]
fn h18_of_two_layers_each_records_what_it_decided() {
    let (events, handler) = (Collector::default(), Handler::default());
    let outer = layer(Limit::default(), events.clone());
    let inner = layer(Refuse(Action::RateLimitExceeded, 429), events.clone());
    let service = outer.layer(handler.behind(&inner));
    assert_eq!([0; 3].map(|_| send(&service, request(CLIENT))), [429; 3]);
    assert_eq!(events.actions(), ["rate_limit_exceeded"; 3]);
    assert_eq!(
        (outer.counts()[0].allowed(), outer.counts()[0].denied()),
        (2, 1)
    );
    assert_eq!(
        (inner.counts()[0].allowed(), inner.counts()[0].denied()),
        (0, 2)
    );
    assert_eq!(handler.calls(), 0);
}

#[test]
fn h19_the_status_is_that_of_the_answer() {
    let events = Collector::default();
    let layer = layer(Refuse(Action::RateLimitExceeded, 429), events.clone()).with_responder(
        |_: &Rejection, _: &Parts| {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        },
    );
    let service = layer.layer(Handler::default().service());
    assert_eq!(send(&service, request(CLIENT)), 503);
    assert_eq!(
        events.take()[0].status(),
        Some(StatusCode::SERVICE_UNAVAILABLE)
    );
}

#[test]
fn h21_a_wrong_key_is_a_failed_authentication() {
    let events = Collector::default();
    let layer = layer(Refuse(Action::ApiKeyRejected, 401), events.clone());
    let request = Request::get("/")
        .header("authorization", "Bearer hunter2")
        .body(())
        .unwrap();
    assert_eq!(
        send(
            &Handler::default().behind(&layer),
            from(CLIENT, CLIENT, request)
        ),
        401
    );
    let event = events.take().remove(0);
    assert_eq!(event.action().ecs_categories(), ["authentication"]);
    assert_eq!(event.ecs_outcome(), Some("failure"));
    assert_eq!(
        event.owasp().as_deref(),
        Some("authn_login_fail:203.0.113.7")
    );
    assert!(!format!("{event:?}").contains("hunter2"));
}

#[test]
fn h22_nothing_secret_is_traced() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let layer = EnforceLayer::new(Limit::default()).with_clock(ManualClock::new());
        let service = Handler::default().behind(&layer);
        for _ in 0..3 {
            let request = Request::get("/a?token=SECRET")
                .header("authorization", "Bearer SECRET")
                .header("cookie", "id=SECRET")
                .header("x-api-key", "SECRET")
                .header("user-agent", "curl")
                .body(())
                .unwrap();
            send(&service, from(CLIENT, CLIENT, request));
        }
    });
    let text = buffer.text();
    assert!(
        text.contains("rate_limit_exceeded") && text.contains("curl"),
        "{text}"
    );
    assert!(
        !text.contains("SECRET") && !text.contains("token"),
        "{text}"
    );
}

#[test]
fn a_dry_run_is_observed_and_counted_apart() {
    let events = Collector::default();
    let layer = layer(
        (
            DryRun::new(Refuse(Action::IpBlocked, 403)),
            Limit::default(),
        ),
        events.clone(),
    );
    let service = Handler::default().behind(&layer);
    // Once, however many services there are.
    let _ = Handler::default().behind(&layer);
    let told = events.take();
    let told: Vec<_> = told
        .iter()
        .map(|it| (it.action(), it.policy().map(ToOwned::to_owned)))
        .collect();
    let policy = layer.counts()[0].label().policy().to_owned();
    assert_eq!(told, [(Action::EnforcementDisabled, Some(policy))]);
    assert_eq!(send(&service, request(CLIENT)), 200);
    let event = events.take().remove(0);
    assert!(!event.enforced());
    assert_eq!(event.ecs_types(), ["access", "info"]);
    assert_eq!(event.ecs_outcome(), None);
    let counts = layer.counts();
    assert_eq!(
        (
            counts[0].would_deny(),
            counts[0].allowed(),
            counts[0].denied()
        ),
        (1, 0, 0)
    );
    assert!(!counts[0].label().enforced());
    assert_eq!(counts[1].allowed(), 1);
}
