//! The HTTPS check behind a real nginx that terminates TLS.
//!
//! The tests start nginx on loopback, with a certificate that they generate. Where it is missing they fail, unless the variable
//! `PALISADE_TESTS_WITHOUT_NGINX` is set.

use std::{
    env, fs,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use palisade::{
    client_ip::{SchemeSource, TrustedProxies},
    event::{Action, SecurityEvent},
    host::AllowedHosts,
    https::{Hsts, Https, HttpsLayer, RedirectTarget},
};
use rustls::{pki_types::CertificateDer, version::TLS13};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    process::{Child, Command},
};

use crate::clients::{ask_1, ask_2, handshake, send_1};

const HOST: &str = "api.example.com";

/// A server with the HTTPS check that trusts 127.0.0.1 and nobody else.
struct App {
    address: SocketAddr,
    actions: Arc<Mutex<Vec<Action>>>,
}

impl App {
    fn start(listener: TcpListener, https: Https) -> Self {
        let actions = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let actions = Arc::clone(&actions);
            move |event: &SecurityEvent<'_>| actions.lock().unwrap().push(event.action())
        };
        let app = Router::new()
            .route("/", get(|| async { "hello" }))
            .layer(HttpsLayer::new(https).with_sink(sink));
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, app).await
        });
        Self { address, actions }
    }

    fn actions(&self) -> Vec<Action> {
        std::mem::take(&mut *self.actions.lock().unwrap())
    }
}

/// nginx in front of it, with one port each for plain text, for TLS, and for TLS that it tells nobody of.
struct Nginx {
    plain: SocketAddr,
    secure: SocketAddr,
    silent: SocketAddr,
    certificate: CertificateDer<'static>,
    // Dropped in this order: the process first.
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx, or returns nothing where the tests may do without it.
    async fn start(upstream: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let new = rcgen::generate_simple_self_signed([String::from(HOST)]).unwrap();
        fs::write(folder.path().join("tls.crt"), new.cert.pem()).unwrap();
        fs::write(
            folder.path().join("tls.key"),
            new.signing_key.serialize_pem(),
        )
        .unwrap();
        // Somebody else may take a port before nginx does.
        for _ in 0..5 {
            let [plain, secure, silent] = free_addresses().await;
            let configuration = configuration(folder.path(), upstream, plain, secure, silent);
            fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
            if let Some(process) = run(folder.path()).await? {
                return Some(Self {
                    plain,
                    secure,
                    silent,
                    certificate: new.cert.der().clone(),
                    _process: process,
                    _folder: folder,
                });
            }
        }
        panic!("nginx does not start");
    }

    async fn ask_plain(&self, request: http::request::Builder) -> Response<Incoming> {
        let stream = TcpStream::connect(self.plain).await.unwrap();
        send_1(stream, request).await
    }

    async fn ask_secure(&self, address: SocketAddr, version: Version) -> Response<Incoming> {
        let protocol: &[u8] = match version {
            Version::HTTP_2 => b"h2",
            _ => b"http/1.1",
        };
        let stream = handshake(address, &self.certificate, protocol, &[&TLS13])
            .await
            .unwrap();
        match version {
            Version::HTTP_2 => ask_2(stream, "https://api.example.com/").await,
            _ => ask_1(stream, "/").await,
        }
    }
}

async fn free_addresses() -> [SocketAddr; 3] {
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = [listen().await, listen().await, listen().await];
    listeners.map(|listener| listener.local_addr().unwrap())
}

