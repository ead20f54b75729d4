//! What a request would meet is told gate by gate, and nothing is touched by it.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use http::{Request, Response, StatusCode, request::Parts};
use palisade::{
    SecurityLayer,
    api_key::{ApiKeyPolicy, ApiKeys, KeyFormat},
    client_ip::{ClientIpSource, PeerAddr, SchemeSource, TrustedProxies},
    clock::ManualClock,
    host::AllowedHosts,
    https::{Hsts, Https},
    in_flight::InFlight,
    jail::{Jail, Rule, TrapPaths},
    policy::{Check, DryRun, Policy, PolicySet, RequestHead},
    rate_limit::{Quota, RateLimit, RateLimitKey},
    security::{Explanation, GateVerdict},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::RecordingSink;

const CLIENT: &str = "203.0.113.7";
const KEY: &str = "the-key-of-alice-0123";

struct All {
    layer: SecurityLayer,
    limit: RateLimit,
    flights: InFlight,
    sink: RecordingSink,
    clock: ManualClock,
}

/// Every gate of the crate, behind a proxy.
fn all() -> All {
    let (sink, clock) = (RecordingSink::default(), ManualClock::new());
    let proxies: TrustedProxies = "10.0.0.2".parse().unwrap();
    let keys = format!(r#"{{"alice": ["a-newer-key-of-alice-45", "{KEY}"]}}"#);
    let keys = ApiKeys::parse(&keys, KeyFormat::Json).unwrap();
    let limit = RateLimit::builder(Quota::per_minute(5).with_name("by-client"))
        .near_limit(20)
        .clock(clock.clone())
        .build()
        .unwrap();
    let by_key = RateLimitKey::extension(|it: &palisade::api_key::ApiKeyIdentity| it.clone());
    let by_key = RateLimit::builder(Quota::per_minute(1).with_name("by-key"))
        .key(by_key)
        .build()
        .unwrap();
    let flights = InFlight::new(2);
    let jail = Jail::builder()
        .rule(Rule::status(StatusCode::UNAUTHORIZED).with_limit(3))
        .traps(TrapPaths::common());
    let https = Https::reject(SchemeSource::XForwardedProto(proxies.clone()));
    let layer = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies))
        .without_untrusted_headers()
        .jail(jail)
        .deny("198.51.100.0/24".parse().unwrap())
        .allow("203.0.113.0/24, 198.51.100.0/24".parse().unwrap())
        .hosts("api.example.com".parse::<AllowedHosts>().unwrap())
        .https(https.with_hsts(Hsts::one_year()))
        .rate_limit(Quota::per_minute(4))
        .limit(limit.clone())
        .limit(flights.clone())
        .api_keys(ApiKeyPolicy::new(keys))
        .policy(DryRun::new(by_key))
        .check_duration()
        .sink(sink.clone())
        .clock(clock.clone())
        .build();
    All {
        layer,
        limit,
        flights,
        sink,
        clock,
    }
}

