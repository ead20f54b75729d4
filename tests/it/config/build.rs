//! What a configuration builds does what the builder does.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response, StatusCode};
use palisade::{
    SecurityLayer,
    api_key::{ApiKeys, KeyFormat},
    client_ip::PeerAddr,
    clock::ManualClock,
    config::Surroundings,
    event::{Action, SecurityEvent, SharedSink},
    security::GateVerdict,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{parse, with};

const PEER: &str = "203.0.113.7:50000";

fn keys() -> ApiKeys {
    let keys = r#"{
        "alice": {"keys": "the-key-of-alice-0123", "scopes": ["gold"]},
        "bob": "the-key-of-bob-012345678"
    }"#;
    ApiKeys::parse(keys, KeyFormat::Json).unwrap()
}

fn layer(toml: &str, clock: &ManualClock) -> SecurityLayer {
    let surroundings = Surroundings::new()
        .with_sink(palisade::event::NullSink)
        .with_api_keys(keys())
        .with_clock(clock.clone());
    let assembled = parse(toml).unwrap().assemble(&surroundings);
    assembled
        .unwrap_or_else(|errors| panic!("{errors}"))
        .builder
        .build()
}

/// Sends a request and returns status and header fields of the answer; the service itself answers 200, and 401 to `/login`.
async fn send(
    layer: &SecurityLayer,
    path: &str,
    peer: &str,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap) {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(String::new());
        if request.uri().path() == "/login" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        Ok::<_, Infallible>(response)
    }));
    let mut request =
        Request::get(path).extension(PeerAddr::from(peer.parse::<SocketAddr>().unwrap()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

async fn status(layer: &SecurityLayer, path: &str, peer: &str, headers: &[(&str, &str)]) -> u16 {
    send(layer, path, peer, headers).await.0
}

#[tokio::test]
async fn lists_refuse_and_admit() {
    let clock = ManualClock::new();
    let all = layer(&with(""), &clock);
    assert_eq!(status(&all, "/", PEER, &[]).await, 200);

    let toml = with(
        "[ip_filter]\ndeny = [\"198.51.100.0/24\"]\n\
         [[ip_filter.lists]]\nname = \"hidden\"\nkind = \"deny\"\nentries = [\"private\"]\nstatus = 404\n\
         [[ip_filter.lists]]\nname = \"tried\"\nkind = \"allow\"\nentries = [\"192.0.2.0/24\"]\ndry_run = true",
    );
    let some = layer(&toml, &clock);
    assert_eq!(status(&some, "/", PEER, &[]).await, 200);
    assert_eq!(status(&some, "/", "198.51.100.1:1", &[]).await, 403);
    assert_eq!(status(&some, "/", "10.1.2.3:1", &[]).await, 404);
    let tried = some
        .counts()
        .into_iter()
        .find(|it| it.label().policy() == "tried")
        .unwrap();
    assert_eq!((tried.denied(), tried.would_deny()), (0, 1));

    let few = layer(&with("[ip_filter]\nallow = \"private\""), &clock);
    assert_eq!(status(&few, "/", PEER, &[]).await, 403);
    assert_eq!(status(&few, "/", "10.1.2.3:1", &[]).await, 200);
}

#[tokio::test]
async fn the_client_is_found_behind_trusted_proxies() {
    let clock = ManualClock::new();
    let toml = "[client_ip]\nsource = \"x_forwarded_for\"\ntrusted_proxies = [\"10.0.0.2\"]\n\
                [ip_filter]\ndeny = [\"198.51.100.9\"]\n\
                [https]\nscheme = \"x_forwarded_proto\"\nmode = \"reject\"\nhsts = {max_age = \"365d\"}\nexempt_paths = [\"/health\"]";
    let layer = layer(toml, &clock);
    let spoof = [
        ("x-forwarded-for", "198.51.100.9"),
        ("x-forwarded-proto", "https"),
        ("host", "api.example.com"),
    ];
    let (code, headers) = send(&layer, "/", "10.0.0.2:1", &spoof).await;
    assert_eq!(code, 403);
    assert_eq!(headers["strict-transport-security"], "max-age=31536000");
    // Nobody else is believed: not the address, and not the scheme.
    assert_eq!(status(&layer, "/health", PEER, &spoof).await, 200);
    assert_eq!(status(&layer, "/", PEER, &spoof).await, 403);
}

#[tokio::test]
async fn limits_count_as_they_are_told() {
    let clock = ManualClock::new();
    let toml = with(
        "[rate_limit]\nquotas = [\"100/minute\"]\n\
         [[rate_limit.limits]]\nquotas = [\"2/minute\"]\nonly_paths = [\"/login\"]\ncount = \"failures\"\n\
         fields = \"draft11\"\nlegacy_fields = \"delta\"\n\
         [[rate_limit.limits]]\nquotas = [{quota = \"10/minute\", name = \"search\"}]\nonly_paths = [\"/search/*\"]\n\
         costs = [{path = \"/search/deep\", methods = [\"GET\"], cost = 9}]\nstatus = 503\nexempt = [\"192.0.2.1\"]\nretry_after_at_least = \"2m\"",
    );
    let layer = layer(&toml, &clock);
    for _ in 0..2 {
        let (code, headers) = send(&layer, "/login", PEER, &[]).await;
        assert_eq!(code, 401);
        assert!(headers.contains_key("ratelimit") && headers.contains_key("x-ratelimit-reset"));
    }
    for path in ["/login", "/log%69n", "//login", "/login/", "/Login"] {
        assert_eq!(status(&layer, path, PEER, &[]).await, 429, "{path}");
    }
    assert_eq!(status(&layer, "/login", "203.0.113.8:1", &[]).await, 401);

    assert_eq!(status(&layer, "/search/deep", PEER, &[]).await, 200);
    assert_eq!(status(&layer, "/search/a", PEER, &[]).await, 200);
    let (code, headers) = send(&layer, "/search/a", PEER, &[]).await;
    assert_eq!(code, 503);
    assert_eq!(headers["retry-after"], "120");
    for _ in 0..12 {
        assert_eq!(status(&layer, "/search/a", "192.0.2.1:1", &[]).await, 200);
    }
    // A disguise makes nothing cheaper, and escapes no limit.
    for (path, expected) in [
        ("/search/%64eep", 200),
        ("/search/%61", 200),
        ("/search/%61", 503),
    ] {
        assert_eq!(status(&layer, path, "203.0.113.9:1", &[]).await, expected);
    }
}

#[tokio::test]
async fn tiers_and_keys_go_by_who_has_the_api_key() {
    let clock = ManualClock::new();
    let toml = with(
        "[api_keys]\nrequired = true\nheader = \"x-api-key\"\n\
         [[rate_limit.limits]]\nquotas = [\"1/minute\"]\nkey = \"api_key\"\ntiers = [{scope = \"gold\", quotas = [\"3/minute\"]}]",
    );
    let layer = layer(&toml, &clock);
    assert_eq!(status(&layer, "/", PEER, &[]).await, 401);
    let alice = [("authorization", "Bearer the-key-of-alice-0123")];
    let bob = [("x-api-key", "the-key-of-bob-012345678")];
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(&layer, "/", PEER, &alice).await, expected);
    }
    for expected in [200, 429] {
        assert_eq!(status(&layer, "/", PEER, &bob).await, expected);
    }
}

