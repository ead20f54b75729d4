//! What protects the running example.

use std::{fs, io::Write as _, net::TcpListener, path::Path, process::Stdio, time::Duration};

use http_body_util::Full;
use hyper::{Request, StatusCode, body::Bytes};
use serde_json::Value;
use tokio::time::sleep;

use crate::support::{self, Api};

fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::get(format!("http://{}{path}", api.addr));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// Asks until the answer is the expected one: files are looked at from time to time.
async fn becomes(api: &Api, path: &str, expected: StatusCode) {
    for _ in 0..100 {
        if api.get(path).await.status() == expected {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} is never answered {expected}");
}

async fn signal(api: &Api, name: &str) {
    let command = format!("kill -{name} {}", api.id());
    let status = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .status();
    assert!(status.await.unwrap().success());
}

#[tokio::test]
async fn forwarding_headers_are_believed_from_trusted_proxies_alone() {
    let spoof = [
        ("x-forwarded-for", "198.51.100.9"),
        ("x-forwarded-proto", "https"),
        // HSTS is for names: RFC 6797, section 8.1.1.
        ("host", "api.example.com"),
    ];
    let settings = [
        ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
        ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["192.0.2.1"]"#),
        ("API__HTTPS__SCHEME", "x_forwarded_proto"),
    ];
    let api = Api::start(&settings).await;
    let who: Value =
        serde_json::from_slice(api.send(get(&api, "/whoami", &spoof)).await.body()).unwrap();
    assert_eq!(who["client"], "127.0.0.1");
    assert_eq!(who["scheme"], "http");

    let settings = [
        ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
        ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
        ("API__HTTPS__SCHEME", "x_forwarded_proto"),
        ("API__HTTPS__MODE", "reject"),
    ];
    let api = Api::start(&settings).await;
    let response = api.send(get(&api, "/whoami", &spoof)).await;
    assert!(
        response.headers()["strict-transport-security"]
            .to_str()
            .unwrap()
            .starts_with("max-age=")
    );
    let who: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(who["client"], "198.51.100.9");
    assert_eq!(who["peer"], "127.0.0.1");
    assert_eq!(who["scheme"], "https");
    let plain = [
        ("x-forwarded-for", "198.51.100.9"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(api.send(get(&api, "/whoami", &plain)).await.status(), 403);
}

#[tokio::test]
async fn lists_are_reloaded_and_a_bad_file_keeps_the_old_one() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"198.51.100.0/24\n").unwrap();
    let path = file.path().to_str().unwrap();
    let api = Api::start(&[
        ("API__IP_FILTER__DENY_FILE", path),
        // Only signals reload.
        ("API__IP_FILTER__RELOAD", "1h"),
    ])
    .await;
    assert_eq!(api.get("/notes").await.status(), 200);

    fs::write(path, "127.0.0.0/8 # all of us\n").unwrap();
    signal(&api, "HUP").await;
    becomes(&api, "/notes", StatusCode::FORBIDDEN).await;

    fs::write(path, "not an address\n").unwrap();
    signal(&api, "HUP").await;
    // The reload is done when its event is out; the old list must hold after that.
    let line = api.line_with("ip_list_reload_failed").await;
    assert_eq!(line["log"]["logger"], "palisade::security");
    assert_eq!(api.get("/notes").await.status(), 403);
}

#[tokio::test]
async fn a_key_is_made_for_loopback_alone() {
    let api = Api::start(&[("API__API_KEYS__REQUIRED", "true")]).await;
    let refused = api.get("/notes").await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    let key = api.made_key().await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(api.send(get(&api, "/notes", &headers)).await.status(), 200);
    assert_eq!(api.get("/healthz").await.status(), 200);
    // Neither the log nor an event has the key.
    api.terminate().await;
    let (code, stdout, _) = api.end().await;
    assert_eq!(code, Some(0));
    assert!(!stdout.contains(&key));

    let beyond = [("API__SERVER__LISTEN", "0.0.0.0:0")];
    let output = support::run(&[], &beyond).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("API_KEYS") && stderr.contains("new-key"),
        "{stderr}"
    );
}

