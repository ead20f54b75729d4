//! What a check costs as keys, entries of a list, and threads grow. `benches/scale.sh` runs this and draws it.
//!
//! Every line printed is `series`, `x`, `y`, with a tabulator between them. Times are medians of rounds in which all sizes take turns; they
//! hold on one machine and are to be read as ratios.
#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench")]

use std::{
    hint::{black_box, spin_loop},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use ipnet::IpNet;
use palisade::{
    ip_set::IpSet,
    rate_limit::{Quota, RateLimiter},
};

const CHECKS: u32 = 1_000_000;
const ROUNDS: usize = 7;

fn main() {
    keys();
    entries();
    threads();
}

/// Nanoseconds per check of a limiter as large as its keys are many, each key seen before, in an order that no cache foresees.
fn keys() {
    let sizes = [1, 1_000, 100_000, 1_000_000, 10_000_000_u32];
    let limiters = sizes.map(|keys| {
        let limiter = RateLimiter::builder(Quota::per_second(1_000_000_000))
            .max_keys(keys.max(1_000) as usize)
            .build()
            .expect("the settings are sound");
        for key in 0..keys {
            black_box(limiter.check(&client(key), 1).is_admitted());
        }
        limiter
    });
    let mut times = sizes.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((keys, limiter), times) in sizes.iter().zip(&limiters).zip(&mut times) {
            times.push(nanos(|number| {
                black_box(
                    limiter
                        .check(&client(scatter(number) % keys), 1)
                        .is_admitted(),
                );
            }));
        }
    }
    for (keys, times) in sizes.iter().zip(&mut times) {
        println!("check by keys\t{keys}\t{:.1}", median(times));
    }
}

/// Nanoseconds per look-up in a set of so many entries; half of the look-ups hit, and each makes its address anew.
fn entries() {
    let sizes = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000_u32];
    let sets = sizes.map(|entries| {
        let nets = (0..entries).map(|number| {
            let (addr, length) = entry(number);
            IpNet::new(addr, length)
                .expect("the length is sound")
                .trunc()
        });
        nets.collect::<IpSet>()
    });
    let mut times = sizes.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((entries, set), times) in sizes.iter().zip(&sets).zip(&mut times) {
            times.push(nanos(|number| {
                let (addr, _) = entry(scatter(number) % (entries * 2));
                black_box(set.contains(addr));
            }));
        }
    }
    for (entries, times) in sizes.iter().zip(&mut times) {
        println!("look-up by entries\t{entries}\t{:.1}", median(times));
    }
}

/// Checks per second of one key and of a key for each thread, and how long a cache line takes from one core to another.
fn threads() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let limiter = RateLimiter::new(Quota::per_second(1_000_000_000));
    for threads in 1..=cores {
        let mut one: Vec<_> = (0..ROUNDS)
            .map(|_| rate(threads, |_| 0, &limiter))
            .collect();
        println!(
            "one key, million checks/s by threads\t{threads}\t{:.2}",
            median(&mut one)
        );
        let mut own: Vec<_> = (0..ROUNDS)
            .map(|_| rate(threads, |thread| thread, &limiter))
            .collect();
        println!(
            "a key each, million checks/s by threads\t{threads}\t{:.2}",
            median(&mut own)
        );
    }
    if cores < 2 {
        return;
    }
    // The least of all rounds: where a thread is put to sleep in between, what is measured is the scheduler.
    let transfer = (0..3 * ROUNDS)
        .map(|_| transfer())
        .fold(f64::INFINITY, f64::min);
    println!("ns per transfer of a cache line\t2\t{transfer:.1}");
    // A hot key is one lock: while it changes cores on every check, nothing else is done to it. The line of the lock and that of the cells move, one
    // after the other; assumed is that a check moves both, and that the work on them is what it is on one thread.
    let mut alone: Vec<_> = (0..ROUNDS).map(|_| rate(1, |_| 0, &limiter)).collect();
    let alone = median(&mut alone);
    for threads in [2_u32, 4, 8, 16, 32] {
        let model = 1e3 / (2.0 * transfer + 1e3 / alone);
        println!("one key by the model, million checks/s by threads\t{threads}\t{model:.2}");
    }
}

fn rate(threads: usize, key: impl Fn(usize) -> usize + Sync, limiter: &RateLimiter) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let key = client(u32::try_from(key(thread)).unwrap_or(0));
            scope.spawn(move || {
                for _ in 0..CHECKS {
                    black_box(limiter.check(&key, 1).is_admitted());
                }
            });
        }
    });
    threads as f64 * f64::from(CHECKS) / start.elapsed().as_secs_f64() / 1e6
}

/// Hands a number back and forth between two threads.
fn transfer() -> f64 {
    const TIMES: u64 = 20_000;
    let number = AtomicU64::new(0);
    let play = |parity: u64| {
        let mut seen = number.load(Ordering::Acquire);
        while seen < TIMES {
            if seen % 2 == parity {
                number.store(seen + 1, Ordering::Release);
            } else {
                spin_loop();
            }
            seen = number.load(Ordering::Acquire);
        }
    };
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| play(0));
        scope.spawn(|| play(1));
    });
    start.elapsed().as_secs_f64() * 1e9 / TIMES as f64
}

fn nanos(mut step: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    for number in 0..CHECKS {
        step(number);
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CHECKS)
}

/// Visits all numbers once, none near the one before.
fn scatter(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

/// The same number from the same number, spread over 64 bits (the finalizer of splitmix64).
fn mix(number: u64) -> u64 {
    let mut it = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

/// An address and the length of the prefix that it is in: seven of ten are IPv4.
fn entry(number: u32) -> (IpAddr, u8) {
    let random = mix(number.into());
    if number % 10 < 7 {
        let bits = u32::try_from(random >> 32).unwrap_or(0);
        (Ipv4Addr::from_bits(bits).into(), 24)
    } else {
        (Ipv6Addr::from_bits(u128::from(random) << 64).into(), 48)
    }
}

fn client(key: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000_u32.wrapping_add(key)))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
