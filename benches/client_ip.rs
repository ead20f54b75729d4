//! Resolving a client behind one trusted proxy, beside parsing its address with the standard library.
//!
//! ```text
//! cargo bench --bench client_ip
//! ```
//!
//! Times are medians of interleaved rounds. Where `valgrind` is installed, instructions are counted as well: the benchmark runs itself
//! under callgrind, which counts only inside the measured functions.
#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a benchmark stops by panicking, and prints what it measured"
)]

use std::{env, hint::black_box, net::IpAddr, process::Command, time::Instant};

use http::{HeaderMap, HeaderValue, Request, request::Parts};
use palisade::client_ip::{ClientIpSource, PeerAddr, TrustedProxies};

const CALLS: u32 = 1_000;

/// What callgrind is told to count in.
#[inline(never)]
fn measured_region(work: &dyn Fn()) {
    for _ in 0..CALLS {
        work();
    }
}

fn parts(lines: &[String], name: &'static str) -> Parts {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("api.example.com"));
    headers.insert("user-agent", HeaderValue::from_static("curl/8.0"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    for line in lines {
        headers.append(name, line.parse().expect("a value"));
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = headers;
    parts
}

fn cases() -> Vec<(&'static str, Box<dyn Fn()>)> {
    let proxies: TrustedProxies = "10.0.0.0/8".parse().expect("a list");
    let peer = Some(PeerAddr::Tcp(([10, 0, 0, 1], 40_000).into()));
    let resolve = move |source: fn(TrustedProxies) -> ClientIpSource,
                        name: &'static str,
                        lines: &[String]| {
        let (source, parts) = (source(proxies.clone()), parts(lines, name));
        Box::new(move || {
            black_box(source.resolve_from(black_box(peer), black_box(&parts)));
        }) as Box<dyn Fn()>
    };
    let list: fn(TrustedProxies) -> ClientIpSource = ClientIpSource::XForwardedFor;
    let elements: fn(TrustedProxies) -> ClientIpSource = ClientIpSource::Forwarded;
    let at_cap = |entry: &str| vec![entry.repeat(8_192 / entry.len())];
    let large = |entry: &str| vec![entry.repeat(400_000 / entry.len())];
    vec![
        (
            "nothing",
            Box::new(|| {
                black_box(black_box("203.0.113.7"));
            }),
        ),
        (
            "std parse, IPv4",
            Box::new(|| {
                let _ = black_box(black_box("203.0.113.7").parse::<IpAddr>());
            }),
        ),
        (
            "std parse, IPv6",
            Box::new(|| {
                let _ = black_box(black_box("2001:db8:85a3::8a2e:370:7334").parse::<IpAddr>());
            }),
        ),
        (
            "one hop, IPv4",
            resolve(list, "x-forwarded-for", &["203.0.113.7".into()]),
        ),
        (
            "one hop, IPv6",
            resolve(
                list,
                "x-forwarded-for",
                &["2001:db8:85a3::8a2e:370:7334".into()],
            ),
        ),
        (
            "one hop behind a spoof",
            resolve(list, "x-forwarded-for", &["6.6.6.6, 203.0.113.7".into()]),
        ),
        (
            "one hop, Forwarded",
            resolve(
                elements,
                "forwarded",
                &["for=203.0.113.7;proto=https".into()],
            ),
        ),
        (
            "one hop, Forwarded, address alone",
            resolve(elements, "forwarded", &["for=203.0.113.7".into()]),
        ),
        (
            "one hop, Forwarded, IPv6",
            resolve(
                elements,
                "forwarded",
                &["for=\"[2001:db8:85a3::8a2e:370:7334]\";proto=https".into()],
            ),
        ),
        (
            "one hop, Forwarded, all that is usual",
            resolve(
                elements,
                "forwarded",
                &["for=203.0.113.7;by=10.0.0.1;host=api.example.com;proto=https".into()],
            ),
        ),
        ("the header map's look-up of Forwarded alone", {
            let parts = parts(&["for=203.0.113.7;proto=https".into()], "forwarded");
            Box::new(move || {
                let lines = black_box(&parts).headers.get_all(http::header::FORWARDED);
                black_box(lines.iter().next_back());
            })
        }),
        (
            "three hops",
            resolve(
                list,
                "x-forwarded-for",
                &["203.0.113.7, 10.0.0.3, 10.0.0.2".into()],
            ),
        ),
        (
            "commas, 8 KiB",
            resolve(list, "x-forwarded-for", &at_cap(",")),
        ),
        (
            "commas, 400 kB",
            resolve(list, "x-forwarded-for", &large(",")),
        ),
        (
            "trusted entries, 8 KiB",
            resolve(list, "x-forwarded-for", &at_cap("10.0.0.2,")),
        ),
        (
            "trusted entries, 400 kB",
            resolve(list, "x-forwarded-for", &large("10.0.0.2,")),
        ),
        (
            "one entry, 8 KiB",
            resolve(list, "x-forwarded-for", &at_cap("x")),
        ),
        (
            "one entry, 400 kB",
            resolve(list, "x-forwarded-for", &large("x")),
        ),
        (
            "Forwarded, 8 KiB",
            resolve(elements, "forwarded", &at_cap("for=x;")),
        ),
        (
            "Forwarded, 400 kB",
            resolve(elements, "forwarded", &large("for=x;")),
        ),
    ]
}

/// Runs one case in a process of its own under callgrind, and returns the instructions per call.
fn instructions(case: &str) -> Option<u64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*measured_region*",
        ])
        .arg(env::current_exe().ok()?)
        .args(["--case", case])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))?
        .1;
    Some(collected.trim().parse::<u64>().ok()? / u64::from(CALLS))
}

fn main() {
    let cases = cases();
    let mut args = env::args().skip_while(|arg| arg != "--case").skip(1);
    if let Some(case) = args.next() {
        if let Some((_, work)) = cases.iter().find(|(name, _)| *name == case) {
            measured_region(work);
        }
        return;
    }
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..31 {
        for ((_, work), times) in cases.iter().zip(&mut times) {
            let start = Instant::now();
            measured_region(work);
            times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
    let mut base = 0;
    println!("| case | ns | instructions | x std parse |");
    println!("|---|---|---|---|");
    for ((name, _), times) in cases.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let Some(count) = instructions(name) else {
            println!("| {name} | {median:.0} | | |");
            continue;
        };
        if name.starts_with("std parse") {
            base = count;
        }
        // The address that is parsed decides which of the two parses is the yardstick.
        let yardstick = if name.contains("IPv6") {
            base
        } else {
            instructions("std parse, IPv4").unwrap_or(base)
        };
        println!(
            "| {name} | {median:.0} | {count} | {:.2} |",
            count as f64 / yardstick.max(1) as f64
        );
    }
}
