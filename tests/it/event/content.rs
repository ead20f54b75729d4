//! What events contain, and what attackers cannot put there: section I of the cases.

use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Request};
use palisade::event::{
    Action, EcsLayer, EcsLines, EventSink, FingerprintKey, LineFormat, SecurityEvent, TextLines,
    TracingSink,
};
use tracing_subscriber::prelude::*;

use super::{
    json::Json,
    support::{Buffer, CLIENT, Collector, Handler, Refuse, from, layer, send},
};

fn ecs(event: &SecurityEvent<'_>) -> String {
    let mut line = String::new();
    EcsLines::new().write(event, SystemTime::now(), &mut line);
    line
}

/// The line that comes through `tracing` and the layer.
fn ecs_layer(event: &SecurityEvent<'_>) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let layer = EcsLayer::new(EcsLines::new(), move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!("not of the target");
        TracingSink.record(event);
    });
    buffer.text().strip_suffix('\n').unwrap().to_owned()
}

fn text(event: &SecurityEvent<'_>) -> String {
    let mut line = String::new();
    TextLines.write(event, SystemTime::now(), &mut line);
    line
}

fn traced(event: &SecurityEvent<'_>) -> [String; 3] {
    let write = |json: bool, pretty: bool| {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let builder = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let record = || TracingSink.record(event);
        match (json, pretty) {
            (true, _) => tracing::subscriber::with_default(builder.json().finish(), record),
            (_, true) => tracing::subscriber::with_default(builder.compact().finish(), record),
            _ => tracing::subscriber::with_default(builder.finish(), record),
        }
        buffer.text().strip_suffix('\n').unwrap().to_owned()
    };
    [write(false, false), write(true, false), write(false, true)]
}

/// What attackers send: a path and a user agent.
pub(crate) const HOSTILE: &[(&str, &[u8])] = &[
    ("/a%0aWARN%20forged", b"curl"),
    ("/", b"x\tWARN client.ip=9.9.9.9"),
    ("/", b"\xff\xfe\x80"),
    ("/", "\u{9b}31m\u{202e}\u{2028}\u{85}".as_bytes()),
    ("/\" client=9.9.9.9 ", b"\" client=9.9.9.9 "),
    (
        "/palisade: denied client=9.9.9.9 action=x",
        b"2026-11-24T02:30:00.000Z palisade: denied client=9.9.9.9 action=x",
    ),
    ("/9.9.9.9", b"9.9.9.9"),
    (
        "/\\\" client=9.9.9.9 \\",
        b"\\\\\" palisade: denied client=9.9.9.9 \\",
    ),
    ("/<HOST>", b"<ADDR> ${jndi:ldap://9.9.9.9/a}"),
    (
        "/[client=9.9.9.9]",
        b"\"}, \"client\": {\"ip\": \"9.9.9.9\"}, {\"",
    ),
];

fn hostile() -> impl Iterator<Item = (String, HeaderValue)> {
    let mut all: Vec<_> = HOSTILE
        .iter()
        .map(|(path, agent)| ((*path).to_owned(), HeaderValue::from_bytes(agent).unwrap()))
        .collect();
    // What no header value and no URI can be, but an event of an application's may.
    all.push((
        "/a\r\nWARN forged\x1b[2J\x7f\0\u{202e}\u{2028}".to_owned(),
        HeaderValue::from_static("curl"),
    ));
    // I05
    let long = "y".repeat(65_536);
    all.push((long.clone(), HeaderValue::from_str(&long).unwrap()));
    all.push((
        format!("{}é{long}", "x".repeat(255)),
        HeaderValue::from_str(&"\u{e9}".repeat(5000)).unwrap(),
    ));
    all.into_iter()
}

