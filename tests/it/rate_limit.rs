//! The limiter by itself: the rows of the case tables about arithmetic, several quotas, refunds and memory.

use std::{sync::Arc, thread, time::Duration};

use palisade::{
    clock::{Clock as _, ManualClock},
    rate_limit::{Quota, QuotaSet, RateLimiter, RateLimiterBuilder, Retry, Verdict},
};
use proptest::{prelude::*, sample::Index};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(quotas: impl Into<QuotaSet>) -> (RateLimiter, ManualClock) {
    small(RateLimiter::builder(quotas))
}

fn small(builder: RateLimiterBuilder) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let limiter = builder.max_keys(100).clock(clock.clone()).build().unwrap();
    (limiter, clock)
}

fn five_per_five_seconds() -> Quota {
    Quota::per_second(1).with_burst(5)
}

/// Compares a verdict: admitted, remaining, milliseconds until full, and milliseconds to wait, where `-1` is never.
#[track_caller]
fn check(id: &str, verdict: &Verdict, expected: (bool, u32, u64, i64)) {
    let wait = match verdict.retry() {
        Retry::After(wait) => i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap(),
        Retry::Never => -1,
        _ => 0,
    };
    let reset = verdict.reset_after().as_millis().try_into().unwrap();
    let found = (verdict.is_admitted(), verdict.remaining(), reset, wait);
    assert_eq!(found, expected, "{id}");
}

// Elsewhere: blocks (F01 to F05, F28) in `rate_limit_blocks`, for it is the jail that blocks; a limit that a request meets twice (T16) in `rate_limit_http`; what happens without a store (E22, E24, E33, F16, F18,
// F21, F22, F24, H35) in tests/redis, for memory does not fail.
//
// Not here, because there is nothing to try:
// - F20: a remembered refusal has no threshold or time of its own that could contradict the quota.
// - F23: what stands in for the store is memory.
// - F31: nothing waits in a queue.
// - H03, H12: one draft is spoken, and its name is a variant of an enum.
// - H11: fields are put on the response before there is a head that could have been sent.
// - H34: what is left and how long it takes are unsigned; a wait without an end is no field at all.
// - T15: the state is the limit's, and not the layer's.
// - T19, but for having no quota: a header has a `HeaderName`, which is never empty, and nothing is synchronized at intervals.

#[test]
fn looking_at_a_key_says_what_checking_it_would() {
    let (limiter, _) = limiter(Quota::per_hour(5).with_overdraft(5));
    limiter.reserve("key", 1).unwrap().settle(10);
    for cost in [0, 1, 5, 11] {
        let (peeked, admitted) = (limiter.peek("key", cost), cost == 0);
        assert_eq!(peeked.is_admitted(), admitted, "{cost}");
        let checked = limiter.check("key", cost);
        assert_eq!(checked.is_admitted(), admitted, "{cost}");
        assert_eq!(peeked.retry(), checked.retry(), "{cost}");
    }
}

#[test]
fn one_key_one_quota() {
    let (limiter, clock) = limiter(five_per_five_seconds());
    let rows = [
        ("G01", 0, 6, (false, 5, 0, -1)),
        ("G02", 0, 1, (true, 4, 1000, 0)),
        ("G03", 0, 1, (true, 3, 2000, 0)),
        ("G04", 0, 1, (true, 2, 3000, 0)),
        ("G05", 0, 1, (true, 1, 4000, 0)),
        ("G06", 0, 1, (true, 0, 5000, 0)),
        ("G07", 0, 1, (false, 0, 5000, 1000)),
        ("G08", 3000, 1, (true, 2, 3000, 0)),
        ("G13", 9500, 0, (true, 5, 0, 0)),
    ];
    let mut now = 0;
    for (id, at, cost, expected) in rows {
        clock.advance(MS * (at - now));
        now = at;
        check(id, &limiter.check("key", cost), expected);
    }

    // G13: a peek changes nothing.
    check("G13", &limiter.check("key", 1), (true, 4, 1000, 0));
    check("G13", &limiter.check("key", 0), (true, 4, 1000, 0));
    check("G13", &limiter.check("key", 0), (true, 4, 1000, 0));
}

#[test]
fn a_cost_above_capacity_reports_the_true_state() {
    let (limiter, _clock) = limiter(five_per_five_seconds());
    let _ = limiter.check("key", 3);
    check("G17", &limiter.check("key", 6), (false, 2, 3000, -1));
    check("G17", &limiter.check("key", 0), (true, 2, 3000, 0));
    check("R05", &limiter.check("key", u32::MAX), (false, 2, 3000, -1));
}

