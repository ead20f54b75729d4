//! What the fuzz targets check, over their seeds and over seeds that were damaged: any toolchain can run that, and every run does.

use std::{fs, panic::catch_unwind, path::Path};

use proptest::{
    collection::vec,
    prelude::any,
    sample::Index,
    test_runner::{Config, TestRunner},
};

#[cfg(feature = "secrets")]
#[path = "../fuzz/checks/api_keys.rs"]
mod api_keys;
#[cfg(feature = "jail")]
#[path = "../fuzz/checks/bans.rs"]
mod bans;
#[cfg(feature = "serde")]
#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/events.rs"]
mod events;
#[cfg(feature = "rate-limit")]
#[path = "../fuzz/checks/fields.rs"]
mod fields;
#[path = "../fuzz/checks/forwarded.rs"]
mod forwarded;
#[path = "../fuzz/checks/host.rs"]
mod host;
#[path = "../fuzz/checks/ip_list.rs"]
mod ip_list;
#[cfg(feature = "jail")]
#[path = "../fuzz/checks/paths.rs"]
mod paths;
#[cfg(feature = "proxy-protocol")]
#[path = "../fuzz/checks/proxy_protocol.rs"]
mod proxy_protocol;
#[cfg(feature = "rate-limit")]
#[path = "../fuzz/checks/quota.rs"]
mod quota;
#[cfg(all(feature = "secrets", unix))]
#[path = "../fuzz/checks/secret.rs"]
mod secret;
#[path = "../fuzz/checks/x_forwarded_for.rs"]
mod x_forwarded_for;

/// Damaged seeds for each target.
const DAMAGED: u32 = 256;

/// Runs a check over the seeds of its target, then over parts of two of them put together with some bytes changed.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let mut seeds = Vec::new();
    for entry in fs::read_dir(directory.join(target)).unwrap() {
        let path = entry.unwrap().path();
        let seed = fs::read(&path).unwrap();
        assert!(
            catch_unwind(|| check(&seed)).is_ok(),
            "seed {}",
            path.display()
        );
        seeds.push(seed);
    }
    assert!(!seeds.is_empty());

    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    let halves = (
        any::<Index>(),
        any::<Index>(),
        any::<Index>(),
        any::<Index>(),
    );
    let config = Config {
        cases: DAMAGED,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(
            &(halves, changes),
            |((one, until, other, from), changes)| {
                let (one, other) = (one.get(&seeds), other.get(&seeds));
                let (start, _) = one.split_at(until.index(one.len() + 1));
                let (_, end) = other.split_at(from.index(other.len() + 1));
                let mut bytes = [start, end].concat();
                for (place, byte) in changes {
                    if !bytes.is_empty() {
                        let place = place.index(bytes.len());
                        bytes[place] = byte;
                    }
                }
                check(&bytes);
                Ok(())
            },
        )
        .unwrap();
}

#[cfg(feature = "secrets")]
#[test]
fn api_keys_in_any_text() {
    replay("api_keys", api_keys::check);
}

#[cfg(feature = "jail")]
#[test]
fn bans_in_any_bytes() {
    replay("bans", bans::check);
}

#[cfg(feature = "serde")]
#[test]
fn configuration_in_any_text() {
    replay("config", config::check);
}

#[test]
fn events_with_any_text() {
    replay("events", events::check);
}

#[cfg(feature = "rate-limit")]
#[test]
fn fields_of_any_quotas() {
    replay("fields", fields::check);
}

#[test]
fn forwarded_in_any_bytes() {
    replay("forwarded", forwarded::check);
}

#[test]
fn hosts_in_any_bytes() {
    replay("host", host::check);
}

#[test]
fn ip_lists_in_any_bytes() {
    replay("ip_list", ip_list::check);
}

#[cfg(feature = "jail")]
#[test]
fn paths_in_any_text() {
    replay("paths", paths::check);
}

#[cfg(feature = "proxy-protocol")]
#[test]
fn proxy_headers_in_any_bytes() {
    replay("proxy_protocol", proxy_protocol::check);
}

#[cfg(feature = "rate-limit")]
#[test]
fn quotas_in_any_text() {
    replay("quota", quota::check);
}

#[cfg(all(feature = "secrets", unix))]
#[test]
fn secrets_in_any_bytes() {
    replay("secret", secret::check);
}

#[test]
fn x_forwarded_for_in_any_bytes() {
    replay("x_forwarded_for", x_forwarded_for::check);
}

/// A target without a replay here, or without seeds, would be one that only few ever run.
#[test]
fn every_target_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let this = include_str!("fuzz_seeds.rs");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for entry in fs::read_dir(root.join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let target = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            this.contains(&format!("replay(\"{target}\", {target}::check)")),
            "{target}"
        );
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
        assert!(root.join("seeds").join(target).is_dir(), "{target}");
    }
}
