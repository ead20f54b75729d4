//! The example behind a real nginx that terminates TLS.
//!
//! The tests start nginx on loopback, with a certificate that they generate. Where it is missing they fail, unless the variable
//! `PALISADE_TESTS_WITHOUT_NGINX` is set.
//!
//! nginx comes from an address of its own, which is the only one that the example trusts: a connection from any other is one past the proxy.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use hyper::{Request, Response, Uri, body::Bytes, http::request::Builder};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
};

use crate::support::{Api, free_address, send, tls};

const HOST: &str = "api.example.com";
const HSTS: &str = "max-age=31536000";
/// Where nginx connects from, and where its clients do.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

/// The example, and nginx in front of it with one port for plain text and one for TLS.
struct Site {
    api: Api,
    plain: SocketAddr,
    secure: SocketAddr,
    certificate: CertificateDer<'static>,
    // Dropped in this order: the process first.
    _nginx: Child,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Starts both, or returns nothing where the tests may do without nginx.
    async fn start(mode: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let new = rcgen::generate_simple_self_signed([String::from(HOST)]).unwrap();
        let key = new.signing_key.serialize_pem();
        fs::write(folder.path().join("tls.crt"), new.cert.pem()).unwrap();
        fs::write(folder.path().join("tls.key"), key).unwrap();
        // Somebody else may take a port before nginx does.
        for _ in 0..5 {
            let (plain, secure) = (free_address().await, free_address().await);
            let api = Api::start(&[
                ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
                (
                    "API__CLIENT_IP__TRUSTED_PROXIES",
                    &format!(r#"["{PROXY}"]"#),
                ),
                ("API__HTTPS__SCHEME", "x_forwarded_proto"),
                ("API__HTTPS__MODE", mode),
                (
                    "API__HTTPS__REDIRECT_HOST",
                    &format!("{HOST}:{}", secure.port()),
                ),
            ])
            .await;
            let configuration = configuration(folder.path(), api.addr, plain, secure);
            fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
            if let Some(nginx) = run(folder.path()).await? {
                return Some(Self {
                    api,
                    plain,
                    secure,
                    certificate: new.cert.der().clone(),
                    _nginx: nginx,
                    _folder: folder,
                });
            }
        }
        panic!("nginx does not start");
    }

    async fn ask_plain(&self, request: Builder) -> Response<Bytes> {
        send(connect(self.plain).await, request).await
    }

    async fn ask_secure(&self, request: Builder) -> Response<Bytes> {
        let stream = connect(self.secure).await;
        send(tls(stream, HOST, &self.certificate).await, request).await
    }

    /// Asks the example itself, from an address that is no trusted proxy's.
    async fn ask_past_nginx(&self, request: Builder) -> Response<Bytes> {
        send(connect(self.api.addr).await, request).await
    }

    /// Goes where a redirect leads, as a client would that resolves our name to nginx.
    async fn follow(&self, redirect: &Response<Bytes>) -> Response<Bytes> {
        let location = redirect.headers()["location"].to_str().unwrap();
        let location: Uri = location.parse().unwrap();
        assert_eq!(location.host(), Some(HOST));
        let request = Request::get(location.path_and_query().unwrap().as_str());
        let request = request.header("host", location.authority().unwrap().as_str());
        match (location.scheme_str(), location.port_u16()) {
            (Some("https"), port) if port == Some(self.secure.port()) => {
                self.ask_secure(request).await
            }
            other => panic!("nobody listens there: {other:?}"),
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(CLIENT, 0)).unwrap();
    socket.connect(address).await.unwrap()
}

fn configuration(folder: &Path, api: SocketAddr, plain: SocketAddr, secure: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
pid {folder}/pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/tls.crt;
    ssl_certificate_key {folder}/tls.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen {plain};
        listen {secure} ssl;
        location / {{
            proxy_bind {PROXY};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_pass http://{api};
        }}
    }}
}}
"
    )
}

