//! The concurrent paths of the limiter's table under a scheduler that tries many interleavings.
//!
//! ```sh
//! RUSTFLAGS="--cfg palisade_shuttle" cargo test --manifest-path tests/model/Cargo.toml
//! ```
#![cfg(all(test, palisade_shuttle))]

use std::sync::Arc;

use http::Request;
use palisade::{
    client_ip::PeerAddr,
    clock::ManualClock,
    policy::{Check, Decision, Policy as _, RequestHead},
    rate_limit::{Quota, QuotaSet, RateLimit, RateLimiter},
};
use shuttle::thread;

fn limiter(quotas: impl Into<QuotaSet>) -> Arc<RateLimiter> {
    let builder = RateLimiter::builder(quotas)
        .max_keys(1)
        .clock(ManualClock::new());
    Arc::new(builder.build().unwrap())
}

/// Runs one closure on several threads and returns the sum of their results.
fn sum(threads: u32, work: impl Fn(u32) -> u32 + Clone + Send + 'static) -> u32 {
    let threads: Vec<_> = (0..threads)
        .map(|it| {
            let work = work.clone();
            thread::spawn(move || work(it))
        })
        .collect();
    threads.into_iter().map(|it| it.join().unwrap()).sum()
}

fn check(scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    let random = Arc::clone(&scenario);
    shuttle::check_random(move || random(), 2000);
    shuttle::check_pct(move || scenario(), 2000, 3);
}

#[test]
fn one_key_is_never_overspent() {
    check(|| {
        let limiter = limiter(Quota::per_day(3));
        let admitted = sum(4, move |_| {
            (0..2)
                .map(|_| u32::from(limiter.check("key", 1).is_admitted()))
                .sum()
        });
        assert_eq!(admitted, 3);
    });
}

/// A request takes the short way where its key has a place already, and the long one where it has not.
#[test]
fn one_client_is_never_overspent() {
    check(|| {
        let clock = ManualClock::new();
        let limit = RateLimit::builder(Quota::per_day(3))
            .max_keys(1)
            .clock(clock.clone())
            .build()
            .unwrap();
        let key = limit.client_key([203, 0, 113, 7].into()).unwrap();
        let requests = limit.clone();
        let admitted = sum(3, move |_| {
            let peer = PeerAddr::Tcp(([203, 0, 113, 7], 1).into());
            let request = Request::builder().extension(peer).body(()).unwrap();
            let (parts, ()) = request.into_parts();
            let request = RequestHead::with_clock(&parts, &clock);
            (0..2)
                .map(|_| match requests.check(&request) {
                    Check::Ready(decision) => u32::from(matches!(decision, Decision::Admit(_))),
                    _ => panic!("the limit is in memory"),
                })
                .sum()
        });
        assert_eq!(admitted, 3);
        assert_eq!(limit.peek(&key).remaining(), 0);
    });
}

#[test]
fn all_quotas_are_charged_or_none() {
    check(|| {
        let quotas = QuotaSet::new([
            Quota::per_hour(3).with_name("few"),
            Quota::per_day(4).with_name("many"),
        ]);
        let limiter = limiter(quotas.unwrap());
        let spent = {
            let limiter = Arc::clone(&limiter);
            sum(3, move |it| {
                let cost = it + 1;
                u32::from(limiter.check("key", cost).is_admitted()) * cost
            })
        };
        let verdict = limiter.check("key", 0);
        let left: Vec<_> = verdict.standings().map(|it| it.remaining()).collect();
        assert_eq!(left, [3 - spent, 4 - spent]);
    });
}

#[test]
fn new_keys_race_for_places() {
    check(|| {
        let limiter = limiter(Quota::per_day(1));
        // Two of them are the same key, and there are more than places.
        let places = u32::try_from(limiter.usage().places()).unwrap();
        for key in 0..places - 1 {
            let _ = limiter.check(&(key + 100), 1);
        }
        let again = Arc::clone(&limiter);
        let admitted = sum(4, move |it| {
            u32::from(again.check(&(it / 2), 1).is_admitted())
        });
        // Each of the two keys, or the row they share, has one unit.
        assert!((1..=2).contains(&admitted), "{admitted}");
        for key in 0..2 {
            assert!(!limiter.check(&key, 1).is_admitted());
        }
        let usage = limiter.usage();
        assert!(usage.taken() <= usage.places());
    });
}

#[test]
fn settling_and_checking_do_not_lose_each_other() {
    check(|| {
        let limiter = limiter(Quota::per_day(4));
        let again = Arc::clone(&limiter);
        let spent = sum(3, move |it| match again.reserve("key", 2) {
            Ok(reservation) => {
                reservation.settle(it);
                it
            }
            Err(_) => 0,
        });
        assert_eq!(limiter.check("key", 0).remaining(), 4 - spent);
    });
}

#[test]
fn replacing_and_refunding_never_give_more_than_the_capacity() {
    check(|| {
        let limiter = limiter(Quota::per_day(2));
        let again = Arc::clone(&limiter);
        let admitted = sum(3, move |it| match it {
            0 => {
                again.replace_quotas(Quota::per_day(2)).unwrap();
                0
            }
            1 => {
                again.refund("key", 1);
                0
            }
            _ => (0..4)
                .map(|_| u32::from(again.check("key", 1).is_admitted()))
                .sum(),
        });
        assert!((2..=3).contains(&admitted));
        assert!(limiter.check("key", 0).remaining() <= 2);
    });
}
