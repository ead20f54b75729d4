//! Quotas of any name and size, and any cost: the fields that the limiter writes are structured fields that say what holds,
//! `Retry-After` is whole seconds, and the older fields are numbers.

use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientContext, ClientIp},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::NullSink,
    rate_limit::{LegacyReset, Quota, QuotaSet, RateLimit, StandardFields},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

pub(crate) fn check(data: &[u8]) {
    // Lines of a quota and its name; the first byte is the cost.
    let Some((cost, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = str::from_utf8(rest) else {
        return;
    };
    let quotas = text.lines().filter_map(|line| {
        let (quota, name) = line.split_once('\t').unwrap_or((line, ""));
        let quota = quota.parse::<Quota>().ok()?;
        if name.is_empty() {
            return Some(quota);
        }
        quota.try_with_name(name).ok()
    });
    let Ok(quotas) = QuotaSet::new(quotas) else {
        return;
    };
    let clock = ManualClock::new();
    let built = RateLimit::builder(quotas.clone())
        .clock(clock.clone())
        .cost((*cost).into())
        .max_keys(16)
        .standard_fields(StandardFields::Draft11)
        .legacy_fields(LegacyReset::Delta)
        .build();
    let Ok(limit) = built else {
        return;
    };
    let layer = EnforceLayer::new(limit)
        .with_clock(clock.clone())
        .with_sink(NullSink);
    for _ in 0..3 {
        let service = layer.layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let client = ClientContext::new(ClientIp::Known([203, 0, 113, 7].into()), None);
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions.insert(client);
        let call = pin!(service.oneshot(Request::from_parts(parts, ())));
        let Poll::Ready(Ok(response)) = call.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a limiter in memory answers at once");
        };
        fields(&quotas, response.status(), response.headers());
    }
}

fn fields(quotas: &QuotaSet, status: StatusCode, headers: &HeaderMap) {
    let list = |name: &str| -> Vec<(String, sfv::Parameters)> {
        let value = headers.get(name).expect("a field").as_bytes();
        let list: sfv::List = sfv::Parser::new(value).parse().expect("a list");
        let items = list.into_iter().map(|entry| match entry {
            sfv::ListEntry::Item(item) => (
                item.bare_item.as_string().expect("a name").to_string(),
                item.params,
            ),
            sfv::ListEntry::InnerList(list) => panic!("{list:?}"),
        });
        items.collect()
    };
    let number = |params: &sfv::Parameters, key: &str| {
        let number = params.get(key).and_then(sfv::BareItem::as_integer);
        u64::try_from(i64::from(number.expect("a number"))).expect("not negative")
    };

    let policy = list("ratelimit-policy");
    assert_eq!(policy.len(), quotas.len());
    for (quota, (name, params)) in quotas.iter().zip(&policy) {
        assert_eq!(quota.name(), **name);
        assert_eq!(number(params, "q"), u64::from(quota.limit()));
        assert!(1 <= number(params, "w"));
    }
    let current = list("ratelimit");
    let [(name, params)] = &*current else {
        panic!("{current:?}");
    };
    let quota = quotas
        .iter()
        .find(|it| it.name() == **name)
        .expect("a quota");
    assert!(number(params, "r") <= u64::from(quota.capacity()));
    let wait = number(params, "t");

    let digits = |name: &str| {
        let value = headers.get(name)?.to_str().expect("text");
        assert!(value.bytes().all(|b| b.is_ascii_digit()), "{value}");
        Some(value.parse::<u64>().expect("a number"))
    };
    for name in ["limit", "remaining", "reset"] {
        digits(&format!("x-ratelimit-{name}")).expect("an older field");
    }
    match digits("retry-after") {
        // RFC 9110, section 10.2.3; never 0, which would be an invitation.
        Some(seconds) => {
            assert!(status.is_client_error() && 1 <= seconds);
            assert!(wait <= 366 * 86_400);
        }
        None => assert!(status.is_success() || status.is_client_error()),
    }
}
