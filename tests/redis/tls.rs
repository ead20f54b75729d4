//! TLS to the store.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use palisade::rate_limit::{Quota, SharedRateLimiter};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::{
    Certificates, Events, Server, builder, denying, fail_over, free_port, jail, join, wait_for,
};

/// Where a child finds the servers.
const ADDRESSES: &str = "PALISADE_TEST_TLS_STORE";

/// What these are: a master behind a sentinel, a cluster, or one server.
const TOPOLOGY: &str = "PALISADE_TEST_TLS_TOPOLOGY";

/// So many clients ask, so that all nodes of a cluster are asked.
const CLIENTS: usize = 30;

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

    fn ask(&self, host: &str, trusted: &str) -> Vec<String> {
        let address = format!("rediss://{host}:{}", self.port);
        ask("single", &[address], &self.directory.path().join(trusted))
    }
}

/// Runs the child, which trusts the certificates of that file, and returns what it has seen.
fn ask(topology: &str, addresses: &[String], trusted: &Path) -> Vec<String> {
    // The roots of the platform are what this variable says, which only a process that starts can be given.
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tls::child", "--nocapture"])
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .env(ADDRESSES, addresses.join(","))
        .env(TOPOLOGY, topology)
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

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes a certificate for these hosts, its key and whom its server trusts.
    fn sign(&self, directory: &Path, hosts: &[&str], trusted: &Path) -> Certificates {
        let hosts: Vec<_> = hosts.iter().map(|it| (*it).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, "server");
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let new = tempfile::tempdir_in(directory).unwrap().keep();
        let certificates = Certificates {
            certificate: new.join("server.pem"),
            key: new.join("server.key"),
            trusted: trusted.to_owned(),
        };
        fs::write(&certificates.certificate, certificate.pem()).unwrap();
        fs::write(&certificates.key, key.serialize_pem()).unwrap();
        certificates
    }
}

/// Two authorities, of which the child is to trust the first.
struct Authorities {
    directory: TempDir,
    known: Authority,
    stranger: Authority,
}

impl Authorities {
    fn new() -> Self {
        let it = Self {
            directory: tempfile::tempdir().unwrap(),
            known: Authority::new("known"),
            stranger: Authority::new("stranger"),
        };
        fs::write(it.known_file(), &it.known.pem).unwrap();
        fs::write(it.stranger_file(), &it.stranger.pem).unwrap();
        fs::write(it.both_file(), it.known.pem.clone() + &it.stranger.pem).unwrap();
        it
    }

    fn known_file(&self) -> PathBuf {
        self.directory.path().join("known.pem")
    }

    fn stranger_file(&self) -> PathBuf {
        self.directory.path().join("stranger.pem")
    }

    fn both_file(&self) -> PathBuf {
        self.directory.path().join("both.pem")
    }