fn configuration(
    folder: &Path,
    upstream: SocketAddr,
    plain: SocketAddr,
    secure: SocketAddr,
    silent: SocketAddr,
) -> String {
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
    proxy_set_header Host $host;
    server {{
        listen {plain};
        listen {secure} ssl http2;
        location / {{
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_pass http://{upstream};
        }}
    }}
    server {{
        listen {silent} ssl;
        location / {{
            proxy_pass http://{upstream};
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
        eprintln!(
            "NOT TESTED behind nginx: it is missing, and PALISADE_TESTS_WITHOUT_NGINX is set"
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

fn source() -> SchemeSource {
    let proxies: TrustedProxies = "127.0.0.1".parse().unwrap();
    SchemeSource::XForwardedProto(proxies)
}

fn get_root() -> http::request::Builder {
    Request::get("/").header("host", HOST)
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[track_caller]
fn check_hsts(response: &Response<Incoming>, expected: Option<&str>) {
    let fields = response.headers().get_all("strict-transport-security");
    assert!(fields.iter().eq(expected), "{response:?}");
}

#[tokio::test]
async fn plain_text_is_refused_behind_nginx() {
    let https = Https::reject(source()).with_hsts(Hsts::one_year());
    let app = App::start(listen().await, https);
    let Some(nginx) = Nginx::start(app.address).await else {
        return;
    };
    let response = nginx.ask_plain(get_root()).await;
    assert_eq!(response.status(), 403);
    check_hsts(&response, None);
    // nginx writes the field itself, whatever the client has written.
    let forged = get_root().header("x-forwarded-proto", "https");
    assert_eq!(nginx.ask_plain(forged).await.status(), 403);
    assert_eq!(app.actions(), [Action::HttpsRequired; 2]);

    for version in [Version::HTTP_11, Version::HTTP_2] {
        let response = nginx.ask_secure(nginx.secure, version).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.version(), version);
        check_hsts(&response, Some("max-age=31536000"));
    }
    assert_eq!(app.actions(), []);
}

#[tokio::test]
async fn redirects_behind_nginx_do_not_loop() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let Some(nginx) = Nginx::start(address).await else {
        return;
    };
    let hosts: AllowedHosts = HOST.parse().unwrap();
    let target = RedirectTarget::from(hosts).with_port(nginx.secure.port());
    let https = Https::redirect_to(source(), target).with_hsts(Hsts::one_year());
    let app = App::start(listener, https);

    let response = nginx.ask_plain(get_root()).await;
    assert_eq!(response.status(), 308);
    check_hsts(&response, None);
    let location = format!("https://{HOST}:{}/", nginx.secure.port());
    assert_eq!(response.headers()["location"], location.as_str());
    assert_eq!(app.actions(), [Action::HttpsRedirected]);

    let response = nginx.ask_secure(nginx.secure, Version::HTTP_11).await;
    assert_eq!(response.status(), 200);
    check_hsts(&response, Some("max-age=31536000"));
    assert_eq!(app.actions(), []);
    let response = nginx.ask_plain(get_root().method("POST")).await;
    assert_eq!(response.status(), 403);
    app.actions();

    // Where nginx does not say that the client used HTTPS, the redirect leads to where the client comes from: that is told.
    let response = nginx.ask_secure(nginx.silent, Version::HTTP_11).await;
    assert_eq!(response.status(), 308);
    assert_eq!(
        app.actions(),
        [Action::RedirectLoopSuspected, Action::HttpsRedirected]
    );
}

#[tokio::test]
async fn whoever_comes_past_the_proxy_is_not_believed() {
    let https = Https::reject(source()).with_hsts(Hsts::one_year());
    let app = App::start(listen().await, https);
    let connect_from = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(address.parse().unwrap(), 0))
            .unwrap();
        socket.connect(app.address).await.unwrap()
    };
    let forged = || get_root().header("x-forwarded-proto", "https");
    let response = send_1(connect_from("127.0.0.2").await, forged()).await;
    assert_eq!(response.status(), 403);
    check_hsts(&response, None);
    assert_eq!(app.actions(), [Action::HttpsRequired]);
    // From the address of the proxy the same bytes count: the address makes the difference.
    let response = send_1(connect_from("127.0.0.1").await, forged()).await;
    assert_eq!(response.status(), 200);
    check_hsts(&response, Some("max-age=31536000"));
}
