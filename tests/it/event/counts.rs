//! Metrics: section L of the cases.

use std::{net::IpAddr, thread, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::{Action, EventSink, FloodControl, NullSink, SecurityEvent, SharedSink},
    metrics::{
        AUTH_TOTAL, CHECK_DURATION_SECONDS, CLIENT_IP_TOTAL, DECISIONS_TOTAL, ENFORCED,
        EVENTS_SUPPRESSED_TOTAL, EVENTS_TOTAL, SINK_ERRORS_TOTAL,
    },
    policy::{Check, DryRun, Policy, PolicyLabel, Rejection, RequestHead},
    rate_limit::Quota,
};
use tower::Layer;

use super::support::{CLIENT, Collector, Handler, Limit, Refuse, layer, request, send};

/// Runs `f` with a recorder of its own and returns what Prometheus would scrape.
pub(crate) fn recorded<T>(f: impl FnOnce(&PrometheusHandle) -> T) -> T {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || f(&handle))
}

#[track_caller]
fn check(scrape: &str, line: &str) {
    assert!(
        scrape.lines().any(|it| it == line),
        "{line} not in\n{scrape}"
    );
}

fn decisions(policy: &str, decision: &str, count: u64) -> String {
    format!(
        "{DECISIONS_TOTAL}{{layer=\"rate_limit\",policy=\"{policy}\",decision=\"{decision}\"}} {count}"
    )
}

/// A stack with everything that counts, which has answered three requests.
pub(crate) fn scrape() -> String {
    recorded(|handle| {
        let sink = SharedSink::new(FloodControl::new(Collector::default()));
        let layer = EnforceLayer::new((
            Limit::default(),
            DryRun::new(Refuse(Action::IpBlocked, 403)),
        ))
        .with_shared_sink(sink)
        .with_check_duration();
        let service = Handler::default().behind(&layer);
        for _ in 0..5 {
            send(&service, request(CLIENT));
        }
        handle.render()
    })
}

#[test]
fn h01_and_h03_decisions_are_counted_by_layer_policy_and_decision() {
    let scrape = scrape();
    check(&scrape, &decisions("api", "allowed", 2));
    check(&scrape, &decisions("api", "denied", 3));
    check(&scrape, &decisions("api", "would_deny", 0));
    check(
        &scrape,
        &format!(
            "{DECISIONS_TOTAL}{{layer=\"custom\",policy=\"Refuse\",decision=\"would_deny\"}} 2"
        ),
    );
    check(
        &scrape,
        &format!("{ENFORCED}{{layer=\"rate_limit\",policy=\"api\"}} 1"),
    );
    check(
        &scrape,
        &format!("{ENFORCED}{{layer=\"custom\",policy=\"Refuse\"}} 0"),
    );
    check(
        &scrape,
        &format!("{EVENTS_TOTAL}{{action=\"rate_limit_exceeded\"}} 3"),
    );
    check(
        &scrape,
        &format!("{EVENTS_SUPPRESSED_TOTAL}{{action=\"rate_limit_exceeded\",reason=\"repeat\"}} 2"),
    );
    check(&scrape, &format!("{CHECK_DURATION_SECONDS}_count 5"));
}

#[test]
fn l03_counters_stand_at_zero_before_any_event() {
    let scrape = recorded(|handle| {
        let _layer = layer(Limit::default(), FloodControl::new(Collector::default()));
        handle.render()
    });
    for decision in ["allowed", "denied", "redirected", "unkeyed", "would_deny"] {
        check(&scrape, &decisions("api", decision, 0));
    }
    check(
        &scrape,
        &format!("{EVENTS_TOTAL}{{action=\"client_banned\"}} 0"),
    );
    check(&scrape, &format!("{EVENTS_TOTAL}{{action=\"custom\"}} 0"));
    check(
        &scrape,
        &format!("{EVENTS_SUPPRESSED_TOTAL}{{action=\"ip_blocked\",reason=\"flood\"}} 0"),
    );
    check(
        &scrape,
        &format!("{SINK_ERRORS_TOTAL}{{error=\"panic\"}} 0"),
    );
}

#[test]
fn addresses_and_keys_are_counted_by_result() {
    let scrape = recorded(|handle| {
        let sink = SharedSink::new(NullSink);
        for action in [
            Action::ApiKeyAcceptedPrevious,
            Action::ApiKeyRejected,
            Action::ApiKeyRejected,
            Action::ClientUnknown,
            Action::ForwardedHeaderMalformed,
            Action::ForwardedHeaderUntrusted,
            Action::IpBlocked,
        ] {
            sink.record(&SecurityEvent::new(action, ""));
        }
        handle.render()
    });
    for (name, result, count) in [
        (AUTH_TOTAL, "failure", 2),
        (AUTH_TOTAL, "previous", 1),
        (AUTH_TOTAL, "scope_missing", 0),
        (CLIENT_IP_TOTAL, "malformed", 1),
        (CLIENT_IP_TOTAL, "unknown", 1),
        (CLIENT_IP_TOTAL, "untrusted_header", 1),
    ] {
        check(&scrape, &format!("{name}{{result=\"{result}\"}} {count}"));
    }
}