#[test]
fn the_capacity_is_the_burst() {
    // G23: 30 per minute and, as that system counts, a burst of 15 beyond the first.
    let (limiter, _clock) = limiter(Quota::per_minute(30).with_burst(16));
    check("G23", &limiter.check("key", 1), (true, 15, 2000, 0));
}

#[test]
fn half_a_millisecond_left_is_a_wait() {
    let (limiter, clock) = limiter(Quota::new(1, 2 * SECOND).unwrap());
    let _ = limiter.check("key", 1);
    clock.advance(Duration::from_micros(1_999_500));
    check("G24", &limiter.check("key", 1), (false, 0, 0, 1));
}

#[test]
fn ten_per_second() {
    let (limiter, _clock) = limiter(Quota::per_second(10));
    check("R01", &limiter.check("key", 1), (true, 9, 100, 0));
    limiter.reset("key");
    check("R02", &limiter.check("key", 1), (true, 9, 100, 0));
    check("R07", &limiter.peek("key", 1), (true, 9, 100, 0));
    check("R07", &limiter.peek("key", 0), (true, 9, 100, 0));
    check("R03", &limiter.check("key", 2), (true, 7, 300, 0));
    check("R04", &limiter.check("key", 7), (true, 0, 1000, 0));
    check("R05", &limiter.check("key", 1000), (false, 0, 1000, -1));
}

#[test]
fn as_much_as_is_left() {
    let (limiter, _clock) = limiter(Quota::per_second(10));
    let _ = limiter.check("key", 1);
    for (id, asked, granted, expected) in [
        ("R09", 2, 2, (true, 7, 300, 0)),
        ("R12", 0, 0, (true, 7, 300, 0)),
        ("R10", 10, 7, (true, 0, 1000, 0)),
        ("R11", 1000, 0, (true, 0, 1000, 0)),
    ] {
        let verdict = limiter.check_up_to("key", asked);
        assert_eq!(verdict.cost(), granted, "{id}");
        check(id, &verdict, expected);
    }
    // R11: the time to one unit.
    check("R11", &limiter.peek("key", 1), (false, 0, 1000, 100));

    // B07.
    for (left, asked, granted) in [(0, 10, 0), (2, 10, 2), (5, 4, 4), (5, 5, 5), (10, 15, 10)] {
        limiter.reset("key");
        let _ = limiter.check("key", 10 - left);
        assert_eq!(limiter.check_up_to("key", asked).cost(), granted);
    }
}

/// Adds up what verdicts let through and what they refused, in units and not in calls.
#[track_caller]
fn check_units(id: &str, verdicts: [Verdict; 2], expected: (u32, u32)) {
    let mut consumed = 0;
    let mut rejected = 0;
    for verdict in verdicts {
        if verdict.is_admitted() {
            consumed += verdict.cost();
        } else {
            rejected += verdict.cost();
        }
    }
    assert_eq!((consumed, rejected), expected, "{id}");
}

#[test]
fn verdicts_count_units_and_not_calls() {
    let (limiter, _clock) = limiter(Quota::per_second(10));
    let verdicts = [9, 6].map(|cost| limiter.check("one", cost));
    check_units("B08", verdicts, (9, 6));
    let verdicts = [100, 100].map(|cost| limiter.check_up_to("two", cost));
    check_units("B09", verdicts, (10, 0));
}

#[test]
fn no_refusal_waits_longer_than_the_interval() {
    // R08.
    let (limiter, clock) = limiter(Quota::per_second(1000).with_burst(1));
    for _ in 0..1000 {
        clock.advance(Duration::from_micros(1));
        match limiter.check("key", 1).retry() {
            Retry::After(wait) => assert!(wait <= MS, "{wait:?}"),
            retry => assert_eq!(retry, Retry::Now),
        }
    }
}

#[test]
fn token_bucket_rows() {
    let quota = || Quota::new(100, Duration::from_micros(100)).unwrap();
    for (id, left, cost, admitted, remaining, wait) in [
        ("B01", 100, 49, true, 51, 0),
        ("B02", 1, 1, true, 0, 0),
        ("B03", 70, 80, false, 70, 10),
        ("B04", 0, 10, false, 0, 10),
    ] {
        let (limiter, _clock) = limiter(quota());
        let _ = limiter.check("key", 100 - left);
        // B06: an estimate says the same, and changes nothing.
        for verdict in [
            limiter.peek("key", cost),
            limiter.peek("key", cost),
            limiter.check("key", cost),
        ] {
            assert_eq!(verdict.is_admitted(), admitted, "{id}");
            let wait = match wait {
                0 => Retry::Now,
                micros => Retry::After(Duration::from_micros(micros)),
            };
            assert_eq!(verdict.retry(), wait, "{id}");
        }
        assert_eq!(limiter.check("key", 0).remaining(), remaining, "{id}");
    }
}

