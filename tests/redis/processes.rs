//! Instances in processes of their own hammer one key.

use std::{
    env,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use palisade::rate_limit::{Quota, SharedRateLimiter};

use crate::support::{Server, builder};

/// Where a child finds the server.
const ADDRESS: &str = "PALISADE_TEST_STORE";
/// One unit comes back in so many microseconds.
const INTERVAL: u64 = 20_000;
const BURST: u32 = 100;
const LASTS: Duration = Duration::from_secs(2);

fn limiter(address: &str) -> SharedRateLimiter {
    let store = builder(address)
        .deadline(Duration::from_secs(5))
        .build()
        .unwrap();
    let quota = Quota::per_second(50).with_burst(BURST);
    SharedRateLimiter::builder(&store, "hammered", quota)
        .build()
        .unwrap()
}

/// What a child does: it is no test of its own.
#[tokio::test]
async fn child() {
    let Ok(address) = env::var(ADDRESS) else {
        return;
    };
    let limiter = limiter(&address);
    let (mut admitted, mut refused) = (0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < LASTS {
        if limiter.check("key", 1).await.unwrap().is_admitted() {
            admitted += 1;
        } else {
            refused += 1;
        }
        if refused % 64 == 63 {
            tokio::task::yield_now().await;
        }
    }
    println!("\nadmitted={admitted} refused={refused}");
}

fn server_time(server: &Server) -> u64 {
    let time = server.cli(&["time"]);
    let mut parts = time.lines().map(|it| it.parse::<u64>().unwrap());
    parts.next().unwrap() * 1_000_000 + parts.next().unwrap()
}

async fn check(instances: usize) {
    let server = Server::start();
    let before = server_time(&server);
    // The bucket is empty and starts to refill: it is not full before the children have started.
    let first = limiter(&server.address()).check("key", BURST).await;
    assert!(first.unwrap().is_admitted());
    let after = server_time(&server);
    let children: Vec<_> = (0..instances)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "processes::child", "--nocapture"])
                .env(ADDRESS, server.address())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut admitted = u64::from(BURST);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix("admitted="))
            .unwrap();
        let (count, refused) = line.split_once(" refused=").unwrap();
        assert_ne!(refused, "0", "the key was not hammered");
        admitted += count.parse::<u64>().unwrap();
    }
    // The key tells when the bucket is full again: after as many intervals as units were charged. One admitted too many or too few shows.
    let key = server.cli(&["keys", "*"]);
    let full: u64 = server.cli(&["get", &key]).parse().unwrap();
    let ideal = (full - after) / INTERVAL..=(full - before).div_ceil(INTERVAL);
    let (least, most) = (ideal.start().saturating_sub(1), ideal.end() + 1);
    assert!(
        (least..=most).contains(&admitted),
        "{admitted} were admitted, ideal is {ideal:?}"
    );
    assert!(
        u64::from(BURST) + 50 < admitted,
        "{admitted}: the children hardly ran"
    );
}

#[tokio::test]
async fn two_instances_admit_what_one_would() {
    check(2).await;
}

#[tokio::test]
async fn eight_instances_admit_what_one_would() {
    check(8).await;
}
