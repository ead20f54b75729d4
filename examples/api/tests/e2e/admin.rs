//! What an operator sees of the running example: Prometheus scrapes it, a browser shows its page.
//!
//! A missing tool fails the test and names its package; `PALISADE_SKIP_SYSTEM=1` skips these tests and says so.

use std::{
    env,
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, StatusCode, body::Bytes};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
    time::{sleep, timeout},
};

use crate::{browser::Browser, support::Api};

/// The client, behind a proxy on this machine: loopback itself is never banned.
const CLIENT: &str = "203.0.113.7";

/// Settings of a service with a listener for administration, behind a proxy on this machine.
const BEHIND_PROXY: [(&str, &str); 3] = [
    ("API__ADMIN__LISTEN", "127.0.0.1:0"),
    ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
    ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
];

/// Finds a tool, or says which package has it; nothing where these tests are to be skipped.
fn tool(name: &str, package: &str) -> Option<PathBuf> {
    if env::var_os("PALISADE_SKIP_SYSTEM").is_some_and(|it| it == "1") {
        eprintln!("skipped by PALISADE_SKIP_SYSTEM: the test that needs `{name}`");
        return None;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|it| it.is_file());
    Some(found.unwrap_or_else(|| {
        panic!(
            "`{name}` is missing: `apt-get install {package}`, or skip with PALISADE_SKIP_SYSTEM=1"
        )
    }))
}

/// Asks as the client.
async fn visit(api: &Api, path: &str, key: Option<&str>) -> StatusCode {
    let mut request = Request::get(format!("http://{}{path}", api.addr));
    request = request.header("x-forwarded-for", CLIENT);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let response = api.send(request.body(Full::default()).unwrap()).await;
    response.status()
}

async fn ask(api: &Api, addr: SocketAddr, path: &str) -> (StatusCode, Bytes) {
    let request = Request::get(format!("http://{addr}{path}"));
    let response = api.send(request.body(Full::default()).unwrap()).await;
    (response.status(), response.into_body())
}

#[tokio::test]
async fn a_browser_shows_a_ban_and_lifts_it() {
    let (Some(driver), Some(browser)) = (
        tool("chromedriver", "chromium-driver"),
        tool("chromium", "chromium"),
    ) else {
        return;
    };
    let mut settings = BEHIND_PROXY.to_vec();
    settings.push(("API__API_KEYS__REQUIRED", "true"));
    let api = Api::start(&settings).await;
    let admin = api.admin_addr().await;
    let key = api.made_key().await;
    let key = key.as_str();
    assert_eq!(visit(&api, "/notes", Some(key)).await, 200);
    assert_eq!(visit(&api, "/wp-login.php", Some(key)).await, 403);
    assert_eq!(visit(&api, "/notes", Some(key)).await, 403);

    let page = Browser::start(driver, browser).await;
    page.open(&format!("http://{admin}/admin/security")).await;
    // Without a key the page tells nothing.
    page.wait_until("!document.querySelector('#key').hidden")
        .await;
    assert_eq!(
        page.run("return document.querySelector('#bans').rows.length")
            .await,
        0
    );
    page.enter("#key-field", "wrong").await;
    page.click("#key button").await;
    page.wait_until("document.querySelector('#problem').textContent.includes('not accepted')")
        .await;
    page.enter("#key-field", key).await;
    page.click("#key button").await;

    page.wait_until(&format!(
        "document.querySelector('#bans').innerText.includes('{CLIENT}')"
    ))
    .await;
    page.wait_until("document.querySelector('#state').textContent === 'live'")
        .await;
    for word in ["client_banned", CLIENT, "/wp-login.php"] {
        page.wait_until(&format!(
            "document.querySelector('#events').innerText.includes('{word}')"
        ))
        .await;
    }
    assert_eq!(
        page.run("return document.querySelector('#active').textContent")
            .await,
        "1"
    );
    page.wait_until(
        "document.querySelector('#problem').hidden && document.querySelector('#key').hidden",
    )
    .await;

    page.click("#bans button").await;
    page.wait_until("!document.querySelector('#no-bans').hidden")
        .await;
    assert_eq!(visit(&api, "/notes", Some(key)).await, 200);
    // The page has not been loaded again: this event came by itself.
    page.wait_until("document.querySelector('#events').innerText.includes('client_unbanned')")
        .await;

    // Nothing was refused but the missing and the wrong key, by the policy of the page neither.
    let complaints = page.complaints().await;
    for complaint in &complaints {
        assert!(complaint.contains("401 (Unauthorized)"), "{complaint}");
    }
    assert!(!complaints.is_empty(), "the log of the browser is read");
    // The key is nowhere where another page could find it, nor in the page itself.
    let kept = "return [localStorage.length, sessionStorage.length, document.cookie, document.documentElement.outerHTML].join()";
    let kept = page.run(kept).await;
    let kept = kept.as_str().unwrap();
    assert!(kept.starts_with("0,0,,<html") && !kept.contains(key));
    // And the policy holds: what got into the page would not be run.
    let inline = "try { \
            const script = document.createElement('script'); \
            script.textContent = 'window.ran = true'; \
            document.body.append(script); \
        } catch {} \
        return window.ran === true";
    assert_eq!(page.run(inline).await, false);
    let elsewhere = format!(
        "return fetch('http://{}/notes', {{ mode: 'no-cors' }}).then(() => 'reached', () => 'refused')",
        api.addr
    );
    assert_eq!(page.run(&elsewhere).await, "refused");
    page.close().await;

    // A page that is open keeps the service from ending no longer than it must.
    api.terminate().await;
    assert_eq!(api.end().await.0, Some(0));
}

