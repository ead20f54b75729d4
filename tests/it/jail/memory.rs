//! Memory: a million clients that behave leave no trace.

use std::{env, fs, process::Command};

use http::StatusCode;
use palisade::jail::{Rule, TrapPaths};

use super::support::{World, jail};

const CHILD: &str = "PALISADE_TEST_JAIL_MEMORY";

/// The test runs itself in a process of its own, where no other test allocates.
#[test]
#[cfg(target_os = "linux")]
fn a_million_good_clients_need_less_than_a_mebibyte() {
    if env::var_os(CHILD).is_some() {
        println!("grown by {} bytes.", grow());
        return;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("jail::memory::a_million_good_clients_need_less_than_a_mebibyte")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (_, grown) = output.split_once("grown by ").unwrap();
    let grown: usize = grown.split_once(' ').unwrap().0.parse().unwrap();
    assert!(grown < 1 << 20, "grown by {grown} bytes");
}

/// Sends a million clients through a jail, and returns by how much the process has grown since before the jail was made.
fn grow() -> usize {
    // The allocator and the test's own strings are warm before the first look.
    let warm = World::new(jail());
    for host in 0..1000 {
        warm.send(&client(host), "/");
    }
    let before = resident();
    let world = World::new(
        jail()
            .rule(Rule::status(StatusCode::NOT_FOUND))
            .traps(TrapPaths::common()),
    );
    for host in 0..1_000_000 {
        assert_eq!(world.send(&client(host), "/"), 200);
    }
    assert_eq!(world.jail.counts().counters(), 0);
    resident().saturating_sub(before)
}

fn client(host: u32) -> String {
    std::net::Ipv4Addr::from_bits(0x0b00_0000 + host).to_string()
}

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