#[cfg(feature = "secrets")]
#[test]
fn keys_that_are_refused_are_counted_by_result() {
    use palisade::api_key::{ApiKeyPolicy, ApiKeys, KeyFormat};

    let keys = r#"{"alice": "key-of-alice-hunter2", "bob": {"keys": ["key-of-bob-hunter2"], "scopes": ["write"]}}"#;
    let keys = ApiKeys::parse(keys, KeyFormat::Json).unwrap();
    let scrape = recorded(|handle| {
        let layer = SecurityLayer::builder(ClientIpSource::Peer)
            .api_keys(ApiKeyPolicy::new(keys).with_scope("write").unwrap())
            .sink(NullSink)
            .build();
        let service = layer.layer(Handler::default().service());
        for (key, status) in [
            ("key-of-nobody-hunter2", 401),
            ("key-of-alice-hunter2", 403),
            ("key-of-nobody-hunter3", 401),
            ("key-of-bob-hunter2", 200),
        ] {
            let mut request = request(CLIENT);
            let bearer = format!("Bearer {key}").parse().unwrap();
            request.headers_mut().insert("authorization", bearer);
            let peer = PeerAddr::Tcp((CLIENT.parse::<IpAddr>().unwrap(), 4711).into());
            request.extensions_mut().insert(peer);
            assert_eq!(send(&service, request), status, "{key}");
        }
        handle.render()
    });
    check(&scrape, &format!("{AUTH_TOTAL}{{result=\"failure\"}} 2"));
    check(
        &scrape,
        &format!("{AUTH_TOTAL}{{result=\"scope_missing\"}} 1"),
    );
}

#[cfg(feature = "secrets")]
#[test]
fn loads_of_secrets_are_counted_by_name_and_outcome() {
    use palisade::{secret::SecretLoader, security::secret_events};

    let scrape = recorded(|handle| {
        let loader = SecretLoader::new()
            .without_directories()
            .with_environment(|name| (name == "DB_PASSWORD").then(|| "hunter2-SECRET".into()))
            .with_observer(secret_events(NullSink));
        assert!(loader.secret("DB_PASSWORD").text().is_ok());
        assert!(loader.secret("MAIL_PASSWORD").text().is_err());
        handle.render()
    });
    let loads = "palisade_secret_loads_total";
    check(
        &scrape,
        &format!("{loads}{{secret=\"DB_PASSWORD\",outcome=\"success\"}} 1"),
    );
    check(
        &scrape,
        &format!("{loads}{{secret=\"MAIL_PASSWORD\",outcome=\"failure\"}} 1"),
    );
    let changed = "palisade_secret_last_change_timestamp_seconds{secret=";
    assert!(
        scrape.contains(&format!("{changed}\"DB_PASSWORD\"}} ")),
        "{scrape}"
    );
    assert!(!scrape.contains(&format!("{changed}\"MAIL_PASSWORD\"}}")));
    assert!(!scrape.contains("hunter2"));
}