#[test]
fn fractions_are_not_lost() {
    // B10: ten per hundred.
    let (one, clock) = limiter(Quota::new(10, MS * 100).unwrap());
    let _ = one.check("key", 10);
    clock.advance(MS * 97);
    assert!(one.check("key", 9).is_admitted());
    assert!(!one.check("key", 1).is_admitted());
    clock.advance(MS * 3);
    assert!(one.check("key", 1).is_admitted());
    assert!(!one.check("key", 1).is_admitted());

    // B11: what is refunded beyond the capacity takes the fraction with it.
    let (two, clock) = limiter(Quota::new(10, MS * 100).unwrap());
    let _ = two.check("key", 10);
    clock.advance(MS * 97);
    assert!(two.check("key", 9).is_admitted());
    two.refund("key", 10);
    assert!(two.check("key", 10).is_admitted());
    clock.advance(MS * 3);
    assert!(!two.check("key", 1).is_admitted());

    // B12.
    let (three, clock) = limiter(Quota::per_second(1).with_burst(4));
    let _ = three.check("key", 4);
    clock.advance(MS * 200);
    check("B12", &three.peek("key", 1), (false, 0, 3800, 800));
    check("B12", &three.peek("key", 3), (false, 0, 3800, 2800));
}

#[test]
fn replaced_quotas_keep_what_was_spent() {
    // B20: as it is, clamped to the new capacity. What is spent is time, so that 60 of 100 are 60 of 200 at the same rate.
    let quota = |limit, burst| Quota::per_second(limit).with_burst(burst);
    for (burst, remaining) in [(200, 140), (20, 0), (100, 40)] {
        let (limiter, _clock) = limiter(quota(100, 100));
        let _ = limiter.check("key", 60);
        limiter.replace_quotas(quota(100, burst)).unwrap();
        assert_eq!(limiter.check("key", 0).remaining(), remaining);
    }

    // T08: a lower limit waits no longer than its own capacity takes.
    let (limiter, clock) = limiter(Quota::per_hour(1).with_burst(100));
    let _ = limiter.check("key", 100);
    limiter.replace_quotas(quota(1, 5)).unwrap();
    check("T08", &limiter.check("key", 5), (false, 0, 5000, 5000));
    clock.advance(5 * SECOND);
    assert!(limiter.check("key", 5).is_admitted());
}

#[test]
fn a_limiter_takes_no_more_quotas_than_it_has_room_for() {
    let two = || QuotaSet::new([Quota::per_second(1), Quota::per_minute(10)]).unwrap();
    let (one, _clock) = limiter(Quota::per_second(1));
    assert!(one.replace_quotas(two()).is_err());
    let (wide, _clock) = small(RateLimiter::builder(Quota::per_second(1)).width(2));
    wide.replace_quotas(two()).unwrap();
    assert_eq!(wide.quotas().len(), 2);
}

#[test]
fn a_clock_that_steps_back_gives_no_credit() {
    // N12, T08.
    let (limiter, clock) = limiter(five_per_five_seconds());
    clock.advance(120 * SECOND);
    let _ = limiter.check("key", 5);
    clock.rewind(30 * SECOND);
    check("N12", &limiter.check("key", 1), (false, 0, 5000, 1000));
    clock.rewind(90 * SECOND);
    check("N12", &limiter.check("key", 5), (false, 0, 5000, 5000));
}

#[test]
fn a_check_that_comes_late_gives_no_credit_and_loses_none() {
    // Threads read their times before they meet at the table, and not all meet there in that order.
    let (limiter, clock) = limiter(Quota::per_second(10));
    let early = clock.now();
    let late = early + MS * 500;
    assert!(limiter.check_at("key", 5, late).is_admitted());
    assert!(limiter.check_at("key", 5, early).is_admitted());
    for _ in 0..3 {
        assert!(!limiter.check_at("key", 1, early).is_admitted());
        assert!(!limiter.check_at("key", 1, late).is_admitted());
    }
    assert!(limiter.check_at("key", 1, late + MS * 100).is_admitted());
}

