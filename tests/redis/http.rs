//! The policy, its layer and the facade over a store.

use std::{convert::Infallible, future::poll_fn, net::SocketAddr, task::Poll};

use http::{Request, Response, StatusCode, request::Parts};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr},
    enforce::EnforceLayer,
    event::NullSink,
    policy::{DryRun, Rejection},
    rate_limit::{
        Charge, LegacyReset, Quota, RateLimit, RateLimitKey, RateLimitLayer, StandardFields,
    },
    shared_store::OnStoreFailure,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Server, Words, builder, eventually, free_port};

fn request(client: u8) -> Request<()> {
    let peer: SocketAddr = ([203, 0, 113, client], 50_000).into();
    Request::builder()
        .extension(PeerAddr::from(peer))
        .body(())
        .unwrap()
}

async fn call<L>(layer: &L, client: u8) -> Response<String>
where
    L: tower::Layer<
            Hello,
            Service: tower::Service<Request<()>, Response = Response<String>, Error = Infallible>,
        >,
{
    layer.layer(hello()).oneshot(request(client)).await.unwrap()
}

type Hello = tower::util::BoxCloneService<Request<()>, Response<String>, Infallible>;

fn hello() -> Hello {
    tower::util::BoxCloneService::new(service_fn(|_: Request<()>| async {
        Ok(Response::new(String::new()))
    }))
}

/// Two instances are two layers with stores of their own.
#[tokio::test]
async fn two_instances_count_together() {
    let server = Server::start();
    let instance = || {
        let store = server.store();
        SecurityLayer::builder(ClientIpSource::Peer)
            .rate_limit(Quota::per_day(1).with_burst(3))
            .shared_rate_limit(&store, "api", OnStoreFailure::Fallback)
            .unwrap()
            .sink(NullSink)
            .build()
    };
    let (one, two) = (instance(), instance());
    assert_eq!(call(&one, 7).await.status(), 200);
    assert_eq!(call(&two, 7).await.status(), 200);
    assert_eq!(call(&one, 7).await.status(), 200);
    assert_eq!(call(&two, 7).await.status(), 429);
    assert_eq!(call(&one, 7).await.status(), 429);
    // Remembered, and not asked for again.
    assert_eq!(call(&one, 7).await.status(), 429);
    assert_eq!(call(&two, 8).await.status(), 200);
}

#[tokio::test]
async fn fields_are_those_of_memory() {
    let server = Server::start();
    let store = server.store();
    let build = |shared: bool| {
        let mut limit = RateLimit::builder(Quota::per_hour(7))
            .standard_fields(StandardFields::Draft11)
            .legacy_fields(LegacyReset::Delta);
        if shared {
            limit = limit.shared(&store, "fields");
        }
        RateLimitLayer::from(limit.build().unwrap()).with_sink(NullSink)
    };
    let (shared, local) = (build(true), build(false));
    for step in 0..9 {
        let (found, expected) = (call(&shared, 7).await, call(&local, 7).await);
        assert_eq!(found.status(), expected.status(), "{step}");
        assert_eq!(found.headers().len(), expected.headers().len(), "{step}");
        for (name, value) in expected.headers() {
            // Times may differ by a second where one has just passed.
            if name == "ratelimit" || name == "x-ratelimit-reset" || name == "retry-after" {
                assert!(found.headers().contains_key(name));
            } else {
                assert_eq!(found.headers()[name], value, "{step} {name}");
            }
        }
        let left = |response: &Response<String>| {
            let field = response.headers()["ratelimit"].to_str().unwrap().to_owned();
            field.split(";t=").next().unwrap().to_owned()
        };
        assert_eq!(left(&found), left(&expected), "{step}");
    }
}