/// Runs nginx until it listens. The outer nothing means that there is no nginx, the inner one that it could not listen.
async fn run(folder: &Path) -> Option<Option<Child>> {
    // Debian puts it where only the administrator's path looks.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let process = Command::new("nginx")
        .env("PATH", path)
        .args(["-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut process) = process else {
        assert!(
            env::var_os("PALISADE_TESTS_WITHOUT_NGINX").is_some(),
            "nginx is missing: install it (apt-get install nginx-light), or set PALISADE_TESTS_WITHOUT_NGINX=1 to go without these tests"
        );
        let test = std::thread::current();
        eprintln!(
            "SKIPPED {}: nginx is missing, and PALISADE_TESTS_WITHOUT_NGINX is set",
            test.name().unwrap_or("a test")
        );
        return None;
    };
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        // It tells its limits once it listens.
        if line.contains("RLIMIT_NOFILE") {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(Some(process));
        }
        said.push_str(&line);
        said.push('\n');
    }
    assert!(said.contains("bind()"), "nginx ended: {said}");
    Some(None)
}

fn whoami() -> Builder {
    Request::get("/whoami?x=%2e").header("host", HOST)
}

#[track_caller]
fn check_hsts(response: &Response<Bytes>, expected: Option<&str>) {
    let fields = response.headers().get_all("strict-transport-security");
    assert!(fields.iter().eq(expected), "{response:?}");
}

/// Checks that the example knows who is asking, over TLS, and whom it has been told by.
#[track_caller]
fn check_client(response: &Response<Bytes>) {
    assert_eq!(response.status(), 200, "{response:?}");
    check_hsts(response, Some(HSTS));
    let who: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(who["client"], CLIENT.to_string());
    assert_eq!(who["peer"], PROXY.to_string());
    assert_eq!(who["scheme"], "https");
}

/// What both modes have in common: neither nginx's clients nor those who come past it are believed.
async fn check_forgeries(site: &Site) {
    let honest = site.ask_past_nginx(whoami()).await;
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-proto", "http, https"),
        ("forwarded", "for=198.51.100.9;proto=https"),
    ] {
        for forged in [
            site.ask_past_nginx(whoami().header(name, value)).await,
            site.ask_plain(whoami().header(name, value)).await,
        ] {
            assert_eq!(forged.status(), honest.status(), "{name}: {value}");
            assert_eq!(
                forged.headers().get("location"),
                honest.headers().get("location")
            );
            assert_eq!(forged.body(), honest.body());
            check_hsts(&forged, None);
        }
    }
    // An address of somebody else, that of the proxy, and none at all.
    for spoof in ["198.51.100.9", "127.0.0.5", "198.51.100.9, 127.0.0.5", "-"] {
        let spoofed = whoami().header("x-forwarded-for", spoof);
        check_client(&site.ask_secure(spoofed).await);
    }
    // nginx repeats the scheme of the connection, whatever else the client has sent.
    let denied = whoami().header("x-forwarded-proto", "http");
    check_client(&site.ask_secure(denied).await);
}

#[tokio::test]
async fn plain_text_is_refused_behind_nginx() {
    let Some(site) = Site::start("reject").await else {
        return;
    };
    for method in ["GET", "HEAD", "POST"] {
        let response = site.ask_plain(whoami().method(method)).await;
        assert_eq!(response.status(), 403, "{method}");
        assert!(!response.headers().contains_key("location"));
        check_hsts(&response, None);
    }
    assert_eq!(site.ask_past_nginx(whoami()).await.status(), 403);
    let event = site.api.line_with("https_required").await;
    assert_eq!(event["log"]["logger"], "palisade::security");

    check_client(&site.ask_secure(whoami()).await);
    // RFC 6797, section 8.1.1: HSTS is for names.
    let address = Request::get("/whoami").header("host", site.secure.to_string());
    let response = site.ask_secure(address).await;
    assert_eq!(response.status(), 200);
    check_hsts(&response, None);
    check_forgeries(&site).await;
}

#[tokio::test]
async fn a_redirect_behind_nginx_is_followed_once() {
    let Some(site) = Site::start("redirect").await else {
        return;
    };
    let redirect = site.ask_plain(whoami()).await;
    assert_eq!(redirect.status(), 308);
    check_hsts(&redirect, None);
    let location = format!("https://{HOST}:{}/whoami?x=%2e", site.secure.port());
    assert_eq!(redirect.headers()["location"], location.as_str());
    // A loop would be a second redirect.
    check_client(&site.follow(&redirect).await);

    let head = site.ask_plain(whoami().method("HEAD")).await;
    assert_eq!(head.status(), 308);
    let post = site.ask_plain(whoami().method("POST")).await;
    assert_eq!(post.status(), 403);
    assert!(!post.headers().contains_key("location"));
    assert_eq!(site.ask_past_nginx(whoami()).await.status(), 308);
    check_forgeries(&site).await;
}