#[test]
fn a_check_that_comes_a_second_late_has_a_clock_that_was_put_back() {
    for (by, believed) in [(Duration::from_nanos(999_999_999), false), (SECOND, true)] {
        let (limiter, clock) = limiter(Quota::per_second(1));
        let late = clock.now() + 60 * SECOND;
        assert!(limiter.check_at("key", 1, late).is_admitted());
        // Believed, it waits for what comes back from its own time on.
        assert!(
            !limiter
                .check_at("key", 1, late.checked_sub(by).unwrap())
                .is_admitted()
        );
        assert_eq!(limiter.check_at("key", 1, late).is_admitted(), believed);
    }
}

#[test]
fn all_quotas_or_none() {
    let quotas = || {
        QuotaSet::new([
            Quota::per_minute(1).with_name("limit1"),
            Quota::per_minute(2).with_name("limit2"),
        ])
        .unwrap()
    };
    let names = |verdict: &Verdict| -> Vec<String> {
        verdict.refusing().map(|it| it.name().into()).collect()
    };
    // F13.
    let (limiter, _clock) = limiter(quotas());
    assert!(limiter.check("a", 1).is_admitted());
    assert_eq!(names(&limiter.check("b", 2)), ["limit1"]);
    assert_eq!(names(&limiter.check("b", 3)), ["limit1", "limit2"]);
    // F14, N10, V23: a refusal charges none.
    let standings: Vec<_> = limiter
        .check("b", 0)
        .standings()
        .map(|it| it.remaining())
        .collect();
    assert_eq!(standings, [1, 2]);
    let _ = limiter.check("a", 1);
    let standings: Vec<_> = limiter
        .check("a", 0)
        .standings()
        .map(|it| it.remaining())
        .collect();
    assert_eq!(standings, [0, 1]);
}

#[test]
fn the_wait_is_the_longest_and_the_tightest_is_reported() {
    // N11.
    let (limiter, _clock) = limiter(
        QuotaSet::new([
            Quota::per_second(1).with_name("short"),
            Quota::per_minute(2).with_name("long"),
        ])
        .unwrap(),
    );
    let _ = limiter.check("key", 1);
    check("N11", &limiter.check("key", 1), (false, 0, 30_000, 1000));
    let verdict = limiter.check("key", 0);
    assert_eq!(verdict.tightest().unwrap().name(), "short");
    let resets = verdict.standings().map(|it| it.reset_after());
    assert!(resets.eq([SECOND, 30 * SECOND]));

    let (both, clock) = self::limiter(
        QuotaSet::new([
            Quota::per_second(1).with_name("short"),
            Quota::per_minute(1).with_name("long"),
        ])
        .unwrap(),
    );
    let _ = both.check("key", 1);
    // Both have nothing left: the one that takes longer is the tighter.
    let verdict = both.check("key", 1);
    assert_eq!(verdict.tightest().unwrap().name(), "long");
    check("N11", &verdict, (false, 0, 60_000, 60_000));
    clock.advance(2 * SECOND);
    let verdict = both.check("key", 1);
    assert!(verdict.refusing().map(|it| it.name()).eq(["long"]));

    let (alike, _clock) = self::limiter(
        QuotaSet::new([
            Quota::per_second(1).with_burst(60).with_name("first"),
            Quota::per_minute(60).with_name("second"),
        ])
        .unwrap(),
    );
    // Of two that stand alike, it is the first.
    let verdict = alike.check("key", 1);
    assert_eq!(verdict.tightest().unwrap().name(), "first");
}

#[test]
fn a_burst_is_not_given_twice() {
    // T01: one unit in two seconds, a hundred at once, twenty rounds of 3.1 idle seconds.
    let (limiter, clock) = limiter(Quota::new(1, 2 * SECOND).unwrap().with_burst(100));
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += (0..100)
            .filter(|_| limiter.check("key", 1).is_admitted())
            .count();
        clock.advance(MS * 3100);
    }
    assert!(admitted <= 131, "{admitted}");
    assert!(admitted >= 100);
}

#[test]
fn refunds_never_exceed_the_capacity() {
    let (limiter, _clock) = limiter(Quota::per_minute(10));
    // E28.
    assert_eq!(limiter.check("key", 1).remaining(), 9);
    assert_eq!(limiter.check("key", 1).remaining(), 8);
    limiter.refund("key", 1);
    assert_eq!(limiter.check("key", 1).remaining(), 8);
    // E29.
    limiter.refund("key", 5);
    assert_eq!(limiter.peek("key", 1).remaining(), 10);
    limiter.refund("key", u32::MAX);
    assert!(limiter.check("key", 10).is_admitted());
    assert!(!limiter.check("key", 1).is_admitted());
    // A key that was never seen is not made by a refund.
    limiter.refund("other", 1);
    assert_eq!(limiter.usage().taken(), 1);
}

