//! The response fields of the limit: group H of the case tables.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;
use palisade::{
    clock::ManualClock,
    rate_limit::{LegacyReset, Quota, QuotaSet, RateLimit, RateLimitBuilder, StandardFields},
};

use crate::rate_limit_http::{A, Bench, SECOND, bench, from};

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.map(|it| it.to_str().unwrap())
}

/// The fields of a response; what is absent is empty.
fn found(response: &Response<Full<Bytes>>, names: &[&str]) -> Vec<String> {
    let field = |name: &&str| {
        text(response.headers().get(*name))
            .unwrap_or_default()
            .into()
    };
    names.iter().map(field).collect()
}

#[tokio::test]
async fn standard_fields_stand_on_every_response() {
    let names = ["ratelimit-policy", "ratelimit", "retry-after"];
    let bench = bench(
        QuotaSet::new([
            Quota::per_minute(2).with_name("minute"),
            Quota::per_hour(1000).with_burst(1000).with_name("hour"),
        ])
        .unwrap(),
        |it| it.standard_fields(StandardFields::Draft11),
    );
    let policy = r#""minute";q=2;w=60, "hour";q=1000;w=3600"#;
    // H05, H06, E12: the tightest is reported under its own name, and nobody who is admitted is told to wait.
    let response = bench.call(from(A)).await;
    assert_eq!(
        found(&response, &names),
        [policy, r#""minute";r=1;t=30"#, ""]
    );
    let response = bench.call(from(A)).await;
    assert_eq!(
        found(&response, &names),
        [policy, r#""minute";r=0;t=60"#, ""]
    );
    // H26: whole seconds, rounded up.
    bench.clock.advance(Duration::from_millis(500));
    let response = bench.call(from(A)).await;
    assert_eq!(response.status(), 429);
    assert_eq!(
        found(&response, &names),
        [policy, r#""minute";r=0;t=30"#, "30"]
    );
}

#[tokio::test]
async fn fields_parse_as_structured_fields() {
    for name in ["plain", r#"qu"ote\back"#, " a b;c=\",d", "~!@#$%^&*()"] {
        let bench = bench(
            Quota::per_day(u32::MAX).try_with_name(name).unwrap(),
            |it| it.standard_fields(StandardFields::Draft11),
        );
        let response = bench.call(from(A)).await;
        for (field, keys) in [("ratelimit-policy", ["q", "w"]), ("ratelimit", ["r", "t"])] {
            let value = response.headers()[field].as_bytes();
            let list: sfv::List = sfv::Parser::new(value).parse().unwrap();
            let [sfv::ListEntry::Item(item)] = list.as_slice() else {
                panic!("{list:?}");
            };
            let found = item.bare_item.as_string().unwrap();
            assert_eq!(found.as_str(), name);
            for key in keys {
                let number = item.params.get(key).unwrap().as_integer().unwrap();
                assert!(i64::from(number) >= 0);
            }
            // H18: requests are the unit that goes without saying.
            assert_eq!(item.params.len(), 2);
        }
    }
}

#[tokio::test]
async fn a_full_quota_is_full_now() {
    // H10: where nothing has been spent, and where the time has passed, it is 0 and nothing less.
    let names = ["ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let full = [r#""5-per-minute";r=5;t=0"#, "5", "0"];
    let bench = bench(Quota::per_minute(5), |it| {
        it.cost_by(|head| u32::from(head.method() == "POST"))
            .standard_fields(StandardFields::Draft11)
            .legacy_fields(LegacyReset::Delta)
    });
    let response = bench.call(from(A)).await;
    assert_eq!(found(&response, &names), full);
    let response = bench.call(from(A).method("POST")).await;
    assert_eq!(
        found(&response, &names),
        [r#""5-per-minute";r=4;t=12"#, "4", "12"]
    );
    bench.clock.advance(Duration::from_secs(3600));
    let response = bench.call(from(A)).await;
    assert_eq!(found(&response, &names), full);
}

#[tokio::test]
async fn stacked_limits_add_to_the_lists() {
    // H05.
    let clock = ManualClock::new();
    let limit = |number: u32| {
        RateLimit::builder(
            Quota::per_minute(number)
                .try_with_name(format!("q{number}"))
                .unwrap(),
        )
        .clock(clock.clone())
        .max_keys(10)
        .standard_fields(StandardFields::Draft11)
        .build()
        .unwrap()
    };
    let limits: Vec<_> = [1, 5, 6, 7, 8].into_iter().map(limit).collect();
    let bench = Bench::new(&clock, limits);
    let response = bench.call(from(A)).await;
    let remaining: Vec<_> = response
        .headers()
        .get_all("ratelimit")
        .iter()
        .map(|it| it.to_str().unwrap().split(';').nth(1).unwrap())
        .collect();
    assert_eq!(remaining, ["r=0", "r=4", "r=5", "r=6", "r=7"]);
}

#[tokio::test]
async fn older_fields_are_those_of_the_innermost_limit() {
    let clock = ManualClock::new();
    let limit = |quota| {
        let builder = RateLimit::builder(quota).legacy_fields(LegacyReset::Delta);
        builder.clock(clock.clone()).build().unwrap()
    };
    let names = [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
    ];
    let (outer, inner) = (limit(Quota::per_minute(100)), limit(Quota::per_hour(1)));
    let bench = Bench::new(&clock, (outer, inner));
    let admitted = bench.call(from(A)).await;
    assert_eq!(found(&admitted, &names), ["1", "0", "3600", ""]);
    // Which is the one that refuses: what is left of the outer one helps nobody.
    let refused = bench.call(from(A)).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(found(&refused, &names), ["1", "0", "3600", "3600"]);
}

#[tokio::test]
async fn older_fields_have_two_kinds_of_reset() {
    let names = [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ];
    // H02 as a delta.
    let delta = bench(Quota::per_minute(5), |it| {
        it.legacy_fields(LegacyReset::Delta)
    });
    let response = delta.call(from(A)).await;
    assert_eq!(found(&response, &names), ["5", "4", "12"]);

    // H01 as a time.
    let epoch = bench(Quota::per_minute(5), |it| {
        it.legacy_fields(LegacyReset::Epoch)
    });
    let response = epoch.call(from(A)).await;
    let now = palisade::clock::Clock::system_now(&epoch.clock)
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let reset: u64 = found(&response, &names)[2].parse().unwrap();
    assert!((now + 12..=now + 13).contains(&reset));
}

#[tokio::test]
async fn the_time_to_come_again() {
    // H07, H08: on its own switch, and on by default.
    let plain = bench(Quota::per_minute(1), |it| it);
    assert_eq!(plain.statuses([from(A)]).await, [200]);
    let response = plain.call(from(A)).await;
    assert_eq!(found(&response, &["retry-after", "ratelimit"]), ["60", ""]);
    // H27: never zero.
    plain.clock.advance(Duration::from_millis(59_999));
    let response = plain.call(from(A)).await;
    assert_eq!(found(&response, &["retry-after"]), ["1"]);

    let silent = bench(Quota::per_minute(1), RateLimitBuilder::without_retry_after);
    assert_eq!(silent.statuses([from(A)]).await, [200]);
    let response = silent.call(from(A)).await;
    assert_eq!(found(&response, &["retry-after"]), [""]);

    // E34: advice does not change how long a client is refused.
    let advised = bench(Quota::per_minute(1), |it| {
        it.retry_after_at_least(Duration::from_secs(3600))
    });
    assert_eq!(advised.statuses([from(A)]).await, [200]);
    let response = advised.call(from(A)).await;
    assert_eq!(found(&response, &["retry-after"]), ["3600"]);
    advised.clock.advance(60 * SECOND);
    assert_eq!(advised.statuses([from(A)]).await, [200]);

    // Jitter only lengthens.
    let jitter = bench(Quota::per_minute(1), |it| it.retry_jitter(100 * SECOND));
    assert_eq!(jitter.statuses([from(A)]).await, [200]);
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let response = jitter.call(from(A)).await;
        let seconds: u64 = found(&response, &["retry-after"])[0].parse().unwrap();
        assert!((60..=160).contains(&seconds));
        told.insert(seconds);
    }
    assert!(told.len() > 5);
}

#[tokio::test]
async fn the_body_names_what_was_violated() {
    // H22, E08, H33, H38.
    use http_body_util::BodyExt;

    let bench = bench(
        QuotaSet::new([
            Quota::per_minute(1).with_name("minute"),
            Quota::per_hour(1).with_name("hour"),
            Quota::per_day(10).with_name("day"),
        ])
        .unwrap(),
        |it| it,
    );
    assert_eq!(bench.statuses([from(A)]).await, [200]);
    let response = bench.call(from(A)).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["status"], 429);
    assert_eq!(
        problem["violated-policies"],
        serde_json::json!(["minute", "hour"])
    );
}

#[tokio::test]
async fn redirects_say_nothing_of_limits_unless_asked_to() {
    // H20.
    let names = ["ratelimit-policy", "ratelimit", "x-ratelimit-limit"];
    let fields = |it: RateLimitBuilder| {
        it.standard_fields(StandardFields::Draft11)
            .legacy_fields(LegacyReset::Delta)
    };
    let silent = bench(Quota::per_minute(5), fields);
    for status in [301, 302, 304, 308] {
        let response = silent.call(from(A).answered(status)).await;
        assert_eq!(found(&response, &names), ["", "", ""], "{status}");
    }
    // H21 is so by construction: nothing here writes trailers.
    let response = silent.call(from(A).answered(201)).await;
    assert_eq!(found(&response, &names[2..]), ["5"]);

    let telling = bench(Quota::per_minute(5), |it| fields(it).fields_on_redirects());
    let response = telling.call(from(A).answered(302)).await;
    assert_eq!(
        found(&response, &names),
        [
            r#""5-per-minute";q=5;w=60"#,
            r#""5-per-minute";r=4;t=12"#,
            "5"
        ]
    );
}

#[tokio::test]
async fn scripts_of_other_origins_may_be_let_read_the_fields() {
    // H37.
    let name = ["access-control-expose-headers"];
    let silent = bench(Quota::per_minute(1), |it| {
        it.standard_fields(StandardFields::Draft11)
    });
    assert_eq!(found(&silent.call(from(A)).await, &name), [""]);

    let exposed = bench(Quota::per_minute(1), |it| {
        it.standard_fields(StandardFields::Draft11).exposed_fields()
    });
    for status in [200, 429] {
        let response = exposed.call(from(A)).await;
        assert_eq!(response.status(), status);
        let names = &found(&response, &name)[0];
        for field in ["RateLimit", "RateLimit-Policy", "Retry-After"] {
            assert!(names.split(", ").any(|it| it == field), "{names}");
        }
    }
}

#[tokio::test]
async fn a_partition_key_tells_apart_what_is_counted_apart() {
    // H42, and D11: a Byte Sequence that leaks nothing.
    const NAME: &str = r#"a, b;pk=:AA==:","c\"#;

    let quotas = QuotaSet::new([
        Quota::per_minute(9).try_with_name(NAME).unwrap(),
        Quota::per_hour(99).with_name("hours"),
        Quota::per_day(999).with_name("day"),
    ])
    .unwrap();
    let set = |it: RateLimitBuilder| it.standard_fields(StandardFields::Draft11).partition_key();
    let bench_one = bench(quotas.clone(), set);
    let other_process = bench(quotas, set);
    let keys = async |bench: &Bench<RateLimit>, client: &str| {
        let response = bench.call(from(client)).await;
        let mut keys = Vec::new();
        for (field, names) in [
            ("ratelimit-policy", &[NAME, "hours", "day"][..]),
            ("ratelimit", &[NAME]),
        ] {
            let value = response.headers()[field].as_bytes();
            let list: sfv::List = sfv::Parser::new(value).parse().unwrap();
            assert_eq!(list.len(), names.len());
            for (member, name) in list.iter().zip(names) {
                let sfv::ListEntry::Item(item) = member else {
                    panic!("{member:?}");
                };
                let found = item.bare_item.as_string().unwrap();
                assert_eq!(found.as_str(), *name);
                assert_eq!(item.params.len(), 3);
                let key = item.params.get("pk").unwrap().as_byte_sequence();
                keys.push(key.unwrap().to_vec());
            }
        }
        keys.dedup();
        let [key] = keys.as_slice() else {
            panic!("{keys:?}");
        };
        assert_eq!(key.len(), 8);
        key.clone()
    };
    let key = keys(&bench_one, A).await;
    assert_eq!(keys(&bench_one, A).await, key);
    assert_ne!(keys(&bench_one, "198.51.100.1").await, key);
    assert_ne!(keys(&other_process, A).await, key);
}
