//! Starts the example and talks to it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// No step of a test takes longer; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(20);

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
        if name.to_string_lossy().starts_with("API__") {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true);
    command
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
    stderr: BufReader<ChildStderr>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    /// Starts the example on a free port.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let mut child = command()
            .env("API__SERVER__LISTEN", "127.0.0.1:0")
            .env("API__LOG__FORMAT", "json")
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
            .split_once("http://")
            .and_then(|(_, rest)| rest.split_once(". "))
            .and_then(|(addr, _)| addr.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self {
            addr,
            child,
            stderr,
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
        let mut out = self.child.stdout.take().unwrap();
        let all = async {
            let (status, out, err) = tokio::join!(
                self.child.wait(),
                out.read_to_string(&mut stdout),
                self.stderr.read_to_string(&mut stderr),
            );
            out.unwrap();
            err.unwrap();
            status.unwrap()
        };
        let status = timeout(PATIENCE, all).await.expect("it ends");
        (status.code(), stdout, stderr)
    }
}