#[tokio::test]
async fn keys_come_from_a_secret_file_and_are_rotated() {
    let made = support::run(&["new-key"], &[]).await;
    assert_eq!(made.status.code(), Some(0));
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let stderr = String::from_utf8(made.stderr).unwrap();
    let digest = stderr
        .split('"')
        .find(|part| part.starts_with("sha256:"))
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    write(&path, &format!(r#"{{"alice": "{digest}"}}"#));
    let api = Api::start(&[
        ("API__API_KEYS__REQUIRED", "true"),
        ("API__API_KEYS__RELOAD", "200ms"),
        ("API_KEYS_FILE", path.to_str().unwrap()),
    ])
    .await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(api.send(get(&api, "/notes", &headers)).await.status(), 200);
    // Never in the query.
    assert_eq!(
        api.get(&format!("/notes?api_key={key}")).await.status(),
        401
    );

    write(&path, r#"{"alice": "another-key-that-is-long-enough"}"#);
    for _ in 0..100 {
        if api.send(get(&api, "/notes", &headers)).await.status() == 401 {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the old key stays valid");
}

fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Case A20: what is none of the service's business cannot stop it.
#[tokio::test]
async fn a_variable_that_is_not_utf_8_is_nobodys_business() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    // The keys are read before the address, which is taken, ends the service.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = support::command()
        .env("BAD", OsStr::from_bytes(b"\xa3"))
        .env("API_KEYS", r#"{"alice": "a-key-that-is-long-enough"}"#)
        .env("API__SERVER__LISTEN", &addr)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(20), output).await;
    let stderr = String::from_utf8(output.unwrap().unwrap().stderr).unwrap();
    assert!(
        stderr.contains("server.listen") && stderr.contains("in use"),
        "{stderr}"
    );
}

#[tokio::test]
async fn an_unusable_secret_ends_the_service_without_showing_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    write(&path, r#"{"alice": hunter2-secret-value}"#);
    let environment = [("API_KEYS_FILE", path.to_str().unwrap())];
    let output = support::run(&[], &environment).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("API_KEYS"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[tokio::test]
async fn tls_is_terminated_and_plain_text_redirected() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let plain = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plain_text = plain.to_string();
    let api = Api::start(&[
        ("API__TLS__CERTIFICATE", certificate.to_str().unwrap()),
        ("API__TLS__KEY", key.to_str().unwrap()),
        ("API__TLS__PLAIN_LISTEN", &plain_text),
        ("API__HTTPS__REDIRECT_HOST", "localhost"),
    ])
    .await;

    // The probe of the container goes by the same settings.
    let addr = api.addr.to_string();
    let settings = [
        ("API__SERVER__LISTEN", addr.as_str()),
        ("API__TLS__CERTIFICATE", certificate.to_str().unwrap()),
        ("API__TLS__KEY", key.to_str().unwrap()),
    ];
    let well = support::run(&["healthcheck"], &settings).await;
    assert_eq!(well.status.code(), Some(0), "{well:?}");

    let response = api.get_tls("/whoami?x=1", certified.cert.der()).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("strict-transport-security"));
    let who: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(who["scheme"], "https");

    let plain_url = |method: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{plain}/notes?a=%2e"));
        request
            .header("x-forwarded-proto", "https")
            .body(Full::default())
            .unwrap()
    };
    let redirected = api.send(plain_url("GET")).await;
    assert_eq!(redirected.status(), 308);
    assert_eq!(
        redirected.headers()["location"],
        "https://localhost/notes?a=%2e"
    );
    assert!(
        !redirected
            .headers()
            .contains_key("strict-transport-security")
    );
    assert_eq!(api.send(plain_url("POST")).await.status(), 403);
}

#[tokio::test]
async fn whoever_touches_a_trap_is_banned_and_can_be_let_off() {
    let admin = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let admin_text = admin.to_string();
    let api = Api::start(&[
        ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
        ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
        ("API__ADMIN__LISTEN", &admin_text),
    ])
    .await;
    let client = [("x-forwarded-for", "198.51.100.9")];
    assert_eq!(api.send(get(&api, "/notes", &client)).await.status(), 200);
    assert_eq!(api.send(get(&api, "/.env", &client)).await.status(), 403);
    assert_eq!(api.send(get(&api, "/notes", &client)).await.status(), 403);
    let other = [("x-forwarded-for", "198.51.100.10")];
    assert_eq!(api.send(get(&api, "/notes", &other)).await.status(), 200);

    let on_admin = |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{admin}{path}"));
        request.body(Full::default()).unwrap()
    };
    let bans = api.send(on_admin("GET", "/admin/bans")).await;
    assert_eq!(bans.status(), 200);
    assert!(String::from_utf8_lossy(bans.body()).contains("198.51.100.9"));
    let lifted = api
        .send(on_admin("DELETE", "/admin/bans/198.51.100.9"))
        .await;
    assert!(lifted.status().is_success(), "{}", lifted.status());
    assert_eq!(api.send(get(&api, "/notes", &client)).await.status(), 200);
}

#[tokio::test]
async fn a_mistake_in_a_protection_names_the_setting() {
    let cases: [(&[(&str, &str)], &str); 7] = [
        (
            &[("API__CLIENT_IP__SOURCE", "x_forwarded_for")],
            "client_ip.trusted_proxies",
        ),
        (
            &[("API__CLIENT_IP__TRUSTED_PROXIES", r#"["10.0.0.0/33"]"#)],
            "client_ip.trusted_proxies",
        ),
        (
            &[("API__IP_FILTER__DENY", r#"["010.0.0.1"]"#)],
            "ip_filter.deny",
        ),
        (
            &[("API__IP_FILTER__ALLOW_FILE", "/nonexistent")],
            "ip_filter.allow_file",
        ),
        (&[("API__HTTPS__MODE", "redirect")], "https.redirect_host"),
        (
            &[
                ("API__TLS__CERTIFICATE", "/nonexistent"),
                ("API__TLS__KEY", "/nonexistent"),
            ],
            "tls",
        ),
        (&[("API__HTTPS__HOSTS", r#"["*"]"#)], "https.hosts"),
    ];
    for (environment, setting) in cases {
        let output = support::command()
            .envs(environment.iter().copied())
            .env("API__SERVER__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .output();
        let output = tokio::time::timeout(Duration::from_secs(20), output)
            .await
            .unwrap()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.contains(setting),
            "{stderr:?} does not name {setting}"
        );
    }
}
