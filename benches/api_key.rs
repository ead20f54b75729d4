//! What checking an API key and reading a rotating secret cost, and whether the time of a check tells anything about the keys.
//!
//! ```text
//! cargo bench --features secrets --bench api_key
//! ```
//!
//! Whether times differ is printed as the t and p of pairs of measurements, of the middle one of five rounds: p above 0.01 means that 100 000 pairs
//! show no difference. The usual test for leaks sees nothing below a t of 4.5. Instructions are counted by callgrind where `valgrind` is installed;
//! the test `constant_time` compares them.

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
use criterion::{Criterion, criterion_group};
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

/// Measures two classes of input in pairs, several times over, and prints whether their times differ.
///
/// A class makes an input of the right key by a random number. Both use one buffer, for where an input lies costs time as well, and it is
/// read once before it is measured: a byte that was just written costs time by where it was written, whatever the code does with it.
/// Which class of a pair comes first changes without a pattern that the processor could learn, and only differences within a pair count,
/// so that a machine that slows down does so for both.
fn compare(what: &str, classes: [fn(&mut [u8], u64); 2], run: impl Fn(&[u8]) -> bool) {
    const ROUNDS: usize = 5;
    const RUNS: usize = 100_000;
    /// Calls per measurement, for one is shorter than the clock is fine.
    const CALLS: u32 = 16;

    let mut input = KEY.as_bytes().to_vec();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut measured = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let mut pairs = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let order = if random & 1 == 0 { [0, 1] } else { [1, 0] };
            let mut pair = [0.0; 2];
            for class in order {
                let (Some(make), Some(time)) = (classes.get(class), pair.get_mut(class)) else {
                    continue;
                };
                input.copy_from_slice(KEY.as_bytes());
                make(&mut input, random >> 1);
                black_box(run(black_box(&input)));
                let start = Instant::now();
                for _ in 0..CALLS {
                    black_box(run(black_box(&input)));
                }
                *time = start.elapsed().as_nanos() as f64 / f64::from(CALLS);
            }
            pairs.push(pair);
        }
        // Interruptions are not the code's: pairs with one of the slowest twentieth of all measurements are left out, by one bound for both.
        let mut all: Vec<f64> = pairs.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        let bound = all.get(all.len() * 19 / 20).copied().unwrap_or(f64::MAX);
        pairs.retain(|pair| pair.iter().all(|&time| time < bound));
        measured.push(Statistics::of(&pairs));
    }
    measured.sort_by(|a, b| a.t.total_cmp(&b.t));
    let shown: Vec<String> = measured.iter().map(|it| format!("{:+.2}", it.t)).collect();
    if let Some(middle) = measured.get(ROUNDS / 2) {
        println!(
            "{what}: {:.2} ns, difference {:+.3} ns, t = {:+.2}, p = {:.3} (t of all rounds: {})",
            middle.mean,
            middle.difference,
            middle.t,
            p_value(middle.t),
            shown.join(", "),
        );
    }
}

struct Statistics {
    mean: f64,
    difference: f64,
    t: f64,
}

impl Statistics {
    fn of(pairs: &[[f64; 2]]) -> Self {
        let count = pairs.len() as f64;
        let difference = pairs.iter().map(|[a, b]| a - b).sum::<f64>() / count;
        let squares: f64 = pairs
            .iter()
            .map(|[a, b]| (a - b - difference).powi(2))
            .sum();
        Self {
            mean: pairs.iter().flatten().sum::<f64>() / (2.0 * count),
            difference,
            t: difference / (squares / (count - 1.0) / count).sqrt(),
        }
    }
}

/// How likely a value at least this far from 0 is by chance, in so large a sample: Abramowitz and Stegun, 26.2.17.
fn p_value(t: f64) -> f64 {
    let (x, scale) = (t.abs(), (2.0 * std::f64::consts::PI).sqrt());
    let k = 1.0 / (1.0 + 0.231_641_9 * x);
    let terms = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * k);
    2.0 * sum * (-x * x / 2.0).exp() / scale
}

/// The instructions of one call for an input of each class, as callgrind counts them.
fn count(name: &str) -> Option<u64> {
    let output = std::process::Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*counted*",
        ])
        .arg(std::env::current_exe().ok()?)
        .args(["--count", name])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, collected) = text.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok()
}

/// What callgrind is told to count in.
#[inline(never)]
fn counted(run: &dyn Fn(&[u8]) -> bool, input: &[u8]) -> bool {
    run(input)
}

type Class = (&'static str, fn(&mut [u8], u64));

const CLASSES: [Class; 5] = [
    ("right", right),
    ("first", first),
    ("last", last),
    ("one", one),
    ("all", all),
];

/// Runs what `count` wants counted, once before to resolve what is resolved lazily.
fn be_counted(name: &str) {
    let digest = SecretDigest::of(&SecretString::from(KEY));
    let Some((_, make)) = CLASSES.iter().find(|(class, _)| *class == name) else {
        return;
    };
    let mut input = KEY.as_bytes().to_vec();
    make(&mut input, 0x1234_5678_9abc_def1);
    let by_digest = |presented: &[u8]| digest.matches(presented);
    black_box(by_digest(black_box(&input)));
    black_box(counted(&by_digest, black_box(&input)));
}

/// Makes the first byte a wrong one.
fn first(input: &mut [u8], random: u64) {
    wrong_at(input, 0, random);
}

/// Makes the last byte a wrong one.
fn last(input: &mut [u8], random: u64) {
    wrong_at(input, input.len() - 1, random);
}

/// Makes any byte a wrong one.
fn one(input: &mut [u8], random: u64) {
    let place = usize::try_from(random >> 32).unwrap_or(0) % input.len();
    wrong_at(input, place, random);
}

fn wrong_at(input: &mut [u8], place: usize, random: u64) {
    let [.., byte] = random.to_le_bytes();
    if let Some(it) = input.get_mut(place) {
        *it ^= byte | 1;
    }
}

/// Leaves nothing of the key.
fn all(input: &mut [u8], mut random: u64) {
    for it in input {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let [.., byte] = random.to_le_bytes();
        *it ^= byte | 1;
    }
}

fn right(_: &mut [u8], _: u64) {}

fn timing(_: &mut Criterion) {
    println!("E12: instructions of one comparison by digest, which must be the same:");
    for (name, _) in CLASSES {
        match count(name) {
            Some(count) => println!("  {name:6} {count}"),
            None => println!("  {name:6} not counted: valgrind is missing"),
        }
    }
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
        [one, all],
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

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--count").skip(1);
    if let Some(class) = args.next() {
        return be_counted(&class);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
