//! Starts the example and talks to it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes, http::request::Builder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// No step of a test takes longer; it only ends a test that would hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Builds the example once and returns where it is.
pub(crate) fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            // `cargo test` builds examples before it runs tests; a run of this test alone does not.
            let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
            let output = std::process::Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--example",
                    "api",
                    "--manifest-path",
                    manifest,
                ])
                .args(["--message-format", "json"])
                .stderr(Stdio::inherit())
                .output()
                .unwrap();
            assert!(output.status.success(), "the example does not build");
            String::from_utf8(output.stdout)
                .unwrap()
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .filter(|message| message["target"]["name"] == "api")
                .find_map(|message| message["executable"].as_str().map(PathBuf::from))
                .expect("cargo names the executable of the example")
        })
        .clone()
}

/// A command that runs the example without the settings of whoever runs the tests.
pub(crate) fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("API_") {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true);
    command
}

/// An address on loopback where nobody listens yet.
pub(crate) async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Runs the example to its end.
pub(crate) async fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let output = command()
        .args(args)
        .envs(environment.iter().copied())
        .output();
    timeout(PATIENCE, output).await.expect("it ends").unwrap()
}

/// A running example.
pub(crate) struct Api {
    pub(crate) addr: SocketAddr,
    child: Child,
    stdout: Mutex<BufReader<ChildStdout>>,
    stderr: Mutex<BufReader<ChildStderr>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    /// Starts the example on a free port.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_with(&[], environment).await
    }

    /// Starts the example on a free port, with arguments.
    pub(crate) async fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(args);
        Self::start_by(command, environment).await
    }

    /// Starts the example by a command that ends in it.
    pub(crate) async fn start_by(mut command: Command, environment: &[(&str, &str)]) -> Self {
        let mut child = command
            .env("API__SERVER__LISTEN", "127.0.0.1:0")
            .env("API__LOG__FORMAT", "json")
            .env("API__API_KEYS__REQUIRED", "false")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        timeout(PATIENCE, stderr.read_line(&mut line))
            .await
            .expect("it says where it listens")
            .unwrap();
        let addr = line
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once(". "))
            .and_then(|(addr, _)| addr.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            addr,
            child,
            stdout: Mutex::new(stdout),
            stderr: Mutex::new(stderr),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Bytes> {
        let request = Request::get(format!("http://{}{path}", self.addr));
        self.send(request.body(Full::default()).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let response = timeout(PATIENCE, self.client.request(request))
            .await
            .expect("it answers")
            .unwrap();
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("it ends");
        Response::from_parts(head, body.unwrap().to_bytes())
    }

    pub(crate) async fn post_json(&self, path: &str, json: &str) -> Response<Bytes> {
        let request = Request::post(format!("http://{}{path}", self.addr))
            .header("content-type", "application/json")
            .body(Full::from(json.to_owned()))
            .unwrap();
        self.send(request).await
    }

    /// Asks over TLS, with this certificate as the only one that is trusted.
    pub(crate) async fn get_tls(
        &self,
        path: &str,
        certificate: &CertificateDer<'static>,
    ) -> Response<Bytes> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let stream = tls(stream, "localhost", certificate).await;
        send(stream, Request::get(path).header("host", "api.example.com")).await
    }

    /// Waits for the next line of the log that contains a word.
    pub(crate) async fn line_with(&self, word: &str) -> serde_json::Value {
        let mut stdout = self.stdout.lock().await;
        let line = line_with(&mut *stdout, word).await;
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for the next line of the log, if there is one.
    pub(crate) async fn next_line(&self) -> Option<String> {
        let mut line = String::new();
        let length = self.stdout.lock().await.read_line(&mut line).await;
        (length.unwrap() != 0).then_some(line)
    }

    /// Waits for the key that was made.
    pub(crate) async fn made_key(&self) -> String {
        let mut stderr = self.stderr.lock().await;
        let line = line_with(&mut *stderr, "this key was made").await;
        line.rsplit_once(' ').unwrap().1.trim().to_owned()
    }

    /// Waits for the lines to try.
    pub(crate) async fn lines_to_try(&self) -> Vec<String> {
        let mut stderr = self.stderr.lock().await;
        line_with(&mut *stderr, "Try:").await;
        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.push(line_with(&mut *stderr, "curl").await.trim().to_owned());
        }
        lines
    }

    /// Waits for the address of the listener for administration.
    pub(crate) async fn admin_addr(&self) -> SocketAddr {
        let mut stderr = self.stderr.lock().await;
        let line = line_with(&mut *stderr, "Administration on").await;
        let addr = line.trim().rsplit_once("://").unwrap().1;
        addr.trim_end_matches('.').parse().unwrap()
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&self) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.id())])
            .status()
            .await
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end and returns the exit code, standard output and standard error.
    pub(crate) async fn end(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        let mut stderr = String::new();
        let all = async {
            let (status, out, err) = tokio::join!(
                self.child.wait(),
                self.stdout.get_mut().read_to_string(&mut stdout),
                self.stderr.get_mut().read_to_string(&mut stderr),
            );
            out.unwrap();
            err.unwrap();
            status.unwrap()
        };
        let status = timeout(PATIENCE, all).await.expect("it ends");
        (status.code(), stdout, stderr)
    }
}

/// Shakes hands as a client that trusts this certificate alone.
pub(crate) async fn tls(
    stream: TcpStream,
    host: &'static str,
    certificate: &CertificateDer<'static>,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config)).connect(host.try_into().unwrap(), stream);
    timeout(PATIENCE, stream)
        .await
        .expect("it shakes hands")
        .unwrap()
}

/// Sends a request without a body over a connection of its own.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Builder,
) -> Response<Bytes> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .expect("it answers")
        .unwrap();
    let (head, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.expect("it ends");
    Response::from_parts(head, body.unwrap().to_bytes())
}

async fn line_with(lines: &mut (impl AsyncBufRead + Unpin), word: &str) -> String {
    let search = async {
        loop {
            let mut line = String::new();
            let length = lines.read_line(&mut line).await.unwrap();
            assert_ne!(length, 0, "it ended without a word of {word}");
            if line.contains(word) {
                return line;
            }
        }
    };
    timeout(PATIENCE, search)
        .await
        .expect("there is such a line")
}