#[test]
fn a_reservation_is_settled_at_the_real_cost() {
    let quota = || Quota::per_hour(100).with_name("tokens");
    for (actual, remaining) in [(0, 100), (10, 90), (40, 60), (70, 30), (100, 0), (500, 0)] {
        let (limiter, _clock) = limiter(quota());
        limiter.reserve("key", 40).unwrap().settle(actual);
        assert_eq!(limiter.check("key", 0).remaining(), remaining, "{actual}");
    }
    // Dropped, it stays charged.
    let (limiter, clock) = limiter(quota().with_overdraft(100));
    drop(limiter.reserve("key", 40).unwrap());
    assert_eq!(limiter.check("key", 0).remaining(), 60);
    assert!(limiter.reserve("key", 61).is_err());
    // An overdraft is a debt, and has a bottom.
    limiter.reserve("key", 60).unwrap().settle(1000);
    let hour = Duration::from_secs(3600);
    assert_eq!(limiter.check("key", 0).reset_after(), 2 * hour);
    clock.advance(hour);
    assert_eq!(limiter.check("key", 0).remaining(), 0);
    clock.advance(hour);
    assert_eq!(limiter.check("key", 0).remaining(), 100);
}

#[test]
fn settling_never_credits_a_later_charge() {
    // E20, E36: what has come back by itself is not given back again.
    let (limiter, clock) = limiter(Quota::new(1, MS * 50).unwrap());
    let early = limiter.reserve("key", 1).unwrap();
    clock.advance(MS * 75);
    let late = limiter.reserve("key", 1).unwrap();
    early.cancel();
    assert!(!limiter.check("key", 1).is_admitted());
    late.cancel();
    assert!(limiter.check("key", 1).is_admitted());

    // Neither does one made under other quotas.
    let (limiter, _clock) = self::limiter(Quota::per_minute(2));
    let reservation = limiter.reserve("key", 2).unwrap();
    limiter.replace_quotas(Quota::per_hour(2)).unwrap();
    reservation.cancel();
    assert_eq!(
        limiter.check("key", 0).reset_after(),
        Duration::from_secs(60)
    );
}

#[test]
fn reservations_settled_out_of_order_credit_no_later_charge() {
    let (limiter, clock) = limiter(Quota::per_second(1).with_burst(10));
    let [early, late] = [5, 5].map(|it| limiter.reserve("key", it).unwrap());
    early.cancel();
    clock.advance(5 * SECOND);
    // By now the other one has come back by itself.
    assert!(limiter.check("key", 10).is_admitted());
    late.cancel();
    assert!(!limiter.check("key", 1).is_admitted());
    assert_eq!(limiter.check("key", 0).reset_after(), 10 * SECOND);

    // Neither do those that have been let off meanwhile.
    let one = limiter.reserve("other", 5).unwrap();
    limiter.reset("other");
    assert!(limiter.check("other", 10).is_admitted());
    one.cancel();
    assert!(!limiter.check("other", 1).is_admitted());
    clock.advance(10 * SECOND);
    let two = limiter.reserve("other", 5).unwrap();
    limiter.refund("other", 5);
    assert!(limiter.check("other", 10).is_admitted());
    two.cancel();
    assert!(!limiter.check("other", 1).is_admitted());
}

#[test]
fn reservations_of_keys_that_share_a_row_credit_no_later_charge() {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(Quota::per_second(1).with_burst(10))
        .max_keys(1)
        .clock(clock.clone())
        .build()
        .unwrap();
    // There are two buckets of eight places.
    for key in 0..16_u32 {
        assert!(limiter.check(&key, 9).is_admitted());
    }
    let early = limiter.reserve("one", 5).unwrap();
    let late = limiter.reserve("other", 5).unwrap();
    early.cancel();
    clock.advance(5 * SECOND);
    let verdict = limiter.check("third", 10);
    assert!(verdict.is_admitted() && verdict.is_shared());
    late.cancel();
    assert!(!limiter.check("third", 1).is_admitted());
}

#[test]
fn all_that_is_canceled_comes_back_in_any_order() {
    // A client with many requests at once that all succeed, where failures alone count: nothing of them stays.
    let orders: [fn(u32) -> u32; 4] = [|it| it, |it| 49 - it, |it| it * 7 % 50, |it| it ^ 1];
    for order in orders {
        for (spent, remaining) in [(0, 100), (20, 90)] {
            let (limiter, clock) = limiter(Quota::per_second(1).with_burst(100));
            let _ = limiter.check("key", spent);
            let mut open: Vec<_> = (0..50).map(|_| limiter.reserve("key", 1).ok()).collect();
            clock.advance(10 * SECOND);
            for position in 0..50 {
                let reservation = open[order(position) as usize].take();
                reservation.unwrap().cancel();
            }
            assert_eq!(limiter.check("key", 0).remaining(), remaining);
        }
    }
}

