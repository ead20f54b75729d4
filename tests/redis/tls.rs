//! TLS to the store.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use palisade::rate_limit::Quota;
use tempfile::TempDir;

use crate::support::{Server, Words, builder, denying, free_port, jail};

/// Where a child finds the server.
const ADDRESS: &str = "PALISADE_TEST_TLS_STORE";

/// Who chooses the cryptography of a child.
const CHOOSER: &str = "PALISADE_TEST_CHOOSER";

/// A server that speaks TLS, and its certificate.
struct Tls {
    directory: TempDir,
    _server: Server,
    port: u16,
}

impl Tls {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = certificate(directory.path(), "server");
        let certificate = certificate.to_str().unwrap();
        let key = directory.path().join("server.key");
        let port = free_port();
        let server = Server::start_with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            certificate,
            "--tls-key-file",
            key.to_str().unwrap(),
            "--tls-ca-cert-file",
            certificate,
            "--tls-auth-clients",
            "no",
        ]);
        Self {
            directory,
            _server: server,
            port,
        }
    }

    /// Runs the child, which trusts the certificate of that name, and returns what it has seen.
    fn ask(&self, host: &str, trusted: &str) -> Vec<String> {
        let trusted = self.directory.path().join(trusted);
        // The roots of the platform are what this variable says, which only a process that starts can be given.
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tls::child", "--nocapture"])
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .env(ADDRESS, format!("rediss://{host}:{}", self.port))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let seen = text.lines().filter_map(|it| it.strip_prefix("seen: "));
        seen.map(str::to_owned).collect()
    }
}

/// Makes a certificate for `localhost`, and returns where it is.
fn certificate(directory: &Path, name: &str) -> PathBuf {
    let new = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
    let certificate = directory.join(format!("{name}.pem"));
    fs::write(&certificate, new.cert.pem()).unwrap();
    let key = directory.join(format!("{name}.key"));
    fs::write(key, new.signing_key.serialize_pem()).unwrap();
    certificate
}

/// What a child does: it is no test of its own.
#[tokio::test]
async fn child() {
    let Ok(address) = env::var(ADDRESS) else {
        return;
    };
    let words = Words::default();
    let store = builder(&address)
        .deadline(Duration::from_secs(5))
        .sink(words.clone())
        .build()
        .unwrap();
    let limiter = denying(&store, "tls", Quota::per_day(1).with_burst(2));
    println!();
    for _ in 0..3 {
        match limiter.check("key", 1).await {
            Ok(verdict) if verdict.is_admitted() => println!("seen: admitted"),
            Ok(_) => println!("seen: refused"),
            Err(error) => println!("seen: {error}"),
        }
    }
    let synchronized = jail(&store).synchronize(Duration::from_secs(2)).await;
    println!("seen: bans {synchronized}");
    for word in words.take() {
        println!("seen: {word}");
    }
}

#[test]
fn limits_and_bans_are_shared_through_tls() {
    let tls = Tls::start();
    assert_eq!(
        tls.ask("localhost", "server.pem"),
        ["admitted", "admitted", "refused", "bans true"]
    );
    // Another process finds what the first has spent.
    assert_eq!(
        tls.ask("localhost", "server.pem"),
        ["refused", "refused", "refused", "bans true"]
    );
}

#[track_caller]
fn check_denied(seen: &[String]) {
    assert_eq!(
        seen,
        [
            "shared store cannot be reached",
            "shared store is away",
            "shared store is away",
            "bans false",
            "limiter_store_failed"
        ]
    );
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_as_no_store() {
    let tls = Tls::start();
    certificate(tls.directory.path(), "other");
    check_denied(&tls.ask("localhost", "other.pem"));
}

#[test]
fn a_certificate_of_another_name_is_as_no_store() {
    let tls = Tls::start();
    check_denied(&tls.ask("127.0.0.1", "server.pem"));
}

#[test]
fn without_any_roots_there_is_no_store() {
    let tls = Tls::start();
    fs::write(tls.directory.path().join("empty.pem"), "").unwrap();
    check_denied(&tls.ask("localhost", "empty.pem"));
}

/// What a child does to see who has chosen the cryptography of its process: it is no test of its own.
#[test]
fn child_that_chooses() {
    let Ok(chooser) = env::var(CHOOSER) else {
        return;
    };
    let provider = rustls::crypto::CryptoProvider::get_default;
    assert!(provider().is_none());
    let mut own = rustls::crypto::ring::default_provider();
    own.cipher_suites.truncate(1);
    if chooser == "application" {
        own.clone().install_default().unwrap();
    }
    builder("rediss://localhost").build().unwrap();
    let suites = provider().map(|it| it.cipher_suites.len());
    println!("\nseen: {suites:?}");
}

/// Where more than one provider is compiled in, rustls panics on the first connection unless one is chosen.
#[test]
fn cryptography_is_chosen_unless_the_application_has() {
    let all = rustls::crypto::ring::default_provider().cipher_suites.len();
    for (chooser, expected) in [("application", 1), ("nobody", all)] {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tls::child_that_chooses", "--nocapture"])
            .env(CHOOSER, chooser)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let expected = format!("seen: Some({expected})");
        assert!(text.lines().any(|it| it == expected), "{chooser}: {text}");
    }
}
