//! What a decision in the shared store costs, beside the same script without this crate.
//!
//! `cargo bench --features redis --bench redis` starts a redis-server of its own, and prints round trips per decision, the throughput of 64 callers
//! against redis-benchmark with as many calls in its pipeline, a remembered refusal against a round trip, and the 99th percentile of decisions against
//! that of PING in the same seconds.
#![allow(
    clippy::allow_attributes,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench ends where something fails"
)]

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use palisade::{
    event::NullSink,
    rate_limit::{Quota, SharedRateLimiter},
    secret::SecretString,
    shared_store::RedisStore,
};
use tokio::runtime::Runtime;

const CALLERS: usize = 64;
const KEYS: u64 = 10_000;
const LASTS: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

struct Server {
    socket: PathBuf,
    child: Child,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("s");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket", socket.to_str().unwrap()])
            .args(["--dir", directory.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server");
        let server = Self { socket, child };
        while UnixStream::connect(&server.socket).is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-s", self.socket.to_str().unwrap()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn stat(&self, section: &str, name: &str) -> u64 {
        let info = self.cli(&["info", section]);
        let line = info.lines().find_map(|it| it.strip_prefix(name));
        line.and_then(|it| it.trim().parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn limiter(server: &Server, name: &str, quota: Quota) -> SharedRateLimiter {
    let hash_key = SecretString::from("0123456789abcdef0123456789abcdef");
    let address = format!("unix://{}", server.socket.display());
    let store = RedisStore::builder(address, hash_key)
        .deadline(Duration::from_secs(5))
        .sink(NullSink)
        .build()
        .unwrap();
    SharedRateLimiter::builder(&store, name, quota)
        .build()
        .unwrap()
}

/// Returns the decisions per second of so many callers.
fn throughput(runtime: &Runtime, limiter: &SharedRateLimiter, callers: usize) -> (f64, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers as u64)
        .map(|caller| {
            let (limiter, stop, count) = (limiter.clone(), Arc::clone(&stop), Arc::clone(&count));
            runtime.spawn(async move {
                let mut key = caller * 7919;
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    key = (key + 7919) % KEYS;
                    assert!(limiter.check(&key, 1).await.unwrap().is_admitted());
                    done += 1;
                }
                count.fetch_add(done, Ordering::Relaxed);
            })
        })
        .collect();
    thread::sleep(LASTS);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let count = count.load(Ordering::Relaxed);
    (count as f64 / start.elapsed().as_secs_f64(), count)
}

/// Returns the calls per second of redis-benchmark, with as many calls in its pipeline.
fn reference(server: &Server, digest: &str, calls: u64) -> f64 {
    let output = Command::new("redis-benchmark")
        .args(["-s", server.socket.to_str().unwrap(), "-c", "1"])
        .args([
            "-P",
            &CALLERS.to_string(),
            "-n",
            &calls.to_string(),
            "-r",
            &KEYS.to_string(),
            "--csv",
        ])
        .args([
            "EVALSHA",
            digest,
            "1",
            "palisade:{0123456789abcdef0123__rand_int__}:bench:0",
        ])
        .args(["charge", "1", "1", "1000000000", "0", "0"])
        .stdin(Stdio::null())
        .output()
        .expect("redis-benchmark");
    let text = String::from_utf8(output.stdout).unwrap();
    let row = text.lines().last().unwrap();
    let rate = row.rsplit("\",\"").find_map(|_| row.split("\",\"").nth(1));
    rate.unwrap().trim_matches('"').parse().unwrap()
}

fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

/// Returns the times of PINGs, sent every millisecond while `running`.
fn pings(socket: &Path, running: &AtomicBool) -> Vec<Duration> {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut times = Vec::new();
    let mut answer = [0; 7];
    while running.load(Ordering::Relaxed) {
        let start = Instant::now();
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut answer).unwrap();
        times.push(start.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    times
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let wide = Quota::new(1_000_000, Duration::from_secs(1))
        .unwrap()
        .with_burst(1_000_000_000);
    let many = limiter(&server, "bench", wide);
    let digest = server.cli(&[
        "script",
        "load",
        include_str!("../src/rate_limit/shared/gcra.lua"),
    ]);
    let _ = throughput(&runtime, &many, CALLERS);

    let before = server.stat("stats", "total_reads_processed:");
    let (_, decisions) = throughput(&runtime, &many, CALLERS);
    let reads = server.stat("stats", "total_reads_processed:") - before;
    println!(
        "round trips per decision, {CALLERS} callers: {:.3} ({:.1} decisions each)",
        reads as f64 / decisions as f64,
        decisions as f64 / reads as f64,
    );

    for round in 1..=ROUNDS {
        let (ours, _) = throughput(&runtime, &many, CALLERS);
        let theirs = reference(&server, &digest, (ours * 2.0) as u64);
        println!(
            "throughput, round {round}: {ours:.0}/s of {CALLERS} callers, {theirs:.0}/s of redis-benchmark -P {CALLERS}: {:.2}x",
            ours / theirs
        );
    }

    let alone = runtime.block_on(async {
        let start = Instant::now();
        for key in 0..20_000_u64 {
            assert!(many.check(&(key % KEYS), 1).await.unwrap().is_admitted());
        }
        start.elapsed() / 20_000
    });
    let once = limiter(&server, "refused", Quota::per_day(1));
    let remembered = runtime.block_on(async {
        assert!(once.check("key", 1).await.unwrap().is_admitted());
        let mut best = Duration::MAX;
        for _ in 0..20 {
            assert!(!once.check("key", 1).await.unwrap().is_admitted());
            let start = Instant::now();
            for _ in 0..10_000 {
                assert!(!once.check("key", 1).await.unwrap().is_admitted());
            }
            best = best.min(start.elapsed() / 10_000);
        }
        best
    });
    println!(
        "one caller: a round trip {alone:?}, a remembered refusal {remembered:?}: {:.0}x",
        alone.as_secs_f64() / remembered.as_secs_f64()
    );

    for (callers, pause) in [(8, Some(Duration::from_millis(1))), (CALLERS, None)] {
        for round in 1..=ROUNDS {
            percentiles(&runtime, &many, &server.socket, callers, pause, round);
        }
    }
}

/// Prints the 99th percentile of the decisions of so many callers, each of whom pauses between two, and that of PING beside them.
fn percentiles(
    runtime: &Runtime,
    limiter: &SharedRateLimiter,
    socket: &Path,
    callers: usize,
    pause: Option<Duration>,
    round: usize,
) {
    let running = Arc::new(AtomicBool::new(true));
    let pinging = {
        let (running, socket) = (Arc::clone(&running), socket.to_owned());
        thread::spawn(move || pings(&socket, &running))
    };
    let tasks: Vec<_> = (0..callers as u64)
        .map(|caller| {
            let (limiter, running) = (limiter.clone(), Arc::clone(&running));
            runtime.spawn(async move {
                let mut times = Vec::new();
                let mut key = caller;
                while running.load(Ordering::Relaxed) {
                    key = (key + 7919) % KEYS;
                    let start = Instant::now();
                    assert!(limiter.check(&key, 1).await.unwrap().is_admitted());
                    times.push(start.elapsed());
                    if let Some(pause) = pause {
                        tokio::time::sleep(pause).await;
                    }
                }
                times
            })
        })
        .collect();
    thread::sleep(LASTS);
    running.store(false, Ordering::Relaxed);
    let mut decisions = Vec::new();
    for task in tasks {
        decisions.extend(runtime.block_on(task).unwrap());
    }
    let pings = pinging.join().unwrap();
    let (count, ours, theirs) = (
        decisions.len(),
        percentile(decisions, 99),
        percentile(pings, 99),
    );
    println!(
        "99th percentile, round {round}, {callers} callers, {count} decisions: {ours:?}, PING beside them {theirs:?}: {:.2}x",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}
