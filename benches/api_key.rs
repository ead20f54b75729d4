//! What checking an API key and reading a rotating secret cost, and whether the time of a check tells anything about the keys.
//!
//! ```text
//! cargo bench --features secrets --bench api_key
//! ```
//!
//! The measurements of time are printed as a table: Welch's t of the two classes, and the mean difference. Below 4.5 the usual test for leaks sees nothing.

#![allow(
    clippy::allow_attributes,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by panicking, and documents nothing"
)]

use std::{
    fmt::Write as _,
    hint::black_box,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use palisade::{
    api_key::{ApiKeys, KeyFormat},
    secret::{ExposeSecret, SecretDigest, SecretLoader, SecretString},
};
use sha2::{Digest as _, Sha256};

/// As long as the keys that the crate makes.
const KEY: &str = "palisade_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn keys(count: usize) -> ApiKeys {
    let mut text = format!("{KEY}\n");
    for index in 1..count {
        writeln!(text, "palisade_{index:064x}").unwrap();
    }
    ApiKeys::parse(&text, KeyFormat::Lines).unwrap()
}

fn check(c: &mut Criterion) {
    let mut group = c.benchmark_group("api_key");
    group.bench_function("one SHA-256 of the key", |b| {
        b.iter(|| Sha256::digest(black_box(KEY.as_bytes())));
    });
    for count in [1, 10_000] {
        let keys = keys(count);
        group.bench_function(format!("a known key of {count}"), |b| {
            b.iter(|| keys.verify(black_box(KEY.as_bytes())));
        });
        let unknown = KEY.replace("cdef", "cdee");
        group.bench_function(format!("an unknown key, {count} known"), |b| {
            b.iter(|| keys.verify(black_box(unknown.as_bytes())));
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("rotating");
    let swap = ArcSwap::from_pointee(SecretString::from(KEY));
    group.bench_function("arc-swap load", |b| {
        b.iter(|| black_box(swap.load().expose_secret().len()));
    });
    let loader = SecretLoader::new().with_environment(|name| (name == "KEY").then(|| KEY.into()));
    let secret = loader.secret("KEY").rotating(Duration::ZERO).unwrap();
    group.bench_function("rotating secret", |b| {
        b.iter(|| black_box(secret.current().expose_secret().len()));
    });
    group.finish();
}

/// Measures two classes of input in turns, and prints whether their times differ.
///
/// A class makes an input of the right key by a random number. Both use one buffer, for where an input lies costs time as well.
fn compare(what: &str, classes: [fn(&mut [u8], u8); 2], run: impl Fn(&[u8]) -> bool) {
    const RUNS: usize = 100_000;
    /// Calls per measurement, for one is shorter than the clock is fine.
    const CALLS: u32 = 16;

    let mut samples = [Vec::with_capacity(RUNS), Vec::with_capacity(RUNS)];
    let mut input = KEY.as_bytes().to_vec();
    // Which class comes first changes without a pattern that the processor could learn.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..RUNS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let order = if random & 1 == 0 { [0, 1] } else { [1, 0] };
        let [.., byte] = random.to_le_bytes();
        for class in order {
            let (Some(make), Some(times)) = (classes.get(class), samples.get_mut(class)) else {
                continue;
            };
            input.copy_from_slice(KEY.as_bytes());
            make(&mut input, byte);
            let start = Instant::now();
            for _ in 0..CALLS {
                black_box(run(black_box(&input)));
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    // Interruptions are not the code's: the slowest twentieth of all is left out, by one bound for both classes.
    let mut all: Vec<f64> = samples.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let bound = all.get(all.len() * 19 / 20).copied().unwrap_or(f64::MAX);
    let [a, b] = samples.map(|times| Statistics::of(times.into_iter().filter(|&it| it < bound)));
    let t = (a.mean - b.mean) / (a.variance / a.count + b.variance / b.count).sqrt();
    println!(
        "{what}: {:.2} ns and {:.2} ns, difference {:+.3} ns, t = {t:+.2}",
        a.mean,
        b.mean,
        a.mean - b.mean,
    );
}

struct Statistics {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Statistics {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        let times: Vec<f64> = times.collect();
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares: f64 = times.iter().map(|it| (it - mean).powi(2)).sum();
        Self {
            count,
            mean,
            variance: squares / (count - 1.0),
        }
    }
}

/// Makes the first byte a wrong one.
fn first(input: &mut [u8], byte: u8) {
    if let Some(first) = input.first_mut() {
        *first ^= byte | 1;
    }
}

/// Makes the last byte a wrong one.
fn last(input: &mut [u8], byte: u8) {
    if let Some(last) = input.last_mut() {
        *last ^= byte | 1;
    }
}

/// Leaves nothing of the key.
fn all(input: &mut [u8], byte: u8) {
    for it in input {
        *it ^= byte | 1;
    }
}

fn right(_: &mut [u8], _: u8) {}

fn timing(_: &mut Criterion) {
    let digest = SecretDigest::of(&SecretString::from(KEY));
    let by_digest = |presented: &[u8]| digest.matches(presented);
    let keys = keys(10_000);
    let by_keys = |presented: &[u8]| keys.verify(presented).is_some();

    compare(
        "noise: digest, a class against itself",
        [first, first],
        by_digest,
    );
    compare(
        "E12: digest, first byte wrong against last",
        [first, last],
        by_digest,
    );
    compare(
        "noise: 10000 keys, a class against itself",
        [first, first],
        by_keys,
    );
    compare(
        "E12: 10000 keys, first byte wrong against last",
        [first, last],
        by_keys,
    );
    compare(
        "E13: 10000 keys, nearly a known key against none",
        [last, all],
        by_keys,
    );
    // Whoever presents it is told which it is.
    compare(
        "for comparison: a known key against none",
        [right, all],
        by_keys,
    );
}

criterion_group!(benches, timing, check, read);
criterion_main!(benches);
