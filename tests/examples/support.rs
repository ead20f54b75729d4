//! Starts an example and does what it says to try.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// No step of a test takes longer; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// An example that is running; it ends when it is dropped.
pub(crate) struct Example {
    /// What it says to try.
    pub(crate) lines: Vec<Line>,
    _child: Child,
    /// Kept open, for a program whose output nobody reads fails.
    _stdout: BufReader<ChildStdout>,
}

/// A line to try.
pub(crate) struct Line {
    pub(crate) command: String,
    pub(crate) promise: String,
}

impl Example {
    /// Starts an example, which prints this many lines to try.
    pub(crate) async fn start(name: &str, count: usize) -> Self {
        Self::start_with(name, count, &[]).await
    }

    /// Starts an example in an environment of its own.
    pub(crate) async fn start_with(name: &str, count: usize, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(folder().join(name))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        while lines.len() < count {
            let mut line = String::new();
            let read = timeout(PATIENCE, stdout.read_line(&mut line)).await;
            assert!(
                read.expect("it says what to try").unwrap() > 0,
                "{name} has ended"
            );
            if let Some(line) = line.strip_prefix("  ") {
                let (command, promise) = line.rsplit_once('#').expect("it says what comes of it");
                lines.push(Line {
                    command: command.trim().to_owned(),
                    promise: promise.trim().to_owned(),
                });
            }
        }
        Self {
            lines,
            _child: child,
            _stdout: stdout,
        }
    }
}

/// Starts an example, runs the lines that it says to try, and checks that each leads to the status that it promises, and that the
/// test expects. Returns what the lines printed: heads and bodies.
pub(crate) async fn try_all(name: &str, expected: &[u16]) -> Vec<String> {
    Example::start(name, expected.len())
        .await
        .try_all(expected)
        .await
}

impl Example {
    /// Runs all lines, as [`try_all`] does.
    pub(crate) async fn try_all(&self, expected: &[u16]) -> Vec<String> {
        let mut answers = Vec::new();
        for (line, expected) in self.lines.iter().zip(expected) {
            let answer = run(&line.command).await;
            let status = answer.split(' ').nth(1);
            assert_eq!(
                status,
                Some(&*expected.to_string()),
                "{}: {answer}",
                line.command
            );
            let promise = &line.promise;
            assert!(
                promise.starts_with(&expected.to_string()),
                "it promises {promise}"
            );
            answers.push(answer);
        }
        answers
    }
}

pub(crate) async fn run(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("no_proxy", "127.0.0.1")
        .kill_on_drop(true)
        .output();
    let Output { stdout, stderr, .. } = timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(
        !text.is_empty(),
        "{command}: {}",
        String::from_utf8_lossy(&stderr)
    );
    text
}

/// Builds the examples once and returns where they are.
fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            // `cargo test` builds examples before it runs tests; a run of this test alone does not.
            let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
            let output = std::process::Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--workspace",
                    "--examples",
                    "--all-features",
                ])
                .args([
                    "--manifest-path",
                    manifest,
                    "--message-format",
                    "json-render-diagnostics",
                ])
                .stderr(Stdio::inherit())
                .output()
                .unwrap();
            assert!(output.status.success(), "the examples do not build");
            let folder = String::from_utf8(output.stdout)
                .unwrap()
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .filter(|message| message["target"]["name"] == "quickstart")
                .find_map(|message| message["executable"].as_str().map(PathBuf::from))
                .expect("cargo names the executable of an example");
            folder.parent().unwrap().to_owned()
        })
        .clone()
}