#[test]
fn l05_counts_are_exact_under_16_threads() {
    let layer = layer(Limit::default(), FloodControl::new(Collector::default()));
    let threads: Vec<_> = (0..16)
        .map(|i| {
            let service = Handler::default().behind(&layer);
            // 1000 requests in all.
            let requests = if i < 8 { 63 } else { 62 };
            thread::spawn(move || {
                for _ in 0..requests {
                    send(&service, request(CLIENT));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let counts = layer.counts();
    assert_eq!((counts[0].allowed(), counts[0].denied()), (2, 998));
}

#[test]
fn a_client_cannot_make_a_series() {
    let (before, after) = recorded(|handle| {
        let layer = layer(Limit::default(), FloodControl::new(Collector::default()));
        let service = Handler::default().behind(&layer);
        let before = handle.render().lines().count();
        for client in 0..1000u32 {
            let client = std::net::Ipv4Addr::from(client).to_string();
            for _ in 0..3 {
                send(&service, request(&client));
            }
        }
        (before, handle.render().lines().count())
    });
    assert_eq!(before, after);
}

#[test]
fn counts_do_not_depend_on_flood_control_or_sinks() {
    let sink = SharedSink::new(FloodControl::new(Collector::default()).with_budget(1, 1));
    for _ in 0..1000 {
        sink.record(&SecurityEvent::new(Action::IpBlocked, ""));
    }
    let counts = sink.counts();
    let blocked = counts
        .iter()
        .find(|(it, _)| *it == Action::IpBlocked)
        .unwrap();
    assert_eq!(blocked.1, 1000);
}

/// Takes three milliseconds on a clock that is moved by hand.
struct Slow(ManualClock);

impl Policy for Slow {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::new("custom", "slow").unwrap()
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        self.0.advance(Duration::from_millis(3));
        match request.uri().path() {
            "/later" => Check::later(async { palisade::policy::Decision::admit() }),
            "/refused" => Check::reject(Rejection::new(
                Action::Custom("refused"),
                http::StatusCode::FORBIDDEN,
                "refused by the test",
            )),
            _ => Check::admit(),
        }
    }
}

#[test]
fn the_time_of_checks_is_measured_on_request() {
    let clock = ManualClock::new();
    let off = EnforceLayer::new(Slow(clock.clone())).with_sink(NullSink);
    assert_eq!(off.check_durations(), None);
    let layer = off.with_clock(clock.clone()).with_check_duration();
    let service = Handler::default().behind(&layer);
    for (path, status) in [("/", 200), ("/later", 200), ("/refused", 403)] {
        let request = http::Request::get(path).body(()).unwrap();
        assert_eq!(send(&service, request), status);
    }
    let durations = layer.check_durations().unwrap();
    assert_eq!(
        (durations.count(), durations.sum()),
        (3, Duration::from_millis(9))
    );
    let filled: Vec<_> = durations
        .buckets()
        .filter(|(_, count)| *count != 0)
        .collect();
    assert_eq!(filled, [(Some(Duration::from_millis(5)), 3)]);
    assert_eq!(layer.counts()[0].allowed(), 2);
}

#[test]
fn the_facade_names_its_policies() {
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .deny("198.51.100.0/24".parse().unwrap())
        .allow("203.0.113.0/24".parse().unwrap())
        .rate_limit(Quota::per_minute(2).with_name("api"))
        .policy(DryRun::new(Refuse(Action::IpBlocked, 403)))
        .sink(NullSink)
        .check_duration()
        .build();
    let service = security.layer(Handler::default().service());
    for client in [CLIENT, CLIENT, CLIENT, "198.51.100.1", "192.0.2.1"] {
        let mut request = request(client);
        request.extensions_mut().insert(PeerAddr::Tcp(
            (client.parse::<std::net::IpAddr>().unwrap(), 1).into(),
        ));
        send(&service, request);
    }
    let counts: Vec<_> = security
        .counts()
        .iter()
        .map(|it| {
            (
                it.label().layer(),
                it.label().policy().to_owned(),
                it.allowed(),
                it.denied(),
                it.would_deny(),
            )
        })
        .collect();
    let expected = [
        ("client_ip", "known_peer", 5, 0, 0),
        ("ip_filter", "deny", 4, 1, 0),
        ("ip_filter", "allow", 3, 1, 0),
        ("rate_limit", "api", 2, 1, 0),
        ("custom", "Refuse", 0, 0, 2),
    ];
    assert_eq!(
        counts,
        expected.map(|(layer, policy, a, d, w)| (layer, policy.to_owned(), a, d, w))
    );
    assert_eq!(security.check_durations().unwrap().count(), 5);
}

/// What the documentation lists is what a scrape shows from the start, but for what appears with the first secret, measurement or store.
#[cfg(feature = "jail")]
#[test]
fn the_table_of_metrics_is_what_there_is() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let names = read("src/metrics/names.rs");
    // The names of constants, and what they are.
    let constants: std::collections::BTreeMap<&str, &str> = names
        .split("pub const ")
        .skip(1)
        .filter_map(|it| {
            let (name, rest) = it.split_once(':').unwrap();
            let value = rest.split('"').nth(1).unwrap();
            (!name.starts_with("LABEL_")).then_some((name, value))
        })
        .collect();
    let page = read("src/metrics/mod.rs");
    let (_, table) = page.split_once("//! |---|---|---|---|\n").unwrap();
    let listed: Vec<&str> = table
        .lines()
        .map_while(|line| line.strip_prefix("//! | "))
        .map(|row| {
            let cell = row.split(" | ").next().unwrap();
            let name = cell.trim_matches(['[', ']', '`']);
            constants.get(name).copied().unwrap_or(name)
        })
        .collect();
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join("\n")
    };
    assert_eq!(
        sorted(listed.clone()),
        sorted(constants.values().copied().collect())
    );

    let page = recorded(|page| {
        let security = SecurityLayer::builder(ClientIpSource::Peer)
            .rate_limit(Quota::per_second(1))
            .jail(palisade::jail::Jail::builder())
            .sink(FloodControl::new(NullSink))
            .build();
        drop(security);
        page.render()
    });
    let later = [
        CHECK_DURATION_SECONDS,
        "palisade_secret_last_change_timestamp_seconds",
        "palisade_secret_loads_total",
        "palisade_store_failures_total",
        "palisade_store_up",
    ];
    let shown = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap());
    let expected = listed.into_iter().filter(|it| !later.contains(it));
    assert_eq!(sorted(shown.collect()), sorted(expected.collect()));
}
