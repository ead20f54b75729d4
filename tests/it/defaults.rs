//! Defaults that documentation promises, where nothing else shows them.

use palisade::{
    in_flight::InFlight,
    ip_set::{HostBits, IpSet},
    jail::Jail,
    rate_limit::{Quota, RateLimit, RateLimiter},
};

/// Compares a field of a value's `Debug` output.
#[track_caller]
fn check(value: &impl std::fmt::Debug, field: &str) {
    let text = format!("{value:?}");
    assert!(text.contains(&format!("{field},")), "{field}: {text}");
}

#[test]
fn tables_have_room_for_so_many() {
    // Some more than was asked for, and not twice as many.
    let places = RateLimiter::new(Quota::per_second(1)).usage().places();
    assert!((100_000..200_000).contains(&places), "{places}");
    let limit = RateLimit::new(Quota::per_second(1));
    assert_eq!(limit.limiter().usage().places(), places);
    check(&InFlight::new(1), "max_keys: 100000");
    let jail = Jail::builder();
    check(&jail, "max_bans: 65536");
    check(&jail, "max_counters: 16384");
    let none = Jail::builder().max_bans(0).max_counters(0);
    check(&none, "max_bans: 1");
    check(&none, "max_counters: 1");
}

#[cfg(feature = "flood-control")]
#[test]
fn flood_control_remembers_so_many() {
    let control = palisade::event::FloodControl::new(palisade::event::NullSink);
    check(&control, "capacity: 8192");
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_store_is_waited_for_so_long() {
    let key = palisade::secret::SecretString::from("0123456789abcdef");
    let builder = palisade::shared_store::RedisStore::builder("redis://127.0.0.1:1", key);
    check(&builder, "deadline: 50ms");
    check(&builder, "max_in_flight: 1024");
    check(&builder, "instances: 2");
}

#[test]
fn so_many_masked_entries_are_remembered() {
    let mut set = IpSet::builder().with_host_bits(HostBits::Mask);
    for low in 1..=40 {
        set = set.entry(&format!("10.0.{low}.1/24")).unwrap();
    }
    assert_eq!(set.build().host_bits().len(), 32);
}
