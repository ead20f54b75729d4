//! The limiter in the store decides as the one in memory.

use std::time::Duration;

use http::Request;
use palisade::{
    client_ip::PeerAddr,
    clock::ManualClock,
    policy::{Check, Decision, Policy as _, RequestHead},
    rate_limit::{Quota, QuotaSet, RateLimit, RateLimiter, Retry, SharedRateLimiter},
    shared_store::OnStoreFailure,
};

use crate::support::{Server, builder, eventually};

fn limiter(server: &Server, quotas: impl Into<QuotaSet>) -> SharedRateLimiter {
    SharedRateLimiter::builder(&server.store(), "test", quotas)
        .remembered_refusals(0)
        .build()
        .unwrap()
}

/// A quota that gives nothing back while a test runs.
fn slow(capacity: u32) -> Quota {
    Quota::per_day(1).with_burst(capacity)
}

#[tokio::test]
async fn the_table_of_cases_holds() {
    let server = Server::start();
    let limiter = limiter(&server, slow(5));
    let day = Duration::from_secs(86_400);
    let expect = async |cost, admitted, remaining, retry: Option<Retry>| {
        let verdict = limiter.check("key", cost).await.unwrap();
        assert_eq!(verdict.is_admitted(), admitted, "{cost} {verdict:?}");
        assert_eq!(verdict.remaining(), remaining, "{cost} {verdict:?}");
        if let Some(retry) = retry {
            assert_eq!(verdict.retry(), retry, "{cost}");
        }
    };
    // G01: above the capacity is refused for ever and changes nothing.
    expect(6, false, 5, Some(Retry::Never)).await;
    expect(1, true, 4, Some(Retry::Now)).await;
    // G13: a cost of zero is a look.
    expect(0, true, 4, None).await;
    expect(2, true, 2, None).await;
    // G17: the true state.
    expect(6, false, 2, Some(Retry::Never)).await;
    expect(3, false, 2, None).await;
    expect(2, true, 0, None).await;
    expect(1, false, 0, None).await;
    let verdict = limiter.check("key", 1).await.unwrap();
    let Retry::After(wait) = verdict.retry() else {
        panic!("{verdict:?}");
    };
    assert!(
        wait <= day && day < wait + Duration::from_secs(60),
        "{wait:?}"
    );
    assert!(verdict.reset_after() <= 5 * day);
}

/// R02, R04, R07, R09 to R12 and U01, U02.
#[tokio::test]
async fn refunds_resets_and_partial_charges_are_those_of_memory() {
    let server = Server::start();
    let shared = limiter(&server, slow(10));
    let local = RateLimiter::new(slow(10));
    for (step, units) in [3, 4, 0, 9, 3, 2, 1, 10].into_iter().enumerate() {
        let expected = local.check_up_to("key", units);
        let found = shared.check_up_to("key", units).await.unwrap();
        assert_eq!(found.cost(), expected.cost(), "{step}");
        assert_eq!(found.remaining(), expected.remaining(), "{step}");
        if step == 4 {
            local.refund("key", 4);
            shared.refund("key", 4).await.unwrap();
        }
        let expected = local.peek("key", 3);
        let found = shared.peek("key", 3).await.unwrap();
        assert_eq!(found.remaining(), expected.remaining(), "{step}");
        assert_eq!(found.is_admitted(), expected.is_admitted(), "{step}");
    }
    shared.reset("key").await.unwrap();
    assert_eq!(shared.peek("key", 0).await.unwrap().remaining(), 10);
    // A refund of a full key makes no key without an end.
    shared.refund("key", 5).await.unwrap();
    assert_ne!(server.cli(&["pttl", &server.cli(&["keys", "*"])]), "-1");
    server.cli(&["flushall"]);
    shared.refund("key", 5).await.unwrap();
    assert_eq!(server.cli(&["dbsize"]), "0");
}

/// N10, F14: all quotas are charged, or none.
#[tokio::test]
async fn several_quotas_are_charged_together_or_not_at_all() {
    let server = Server::start();
    let quotas = QuotaSet::new([slow(2).with_name("small"), slow(5).with_name("large")]).unwrap();
    let limiter = limiter(&server, quotas);
    assert!(limiter.check("key", 2).await.unwrap().is_admitted());
    for _ in 0..3 {
        let refused = limiter.check("key", 1).await.unwrap();
        assert!(refused.refusing().map(|it| it.name()).eq(["small"]));
        let left: Vec<_> = refused.standings().map(|it| it.remaining()).collect();
        assert_eq!(left, [0, 3]);
    }
}

