//! Case E12, exactly: comparing a presented secret with a stored one takes the same instructions whatever differs.
//!
//! The program runs itself under callgrind, once per presented value, and compares the counts. A missing `valgrind` fails the test and names
//! its package; `PALISADE_SKIP_SYSTEM=1` skips it and says so. How long the instructions take is for `benches/api_key.rs` to measure.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{env, hint::black_box, process::Command};

use palisade::{
    api_key::{ApiKeys, KeyFormat},
    secret::{SecretDigest, SecretString},
};

/// As long as the keys that the crate makes.
const KEY: &str = "palisade_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is presented, by name.
const PRESENTED: [&str; 5] = ["right", "first", "middle", "last", "all"];

fn main() {
    let mut arguments = env::args().skip_while(|it| it != "--count").skip(1);
    if let (Some(what), Some(presented)) = (arguments.next(), arguments.next()) {
        return be_counted(&what, &presented);
    }
    // Filters and options are those of the usual test harness; only a filter that is not ours makes a difference.
    let wanted = env::args().skip(1).find(|it| !it.starts_with('-'));
    if wanted.is_some_and(|filter| !"constant_time".contains(&*filter)) {
        return;
    }
    if env::var_os("PALISADE_SKIP_SYSTEM").is_some() {
        println!("constant_time: skipped, for PALISADE_SKIP_SYSTEM is set");
        return;
    }
    let counts = |what| PRESENTED.map(|it| (it, count(what, it)));
    let by_digest = counts("digest");
    let [(_, expected), ..] = by_digest;
    assert!(1_000 < expected, "nothing was counted: {by_digest:?}");
    assert!(
        by_digest.iter().all(|(_, count)| *count == expected),
        "E12: {by_digest:?}"
    );
    // Whoever presents a key that there is is told so; all that there is not are alike, near or far.
    let [_, unknown @ ..] = counts("keys");
    let [(_, expected), ..] = unknown;
    assert!(
        unknown.iter().all(|(_, count)| *count == expected),
        "E12, keys: {unknown:?}"
    );
    // The control: a comparison that stops at the first difference is found out.
    let naive = counts("naive");
    let [_, (_, first), .., (_, last), _] = naive;
    assert!(first < last, "the count sees no difference: {naive:?}");
    println!("constant_time: {by_digest:?}, keys {unknown:?}, a naive comparison {naive:?}");
}

/// Returns the instructions of one comparison.
fn count(what: &str, presented: &str) -> u64 {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*counted_region*",
        ])
        .arg(env::current_exe().expect("a program"))
        .args(["--count", what, presented])
        .output()
        .expect("valgrind: install Debian's package valgrind, or set PALISADE_SKIP_SYSTEM=1");
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.split_once("Collected : ").map(|(_, it)| it);
    collected
        .and_then(|it| it.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("callgrind counted nothing: {text}"))
}

/// What callgrind is told to count in.
#[inline(never)]
fn counted_region(compare: &dyn Fn(&[u8]) -> bool, presented: &[u8]) -> bool {
    compare(presented)
}

fn be_counted(what: &str, presented: &str) {
    let mut input = KEY.as_bytes().to_vec();
    let len = input.len();
    for (place, byte) in input.iter_mut().enumerate() {
        let is_wrong = match presented {
            "first" => place == 0,
            "middle" => place == len / 2,
            "last" => place == len - 1,
            "all" => true,
            _ => false,
        };
        *byte ^= u8::from(is_wrong);
    }
    let digest = SecretDigest::of(&SecretString::from(KEY));
    let keys = ApiKeys::parse(KEY, KeyFormat::Lines).expect("a key");
    let compare: &dyn Fn(&[u8]) -> bool = match what {
        "digest" => &|presented| digest.matches(presented),
        "keys" => &|presented| keys.verify(presented).is_some(),
        _ => &|presented| presented.iter().eq(KEY.as_bytes()),
    };
    // What is resolved lazily is resolved before.
    black_box(compare(black_box(&input)));
    black_box(counted_region(compare, black_box(&input)));
}
