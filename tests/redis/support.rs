//! Servers that tests start and stop.

use std::{
    env,
    ffi::OsString,
    net::{IpAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use palisade::{
    event::{EventSink, NullSink, SecurityEvent},
    jail::{Jail, JailHandle},
    rate_limit::{QuotaSet, SharedRateLimiter},
    secret::SecretString,
    shared_store::{OnStoreFailure, RedisStore, RedisStoreBuilder},
};
use tempfile::TempDir;

/// What all instances of these tests know.
pub(crate) const HASH_KEY: &str = "0123456789abcdef0123456789abcdef";
/// How long anything may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server of a test's own, which is killed when the test ends.
pub(crate) struct Server {
    directory: TempDir,
    pub(crate) port: u16,
    /// Where it listens.
    listens: Vec<String>,
    arguments: Vec<String>,
    /// What redis-cli has to know beside the port.
    cli: Vec<String>,
    child: Option<Child>,
}

/// Where a server finds its certificate and its key, and whom it trusts itself.
#[cfg(feature = "redis-tls")]
pub(crate) struct Certificates {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) trusted: PathBuf,
}

impl Server {
    /// Starts a server that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::new(arguments);
        server.spawn();
        server
    }

    /// Finds a place for a server that does not run yet.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let port = free_port_of_node();
        Self {
            directory: tempfile::tempdir().unwrap(),
            port,
            listens: words(&["--port", &port.to_string()]),
            arguments: words(arguments),
            cli: Vec::new(),
            child: None,
        }
    }

    /// Has the server speak TLS, and nothing else, with clients and with other servers.
    #[cfg(feature = "redis-tls")]
    pub(crate) fn with_tls(mut self, certificates: &Certificates) -> Self {
        let [certificate, key, trusted] = [
            &certificates.certificate,
            &certificates.key,
            &certificates.trusted,
        ]
        .map(|it| it.to_str().unwrap());
        self.listens = words(&["--port", "0", "--tls-port", &self.port.to_string()]);
        self.arguments.extend(words(&[
            "--tls-cert-file",
            certificate,
            "--tls-key-file",
            key,
            "--tls-ca-cert-file",
            trusted,
            "--tls-auth-clients",
            "no",
            "--tls-replication",
            "yes",
        ]));
        self.cli = words(&["--tls", "--cacert", trusted]);
        self
    }

    /// Starts the server, and waits until it answers.
    pub(crate) fn spawn(&mut self) {
        let child = Command::new(program())
            .args(&self.listens)
            .args(["--bind", "127.0.0.1"])
            .args(["--unixsocket", self.socket().to_str().unwrap()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--dir", self.directory.path().to_str().unwrap()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server, of Debian's package of that name");
        self.child = Some(child);
        wait_for("the server answers", || {
            self.try_cli(&["ping"])
                .is_ok_and(|it| it.contains("PONG") || it.contains("NOAUTH"))
        });
    }

    /// Starts a sentinel, which writes to its configuration.
    pub(crate) fn spawn_sentinel(&mut self, config: &Path) {
        let child = Command::new(program())
            .arg(config)
            .arg("--sentinel")
            .args(&self.listens)
            .args(["--bind", "127.0.0.1"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("the sentinel answers", || self.try_cli(&["ping"]).is_ok());
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// Runs a command as the administrator.
    #[track_caller]
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let answer = self.try_cli(arguments).unwrap();
        assert!(!answer.starts_with("ERR"), "{arguments:?}: {answer}");
        answer
    }

    pub(crate) fn try_cli(&self, arguments: &[&str]) -> std::io::Result<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(&self.cli)
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(std::io::Error::other("the server does not answer"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Returns whether this is Redis 6, the oldest that is supported, which lacks some settings.
    pub(crate) fn is_of_version_6(&self) -> bool {
        self.cli(&["info", "server"]).contains("redis_version:6.")
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal to the server, and to nothing else.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn store(&self) -> RedisStore {
        self.builder().build().unwrap()
    }

    /// Returns a builder whose deadline a busy machine keeps.
    pub(crate) fn builder(&self) -> RedisStoreBuilder {
        builder(&self.address()).deadline(Duration::from_secs(5))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|it| (*it).to_owned()).collect()
}

/// Makes one cluster of them, with as many slots each.
pub(crate) fn join(servers: &[Server]) {
    let hosts = servers.iter().map(|it| format!("127.0.0.1:{}", it.port));
    let created = Command::new("redis-cli")
        .args(&servers[0].cli)
        .args(["--cluster", "create"])
        .args(hosts)
        .arg("--cluster-yes")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stdout)
    );
    for server in servers {
        wait_for("the cluster is up", || {
            server
                .cli(&["cluster", "info"])
                .contains("cluster_state:ok")
        });
    }
}

/// Has the sentinel make the other of two servers the master.
pub(crate) async fn fail_over(sentinel: &Server, name: &str, from: &Server, to: &Server) {
    wait_for("the sentinel knows the replica", || {
        sentinel
            .cli(&["sentinel", "replicas", name])
            .contains(&to.port.to_string())
    });
    wait_for("the replica has what the master has", || {
        to.cli(&["dbsize"]) == from.cli(&["dbsize"])
    });
    wait_for("the sentinel fails over", || {
        sentinel.cli(&["sentinel", "failover", name]) == "OK"
    });
    eventually("the other is the master", async || {
        // The sentinel has all clients cut off, and these may be among them.
        let is = |server: &Server, role: &str| {
            let answer = server.try_cli(&["role"]);
            answer.is_ok_and(|it| it.starts_with(role))
        };
        is(to, "master") && is(from, "slave")
    })
    .await;
}

/// Redis, or what a developer wants to be tested in its place.
fn program() -> OsString {
    env::var_os("PALISADE_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

pub(crate) fn builder(address: &str) -> RedisStoreBuilder {
    RedisStore::builder(address, SecretString::from(HASH_KEY)).sink(NullSink)
}

/// Makes a limiter that decides nothing by itself.
pub(crate) fn denying(
    store: &RedisStore,
    name: &str,
    quotas: impl Into<QuotaSet>,
) -> SharedRateLimiter {
    SharedRateLimiter::builder(store, name, quotas)
        .on_failure(OnStoreFailure::Deny)
        .build()
        .unwrap()
}

/// Makes a jail that bans by hand alone.
pub(crate) fn jail(store: &RedisStore) -> JailHandle {
    let jail = Jail::builder().sink(NullSink).shared(store).build();
    jail.handle()
}

/// Has one of two instances ban a client, and waits until the other does.
pub(crate) async fn ban_on_both(
    stores: [RedisStore; 2],
    client: IpAddr,
    length: Duration,
) -> [JailHandle; 2] {
    let jails = stores.map(|it| jail(&it));
    for jail in &jails {
        assert!(jail.synchronize(PATIENCE).await);
    }
    jails[0].ban(client, length).unwrap();
    eventually("the other bans too", async || jails[1].bans().len() == 1).await;
    jails
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Finds a port for a server. Should it become a node of a cluster, it speaks with the others on the port that is 10,000 further.
fn free_port_of_node() -> u16 {
    loop {
        let port = free_port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}

/// Waits for what happens by itself.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}: it never happened");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for what happens by itself on this runtime.
pub(crate) async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !happened().await {
        assert!(start.elapsed() < PATIENCE, "{what}: it never happened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A sink that keeps the words of the events.
#[derive(Clone, Default)]
pub(crate) struct Words(Arc<Mutex<Vec<String>>>);

impl Words {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl EventSink for Words {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0
            .lock()
            .unwrap()
            .push(event.action().as_str().to_owned());
    }
}

/// A sink that keeps the events.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<SecurityEvent<'static>>>>);

impl Events {
    pub(crate) fn take(&self) -> Vec<SecurityEvent<'static>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Returns the reasons of the events.
    pub(crate) fn take_reasons(&self) -> Vec<String> {
        let events = self.take();
        events.iter().map(|it| it.reason().to_owned()).collect()
    }
}

impl EventSink for Events {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.lock().unwrap().push(event.clone().into_owned());
    }
}