fn raw(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[test]
fn i01_paths_are_raw_and_have_no_query() {
    let events = Collector::default();
    let layer = layer(Refuse(Action::IpBlocked, 403), events.clone());
    let service = Handler::default().behind(&layer);
    for (target, path) in [
        ("/a%0aWARN%20forged", "/a%0aWARN%20forged"),
        ("/a?token=SECRET", "/a"),
    ] {
        let request = Request::get(target).body(()).unwrap();
        send(&service, from(CLIENT, CLIENT, request));
        let event = events.take().remove(0);
        assert_eq!(event.path().as_deref(), Some(path));
        for line in [
            ecs(&event),
            text(&event),
            ecs_layer(&event),
            format!("{event:?}"),
        ] {
            assert!(!line.contains("SECRET"), "{line}");
        }
    }
}

#[test]
fn i02_to_i05_no_line_can_be_forged() {
    let method = Method::from_bytes(&[b'M'; 5000]).unwrap();
    for (path, agent) in hostile() {
        let event = SecurityEvent::new(Action::RateLimitExceeded, "quota exceeded")
            .with_policy("api")
            .with_client(CLIENT.parse().unwrap())
            .with_method(&method)
            .with_path(&path)
            .with_user_agent(&agent)
            .with_request_id(&agent);
        let [full, json, compact] = traced(&event);
        for line in [
            &ecs(&event),
            &ecs_layer(&event),
            &text(&event),
            &full,
            &json,
            &compact,
        ] {
            assert!(!line.contains(raw), "{line}");
            assert!(line.len() < 4 * 300 + 1500, "{}", line.len());
        }
        for text in [
            event.path(),
            event.user_agent(),
            event.request_id(),
            event.method(),
        ] {
            assert!(text.unwrap().len() <= 256 + '…'.len_utf8());
        }
        for line in [ecs(&event), ecs_layer(&event)] {
            let line = Json::parse(&line);
            assert_eq!(line.text("client.ip"), Some(CLIENT));
            assert_eq!(line.text("url.path"), event.path().as_deref());
            assert_eq!(
                line.text("user_agent.original"),
                event.user_agent().as_deref()
            );
        }
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

// I07
#[test]
fn a_hostile_host_is_not_shown() {
    let events = Collector::default();
    let layer = layer(Refuse(Action::HostMalformed, 400), events.clone());
    let request = Request::get("/")
        .header("host", "evil\"\tforged")
        .body(())
        .unwrap();
    send(
        &Handler::default().behind(&layer),
        from(CLIENT, CLIENT, request),
    );
    let event = events.take().remove(0);
    for line in [ecs(&event), text(&event), ecs_layer(&event)] {
        assert!(!line.contains("evil") && !line.contains(raw), "{line}");
    }
}

/// Every action, once enforced and once observed, with every field there is.
pub(crate) fn all_events() -> Vec<SecurityEvent<'static>> {
    let sink = palisade::event::SharedSink::new(palisade::event::NullSink);
    let agent = HeaderValue::from_static("curl/8 \"quoted\"");
    let path = String::from("/notes/é\"\\");
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_210_096);
    let mut events = Vec::new();
    for (action, _) in sink.counts() {
        let event = SecurityEvent::new(action, "the reason")
            .with_policy("api")
            .with_client(CLIENT.parse().unwrap())
            .with_peer("2001:db8::1".parse().unwrap())
            .with_method(&Method::POST)
            .with_path(&path)
            .with_user_agent(&agent)
            .with_request_id(&agent)
            .with_status(http::StatusCode::FORBIDDEN)
            .with_count(3)
            .with_rule("203.0.113.0/24".parse().unwrap())
            .with_generation(2)
            .with_fingerprint(FingerprintKey::random().fingerprint(b"hunter2"))
            .with_span(start, Some(start + Duration::from_millis(1)))
            .with_suppressed(Action::IpBlocked)
            .into_owned();
        events.push(event.clone().observed());
        events.push(event);
        events.push(SecurityEvent::new(action, "the reason"));
    }
    assert!(100 < events.len());
    events
}

/// The closed value lists of ECS 9.
const KINDS: &[&str] = &[
    "alert",
    "asset",
    "enrichment",
    "event",
    "metric",
    "state",
    "pipeline_error",
    "signal",
];
const CATEGORIES: &[&str] = &[
    "api",
    "authentication",
    "configuration",
    "database",
    "driver",
    "email",
    "file",
    "host",
    "iam",
    "intrusion_detection",
    "library",
    "malware",
    "network",
    "package",
    "process",
    "registry",
    "session",
    "threat",
    "vulnerability",
    "web",
];
const TYPES: &[&str] = &[
    "access",
    "admin",
    "allowed",
    "change",
    "connection",
    "creation",
    "deletion",
    "denied",
    "device",
    "end",
    "error",
    "group",
    "indicator",
    "info",
    "installation",
    "protocol",
    "start",
    "user",
];
const OUTCOMES: &[&str] = &["failure", "success", "unknown"];

/// The fields that lines may have.
const FIELDS: &[&str] = &[
    "@timestamp",
    "client.address",
    "client.ip",
    "ecs.version",
    "event.action",
    "event.category",
    "event.count",
    "event.dataset",
    "event.end",
    "event.kind",
    "event.outcome",
    "event.reason",
    "event.sequence",
    "event.severity",
    "event.start",
    "event.type",
    "http.request.id",
    "http.request.method",
    "http.response.status_code",
    "labels.credential_fingerprint",
    "labels.enforced",
    "labels.owasp",
    "labels.suppressed",
    "log.level",
    "log.logger",
    "message",
    "rule.id",
    "rule.name",
    "rule.version",
    "rule.ruleset",
    "service.name",
    "source.address",
    "source.ip",
    "url.path",
    "user_agent.original",
];

fn leaves(json: &Json, prefix: &str, names: &mut Vec<String>) {
    match json {
        Json::Object(members) => {
            assert!(!members.is_empty(), "{prefix} is empty");
            for (name, value) in members {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                leaves(value, &name, names);
            }
        }
        _ => names.push(prefix.to_owned()),
    }
}

// I09, I10
#[test]
fn every_event_is_a_valid_line_of_ecs() {
    for event in all_events() {
        let direct = Json::parse(&ecs(&event));
        let traced = Json::parse(&ecs_layer(&event));
        for line in [&direct, &traced] {
            assert!(KINDS.contains(&line.text("event.kind").unwrap()));
            let categories = line.texts("event.category");
            assert_eq!(
                categories.is_none(),
                event.action() == Action::EventsSuppressed
            );
            assert!(
                categories
                    .unwrap_or_default()
                    .iter()
                    .all(|it| CATEGORIES.contains(it))
            );
            let types = line.texts("event.type").unwrap();
            assert!(!types.is_empty() && types.iter().all(|it| TYPES.contains(it)));
            assert!(
                line.text("event.outcome")
                    .is_none_or(|it| OUTCOMES.contains(&it))
            );
            assert_eq!(line.text("ecs.version"), Some("9.0.0"));
            let time = line.text("@timestamp").unwrap();
            assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
            let mut names = Vec::new();
            leaves(line, "", &mut names);
            for name in names {
                assert!(FIELDS.contains(&name.as_str()), "{name}");
            }
        }
        // Both ways write the same line, the time apart.
        let without_time = |line: &Json| {
            let Json::Object(mut members) = line.clone() else {
                panic!("no object")
            };
            members.remove("@timestamp");
            members
        };
        let (direct, mut traced) = (without_time(&direct), without_time(&traced));
        if let Action::Custom(_) = event.action() {
            assert_eq!(traced.get("event"), direct.get("event"));
        }
        assert_eq!(traced.remove("event"), direct.get("event").cloned());
        for (name, value) in traced {
            assert_eq!(Some(&value), direct.get(&name), "{name}");
        }
    }
}

// I11
#[test]
fn the_address_of_a_text_line_follows_its_prefix() {
    for (path, agent) in hostile() {
        let event = SecurityEvent::new(Action::IpBlocked, "address is blocked")
            .with_client(CLIENT.parse().unwrap())
            .with_path(&path)
            .with_user_agent(&agent);
        let line = text(&event);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok());
        assert!(
            rest.starts_with("palisade: denied client=203.0.113.7 action=ip_blocked "),
            "{rest}"
        );
        // Outside of quotes stands nothing of the client's choice.
        let (mut quoted, mut escaped, mut plain) = (false, false, String::new());
        for c in rest.chars() {
            match (quoted, escaped, c) {
                (true, true, _) => escaped = false,
                (true, false, '\\') => escaped = true,
                (_, _, '"') => quoted = !quoted,
                (false, ..) => plain.push(c),
                _ => {}
            }
        }
        assert!(
            !quoted && !plain.contains("9.9.9.9") && !plain.contains("yyy"),
            "{plain}"
        );
    }
}

#[test]
fn the_first_word_of_a_text_line_tells_denials() {
    let word = |event: SecurityEvent<'_>| {
        let line = text(&event);
        line.split(' ').nth(2).unwrap().to_owned()
    };
    assert_eq!(word(SecurityEvent::new(Action::IpBlocked, "")), "denied");
    assert_eq!(
        word(SecurityEvent::new(Action::ApiKeyRejected, "")),
        "denied"
    );
    assert_eq!(word(SecurityEvent::new(Action::ClientBanned, "")), "denied");
    assert_eq!(
        word(SecurityEvent::new(Action::Custom("own"), "")),
        "denied"
    );
    assert_eq!(
        word(SecurityEvent::new(Action::IpBlocked, "").observed()),
        "observed"
    );
    assert_eq!(
        word(SecurityEvent::new(Action::HttpsRedirected, "")),
        "noted"
    );
    assert_eq!(
        word(SecurityEvent::new(Action::EventsSuppressed, "")),
        "noted"
    );
    assert!(text(&SecurityEvent::new(Action::IpBlocked, "")).contains(" client=- "));
}
