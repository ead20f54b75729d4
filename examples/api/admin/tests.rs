use std::net::SocketAddr;

use axum::{body::Body, http::header::HOST};
use http_body_util::BodyExt as _;
use palisade::{
    api_key::{ApiKeys, KeyFormat, NewApiKey},
    client_ip::{ClientIpSource, PeerAddr},
    event::{Action, EventSink as _, SecurityEvent},
    jail::{Jail, TrapPaths},
    secret::ExposeSecret as _,
};
use tower::ServiceExt as _;

use super::*;

const CLIENT: &str = "203.0.113.7";

struct Service {
    app: Router,
    admin: Router,
    feed: EventFeed,
}

/// A service that bans whoever touches a trap, and its operator's router.
fn service() -> Service {
    let feed = EventFeed::default();
    let layer = SecurityLayer::builder(ClientIpSource::Peer)
        .jail(Jail::builder().traps(TrapPaths::common()))
        .sink(feed.clone())
        .build();
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(layer.clone());
    let metrics = builder().unwrap().build_recorder().handle();
    let admin = router(&layer, feed.clone(), metrics);
    Service { app, admin, feed }
}

impl Service {
    async fn visit(&self, path: &str) -> StatusCode {
        let peer: SocketAddr = format!("{CLIENT}:50000").parse().unwrap();
        let request = Request::get(path).extension(PeerAddr::from(peer));
        let request = request.body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        response.status()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        if headers.iter().all(|(name, _)| *name != HOST.as_str()) {
            request = request.header(HOST, "127.0.0.1:9090");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.admin.clone().oneshot(request).await.unwrap()
    }

    async fn data(&self) -> Value {
        let response = self.ask("GET", "/admin/security/data", &[]).await;
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

fn event(path: &str) -> SecurityEvent<'_> {
    SecurityEvent::new(Action::IpBlocked, "address is blocked").with_path(path)
}

/// The next event of a stream: its identifier and what it says.
async fn next(body: &mut Body) -> Option<(String, Value)> {
    let frame = body.frame().await?.unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().to_owned()
    };
    Some((field("id:"), serde_json::from_str(&field("data:")).unwrap()))
}

#[tokio::test]
async fn a_ban_is_shown_and_lifted() {
    let service = service();
    assert_eq!(service.visit("/").await, 200);
    assert_eq!(service.visit("/wp-login.php").await, 403);
    assert_eq!(service.visit("/").await, 403);

    let data = service.data().await;
    assert_eq!(data["jail"]["active"], 1);
    let ban = &data["jail"]["bans"][0];
    assert_eq!(ban["client"], format!("{CLIENT}/32"));
    assert!(ban["start"].as_u64() < ban["end"].as_u64());
    let policies = data["policies"].as_array().unwrap();
    let jail = policies.iter().find(|it| it["layer"] == "jail").unwrap();
    assert_eq!(
        (&jail["allowed"], &jail["denied"]),
        (&json!(1), &json!(2)),
        "{jail}"
    );

    let path = format!("/admin/bans/{CLIENT}%2F32");
    assert_eq!(service.ask("DELETE", &path, &[]).await.status(), 200);
    assert_eq!(service.data().await["jail"]["active"], 0);
    assert_eq!(service.visit("/").await, 200);
}

#[tokio::test]
async fn events_are_told_once_and_as_they_come() {
    let service = service();
    service.feed.record(&event("/first"));
    service.feed.record(&event("/second\n\ndata: forged"));

    let events = "/admin/security/events";
    let mut body = service.ask("GET", events, &[]).await.into_body();
    assert_eq!(next(&mut body).await.unwrap().1["path"], "/first");
    let (id, second) = next(&mut body).await.unwrap();
    assert_eq!(second["path"], "/second\\u{a}\\u{a}data: forged");
    assert_eq!(second["action"], "ip_blocked");
    assert_eq!(second["level"], "warn");
    service.feed.record(&event("/third"));
    assert_eq!(next(&mut body).await.unwrap().1["path"], "/third");

    // Whoever comes again goes on after what it has seen; an identifier of another process says nothing.
    let again = service.ask("GET", events, &[("last-event-id", &id)]).await;
    assert_eq!(
        next(&mut again.into_body()).await.unwrap().1["path"],
        "/third"
    );
    let other = service
        .ask("GET", events, &[("last-event-id", "1-99")])
        .await;
    assert_eq!(
        next(&mut other.into_body()).await.unwrap().1["path"],
        "/first"
    );

    service.feed.end();
    assert!(next(&mut body).await.is_none());
    assert_eq!(service.ask("GET", events, &[]).await.status(), 503);
}

#[tokio::test]
async fn what_is_remembered_is_bounded_and_a_slow_reader_is_dropped() {
    let service = service();
    let events = "/admin/security/events";
    let mut slow = service.ask("GET", events, &[]).await.into_body();
    for number in 0..1000 {
        service.feed.record(&event(&format!("/{number}")));
    }
    assert!(next(&mut slow).await.is_none());
    let mut body = service.ask("GET", events, &[]).await.into_body();
    assert_eq!(next(&mut body).await.unwrap().1["path"], "/900");
}

#[tokio::test]
async fn there_are_so_many_readers_and_no_more() {
    let service = service();
    let events = "/admin/security/events";
    let mut readers = Vec::new();
    for _ in 0..16 {
        let reader = service.ask("GET", events, &[]).await;
        assert_eq!(reader.status(), 200);
        readers.push(reader);
    }
    let refused = service.ask("GET", events, &[]).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    readers.pop();
    assert_eq!(service.ask("GET", events, &[]).await.status(), 200);
}

#[tokio::test]
async fn a_key_of_a_client_is_not_one_of_an_operator() {
    let (client, operator) = (
        NewApiKey::generate("test").unwrap(),
        NewApiKey::generate("test").unwrap(),
    );
    let text = format!(
        r#"{{"client": "{}", "operator": {{"keys": ["{}"], "scopes": ["{SCOPE}"]}}}}"#,
        client.digest().to_text(),
        operator.digest().to_text(),
    );
    let keys = ApiKeys::parse(&text, KeyFormat::Json).unwrap();
    let keys = ApiKeyPolicy::new(keys).with_scope(SCOPE).unwrap();
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .policy(unless_open(keys))
        .peer(|_| Some(SocketAddr::from(([127, 0, 0, 1], 50_000)).into()))
        .build();
    let mut service = service();
    service.admin = service.admin.layer(security);
    for (key, expected) in [(&client, 403), (&operator, 200)] {
        let bearer = format!("Bearer {}", key.key().expose_secret());
        let fields = [("authorization", &*bearer)];
        let answer = service.ask("GET", "/admin/bans", &fields).await;
        assert_eq!(answer.status(), expected);
    }
}

#[tokio::test]
async fn a_key_is_asked_for_before_data_and_not_before_the_page() {
    let key = NewApiKey::generate("test").unwrap();
    let keys = ApiKeys::single("operator", key.digest()).unwrap();
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .policy(unless_open(ApiKeyPolicy::new(keys)))
        .peer(|_| Some(SocketAddr::from(([127, 0, 0, 1], 50_000)).into()))
        .build();
    let counts = security.counts();
    let label = counts.last().unwrap().label();
    assert_eq!((label.layer(), label.policy()), ("api_key", "api_key"));
    let mut service = service();
    service.admin = service.admin.layer(security);
    for path in ["/metrics", "/admin/security", "/admin/security/page.js"] {
        assert_eq!(service.ask("GET", path, &[]).await.status(), 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/admin/security/data"),
        ("GET", "/admin/security/events"),
        ("GET", "/admin/bans"),
        ("POST", "/admin/bans"),
        ("DELETE", "/admin/bans/203.0.113.7"),
        ("GET", "/admin/security/"),
        ("GET", "/elsewhere"),
    ] {
        let refused = service.ask(method, path, &[]).await;
        assert_eq!(refused.status(), 401, "{method} {path}");
    }
    let key = format!("Bearer {}", key.key().expose_secret());
    let key = [("authorization", key.as_str())];
    let let_in = service.ask("GET", "/admin/bans", &key).await;
    assert_eq!(let_in.status(), 200);
}

#[tokio::test]
async fn a_page_of_a_name_that_resolves_to_this_machine_is_refused() {
    let service = service();
    assert_eq!(service.visit("/.env").await, 403);
    let path = format!("/admin/bans/{CLIENT}");
    for host in [
        "rebound.example:9090",
        "localhost.rebound.example",
        "127.0.0.1.rebound.example",
    ] {
        let refused = service.ask("DELETE", &path, &[("host", host)]).await;
        assert_eq!(refused.status(), 421, "{host}");
    }
    assert_eq!(service.visit("/").await, 403);
    for host in ["localhost:9090", "[::1]:9090"] {
        let host = [("host", host)];
        let data = service.ask("GET", "/admin/security/data", &host).await;
        assert_eq!(data.status(), 200, "{host:?}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let service = service();
    for (site, expected) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 200),
    ] {
        for path in [
            "/admin/security/data",
            "/admin/security/events",
            "/admin/bans",
        ] {
            let site = [("sec-fetch-site", site)];
            let answer = service.ask("GET", path, &site).await;
            assert_eq!(answer.status(), expected, "{path} {site:?}");
        }
    }
}

#[tokio::test]
async fn the_files_need_nothing_inline_and_nothing_from_elsewhere() {
    let service = service();
    for (path, content_type) in [
        ("/admin/security", "text/html; charset=utf-8"),
        ("/admin/security/page.css", "text/css; charset=utf-8"),
        ("/admin/security/page.js", "text/javascript; charset=utf-8"),
        ("/admin/security/icon.svg", "image/svg+xml"),
    ] {
        let response = service.ask("GET", path, &[]).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], content_type);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; "),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let page = include_str!("page.html");
    for inline in ["<style", "style=", "onclick", "<script>", "://", "src=\"//"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script src=\"/admin/").count()
    );
}

#[test]
fn the_page_is_told_of_so_many_bans_and_no_more() {
    let handle = Jail::builder().build().handle();
    for last in 0..=250 {
        let client = std::net::Ipv4Addr::new(203, 0, 113, last);
        handle.ban(client.into(), Duration::from_secs(60)).unwrap();
    }
    let jail = jail(&handle);
    assert_eq!(jail["active"], 251);
    assert_eq!(jail["bans"].as_array().unwrap().len(), LISTED_BANS);
}

#[test]
fn metrics_of_what_is_built_afterwards_are_recorded_once() {
    let metrics = install_metrics().unwrap();
    assert!(install_metrics().is_err(), "there is one recorder");
    let layer = SecurityLayer::builder(ClientIpSource::Peer)
        .check_duration()
        .build();
    assert_eq!(layer.counts().len(), 1);
    let text = metrics.render();
    let line =
        r#"palisade_decisions_total{layer="client_ip",policy="known_peer",decision="denied"} 0"#;
    assert!(text.lines().any(|it| it == line), "{text}");
}