fn head(client: &str, path: &str, more: &[(&str, &str)]) -> Parts {
    let peer: SocketAddr = "10.0.0.2:50000".parse().unwrap();
    let mut request = Request::get(path)
        .extension(PeerAddr::from(peer))
        .header("x-forwarded-for", client);
    let bearer = format!("Bearer {KEY}");
    let usual = [
        ("x-forwarded-proto", "https"),
        ("host", "api.example.com"),
        ("authorization", bearer.as_str()),
    ];
    for (name, value) in usual {
        if !more.iter().any(|it| it.0 == name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in more.iter().filter(|it| !it.1.is_empty()) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn send(layer: &SecurityLayer, parts: Parts) -> u16 {
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let response = service
        .oneshot(Request::from_parts(parts, ()))
        .await
        .unwrap();
    response.status().as_u16()
}

/// Returns the gates as `layer policy: verdict`.
fn words(explanation: &Explanation) -> Vec<String> {
    let gates = explanation.gates().iter();
    gates
        .map(|it| {
            format!(
                "{} {}: {}",
                it.label().layer(),
                it.label().policy(),
                it.verdict().as_str()
            )
        })
        .collect()
}

#[test]
fn every_gate_is_asked_in_order() {
    let all = all();
    let explanation = all.layer.explain(&head(CLIENT, "/", &[]));
    assert!(explanation.is_admitted(), "{explanation}");
    assert_eq!(
        words(&explanation),
        [
            "client_ip known_peer: admits",
            "https hsts: admits",
            "jail jail: admits",
            "ip_filter deny: admits",
            "ip_filter allow: admits",
            "host allowed_hosts: admits",
            "https https: admits",
            "rate_limit 4-per-minute: admits",
            "rate_limit by-client: admits",
            "in_flight in-flight: admits",
            "api_key api_key: admits",
            "rate_limit by-key: admits",
        ]
    );
    let text = explanation.to_string();
    assert!(text.starts_with("client: 203.0.113.7\n"), "{text}");
    assert!(text.contains("costs 1, 5 of 5 left in by-client"), "{text}");
    assert!(text.contains("the key of alice"), "{text}");
    assert!(text.ends_with("\nadmitted"), "{text}");
    assert!(!text.contains(KEY));
}

#[track_caller]
fn check(all: &All, parts: &Parts, layer: &str, status: u16, reason: &str) {
    let explanation = all.layer.explain(parts);
    let gate = explanation
        .refused_by()
        .unwrap_or_else(|| panic!("{explanation}"));
    assert_eq!(gate.label().layer(), layer, "{explanation}");
    assert_eq!(
        gate.status().map(|it| it.as_u16()),
        Some(status),
        "{explanation}"
    );
    assert!(gate.reason().contains(reason), "{explanation}");
    let behind = explanation
        .gates()
        .iter()
        .skip_while(|it| it.verdict() != GateVerdict::Refuses)
        .skip(1);
    assert!(
        behind
            .clone()
            .all(|it| it.verdict() == GateVerdict::NotReached)
    );
    assert!(
        explanation
            .to_string()
            .contains(&format!("refused with {status} by {layer}"))
    );
}

#[test]
fn each_gate_says_why_it_refuses() {
    let all = all();
    let mut silent = head(CLIENT, "/", &[]);
    silent.extensions.clear();
    check(
        &all,
        &silent,
        "client_ip",
        500,
        "into_make_service_with_connect_info",
    );
    check(&all, &head(CLIENT, "/.env", &[]), "jail", 403, "trap");
    check(
        &all,
        &head("198.51.100.1", "/", &[]),
        "ip_filter",
        403,
        "blocked",
    );
    check(
        &all,
        &head("192.0.2.1", "/", &[]),
        "ip_filter",
        403,
        "not allowed",
    );
    check(
        &all,
        &head(CLIENT, "/", &[("host", "evil.example")]),
        "host",
        421,
        "not served",
    );
    check(
        &all,
        &head(CLIENT, "/", &[("x-forwarded-proto", "http")]),
        "https",
        403,
        "HTTPS",
    );
    check(
        &all,
        &head(CLIENT, "/", &[("authorization", "")]),
        "api_key",
        401,
        "required",
    );
    check(
        &all,
        &head(CLIENT, "/", &[("authorization", "Bearer x")]),
        "api_key",
        401,
        "not valid",
    );
}

#[tokio::test]
async fn gates_that_have_a_memory_say_what_is_in_it() {
    let all = all();
    for _ in 0..4 {
        assert_eq!(send(&all.layer, head(CLIENT, "/", &[])).await, 200);
    }
    check(
        &all,
        &head(CLIENT, "/", &[]),
        "rate_limit",
        429,
        "0 of 4 left in 4-per-minute",
    );
    all.clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(
            send(&all.layer, head(CLIENT, "/", &[("authorization", "")])).await,
            401
        );
    }
    check(
        &all,
        &head(CLIENT, "/", &[]),
        "jail",
        403,
        "banned by status-401 for another 10m",
    );
    all.clock.advance(Duration::from_secs(600));
    let explanation = all.layer.explain(&head(CLIENT, "/", &[]));
    assert!(explanation.refused_by().is_none(), "{explanation}");
}

#[tokio::test]
async fn nothing_is_touched() {
    let all = all();
    // Something to be spoiled: a charge that is one short of the warning, a failure that is one short of a ban.
    for _ in 0..2 {
        assert_eq!(
            send(&all.layer, head(CLIENT, "/", &[("authorization", "")])).await,
            401
        );
    }
    all.sink.take();
    let state = || {
        let jail = all.layer.jail().unwrap();
        let key = all.limit.client_key(CLIENT.parse().unwrap()).unwrap();
        format!(
            "{:?} {:?} {:?} {:?} {} {:?} {:?}",
            all.layer.counts(),
            all.layer.check_durations(),
            jail.counts(),
            jail.bans(),
            all.flights.keys_in_flight(),
            all.limit.peek(&key),
            all.limit.limiter().usage(),
        )
    };
    let before = state();
    for _ in 0..20 {
        for client in [
            CLIENT,
            "203.0.113.99",
            "198.51.100.1",
            "192.0.2.1",
            "nonsense",
        ] {
            for path in ["/", "/.env", "/wp-login.php"] {
                for more in [
                    &[][..],
                    &[("authorization", "")],
                    &[("authorization", "Bearer x")],
                    &[("x-forwarded-proto", "ftp?")],
                    &[("host", "a,b")],
                ] {
                    let explanation = all.layer.explain(&head(client, path, more));
                    assert_eq!(explanation.gates().len(), 12);
                }
            }
        }
    }
    assert_eq!(state(), before);
    assert_eq!(all.sink.take_words(), Vec::<String>::new());

    // The next real failure is the third: had one of the above counted, the client would have been banned before.
    assert_eq!(
        send(&all.layer, head(CLIENT, "/", &[("authorization", "")])).await,
        401
    );
    assert_eq!(send(&all.layer, head(CLIENT, "/", &[])).await, 403);
}

#[tokio::test]
async fn an_expired_ban_is_noticed_by_requests_alone() {
    let all = all();
    all.layer
        .jail()
        .unwrap()
        .ban(CLIENT.parse().unwrap(), Duration::from_secs(60))
        .unwrap();
    all.clock.advance(Duration::from_secs(61));
    all.sink.take();
    assert!(all.layer.explain(&head(CLIENT, "/", &[])).is_admitted());
    assert!(all.sink.take_words().is_empty());
    assert_eq!(send(&all.layer, head(CLIENT, "/", &[])).await, 200);
    assert!(
        all.sink
            .take_words()
            .contains(&"client_unbanned".to_owned())
    );
}

#[test]
fn a_policy_that_cannot_tell_is_not_said_to_admit() {
    struct Own;

    impl Policy for Own {
        fn check(&self, _: &RequestHead<'_>) -> Check {
            panic!("it must not be asked")
        }
    }

    let policies: [Box<dyn Fn() -> SecurityLayer>; 2] = [
        Box::new(|| {
            SecurityLayer::builder(ClientIpSource::Peer)
                .policy(Own)
                .build()
        }),
        Box::new(|| {
            let set = (
                vec![Some(DryRun::new(Own))],
                std::sync::Arc::new(Own) as std::sync::Arc<dyn PolicySet>,
            );
            SecurityLayer::builder(ClientIpSource::Peer)
                .policy(set)
                .build()
        }),
    ];
    for layer in policies {
        let explanation = layer().explain(&head(CLIENT, "/", &[]));
        assert!(!explanation.is_admitted());
        assert!(explanation.refused_by().is_none());
        assert_eq!(
            explanation.gates().last().unwrap().verdict(),
            GateVerdict::Unknown
        );
        assert!(
            explanation
                .to_string()
                .ends_with("admitted, as far as can be told")
        );
    }
}

#[test]
fn a_gate_that_observes_is_told_from_one_that_refuses() {
    let layer = SecurityLayer::builder(ClientIpSource::Peer)
        .limit(DryRun::new(
            RateLimit::builder(Quota::per_minute(1))
                .cost_by(|_| 2)
                .build()
                .unwrap(),
        ))
        .build();
    let explanation = layer.explain(&head(CLIENT, "/", &[]));
    assert!(explanation.is_admitted());
    let gate = explanation.gates().last().unwrap();
    assert_eq!(gate.verdict(), GateVerdict::Observes);
    assert_eq!(gate.status(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert!(
        gate.reason()
            .contains("more than the rate limit ever allows"),
        "{}",
        gate.reason()
    );
}
