//! A real browser without a window, driven over the `WebDriver` protocol. It reaches nothing but this machine.

use std::{path::PathBuf, process::Stdio, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// No step takes longer; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an element is named in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with an empty profile. It ends with the test.
pub(crate) struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Where its session is.
    url: String,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start(driver: PathBuf, browser: PathBuf) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(driver)
            .arg("--port=0")
            // What a browser keeps outside its profile.
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it starts");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
        };
        let port = timeout(PATIENCE, port).await.expect("it starts");
        let user_data = profile.path().join("profile");
        let mut browser_of = Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            url: format!("http://127.0.0.1:{port}"),
            _driver: driver,
            _profile: profile,
        };
        let args = [
            "--headless",
            // Its sandbox is not to be had for root, nor in many containers; it opens pages of ours alone.
            "--no-sandbox",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--disable-sync",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--window-size=1280,1000",
            &format!("--user-data-dir={}", user_data.display()),
        ];
        let session = browser_of
            .command(
                Method::POST,
                "/session",
                &json!({"capabilities": {"alwaysMatch": {
                    "browserName": "chrome",
                    "goog:chromeOptions": {"binary": browser, "args": args},
                    "goog:loggingPrefs": {"browser": "ALL"},
                    "timeouts": {"script": 30_000, "pageLoad": 30_000},
                }}}),
            )
            .await;
        let id = session["sessionId"].as_str().unwrap();
        browser_of.url = format!("{}/session/{id}", browser_of.url);
        browser_of
    }

    async fn command(&self, method: Method, path: &str, body: &Value) -> Value {
        let body = if method == Method::POST {
            body.to_string()
        } else {
            String::new()
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::from(body))
            .unwrap();
        let response = timeout(PATIENCE, self.client.request(request));
        let response = response.await.expect("it answers").unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer["value"].take()
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command(Method::POST, "/url", &json!({"url": url}))
            .await;
    }

    /// Runs the body of a function in the page and returns what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        self.command(Method::POST, "/execute/sync", &script).await
    }

    /// Waits until an expression is true in the page; the browser looks, so that nothing here has to sleep.
    pub(crate) async fn wait_until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0], end = Date.now() + 20000; \
             (function look() {{ \
                 if ({expression}) done(true); \
                 else if (end < Date.now()) done(document.body.innerText); \
                 else setTimeout(look, 50); \
             }})()"
        );
        let script = json!({"script": script, "args": []});
        let value = self.command(Method::POST, "/execute/async", &script).await;
        assert_eq!(value, json!(true), "never came true: {expression}");
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command(Method::POST, &format!("{element}/click"), &json!({}))
            .await;
    }

    /// Types text as a person does.
    pub(crate) async fn enter(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.command(
            Method::POST,
            &format!("{element}/value"),
            &json!({"text": text}),
        )
        .await;
    }

    async fn find(&self, selector: &str) -> String {
        let how = json!({"using": "css selector", "value": selector});
        let element = self.command(Method::POST, "/element", &how).await;
        format!("/element/{}", element[ELEMENT].as_str().unwrap())
    }

    /// Returns what the browser has complained of since the last call.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = json!({"type": "browser"});
        let log = self.command(Method::POST, "/se/log", &log).await;
        let entries = log.as_array().unwrap().iter();
        entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Closes the browser; the driver alone would leave it behind.
    pub(crate) async fn close(self) {
        self.command(Method::DELETE, "", &json!({})).await;
    }
}
