//! The rate limiter beside its peers: times interleaved in one run, allocations, memory, and the longest check of a flood.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml            # the tables
//! benches/peers/instructions.sh                                          # instructions per request, by callgrind
//! ```

mod store;
mod variants;

use std::{
    env,
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use variants::{NAMES, make};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // One of the peers starts a task of its own.
    let _guard = runtime.enter();
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["count", name, way, requests] => {
            count(name, *way == "refused", requests.parse().expect("a number"))
        }
        ["store"] => store::run(),
        _ => {
            services();
            store::run();
        }
    }
}

/// Sends requests of one client and prints nothing: for callgrind.
fn count(name: &str, refusing: bool, requests: u32) {
    let mut call = make(name, refusing, 1);
    for _ in 0..requests {
        black_box(call(client(0)));
    }
}

/// Prints what one request costs, less what the bare service costs.
fn services() {
    for (title, refusing, keys) in [
        ("admitted, one key", false, 1),
        ("admitted, 10k keys", false, 10_000),
        ("admitted, 1M keys", false, 1_000_000),
        ("refused, one key", true, 1),
    ] {
        let mut calls: Vec<_> = NAMES
            .iter()
            .map(|name| make(name, refusing, keys))
            .collect();
        let requests = if keys == 1 { 20_000 } else { 200_000 };
        for call in &mut calls {
            for key in 0..keys {
                black_box(call(client(key)));
            }
        }
        let mut times = vec![Vec::new(); NAMES.len()];
        let mut next = 0_u32;
        for _ in 0..15 {
            for (call, times) in calls.iter_mut().zip(&mut times) {
                let start = Instant::now();
                for number in 0..requests {
                    // A step that is prime to the number of keys visits them all, and none twice in a row.
                    let key = (next.wrapping_add(number)).wrapping_mul(7919) % keys;
                    black_box(call(client(key)));
                }
                times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(requests));
            }
            next = next.wrapping_add(requests);
        }
        println!("\n## {title}: ns and allocations per request, beyond the bare service");
        let bare = median(&mut times[0]);
        for ((name, call), times) in NAMES.iter().zip(&mut calls).zip(&mut times) {
            let allocations = allocation_counter::measure(|| {
                black_box(call(client(0)));
            });
            println!(
                "{name:24} {:10.1} ns  {:3} allocations (those of the request among them)",
                median(times) - if *name == "bare" { 0.0 } else { bare },
                allocations.count_total,
            );
        }
    }
}

pub fn client(key: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + key), 50_000))
}

pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