#[test]
fn settling_charges_the_quotas_that_were_reserved_and_no_others() {
    let (limiter, _clock) = limiter(Quota::per_minute(2));
    let reservation = limiter.reserve("key", 1).unwrap();
    limiter.replace_quotas(Quota::per_hour(2)).unwrap();
    reservation.settle(2);
    assert_eq!(limiter.check("key", 0).reset_after(), 30 * SECOND);

    // Room for more quotas than there are changes nothing.
    let (wide, _clock) = small(RateLimiter::builder(Quota::per_minute(6)).width(3));
    wide.reserve("key", 1).unwrap().settle(3);
    check("wide", &wide.check("key", 0), (true, 3, 30_000, 0));
}

#[test]
fn peeks_and_resets() {
    let (limiter, clock) = limiter(Quota::per_minute(3));
    for round in 1..=6_u32 {
        // U01.
        let left = 3_u32.saturating_sub(round - 1);
        assert_eq!(limiter.peek("key", 1).remaining(), left);
        let verdict = limiter.check("key", 1);
        assert_eq!(verdict.is_admitted(), round <= 3);
        assert_eq!(verdict.remaining(), 3_u32.saturating_sub(round));
    }
    // U02.
    limiter.reset("key");
    check("U02", &limiter.peek("key", 1), (true, 3, 0, 0));
    // E27: a peek counts nothing.
    check("E27", &limiter.check("key", 1), (true, 2, 20_000, 0));
    // E39: a key whose time has passed is full.
    clock.advance(60 * SECOND);
    check("E39", &limiter.peek("key", 1), (true, 3, 0, 0));
    // E30: keys share nothing.
    let _ = limiter.check("other", 3);
    check("E30", &limiter.peek("key", 3), (true, 3, 0, 0));
}

#[test]
fn concurrent_checks_are_exact() {
    // U03, F33.
    let limiter = RateLimiter::builder(Quota::per_hour(100_000))
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let admitted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..20_000)
                        .filter(|_| limiter.check("key", 1).is_admitted())
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!(admitted, 100_000);
}

#[test]
fn a_flood_of_keys_neither_frees_nor_fills_a_victim() {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(Quota::per_hour(10))
        .max_keys(10_000)
        .clock(clock.clone())
        .build()
        .unwrap();
    let places = limiter.usage().places();
    let _ = limiter.check("victim", 10);
    let bystanders: Vec<_> = (0..1000).map(|it| format!("bystander {it}")).collect();
    for bystander in &bystanders {
        assert!(limiter.check(bystander, 1).is_admitted());
    }

    let mut admitted = 0_u64;
    for attacker in 0..300_000_u64 {
        admitted += u64::from(limiter.check(&attacker, 1).is_admitted());
    }
    assert!(!limiter.check("victim", 1).is_admitted());
    for bystander in &bystanders {
        assert_eq!(limiter.check(bystander, 0).remaining(), 9);
    }
    // Each place admits one of them, and each shared row what the quota allows.
    let usage = limiter.usage();
    assert_eq!(usage.places(), places);
    assert!(usage.taken() >= 10_000);
    assert!(admitted <= places as u64 + 64 * 10, "{admitted}");
    assert!(usage.overflowed() <= 64 * 10);

    // In time the places are free again, one by one as they are needed.
    clock.advance(Duration::from_secs(3600));
    let fresh = (0..5000_u64).filter(|it| limiter.check(&(it + 1_000_000), 10).is_admitted());
    assert_eq!(fresh.count(), 5000);
    assert_eq!(limiter.usage().places(), places);
}

#[test]
fn a_full_table_tells_its_keys_that_they_share() {
    let (limiter, _clock) = limiter(Quota::per_hour(5));
    assert!((0..100_u32).all(|it| !limiter.check(&it, 1).is_shared()));
    for key in 100..10_000_u32 {
        let _ = limiter.check(&key, 1);
    }
    assert!(limiter.peek(&10_000_u32, 1).is_shared());
    let _ = limiter.check_up_to(&10_000_u32, 5);
    // The same row for all that have no place: together they get what one quota allows.
    assert!((0..100_u32).all(|it| !limiter.check(&(it + 20_000), 1).is_admitted()));
    assert_eq!(limiter.check(&0_u32, 0).remaining(), 4);
}