/// A client goes away while the store is asked: its charge is taken back when it is known.
#[tokio::test]
async fn the_charge_of_a_client_that_leaves_meanwhile_is_taken_back() {
    let server = Server::start();
    let limit = RateLimit::builder(Quota::per_day(1).with_burst(2))
        .shared(&server.store(), "leaving")
        .count_successes_only()
        .build()
        .unwrap();
    let layer = RateLimitLayer::from(limit).with_sink(NullSink);
    assert_eq!(call(&layer, 8).await.status(), 200);
    server.signal("-STOP");
    {
        let mut leaving = std::pin::pin!(call(&layer, 7));
        for _ in 0..20 {
            let pending = poll_fn(|cx| Poll::Ready(leaving.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
            // Until it is sent.
            tokio::task::yield_now().await;
        }
    }
    server.signal("-CONT");
    // Nobody else makes a key full again.
    eventually("it is taken back", async || {
        let used = server.cli(&["info", "commandstats"]);
        used.contains("cmdstat_del:")
    })
    .await;
    for expected in [200, 200, 429] {
        assert_eq!(call(&layer, 7).await.status(), expected);
    }
}

#[tokio::test]
async fn charges_are_taken_back_by_outcome() {
    let server = Server::start();
    let store = server.store();
    let limit = RateLimit::builder(Quota::per_day(1).with_burst(2))
        .shared(&store, "failures")
        .count_failures_only()
        .build()
        .unwrap();
    let layer = RateLimitLayer::from(limit).with_sink(NullSink);
    for _ in 0..10 {
        assert_eq!(call(&layer, 7).await.status(), 200);
    }
}

/// T27, E24: a store that is not there when the service starts is used when it is.
#[tokio::test]
async fn a_service_starts_without_the_store() {
    let mut server = Server::new(&[]);
    let words = Words::default();
    let store = builder(&server.address())
        .sink(words.clone())
        .build()
        .unwrap();
    let limit = RateLimit::builder(Quota::per_day(1).with_burst(4))
        .shared(&store, "start")
        .build()
        .unwrap();
    let layer = RateLimitLayer::from(limit).with_sink(NullSink);
    // Half of the quota is the share of one of two instances.
    assert_eq!(call(&layer, 7).await.status(), 200);
    assert_eq!(call(&layer, 7).await.status(), 200);
    assert_eq!(call(&layer, 7).await.status(), 429);
    assert!(!store.is_available());
    assert_eq!(words.take(), ["limiter_store_failed"]);
    // What costs more than the share costs all of it; what costs more than the quota is too dear here, too.
    let costly = |cost| {
        let limit = RateLimit::builder(Quota::per_day(1).with_burst(4))
            .cost_by(move |_| cost)
            .shared(&store, "costly")
            .build()
            .unwrap();
        RateLimitLayer::from(limit).with_sink(NullSink)
    };
    assert_eq!(call(&costly(4), 7).await.status(), 200);
    let refused = call(&costly(5), 7).await;
    assert_eq!(refused.status(), 429);
    assert!(!refused.headers().contains_key("retry-after"));

    server.spawn();
    eventually("the store is used", async || store.is_available()).await;
    assert_eq!(words.take(), ["limiter_store_recovered"]);
    for _ in 0..4 {
        assert_eq!(call(&layer, 7).await.status(), 200);
    }
    assert_eq!(call(&layer, 7).await.status(), 429);
}

/// E22, H35: where a limit denies, it is not the client's fault, and a responder of one's own may say so otherwise.
#[tokio::test]
async fn a_limit_decides_what_happens_without_the_store() {
    let store = builder(&format!("redis://127.0.0.1:{}", free_port()))
        .build()
        .unwrap();
    let layer = |name: &str, on_failure| {
        let limit = RateLimit::builder(Quota::per_day(1).with_burst(1))
            .shared(&store, name)
            .on_store_failure(on_failure)
            .build()
            .unwrap();
        RateLimitLayer::from(limit).with_sink(NullSink)
    };
    let (allow, deny) = (
        layer("allow", OnStoreFailure::Allow),
        layer("deny", OnStoreFailure::Deny),
    );
    for _ in 0..10 {
        assert_eq!(call(&allow, 7).await.status(), 200);
        let denied = call(&deny, 7).await;
        assert_eq!(denied.status(), 503);
        assert_eq!(denied.headers()["retry-after"], "1");
        assert!(
            denied.body().contains("temporary-reduced-capacity"),
            "{}",
            denied.body()
        );
    }
    // A handler that settles finds nothing to settle.
    for (name, on_failure) in [
        ("settled", OnStoreFailure::Allow),
        ("dry", OnStoreFailure::Deny),
    ] {
        let limit = RateLimit::builder(Quota::per_day(1))
            .settle_in_handler()
            .shared(&store, name)
            .on_store_failure(on_failure)
            .build()
            .unwrap();
        let handler = service_fn(|request: Request<()>| async move {
            let charge = Charge::of(request.extensions());
            let reserved = charge.map_or(9, Charge::reserved);
            Ok::<_, Infallible>(Response::new(reserved.to_string()))
        });
        let service = match on_failure {
            OnStoreFailure::Deny => EnforceLayer::new(DryRun::new(limit))
                .with_sink(NullSink)
                .layer(handler)
                .boxed_clone(),
            _ => EnforceLayer::new(limit)
                .with_sink(NullSink)
                .layer(handler)
                .boxed_clone(),
        };
        let response = service.oneshot(request(7)).await.unwrap();
        assert_eq!(response.body(), "0", "{name}");
    }
    let own = layer("own", OnStoreFailure::Deny).with_responder(
        |rejection: &Rejection, _: &Parts| -> Response<String> {
            assert_eq!(rejection.status(), 503);
            let mut response = Response::new("not now".to_owned());
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            response
        },
    );
    let denied = call(&own, 7).await;
    assert_eq!(denied.status(), 501);
    assert_eq!(denied.body(), "not now");
}

/// What a closure finds is part of the key as well.
#[tokio::test]
async fn keys_of_closures_are_counted_apart() {
    let server = Server::start();
    let store = server.store();
    let key = RateLimitKey::from_fn(|head| head.headers().get("x-tenant").cloned());
    let builder = RateLimit::builder(Quota::per_day(1)).key(key);
    let limit = builder.shared(&store, "tenants").build().unwrap();
    let layer = RateLimitLayer::from(limit).with_sink(NullSink);
    for (tenant, expected) in [("a", 200), ("a", 429), ("b", 200), ("", 400)] {
        let mut request = request(7);
        if !tenant.is_empty() {
            let headers = request.headers_mut();
            headers.insert("x-tenant", tenant.parse().unwrap());
        }
        let service = layer.layer(hello());
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{tenant:?}");
    }
}

#[tokio::test]
async fn an_operator_looks_at_one_client_in_the_store_and_lets_it_off() {
    let server = Server::start();
    let builder = RateLimit::builder(Quota::per_day(2));
    let limit = builder.shared(&server.store(), "shared").build().unwrap();
    let layer = RateLimitLayer::from(limit.clone()).with_sink(NullSink);
    for (client, expected) in [(7, 200), (7, 200), (7, 429), (8, 200)] {
        assert_eq!(call(&layer, client).await.status(), expected);
    }
    let left = async |client| {
        let key = limit.client_key([203, 0, 113, client].into()).unwrap();
        let verdict = limit.peek_shared(&key).await.unwrap();
        verdict.unwrap().remaining()
    };
    assert_eq!((left(7).await, left(8).await, left(9).await), (0, 1, 2));

    let key = |client| limit.client_key([203, 0, 113, client].into()).unwrap();
    limit.refund(&key(8), 1);
    eventually("what is given back", async || left(8).await == 2).await;
    limit.reset(&key(7));
    eventually("what is reset", async || left(7).await == 2).await;

    // A limit in memory has nothing in the store.
    let own = RateLimit::new(Quota::per_day(2));
    let own_key = own.client_key([203, 0, 113, 7].into()).unwrap();
    assert!(own.peek_shared(&own_key).await.unwrap().is_none());
}

/// All instances call the same client the same.
#[tokio::test]
async fn partition_keys_are_those_of_all_instances() {
    let server = Server::start();
    let instance = || {
        let builder = RateLimit::builder(Quota::per_day(9))
            .standard_fields(StandardFields::Draft11)
            .partition_key();
        RateLimitLayer::from(builder.shared(&server.store(), "parts").build().unwrap())
    };
    let (one, two) = (instance(), instance());
    let key = async |layer: &RateLimitLayer, client| {
        let response = call(layer, client).await;
        let field = response.headers()["ratelimit"].to_str().unwrap();
        field.split_once(";pk=").unwrap().1.to_owned()
    };
    assert_eq!(key(&one, 7).await, key(&two, 7).await);
    assert_ne!(key(&one, 7).await, key(&one, 8).await);
}

/// F16: a limit that cannot decide charges none of those further in.
#[tokio::test]
async fn a_limit_that_cannot_decide_stops_the_request() {
    let store = builder(&format!("redis://127.0.0.1:{}", free_port()))
        .build()
        .unwrap();
    let rate = RateLimit::builder(Quota::per_second(1))
        .shared(&store, "rate")
        .on_store_failure(OnStoreFailure::Deny)
        .build()
        .unwrap();
    let burst = RateLimit::new(Quota::per_hour(5));
    let layer = EnforceLayer::new((rate, burst.clone())).with_sink(NullSink);
    for _ in 0..10 {
        assert_eq!(call(&layer, 7).await.status(), 503);
    }
    let key = burst.client_key([203, 0, 113, 7].into()).unwrap();
    assert_eq!(burst.peek(&key).remaining(), 5);
    assert_eq!(burst.limiter().usage().taken(), 0);
}

/// What an alert is made of.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics_show_a_store_that_is_away() {
    use palisade::{
        metrics::{STORE_FAILURES_TOTAL, STORE_UP},
        rate_limit::SharedRateLimiter,
    };

    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let page = recorder.handle();
    let shows = |line: &str| {
        let page = page.render();
        assert!(page.lines().any(|it| it == line), "{line}: {page}");
    };
    let mut server = Server::start();
    let store = server.builder().prefix("shown").build().unwrap();
    let limiter = SharedRateLimiter::builder(&store, "metrics", Quota::per_day(9))
        .on_failure(OnStoreFailure::Deny)
        .build()
        .unwrap();
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    shows(&format!("{STORE_UP}{{policy=\"shown\"}} 1"));
    shows(&format!("{STORE_FAILURES_TOTAL}{{error=\"away\"}} 0"));

    server.kill();
    limiter.check("key", 1).await.unwrap_err();
    shows(&format!("{STORE_UP}{{policy=\"shown\"}} 0"));
    for _ in 0..2 {
        limiter.check("key", 1).await.unwrap_err();
    }
    shows(&format!("{STORE_FAILURES_TOTAL}{{error=\"connection\"}} 1"));
    shows(&format!("{STORE_FAILURES_TOTAL}{{error=\"away\"}} 2"));

    server.spawn();
    eventually("the store is used", async || store.is_available()).await;
    shows(&format!("{STORE_UP}{{policy=\"shown\"}} 1"));
}
