//! The table alone: threads, memory, and the longest check while a flood of keys comes in.

use std::{
    fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use governor::{DefaultKeyedRateLimiter, RateLimiter as Governor};
use palisade::rate_limit::{Quota, RateLimiter};
use rustix::time::{ClockId, clock_gettime};

const CHECKS: u32 = 2_000_000;
const FLOOD: u32 = 10_000_000;
const KEYS: usize = 1_000_000;

pub fn run() {
    threads();
    memory();
}

/// How much throughput two threads on one key lose.
fn threads() {
    println!("\n## one hot key: checks per second with two threads, to those with one");
    let limiter = RateLimiter::new(Quota::per_second(1_000_000_000));
    let ours = ratios(|| {
        black_box(limiter.check(&addr(0), 1).is_admitted());
    });
    let quota = governor::Quota::per_second(NonZeroU32::MAX);
    let limiter: DefaultKeyedRateLimiter<IpAddr> = Governor::keyed(quota);
    let theirs = ratios(|| {
        let _ = black_box(limiter.check_key(&addr(0)));
    });
    println!("palisade {ours:.2}, governor {theirs:.2}");
}

fn ratios(check: impl Fn() + Sync) -> f64 {
    let mut ratios: Vec<_> = (0..7)
        .map(|_| {
            let one = rate(1, &check);
            rate(2, &check) / one
        })
        .collect();
    palisade_bench_peers::median(&mut ratios)
}

fn rate(threads: u32, check: &(impl Fn() + Sync)) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..CHECKS {
                    check();
                }
            });
        }
    });
    f64::from(threads * CHECKS) / start.elapsed().as_secs_f64()
}

fn memory() {
    println!("\n## a table for a million keys, and ten million that come");
    let before = resident();
    let limiter = table();
    let made = resident();
    println!(
        "made: {:.1} bytes per key",
        (made - before) as f64 / KEYS as f64
    );
    let start = Instant::now();
    for key in 0..FLOOD {
        black_box(limiter.check(&addr(key), 1).is_admitted());
    }
    println!(
        "flood: {:.0} ns per check, resident {:+.3} MiB",
        start.elapsed().as_secs_f64() * 1e9 / f64::from(FLOOD),
        (resident() as f64 - made as f64) / 1_048_576.0,
    );
    println!("{:?}", limiter.usage());

    println!("\n## the slowest of ten million, in CPU time of the thread");
    let limiter = table();
    report("check", |key| {
        black_box(limiter.check(&addr(key), 1).is_admitted());
    });
    report("nothing", |key| _ = black_box(key));
}

fn table() -> RateLimiter {
    RateLimiter::builder(Quota::per_hour(10))
        .max_keys(KEYS)
        .build()
        .expect("the settings are sound")
}

/// Prints how long the longest of so many pieces of work took, and the longest of those that were done three times, by its best.
///
/// Interrupts are charged to the thread they come upon, so that the first number tells of the machine as much as of the work; none comes three times
/// upon one key. Until the table is full, a key that comes again does not do again what it did.
fn report(name: &str, mut work: impl FnMut(u32)) {
    let (mut slowest, mut best) = (Duration::ZERO, Duration::ZERO);
    for key in 0..FLOOD {
        let times = if key < 2 * KEYS as u32 { 1 } else { 3 };
        let mut least = Duration::MAX;
        for _ in 0..times {
            let from = cpu();
            work(key);
            let took = cpu() - from;
            slowest = slowest.max(took);
            least = least.min(took);
        }
        if times == 3 {
            best = best.max(least);
        }
    }
    println!("{name}: {slowest:?}, by the best of three {best:?}");
}

fn addr(key: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + key))
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