#[tokio::test]
async fn an_open_event_stream_does_not_keep_the_service_from_ending() {
    let mut settings = BEHIND_PROXY.to_vec();
    settings.push(("API__SERVER__SHUTDOWN_GRACE", "15s"));
    let api = Api::start(&settings).await;
    let admin = api.admin_addr().await;
    assert_eq!(visit(&api, "/.env", None).await, 403);
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET /admin/security/events HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut lines = BufReader::new(stream);
    let read = async {
        while !answer.contains("client_banned") {
            assert_ne!(lines.read_line(&mut answer).await.unwrap(), 0, "{answer}");
        }
        // It is open, and only the end of the service ends it.
        api.terminate().await;
        lines.read_to_string(&mut answer).await.unwrap();
    };
    timeout(Duration::from_secs(20), read)
        .await
        .expect("it ends");
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    let (code, stdout, _) = api.end().await;
    assert_eq!(code, Some(0));
    assert!(!stdout.contains("cut off"), "{stdout}");
}

/// `[events]` holds for the listener for administration as well.
#[tokio::test]
async fn addresses_that_are_left_out_of_events_are_left_out_everywhere() {
    let mut settings = BEHIND_PROXY.to_vec();
    settings.push(("API__ADMIN__ALLOW", r#"["192.0.2.1"]"#));
    settings.push(("API__EVENTS__PRIVACY", "omitted"));
    let api = Api::start(&settings).await;
    let admin = api.admin_addr().await;
    assert_eq!(ask(&api, admin, "/metrics").await.0, 403);
    let line = api.line_with("ip_not_allowed").await.to_string();
    assert!(!line.contains("127.0.0.1"), "{line}");
}

#[tokio::test]
async fn prometheus_scrapes_the_metrics_and_promtool_has_nothing_to_say() {
    let (Some(prometheus), Some(promtool)) = (
        tool("prometheus", "prometheus"),
        tool("promtool", "prometheus"),
    ) else {
        return;
    };
    let api = Api::start(&BEHIND_PROXY).await;
    let admin = api.admin_addr().await;
    assert_eq!(visit(&api, "/notes", None).await, 200);
    assert_eq!(visit(&api, "/.env", None).await, 403);
    assert_eq!(visit(&api, "/notes", None).await, 403);

    let (status, metrics) = ask(&api, admin, "/metrics").await;
    assert_eq!(status, 200);
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = check.stdin.take().unwrap();
    stdin.write_all(&metrics).await.unwrap();
    drop(stdin);
    let output = check.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    let text = format!(
        "scrape_configs:\n- job_name: api\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  static_configs:\n  - targets: ['{admin}']\n"
    );
    fs::write(&config, text).unwrap();
    // Prometheus does not tell which port it was given; this one was free a moment ago.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let listen = listen.unwrap();
    let _prometheus = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    for (query, expected) in [
        (r#"up{job="api"}"#, "1"),
        (
            r#"palisade_decisions_total{layer="jail",decision="denied"}"#,
            "2",
        ),
        (
            r#"palisade_decisions_total{layer="jail",decision="allowed"}"#,
            "1",
        ),
        // Once, although the log and the page are told of it.
        (r#"palisade_events_total{action="client_banned"}"#, "1"),
        ("palisade_bans_active", "1"),
        (r#"palisade_enforced{layer="jail"}"#, "1"),
        // Once per request to either listener: three visits, and scrapes.
        (
            "palisade_check_duration_seconds_bucket{le=\"+Inf\"} >= bool 3",
            "1",
        ),
    ] {
        assert_eq!(becomes(&api, listen, query).await, expected, "{query}");
    }
}

/// Asks Prometheus until it has an answer: it starts and scrapes when it likes.
async fn becomes(api: &Api, prometheus: SocketAddr, query: &str) -> String {
    let mut path = String::from("/api/v1/query?query=");
    for byte in query.bytes() {
        let _ = write!(path, "%{byte:02X}");
    }
    for _ in 0..300 {
        if TcpStream::connect(prometheus).await.is_ok() {
            let (status, body) = ask(api, prometheus, &path).await;
            if status == 200 {
                let answer: Value = serde_json::from_slice(&body).unwrap();
                if let Some(value) = answer["data"]["result"][0]["value"][1].as_str() {
                    return value.to_owned();
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("Prometheus has no answer");
}