    /// Makes a certificate for a server that trusts both.
    fn sign(&self, by: &Authority, hosts: &[&str]) -> Certificates {
        by.sign(self.directory.path(), hosts, &self.both_file())
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
    let Ok(addresses) = env::var(ADDRESSES) else {
        return;
    };
    let (first, others) = addresses.split_once(',').unwrap_or((&addresses, ""));
    let others = others.split(',').filter(|it| !it.is_empty());
    let builder = builder(first);
    let (builder, clients) = match &*env::var(TOPOLOGY).unwrap() {
        "cluster" => (builder.cluster(others), CLIENTS),
        "sentinel" => (builder.sentinel("main", others), 1),
        _ => (builder, 1),
    };
    let events = Events::default();
    let store = builder
        .deadline(Duration::from_secs(5))
        .sink(events.clone())
        .build()
        .unwrap();
    let limiter = denying(&store, "tls", Quota::per_day(1).with_burst(2));
    println!();
    for _ in 0..3 {
        for client in 0..clients {
            match limiter.check(&client, 1).await {
                Ok(verdict) if verdict.is_admitted() => println!("seen: admitted"),
                Ok(_) => println!("seen: refused"),
                Err(error) => println!("seen: {error}"),
            }
        }
    }
    let quota = Quota::per_day(1).with_burst(10);
    let insured = SharedRateLimiter::builder(&store, "insured", quota);
    let verdict = insured.build().unwrap().check("key", 1).await.unwrap();
    println!("seen: {} left", verdict.remaining());
    let synchronized = jail(&store).synchronize(Duration::from_secs(2)).await;
    println!("seen: bans {synchronized}");
    for event in events.take() {
        println!("seen: {}, {}", event.action().as_str(), event.reason());
    }
}

#[test]
fn limits_and_bans_are_shared_through_tls() {
    let tls = Tls::start();
    assert_eq!(
        tls.ask("localhost", "server.pem"),
        ["admitted", "admitted", "refused", "9 left", "bans true"]
    );
    // Another process finds what the first has spent.
    assert_eq!(
        tls.ask("localhost", "server.pem"),
        ["refused", "refused", "refused", "8 left", "bans true"]
    );
}

#[track_caller]
fn check_denied(seen: &[String]) {
    assert_eq!(
        seen,
        [
            "shared store's certificate is not trusted",
            "shared store is away",
            "shared store is away",
            // The share of one of two instances.
            "4 left",
            "bans false",
            "limiter_store_failed, shared store's certificate is not trusted"
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

/// Starts three nodes that speak nothing but TLS, among themselves too; `odd` is the number of the one whose certificate the stranger has signed.
fn start_cluster(authorities: &Authorities, odd: Option<usize>) -> Vec<Server> {
    let start = |number| {
        let by = if odd == Some(number) {
            &authorities.stranger
        } else {
            &authorities.known
        };
        let certificates = authorities.sign(by, &["localhost", "127.0.0.1"]);
        let mut server = Server::new(&[
            "--cluster-enabled",
            "yes",
            "--tls-cluster",
            "yes",
            "--cluster-require-full-coverage",
            "no",
        ])
        .with_tls(&certificates);
        server.spawn();
        server
    };
    let servers: Vec<_> = (0..3).map(start).collect();
    join(&servers);
    servers
}

fn addresses(servers: &[Server]) -> Vec<String> {
    let address = |it: &Server| format!("rediss://localhost:{}", it.port);
    servers.iter().map(address).collect()
}

fn count(seen: &[String], word: &str) -> usize {
    seen.iter().filter(|it| *it == word).count()
}

#[test]
fn limits_and_bans_are_shared_through_a_cluster_with_tls() {
    let authorities = Authorities::new();
    let servers = start_cluster(&authorities, None);
    let addresses = addresses(&servers);
    let seen = ask("cluster", &addresses, &authorities.known_file());
    assert_eq!(count(&seen, "admitted"), 2 * CLIENTS, "{seen:?}");
    assert_eq!(count(&seen, "refused"), CLIENTS);
    assert_eq!(seen[3 * CLIENTS..], ["9 left", "bans true"]);
    for server in &servers {
        assert_ne!(server.cli(&["keys", "*:tls:*"]), "");
    }
    // Another process, which asks another node first, finds what the first has spent.
    let mut others = addresses.clone();
    others.rotate_left(1);
    let seen = ask("cluster", &others, &authorities.known_file());
    assert_eq!(count(&seen, "refused"), 3 * CLIENTS, "{seen:?}");
    assert_eq!(seen[3 * CLIENTS..], ["8 left", "bans true"]);
}

#[test]
fn a_cluster_that_nobody_vouches_for_is_as_no_store() {
    let authorities = Authorities::new();
    let servers = start_cluster(&authorities, None);
    let seen = ask(
        "cluster",
        &addresses(&servers),
        &authorities.stranger_file(),
    );
    assert_eq!(seen[0], "shared store's certificate is not trusted");
    assert_eq!(count(&seen, "shared store is away"), 3 * CLIENTS - 1);
    assert_eq!(
        seen[3 * CLIENTS..],
        [
            "4 left",
            "bans false",
            "limiter_store_failed, shared store's certificate is not trusted"
        ]
    );
}

/// Its clients are told apart by their slots, and nobody else is concerned.
#[test]
fn a_node_that_nobody_vouches_for_is_left_alone() {
    let authorities = Authorities::new();
    // Neither the bans nor the key of the other limit are there.
    let servers = start_cluster(&authorities, Some(1));
    let seen = ask("cluster", &addresses(&servers), &authorities.known_file());
    assert_eq!(servers[1].cli(&["dbsize"]), "0");
    let served: usize = [0, 2]
        .map(|it| servers[it].cli(&["keys", "*:tls:*"]).lines().count())
        .iter()
        .sum();
    assert!((1..CLIENTS).contains(&served), "{served}");
    assert_eq!(count(&seen, "admitted"), 2 * served, "{seen:?}");
    assert_eq!(count(&seen, "refused"), served);
    let reason = "the certificate of a node of the shared store's cluster is not trusted";
    assert_ne!(count(&seen, reason), 0, "{seen:?}");
    assert_eq!(
        seen[3 * CLIENTS..],
        [
            String::from("9 left"),
            String::from("bans true"),
            format!("limiter_store_failed, {reason}")
        ]
    );
}

/// The nodes of a cluster tell of each other by address, unless they are told to do so by name.
#[test]
fn nodes_are_asked_for_the_names_that_they_announce() {
    if Server::start().is_of_version_6() {
        return;
    }
    let authorities = Authorities::new();
    let start = |announced: &[&str]| {
        let certificates = authorities.sign(&authorities.known, &["localhost"]);
        let cluster = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
        let mut server = Server::new(&[&cluster, announced].concat()).with_tls(&certificates);
        server.spawn();
        assert_eq!(
            server.cli(&["cluster", "addslotsrange", "0", "16383"]),
            "OK"
        );
        wait_for("the cluster is up", || {
            let info = server.cli(&["cluster", "info"]);
            info.contains("cluster_state:ok")
        });
        server
    };
    let announced = [
        "--cluster-announce-hostname",
        "localhost",
        "--cluster-preferred-endpoint-type",
        "hostname",
    ];
    let by_name = start(&announced);
    let seen = ask("cluster", &addresses(&[by_name]), &authorities.known_file());
    assert_eq!(count(&seen, "admitted"), 2 * CLIENTS, "{seen:?}");
    let by_address = start(&["--cluster-announce-ip", "127.0.0.1"]);
    let seen = ask(
        "cluster",
        &addresses(&[by_address]),
        &authorities.known_file(),
    );
    assert_eq!(count(&seen, "admitted"), 0, "{seen:?}");
    let event = seen.iter().find(|it| it.starts_with("limiter_store"));
    assert_eq!(
        event.unwrap(),
        "limiter_store_failed, the certificate of a node of the shared store's cluster is not trusted"
    );
}

/// A sentinel, a master and its replica, which speak nothing but TLS.
struct Watched {
    authorities: Authorities,
    sentinel: Server,
    servers: [Server; 2],
}

impl Watched {
    /// Starts them; `servers_by` has signed the certificates of the master and the replica, for the host that the sentinel knows them by, and the
    /// known one that of the sentinel.
    fn start(host: &str, servers_by: impl Fn(&Authorities) -> &Authority) -> Self {
        let authorities = Authorities::new();
        let servers = [(), ()].map(|()| {
            let certificates = authorities.sign(servers_by(&authorities), &[host]);
            let mut server = Server::new(&[]).with_tls(&certificates);
            server.spawn();
            server
        });
        let port = servers[0].port.to_string();
        servers[1].cli(&["replicaof", "127.0.0.1", &port]);
        let config = authorities.directory.path().join("sentinel.conf");
        fs::write(
            &config,
            format!(
                "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor main {host} {port} 1\n"
            ),
        )
        .unwrap();
        let certificates = authorities.sign(&authorities.known, &["localhost"]);
        let mut sentinel = Server::new(&[]).with_tls(&certificates);
        sentinel.spawn_sentinel(&config);
        Self {
            authorities,
            sentinel,
            servers,
        }
    }

    fn ask(&self, trusted: &Path) -> Vec<String> {
        let address = format!("rediss://localhost:{}", self.sentinel.port);
        ask("sentinel", &[address], trusted)
    }
}

#[tokio::test]
async fn limits_and_bans_are_shared_through_a_sentinel_with_tls() {
    let watched = Watched::start("127.0.0.1", |it| &it.known);
    let trusted = watched.authorities.known_file();
    assert_eq!(
        watched.ask(&trusted),
        ["admitted", "admitted", "refused", "9 left", "bans true"]
    );
    assert_ne!(watched.servers[0].cli(&["keys", "*:tls:*"]), "");
    // Another process finds at the new master what the first has spent at the old one.
    let [from, to] = &watched.servers;
    fail_over(&watched.sentinel, "main", from, to).await;
    assert_eq!(
        watched.ask(&trusted),
        ["refused", "refused", "refused", "8 left", "bans true"]
    );
}

#[test]
fn a_master_is_asked_for_the_name_that_its_sentinel_tells() {
    let watched = Watched::start("localhost", |it| &it.known);
    assert_eq!(
        watched.ask(&watched.authorities.known_file()),
        ["admitted", "admitted", "refused", "9 left", "bans true"]
    );
}

#[test]
fn a_sentinel_that_nobody_vouches_for_is_as_no_store() {
    let watched = Watched::start("127.0.0.1", |it| &it.known);
    check_denied(&watched.ask(&watched.authorities.stranger_file()));
}

#[test]
fn a_master_that_nobody_vouches_for_is_as_no_store() {
    let watched = Watched::start("127.0.0.1", |it| &it.stranger);
    check_denied(&watched.ask(&watched.authorities.known_file()));
    assert_eq!(watched.servers[0].cli(&["dbsize"]), "0");
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
