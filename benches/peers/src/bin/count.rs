//! Sends requests and prints nothing: for callgrind. A program of its own, because the one that counts allocations has an allocator that costs
//! instructions.

use std::{env, hint::black_box};

use palisade_bench_peers::{
    client,
    variants::{Around, make},
};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // One of the peers starts a task of its own.
    let _guard = runtime.enter();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [around, name, way, keys, requests] = arguments.as_slice() else {
        panic!("usage: count AROUND NAME admitted|refused KEYS REQUESTS");
    };
    let keys: u32 = keys.parse().expect("a number");
    let mut call = make(name, Around::named(around), way == "refused", keys);
    // All have been seen before: what that takes is the same however many requests follow.
    for key in 0..keys {
        black_box(call(client(key)));
    }
    for number in 0..requests.parse::<u32>().expect("a number") {
        black_box(call(client(number.wrapping_mul(7919) % keys)));
    }
}