/// A key holds the time at which it is full, and goes at that time; refusals and looks write nothing.
#[tokio::test]
async fn keys_end_when_they_are_full_and_hide_their_clients() {
    let server = Server::start();
    let limiter = limiter(&server, Quota::per_hour(1));
    assert!(!limiter.check("203.0.113.7", 2).await.unwrap().is_admitted());
    assert!(limiter.check("203.0.113.7", 0).await.unwrap().is_admitted());
    assert_eq!(server.cli(&["dbsize"]), "0");
    assert!(limiter.check("203.0.113.7", 1).await.unwrap().is_admitted());
    let key = server.cli(&["keys", "*"]);
    assert!(
        key.starts_with("palisade:{") && key.ends_with("}:test:0"),
        "{key}"
    );
    assert_eq!(key.len(), "palisade:{}:test:0".len() + 32);
    assert!(!key.contains("203"));
    let left: u64 = server.cli(&["pttl", &key]).parse().unwrap();
    assert!((3_590_000..=3_600_001).contains(&left), "{left}");
    assert_eq!(server.cli(&["object", "encoding", &key]), "int");
    let value = server.cli(&["get", &key]);
    assert!(!limiter.check("203.0.113.7", 1).await.unwrap().is_admitted());
    assert_eq!(server.cli(&["get", &key]), value);
}

/// T08: what lies far ahead is clamped, and once: the wait does not start anew with every refusal.
#[tokio::test]
async fn a_time_far_ahead_waits_no_longer_than_the_capacity() {
    let server = Server::start();
    let limiter = limiter(&server, Quota::per_hour(4));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    let key = server.cli(&["keys", "*"]);
    server.cli(&["set", &key, "9000000000000000"]);
    let refused = limiter.check("key", 1).await.unwrap();
    assert!(matches!(refused.retry(), Retry::After(wait) if wait <= Duration::from_secs(900)));
    let clamped: u64 = server.cli(&["get", &key]).parse().unwrap();
    assert!(clamped < 9_000_000_000_000_000);
    assert!(!limiter.check("key", 1).await.unwrap().is_admitted());
    assert_eq!(server.cli(&["get", &key]).parse(), Ok(clamped));
    // What is no number is nothing.
    for garbage in ["", "x", "nan", "-inf"] {
        server.cli(&["set", &key, garbage]);
        assert_eq!(
            limiter.peek("key", 1).await.unwrap().remaining(),
            4,
            "{garbage}"
        );
    }
    server.cli(&["set", &key, "inf"]);
    assert_eq!(limiter.peek("key", 1).await.unwrap().remaining(), 0);
}

/// E33: a key that has no end, as of an operator's hand, is a key like any other, and has one from then on.
#[tokio::test]
async fn a_key_without_an_end_is_given_one() {
    let server = Server::start();
    let limiter = limiter(&server, Quota::per_hour(4));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    let key = server.cli(&["keys", "*"]);
    // Long over.
    server.cli(&["set", &key, "1"]);
    assert_eq!(server.cli(&["pttl", &key]), "-1");
    assert_eq!(limiter.check("key", 1).await.unwrap().remaining(), 3);
    let left: u64 = server.cli(&["pttl", &key]).parse().unwrap();
    assert!((1..=900_001).contains(&left), "{left}");
}

/// F18: a refusal is remembered for as long as it holds, and the store is not asked meanwhile; what is let in never is.
#[tokio::test]
async fn a_remembered_refusal_does_not_ask_the_store() {
    let server = Server::start();
    let limiter = SharedRateLimiter::builder(&server.store(), "test", slow(1))
        .build()
        .unwrap();
    let asked = || {
        let stats = server.cli(&["info", "commandstats"]);
        let calls = stats.lines().filter_map(|line| {
            let line = line.strip_prefix("cmdstat_eval")?;
            let (_, calls) = line.split_once("calls=")?;
            calls.split(',').next()?.parse::<u64>().ok()
        });
        calls.sum::<u64>()
    };
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    let before = asked();
    let refused = limiter.check("key", 1).await.unwrap();
    assert!(!refused.is_admitted());
    assert_eq!(asked(), before + 1);
    for _ in 0..10 {
        let again = limiter.check("key", 1).await.unwrap();
        assert!(!again.is_admitted());
        assert_eq!(again.remaining(), 0);
    }
    assert_eq!(asked(), before + 1);
    // Another key is another matter, and so is this one once it has been let off.
    assert!(limiter.check("other", 1).await.unwrap().is_admitted());
    limiter.reset("key").await.unwrap();
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
}