#[tokio::test]
async fn the_jail_bans() {
    let clock = ManualClock::new();
    let toml = with(
        "[jail]\nenabled = true\nban_time = \"10m\"\ntraps = [\"common\", \"/old-admin/\"]\ntrap_ban_time = \"1h\"\nexempt = [\"192.0.2.1\"]\nretry_after = true\n\
         rules = [{status = 401, limit = 2, within = \"1m\"}]",
    );
    let layer = layer(&toml, &clock);
    assert_eq!(status(&layer, "/login", PEER, &[]).await, 401);
    assert_eq!(status(&layer, "/login", PEER, &[]).await, 401);
    let (code, headers) = send(&layer, "/", PEER, &[]).await;
    assert_eq!(code, 403);
    assert_eq!(headers["retry-after"], "600");
    clock.advance(Duration::from_secs(600));
    assert_eq!(status(&layer, "/", PEER, &[]).await, 200);
    assert_eq!(status(&layer, "/old-admin/x", PEER, &[]).await, 403);
    clock.advance(Duration::from_secs(601));
    assert_eq!(status(&layer, "/", PEER, &[]).await, 403);
    assert_eq!(status(&layer, "/.env", "192.0.2.1:1", &[]).await, 200);
    assert_eq!(layer.jail().map(|it| it.bans().len()), Some(1));
}

#[tokio::test]
async fn responses_bear_the_configured_fields() {
    let clock = ManualClock::new();
    let toml = with(
        "[response_headers]\npreset = \"api\"\nwithout = [\"referrer-policy\"]\nset = {x-a = \"1\"}\nset_always = {x-b = \"2\"}\nremove = [\"server\"]",
    );
    let layer = layer(&toml, &clock);
    let (_, headers) = send(&layer, "/", PEER, &[]).await;
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(
        (&headers["x-a"], &headers["x-b"]),
        (&"1".parse().unwrap(), &"2".parse().unwrap())
    );
    assert!(!headers.contains_key("referrer-policy"));
}

#[tokio::test]
async fn requests_in_flight_are_limited() {
    let clock = ManualClock::new();
    let layer = layer(
        &with("[in_flight]\nlimit = 1\noverload = \"service_unavailable\""),
        &clock,
    );
    let label = |it: &palisade::security::ExplainedGate| it.label().layer() == "in_flight";
    let request = || {
        let peer = PeerAddr::from(PEER.parse::<SocketAddr>().unwrap());
        Request::get("/").extension(peer).body(()).unwrap()
    };
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let gate = Arc::clone(&gate);
        async move {
            if let Some(gate) = gate.lock().await.take() {
                let _ = gate.await;
            }
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    let first = tokio::spawn(service.clone().oneshot(request()));
    loop {
        tokio::task::yield_now().await;
        let (parts, ()) = request().into_parts();
        let explained = layer.explain(&parts);
        if explained
            .gates()
            .iter()
            .find(|it| label(it))
            .unwrap()
            .verdict()
            == GateVerdict::Refuses
        {
            break;
        }
    }
    assert_eq!(
        service.clone().oneshot(request()).await.unwrap().status(),
        503
    );
    open.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
}

#[test]
fn events_are_thinned_and_shortened() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = {
        let seen = Arc::clone(&seen);
        move |event: &SecurityEvent<'_>| {
            let client = event.client_address().map(ToString::to_string);
            seen.lock().unwrap().push((event.action(), client));
        }
    };
    let config = parse(&with(
        "[events]\nprivacy = \"truncated\"\ntruncate_ipv4 = 16",
    ))
    .unwrap();
    let sink: SharedSink = config.events.sink(sink).unwrap();
    for _ in 0..5 {
        use palisade::event::EventSink as _;
        let event = SecurityEvent::new(Action::IpBlocked, "address is blocked");
        sink.record(&event.with_client([203, 0, 113, 7].into()));
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [(Action::IpBlocked, Some("203.0.0.0/16".to_owned()))]
    );
}
