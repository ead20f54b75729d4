//! The rate limiter and whole stacks beside their peers: times interleaved in one run, allocations, memory, and the longest check of a flood.
//! `benches/run.sh` prints all tables; this program those of times.

mod store;

use std::{env, hint::black_box, thread, time::Instant};

use palisade_bench_peers::{
    client, median,
    variants::{Around, Call, FIELDS, LIMITERS, STACKS, make, make_shared},
};

/// Rounds, in each of which every service gets its turn.
const ROUNDS: usize = 15;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // One of the peers starts a task of its own.
    let _guard = runtime.enter();
    match env::args().nth(1).as_deref() {
        None => {
            // First, before others leave memory behind that it would be given.
            store::run();
            services();
            threads();
        }
        Some("services") => services(),
        Some("store") => store::run(),
        Some("threads") => threads(),
        Some(other) => panic!("there is no `{other}`: services, store or threads"),
    }
}

fn services() {
    for around in [Around::Tower, Around::TowerContentType, Around::Axum] {
        compare("admitted, one key", around, &LIMITERS, false, 1);
        compare("refused, one key", around, &LIMITERS, true, 1);
    }
    compare(
        "admitted, 10k keys",
        Around::Tower,
        &LIMITERS,
        false,
        10_000,
    );
    compare(
        "admitted, 1M keys",
        Around::Tower,
        &LIMITERS,
        false,
        1_000_000,
    );
    compare("refused, 10k keys", Around::Tower, &LIMITERS, true, 10_000);
    compare(
        "refused, 1M keys",
        Around::Tower,
        &LIMITERS,
        true,
        1_000_000,
    );
    compare("fields", Around::Proxy, &FIELDS, false, 1);
    compare(
        "stacks, admitted, one key",
        Around::Proxy,
        &STACKS,
        false,
        1,
    );
    compare(
        "stacks, admitted, 10k keys",
        Around::Proxy,
        &STACKS,
        false,
        10_000,
    );
    compare("stacks, refused, one key", Around::Proxy, &STACKS, true, 1);
}

/// Prints what one request costs, beside what the bare service costs.
fn compare(title: &str, around: Around, names: &[&str], refusing: bool, keys: u32) {
    let mut calls: Vec<_> = names
        .iter()
        .map(|name| make(name, around, refusing, keys))
        .collect();
    // Some peers take long to refuse.
    let requests = if keys == 1 || refusing {
        20_000
    } else {
        200_000
    };
    for call in &mut calls {
        for key in 0..keys {
            black_box(call(client(key)));
        }
    }
    let mut times = vec![Vec::new(); names.len()];
    let mut next = 0_u32;
    for _ in 0..ROUNDS {
        for (call, times) in calls.iter_mut().zip(&mut times) {
            times.push(time(call, next, requests, keys));
        }
        next = next.wrapping_add(requests);
    }
    println!("\n## {title} ({around:?})\n");
    println!("| | ns | of bare | ns added | allocations added |");
    println!("|---|---|---|---|---|");
    let bare_times = times[0].clone();
    let bare = median(&mut bare_times.clone());
    let bare_allocations = allocations(&mut calls[0]);
    for ((name, call), times) in names.iter().zip(&mut calls).zip(&times) {
        let mut ratios: Vec<_> = times
            .iter()
            .zip(&bare_times)
            .map(|(it, bare)| it / bare)
            .collect();
        let time = median(&mut times.clone());
        println!(
            "| {name} | {time:.0} | {:.2} | {:+.0} | {:+} |",
            median(&mut ratios),
            time - bare,
            allocations(call) - bare_allocations,
        );
    }
}

fn time(call: &mut Call, next: u32, requests: u32, keys: u32) -> f64 {
    let start = Instant::now();
    for number in 0..requests {
        // A step that is prime to the number of keys visits them all, and none twice in a row.
        let key = (next.wrapping_add(number)).wrapping_mul(7919) % keys;
        black_box(call(client(key)));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(requests)
}

fn allocations(call: &mut Call) -> i64 {
    let counted = allocation_counter::measure(|| {
        black_box(call(client(0)));
    });
    i64::try_from(counted.count_total).expect("a few")
}

/// Prints the throughput of two threads with one client, each with a service of its own that shares the limiter.
fn threads() {
    println!("\n## two threads, one key: requests per second, to those of one thread\n");
    println!("| | ratio |");
    println!("|---|---|");
    for name in LIMITERS {
        let mut ratios: Vec<_> = (0..7).map(|_| rate(name, 2) / rate(name, 1)).collect();
        println!("| {name} | {:.2} |", median(&mut ratios));
    }
}

fn rate(name: &str, threads: u32) -> f64 {
    const REQUESTS: u32 = 300_000;
    let calls = make_shared(name, Around::Tower, false, 1, threads as usize);
    let start = Instant::now();
    thread::scope(|scope| {
        for mut call in calls {
            scope.spawn(move || time(&mut call, 0, REQUESTS, 1));
        }
    });
    f64::from(threads * REQUESTS) / start.elapsed().as_secs_f64()
}
