//! What clients try in order to get more than their quota.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientContext, ClientIp},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::Action,
    policy::{Check, PolicySet, Rejection, RequestHead},
    rate_limit::{Quota, QuotaSet, RateLimit, RateLimitBuilder, RateLimitKey},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::FnPolicy;

/// A limit, and the clock of all that is around it.
struct Bench {
    clock: ManualClock,
    limit: RateLimit,
}

fn bench(quota: Quota, set: impl FnOnce(RateLimitBuilder) -> RateLimitBuilder) -> Bench {
    let clock = ManualClock::new();
    let builder = RateLimit::builder(quota).max_keys(100).clock(clock.clone());
    let limit = set(builder).build().unwrap();
    Bench { clock, limit }
}

impl Bench {
    /// Sends a request through the limit, and through policies of another layer further in.
    async fn call(&self, further_in: impl PolicySet, request: Request<()>) -> StatusCode {
        let handler = service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let service = EnforceLayer::new(self.limit.clone())
            .with_clock(self.clock.clone())
            .layer(EnforceLayer::new(further_in).layer(handler));
        service.oneshot(request).await.unwrap().status()
    }

    fn remaining(&self) -> u32 {
        let key = self.limit.client_key(CLIENT.parse().unwrap()).unwrap();
        self.limit.peek(&key).remaining()
    }
}

const CLIENT: &str = "203.0.113.7";

fn request(method: &str) -> Request<()> {
    let client = ClientIp::Known(CLIENT.parse().unwrap());
    Request::builder()
        .method(method)
        .extension(ClientContext::new(client, None))
        .body(())
        .unwrap()
}

#[tokio::test]
async fn going_to_a_smaller_tier_and_back_does_not_give_a_spent_quota_back() {
    let paid = QuotaSet::from(Quota::per_hour(10));
    let bench = bench(Quota::per_second(1), |it| {
        it.tiers(move |head| head.headers().contains_key("x-paid").then(|| paid.clone()))
    });
    let mut admitted = 0;
    for _ in 0..3 {
        for _ in 0..20 {
            let mut request = request("GET");
            request.headers_mut().insert("x-paid", "1".parse().unwrap());
            admitted += u32::from(bench.call((), request).await == 200);
        }
        bench.call((), request("GET")).await;
    }
    assert_eq!(admitted, 10);
}

#[tokio::test]
async fn failures_in_the_disguise_of_grpc_are_counted_as_failures() {
    // An inner layer's refusal of a gRPC request has status 200, and `grpc-status` says the rest.
    let wrong_key = || {
        FnPolicy(|_: &RequestHead<'_>| {
            let reason = "the API key is not valid";
            Check::reject(Rejection::new(
                Action::ApiKeyRejected,
                StatusCode::UNAUTHORIZED,
                reason,
            ))
        })
    };
    let disguised = || {
        let mut request = request("GET");
        let grpc = "application/grpc".parse().unwrap();
        request.headers_mut().insert("content-type", grpc);
        request
    };
    let failures = bench(Quota::per_hour(2), RateLimitBuilder::count_failures_only);
    for left in [1, 0] {
        assert_eq!(failures.call(wrong_key(), disguised()).await, 200);
        assert_eq!(failures.remaining(), left);
    }
    assert_eq!(failures.call(wrong_key(), request("GET")).await, 429);

    let successes = bench(Quota::per_hour(2), RateLimitBuilder::count_successes_only);
    assert_eq!(successes.call(wrong_key(), disguised()).await, 200);
    assert_eq!(successes.remaining(), 2);
    assert_eq!(successes.call((), disguised()).await, 200);
    assert_eq!(successes.remaining(), 1);
}

#[tokio::test]
async fn failed_grpc_calls_are_counted_as_failures() {
    // The handler's own refusal: status 200, and all that there is to say in the head. A stream that fails later has told nothing yet.
    for (grpc_status, failed) in [
        (Some("16"), true),
        (Some("0"), false),
        (Some(""), true),
        (None, false),
    ] {
        let handler = service_fn(move |_: Request<()>| async move {
            let mut response = Response::new(String::new());
            if let Some(status) = grpc_status {
                let headers = response.headers_mut();
                headers.insert("grpc-status", status.parse().unwrap());
            }
            Ok::<_, Infallible>(response)
        });
        let failures = bench(Quota::per_hour(5), RateLimitBuilder::count_failures_only);
        let successes = bench(Quota::per_hour(5), RateLimitBuilder::count_successes_only);
        for (bench, counted) in [(failures, failed), (successes, !failed)] {
            let service = EnforceLayer::new(bench.limit.clone())
                .with_clock(bench.clock.clone())
                .layer(handler);
            assert_eq!(
                service.oneshot(request("POST")).await.unwrap().status(),
                200
            );
            assert_eq!(bench.remaining(), if counted { 4 } else { 5 });
        }
    }
}

#[tokio::test]
async fn invented_methods_do_not_have_quotas_of_their_own() {
    let bench = bench(Quota::per_hour(1), |it| {
        it.key(RateLimitKey::client_ip().and(RateLimitKey::method()))
    });
    for (method, expected) in [
        ("GET", 200),
        ("GET", 429),
        ("POST", 200),
        ("GETS", 200),
        ("GETT", 429),
        ("get", 429),
    ] {
        let status = bench.call((), request(method)).await;
        assert_eq!(status, expected, "{method}");
    }
}