#[tokio::test]
async fn a_remembered_refusal_is_forgotten_while_the_store_is_away() {
    let mut server = Server::start();
    let store = server.store();
    // By this clock, it is as fresh as ever.
    let limiter = SharedRateLimiter::builder(&store, "test", slow(1))
        .on_failure(OnStoreFailure::Allow)
        .clock(ManualClock::new())
        .build()
        .unwrap();
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    assert!(!limiter.check("key", 1).await.unwrap().is_admitted());
    server.kill();
    eventually("the store is away", async || {
        let _ = limiter.check("other", 1).await.unwrap();
        !store.is_available()
    })
    .await;
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
}

/// Point 7: changed quotas keep what has been spent.
#[tokio::test]
async fn replaced_quotas_keep_what_was_spent() {
    let server = Server::start();
    let limiter = limiter(&server, slow(10));
    assert!(limiter.check("key", 8).await.unwrap().is_admitted());
    limiter.replace_quotas(slow(9)).unwrap();
    assert_eq!(limiter.peek("key", 0).await.unwrap().remaining(), 1);
    limiter.replace_quotas(slow(4)).unwrap();
    assert_eq!(limiter.peek("key", 0).await.unwrap().remaining(), 0);
    assert!(
        limiter
            .replace_quotas(QuotaSet::new([slow(1), slow(2).with_name("b")]).unwrap())
            .is_err()
    );
}

/// T06: a store that has forgotten the script is told it again, and counts once.
#[tokio::test]
async fn a_flushed_script_is_loaded_again_and_counted_once() {
    let server = Server::start();
    let limiter = limiter(&server, slow(100));
    for left in (0..40).rev() {
        if left % 7 == 0 {
            server.cli(&["script", "flush"]);
        }
        let verdict = limiter.check("key", 1).await.unwrap();
        assert_eq!(verdict.remaining(), 60 + left);
    }
}

/// K21: two limits of one client do not meet, and two of one name cannot be made.
#[tokio::test]
async fn limits_of_different_names_do_not_meet() {
    let server = Server::start();
    let store = server.store();
    let make = |name: &str| SharedRateLimiter::builder(&store, name, slow(1)).build();
    let (one, two) = (make("one").unwrap(), make("two").unwrap());
    assert!(one.check("key", 1).await.unwrap().is_admitted());
    assert!(two.check("key", 1).await.unwrap().is_admitted());
    assert!(!one.check("key", 1).await.unwrap().is_admitted());
    let error = make("one").unwrap_err().to_string();
    assert!(error.contains("one"), "{error}");
    drop(one);
    assert!(
        !make("one")
            .unwrap()
            .check("key", 1)
            .await
            .unwrap()
            .is_admitted()
    );
    assert!(make("a:b").is_err() && make("").is_err());
}

/// K23: what a client writes is in no name, so that it can neither choose a node of a cluster nor pass for another.
#[tokio::test]
async fn no_client_writes_the_name_of_a_key() {
    let server = Server::start();
    let limiter = limiter(&server, slow(1));
    for key in ["{x}", "a}", "a}:test:0", "{", ""] {
        assert!(limiter.check(key, 1).await.unwrap().is_admitted(), "{key}");
        assert!(!limiter.check(key, 1).await.unwrap().is_admitted(), "{key}");
    }
    let keys = server.cli(&["keys", "*"]);
    assert_eq!(keys.lines().count(), 5);
    for key in keys.lines() {
        let hash = key.strip_prefix("palisade:{").unwrap();
        let hash = hash.strip_suffix("}:test:0").unwrap();
        assert_eq!(hash.len(), 32, "{key}");
        assert!(hash.bytes().all(|it| it.is_ascii_hexdigit()), "{key}");
    }
}

/// A reservation is settled in the store.
#[tokio::test]
async fn reservations_are_settled_in_the_store() {
    let server = Server::start();
    let shared = limiter(&server, slow(10).with_overdraft(5));
    let remaining = async |expected| {
        // Settling does not wait; what comes after it on the same connection sees it.
        assert_eq!(shared.peek("key", 0).await.unwrap().remaining(), expected);
    };
    let reservation = shared.reserve("key", 8).await.unwrap().unwrap();
    assert!(shared.reserve("key", 8).await.unwrap().is_err());
    reservation.settle(3);
    remaining(7).await;
    shared.reserve("key", 2).await.unwrap().unwrap().settle(6);
    remaining(1).await;
    shared.reserve("key", 1).await.unwrap().unwrap().cancel();
    remaining(1).await;
    shared.reserve("key", 1).await.unwrap().unwrap().settle(100);
    remaining(0).await;
    // Who has overdrawn may look, and gets nothing.
    assert!(shared.check("key", 0).await.unwrap().is_admitted());
    assert_eq!(shared.check_up_to("key", 5).await.unwrap().cost(), 0);
    // The overdraft has to come back first, and is no more than it may be.
    let refused = shared.check("key", 1).await.unwrap();
    let Retry::After(wait) = refused.retry() else {
        panic!("{refused:?}")
    };
    let days = wait.as_secs_f64() / 86_400.0;
    assert!((5.9..=6.0).contains(&days), "{days}");
}