#[cfg(feature = "metrics")]
#[test]
fn a_recorder_follows_how_full_the_tables_are() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let make = |name| {
        let quota = Quota::per_hour(5).try_with_name(name).unwrap();
        metrics::with_local_recorder(&recorder, || limiter(quota).0)
    };
    let check = |keys: u64, overflowed: u64, other: u64| {
        let text = scrape.render();
        for line in [
            format!("palisade_keys{{policy=\"one\"}} {keys}"),
            format!("palisade_overflowed_total{{policy=\"one\"}} {overflowed}"),
            format!("palisade_keys{{policy=\"other\"}} {other}"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    };
    let (one, other) = (make("one"), make("other"));
    check(0, 0, 0);
    for key in 0..10_u32 {
        let _ = one.check(&key, 1);
        let _ = one.check(&key, 1);
        let _ = one.check(&(key + 100), 0);
        let _ = one.check(&(key + 200), 6);
    }
    let _ = other.check("key", 1);
    check(10, 0, 1);
    one.reset(&3_u32);
    one.reset(&3_u32);
    check(9, 0, 1);
    for key in 0..10_000_u32 {
        let _ = one.check(&key, 1);
    }
    let usage = one.usage();
    assert!(usage.overflowed() > 0);
    check(usage.taken() as u64, usage.overflowed(), 1);
    // Two of one name are counted together, and one that is gone is not counted any more.
    let twin = make("other");
    let _ = twin.check("key", 1);
    check(usage.taken() as u64, usage.overflowed(), 2);
    drop(other);
    drop(one);
    check(0, usage.overflowed(), 1);
}

#[test]
fn limiters_without_sense_are_not_built() {
    // T19, T24: no quota at all, and the same one twice.
    let refused = |quotas: &[Quota]| QuotaSet::new(quotas.to_vec()).unwrap_err().to_string();
    assert!(refused(&[]).contains("no quota"));
    let twice = [Quota::per_second(2), Quota::per_second(2)];
    assert!(refused(&twice).contains("two quotas"));

    let check = |builder: RateLimiterBuilder, expected: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let builder = || RateLimiter::builder(Quota::per_second(1));
    check(builder().max_keys(0), "at least one");
    check(builder().max_keys(usize::MAX), "lower it");
    check(builder().width(0), "room for 0");
    check(builder().width(9), "more than 8");
    assert!(builder().width(8).max_keys(1).build().is_ok());
}

#[test]
fn clones_and_threads_share_the_state() {
    let limiter = Arc::new(RateLimiter::new(Quota::per_hour(2)));
    let other = limiter.as_ref().clone();
    assert!(limiter.check("key", 2).is_admitted());
    assert!(!other.check("key", 1).is_admitted());
    assert!(!format!("{limiter:?}").contains("key\""));
}

/// What happens to one key.
#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Charge(u32),
    ChargeUpTo(u32),
    Rewind(u64),
    Reserve(u32),
    /// One of those that are open, at a cost.
    Settle(Index, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settled_at = prop_oneof![2 => Just(0), 1 => 0_u32..12];
    // Rarely back: what is open is not corrected any more then.
    let step = prop_oneof![
        4 => (0_u64..5_000).prop_map(Step::Advance),
        2 => (0_u32..12).prop_map(Step::Charge),
        4 => (0_u32..12).prop_map(Step::ChargeUpTo),
        1 => (0_u64..500).prop_map(Step::Rewind),
        8 => (1_u32..6).prop_map(Step::Reserve),
        8 => (any::<Index>(), settled_at).prop_map(|(which, cost)| Step::Settle(which, cost)),
    ];
    proptest::collection::vec(step, 1..80)
}

fn reserving() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1_u64..=3).prop_map(Step::Advance),
        1 => Just(Step::ChargeUpTo(10)),
        3 => (1_u32..=8).prop_map(Step::Reserve),
        3 => any::<Index>().prop_map(|which| Step::Settle(which, 0)),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever is charged, reserved and settled: within any span of time, what was admitted and not given back is never more than the capacity and
    /// what has come back in that span.
    #[test]
    fn never_more_than_capacity_and_rate_times_time(
        limit in 1_u32..20,
        period in 1_u64..20_000,
        burst in 1_u32..20,
        second in proptest::option::of((1_u32..20, 1_u64..20_000, 1_u32..20)),
        steps in steps(),
    ) {
        let quota = |(limit, period, burst): (u32, u64, u32), name| {
            Quota::new(limit, MS * u32::try_from(period).unwrap()).unwrap().with_burst(burst).with_name(name)
        };
        let first = quota((limit, period, burst), "first");
        let second = second.map(|it| quota(it, "second"));
        let Ok(quotas) = QuotaSet::new([first].into_iter().chain(second)) else {
            return Ok(());
        };
        let (limiter, clock) = limiter(&quotas);
        // The time that has passed: a clock that is put back makes it pass twice.
        let mut now = Duration::ZERO;
        // When what was charged, and how much of it stands.
        let mut charged: Vec<(Duration, u32)> = Vec::new();
        let mut open = Vec::new();
        for step in steps {
            match step {
                Step::Advance(by) => {
                    now += Duration::from_millis(by);
                    clock.advance(Duration::from_millis(by));
                }
                Step::Charge(cost) => {
                    if limiter.check("key", cost).is_admitted() {
                        charged.push((now, cost));
                    }
                }
                Step::ChargeUpTo(cost) => charged.push((now, limiter.check_up_to("key", cost).cost())),
                Step::Rewind(by) => {
                    clock.rewind(Duration::from_millis(by));
                    // How much of a charge has come back by itself cannot be told from a clock that was put back since.
                    open.clear();
                }
                Step::Reserve(cost) => {
                    if let Ok(reservation) = limiter.reserve("key", cost) {
                        open.push((charged.len(), reservation));
                        charged.push((now, cost));
                    }
                }
                Step::Settle(which, cost) => {
                    if !open.is_empty() {
                        let (position, reservation) = open.swap_remove(which.index(open.len()));
                        // What the real cost exceeds the reserved one by was never admitted.
                        charged[position].1 = charged[position].1.min(cost);
                        reservation.settle(cost);
                    }
                }
            }
        }
        for (from, (start, _)) in charged.iter().enumerate() {
            let mut sum = 0_u128;
            for (end, cost) in &charged[from..] {
                sum += u128::from(*cost);
                for quota in quotas.iter() {
                    let allowed = u128::from(quota.capacity()) * quota.interval().as_nanos()
                        + end.saturating_sub(*start).as_nanos();
                    prop_assert!(sum * quota.interval().as_nanos() <= allowed, "{quota} {charged:?}");
                }
            }
        }
    }

    /// The same where all that happens is that much is reserved, and canceled in any order, so that there are often several of one row at once.
    #[test]
    fn canceling_in_any_order_never_gives_more_than_there_was(steps in reserving()) {
        let (limiter, clock) = limiter(Quota::per_second(1).with_burst(10));
        let mut now = 0;
        // When what was charged, and how much of it stands.
        let mut charged: Vec<(u32, u32)> = Vec::new();
        let mut open = Vec::new();
        for step in steps {
            let left = limiter.check("key", 0).remaining();
            match step {
                Step::Advance(seconds) => {
                    now += u32::try_from(seconds).unwrap();
                    clock.advance(Duration::from_secs(seconds));
                }
                Step::Reserve(cost) if left != 0 => {
                    let cost = cost.min(left);
                    let reservation = limiter.reserve("key", cost);
                    open.push((charged.len(), reservation.unwrap()));
                    charged.push((now, cost));
                }
                Step::Settle(which, _) if !open.is_empty() => {
                    let (position, reservation) = open.swap_remove(which.index(open.len()));
                    charged[position].1 = 0;
                    reservation.cancel();
                }
                Step::ChargeUpTo(cost) => charged.push((now, limiter.check_up_to("key", cost).cost())),
                _ => {}
            }
        }
        for (from, (start, _)) in charged.iter().enumerate() {
            let mut sum = 0;
            for (end, cost) in &charged[from..] {
                sum += cost;
                prop_assert!(sum <= 10 + end - start, "{charged:?}");
            }
        }
    }

    /// A client that waits as long as it is told is admitted, and not much earlier.
    #[test]
    fn the_wait_is_exact(limit in 1_u32..1000, burst in 1_u32..50, costs in proptest::collection::vec(1_u32..50, 1..20)) {
        let (limiter, clock) = limiter(Quota::per_minute(limit).with_burst(burst));
        for cost in costs {
            match limiter.check("key", cost).retry() {
                Retry::After(wait) => {
                    clock.advance(wait.saturating_sub(Duration::from_nanos(1)));
                    prop_assert!(!limiter.peek("key", cost).is_admitted());
                    clock.advance(Duration::from_nanos(1));
                    prop_assert!(limiter.check("key", cost).is_admitted());
                }
                Retry::Never => prop_assert!(cost > burst),
                _ => {}
            }
        }
    }
}
