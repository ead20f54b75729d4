//! Every mistake of configuration ends the program with exit code 2 and one line that names the place, the key and what is allowed.

use std::{io::Write as _, net::TcpListener};

use crate::support;

async fn check(args: &[&str], environment: &[(&str, &str)], parts: &[&str]) {
    let output = support::run(args, environment).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in parts {
        assert!(
            stderr.contains(part),
            "{stderr:?} does not contain {part:?}"
        );
    }
}

async fn check_file(toml: &str, parts: &[&str]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut parts = parts.to_vec();
    parts.push(&path);
    check(&["--config", &path], &[], &parts).await;
}

#[tokio::test]
async fn a_mistake_in_the_file_names_file_key_and_what_is_allowed() {
    check_file(
        "[server]\nlisten_on = \"x\"",
        &["listen_on", "expected", "`listen`"],
    )
    .await;
    check_file(
        "[rate_limit]\nquotas = [\"0/s\"]",
        &["rate_limit.quotas", "0/s"],
    )
    .await;
    check_file(
        "[rate_limit]\nquotas = [\"fast\"]",
        &["rate_limit.quotas", "fast"],
    )
    .await;
    check_file("[server]\nlisten = \"127.0.0.1\"", &["server.listen"]).await;
    check_file("[server", &["unclosed"]).await;
}

#[tokio::test]
async fn a_mistake_in_the_environment_names_the_variable() {
    check(
        &[],
        &[("API__SERVER__MAX_CONNECTIONS", "many")],
        &[
            "API__SERVER__MAX_CONNECTIONS",
            "server.max_connections",
            "many",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    check(
        &["--config", "/nonexistent.toml"],
        &[],
        &["/nonexistent.toml", "cannot be read"],
    )
    .await;
}

#[tokio::test]
async fn an_unknown_command_is_refused() {
    check(&["fly"], &[], &["fly", "serve", "healthcheck"]).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    check(
        &[],
        &[("API__SERVER__LISTEN", &addr)],
        &["server.listen", &addr, "in use", "choose"],
    )
    .await;
}