/// What has come back by the passing of time is not given back once more where reservations end out of order.
#[tokio::test]
async fn reservations_settled_out_of_order_credit_no_later_charge() {
    let server = Server::start();
    let quota = Quota::new(10, Duration::from_secs(6)).unwrap();
    let shared = limiter(&server, quota);
    let [early, late] = [
        shared.reserve("key", 5).await.unwrap().unwrap(),
        shared.reserve("key", 5).await.unwrap().unwrap(),
    ];
    early.cancel();
    eventually("the other one has come back by itself", async || {
        shared.peek("key", 0).await.unwrap().remaining() == 10
    })
    .await;
    assert!(shared.check("key", 10).await.unwrap().is_admitted());
    let key = server.cli(&["keys", "*"]);
    let full_at = || {
        let value = server.cli(&["get", &key]);
        value.split(' ').next().unwrap_or_default().to_owned()
    };
    let before = full_at();
    late.cancel();
    let _ = shared.peek("key", 0).await.unwrap();
    let after = full_at();
    // On a machine that is slow enough, the key is over by now.
    assert!(after.is_empty() || after == before, "{before} {after}");
}

/// Whatever is canceled comes back, first or last, or second and first.
#[tokio::test]
async fn all_that_is_canceled_comes_back() {
    let server = Server::start();
    let shared = limiter(&server, slow(10));
    for (spent, order) in [
        (0, [0, 1, 2, 3]),
        (2, [0, 1, 2, 3]),
        (2, [3, 2, 1, 0]),
        // What was given back of the second is none of the first, whatever the store remembers.
        (0, [1, 0, 2, 3]),
    ] {
        // Nor what a reset would leave behind.
        server.cli(&["flushall"]);
        let _ = shared.check("key", spent).await.unwrap();
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(shared.reserve("key", 2).await.unwrap().ok());
        }
        for position in order {
            open[position].take().unwrap().cancel();
        }
        let remaining = shared.peek("key", 0).await.unwrap().remaining();
        assert_eq!(remaining, 10 - spent, "{order:?}");
        // A key that never had two at once has one number alone.
        let key = server.cli(&["keys", "*"]);
        let plain = spent != 0 && order[0] == 3;
        if plain {
            assert_eq!(server.cli(&["object", "encoding", &key]), "int");
        }
    }
}

/// What was outstanding when a key was made full is remembered until it would have come back, and no longer.
#[tokio::test]
async fn what_a_reset_leaves_behind_ends_with_what_was_outstanding() {
    const DAY: u64 = 86_400_000;

    let server = Server::start();
    let shared = limiter(&server, slow(10));
    let canceled = shared.reserve("key", 5).await.unwrap().unwrap();
    let key = server.cli(&["keys", "*"]);
    let ttl = || server.cli(&["pttl", &key]).parse::<u64>().unwrap();
    for _ in 0..3 {
        shared.reset("key").await.unwrap();
        assert!((4 * DAY..=5 * DAY).contains(&ttl()), "{}", ttl());
    }
    assert!(shared.check("key", 10).await.unwrap().is_admitted());
    canceled.cancel();
    assert!(!shared.check("key", 1).await.unwrap().is_admitted());
    // A refund of more than there is to give back is one of all there is.
    let canceled = shared.reserve("other", 2).await.unwrap().unwrap();
    shared.refund("other", u32::MAX).await.unwrap();
    assert!(shared.check("other", 10).await.unwrap().is_admitted());
    canceled.cancel();
    assert!(!shared.check("other", 1).await.unwrap().is_admitted());
    shared.refund("other", 4).await.unwrap();
    assert!(shared.check("other", 4).await.unwrap().is_admitted());
    assert!(!shared.check("other", 1).await.unwrap().is_admitted());

    // Where no memory is left, a key is made full all the same, and so is what is no key of a limit.
    server.cli(&["config", "set", "maxmemory", "1"]);
    shared.reset("key").await.unwrap();
    assert_eq!(server.cli(&["exists", &key]), "0");
    server.cli(&["config", "set", "maxmemory", "0"]);
    for value in ["abc", "nan", "1e300", "99999999999999999999 1 1"] {
        server.cli(&["set", &key, value]);
        shared.reset("key").await.unwrap();
        assert_eq!(server.cli(&["exists", &key]), "0", "{value}");
    }
    server.cli(&["rpush", &key, "value"]);
    shared.reset("key").await.unwrap();
    assert_eq!(shared.peek("key", 0).await.unwrap().remaining(), 10);
}

/// Rows of three numbers are those where nothing was given back but with reservations.
#[tokio::test]
async fn a_row_with_and_without_refunds_is_read() {
    let server = Server::start();
    let shared = limiter(&server, slow(10));
    assert!(shared.check("key", 3).await.unwrap().is_admitted());
    let key = server.cli(&["keys", "*"]);
    let full_at = server.cli(&["get", &key]);
    for rest in [
        "",
        " 7 0",
        " 86400000000 99999999999999",
        " 7 99999999999999 0",
        " 7 0 9",
    ] {
        server.cli(&["set", &key, &format!("{full_at}{rest}")]);
        assert_eq!(
            shared.peek("key", 0).await.unwrap().remaining(),
            7,
            "{rest}"
        );
        let reserved = shared.reserve("key", 2).await.unwrap().unwrap();
        assert_eq!(
            shared.peek("key", 0).await.unwrap().remaining(),
            5,
            "{rest}"
        );
        reserved.cancel();
        assert_eq!(
            shared.peek("key", 0).await.unwrap().remaining(),
            7,
            "{rest}"
        );
    }
}

/// A tier stands as its own quotas say, and gets back what was said.
#[tokio::test]
async fn a_tier_is_looked_at_and_refunded_by_its_own_quotas() {
    let server = Server::start();
    let tier = QuotaSet::from(slow(10));
    let limit = RateLimit::builder(Quota::per_minute(60))
        .shared(&server.store(), "tiers")
        .tiers(move |_| Some(tier.clone()))
        .build()
        .unwrap();
    let peer = PeerAddr::Tcp(([203, 0, 113, 7], 1).into());
    let request = Request::builder().extension(peer).body(()).unwrap();
    let (parts, ()) = request.into_parts();
    let head = RequestHead::new(&parts);
    let key = limit.key_of(&head).unwrap();
    let remaining = async |expected| {
        let verdict = limit.peek_shared(&key).await.unwrap().unwrap();
        assert_eq!(verdict.remaining(), expected);
    };
    for left in (0..10).rev() {
        let Check::Later(decision) = limit.check(&head) else {
            panic!("the store decides");
        };
        assert!(matches!(decision.await, Decision::Admit(_)));
        remaining(left).await;
    }
    limit.refund(&key, 3);
    remaining(3).await;
}

/// U03: many at once are counted exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_are_counted_exactly() {
    let server = Server::start();
    let limiter = limiter(&server, slow(1000));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..40 {
                    admitted += u32::from(limiter.check("key", 1).await.unwrap().is_admitted());
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.unwrap();
    }
    assert_eq!(admitted, 1000);
}

/// T09: quotas whose interval is no whole number of microseconds report whole units all the same.
#[tokio::test]
async fn uneven_intervals_report_whole_units() {
    let server = Server::start();
    for (limit, name) in [(7, "seven"), (30_011, "many")] {
        let quota = Quota::new(limit, Duration::from_secs(3600)).unwrap();
        let limiter = SharedRateLimiter::builder(&server.store(), name, quota)
            .build()
            .unwrap();
        assert_eq!(limiter.peek("key", 0).await.unwrap().remaining(), limit);
        assert_eq!(
            limiter.check("key", 1).await.unwrap().remaining(),
            limit - 1
        );
    }
}

/// What could never be allocated is refused, and nobody panics.
#[test]
fn more_remembered_refusals_than_memory_are_refused() {
    let store = builder("redis://127.0.0.1:1").build().unwrap();
    let limiter = |entries| {
        SharedRateLimiter::builder(&store, "remembered", slow(1))
            .remembered_refusals(entries)
            .build()
            .map(drop)
    };
    let limit = |entries| {
        RateLimit::builder(slow(1))
            .shared(&store, "remembered")
            .remembered_refusals(entries)
            .build()
            .map(drop)
    };
    assert!(limiter(4097).is_ok() && limit(4097).is_ok());
    for error in [limiter(usize::MAX), limit((1 << 24) + 1)] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("16777216"), "{error}");
    }
}
