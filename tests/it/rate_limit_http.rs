//! The limit as a layer: the rows of the case tables about keys, response fields, outcomes and events.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use palisade::{
    SecurityLayer,
    client_ip::{
        ClientContext, ClientIp, ClientIpLayer, ClientIpSource, PeerAddr, TrustedProxies,
        UnknownReason,
    },
    clock::ManualClock,
    enforce::EnforceLayer,
    ip_set::IpSet,
    policy::{Check, Decision, DryRun, Policy as _, PolicySet, RequestHead},
    rate_limit::{
        Charge, MissingKey, Quota, QuotaSet, RateLimit, RateLimitBuilder, RateLimitKey,
        RateLimitLayer, StandardFields,
    },
};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{RecordingSink, Refuse, poll, request};

/// What a client sends, and what the handler answers.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    client: ClientIp,
    key: Option<&'static str>,
    method: &'static str,
    answer: StatusCode,
    /// What the handler settles at.
    settle: Option<u32>,
}

pub(crate) fn from(addr: &str) -> Call {
    Call {
        client: ClientIp::Known(addr.parse().unwrap()),
        key: None,
        method: "GET",
        answer: StatusCode::OK,
        settle: None,
    }
}

impl Call {
    fn key(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn answered(mut self, status: u16) -> Self {
        self.answer = StatusCode::from_u16(status).unwrap();
        self
    }

    fn settled(mut self, cost: u32) -> Self {
        self.settle = Some(cost);
        self
    }
}

/// A service behind policies, with its clock and its events.
pub(crate) struct Bench<P: PolicySet> {
    layer: EnforceLayer<P>,
    pub(crate) clock: ManualClock,
    sink: RecordingSink,
}

impl<P: PolicySet> Bench<P> {
    pub(crate) fn new(clock: &ManualClock, policies: P) -> Self {
        let sink = RecordingSink::default();
        Self {
            layer: EnforceLayer::new(policies)
                .with_clock(clock.clone())
                .with_sink(sink.clone()),
            clock: clock.clone(),
            sink,
        }
    }

    pub(crate) async fn call(&self, call: Call) -> Response<Full<Bytes>> {
        let service = self
            .layer
            .layer(service_fn(|request: Request<()>| async move {
                let call = request.extensions().get::<Call>().unwrap();
                if let (Some(cost), Some(charge)) = (call.settle, Charge::of(request.extensions()))
                {
                    charge.settle(cost);
                    charge.settle(0);
                }
                let mut response = Response::new(Full::default());
                *response.status_mut() = call.answer;
                Ok::<_, std::convert::Infallible>(response)
            }));
        let mut request = Request::builder().method(call.method).uri("/");
        if let Some(key) = call.key {
            request = request.header("x-key", key);
        }
        let request = request
            .extension(ClientContext::new(call.client, None))
            .extension(call)
            .body(())
            .unwrap();
        service.oneshot(request).await.unwrap()
    }

    pub(crate) async fn statuses(&self, calls: impl IntoIterator<Item = Call>) -> Vec<u16> {
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(self.call(call).await.status().as_u16());
        }
        statuses
    }
}

pub(crate) fn bench(
    quotas: impl Into<QuotaSet>,
    set: impl FnOnce(RateLimitBuilder) -> RateLimitBuilder,
) -> Bench<RateLimit> {
    let clock = ManualClock::new();
    let builder = RateLimit::builder(quotas)
        .max_keys(100)
        .clock(clock.clone());
    let limit = set(builder).build().unwrap();
    Bench::new(&clock, limit)
}

fn header_key() -> RateLimitKey {
    RateLimitKey::header(HeaderName::from_static("x-key"))
}

pub(crate) const A: &str = "203.0.113.7";
const B: &str = "203.0.113.8";
pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn clients_are_refused_past_their_limit_and_come_back() {
    // E01, E02, E03, E04: the window is a quota that refills.
    let two = bench(Quota::new(2, Duration::from_millis(50)).unwrap(), |it| it);
    for _ in 0..2 {
        let calls = [from(A), from(A), from(A)];
        assert_eq!(two.statuses(calls).await, [200, 200, 429]);
        two.clock.advance(Duration::from_millis(60));
    }
    assert_eq!(two.statuses([from(A)]).await, [200]);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn routes_are_counted_apart_whatever_stands_in_their_parameters() {
    use axum::{Router, body::Body, routing::get};

    let builder = RateLimit::builder(Quota::per_hour(1)).key(RateLimitKey::route());
    let layer = RateLimitLayer::from(builder.clock(ManualClock::new()).build().unwrap());
    let app = Router::new()
        .route("/users/{id}", get(async || ""))
        .route("/notes/{id}", get(async || ""))
        .layer(layer);
    for (path, expected) in [
        ("/users/1", 200),
        ("/users/2", 429),
        ("/notes/1", 200),
        ("/notes/1", 429),
    ] {
        let response = app.clone().oneshot(request::<Body>(path)).await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
}

#[tokio::test]
async fn keys_are_counted_apart() {
    // E09.
    let bench = bench(Quota::per_minute(2), |it| it.key(header_key()));
    let calls = ["k1", "k1", "k2", "k1", "k2", "k2"].map(|it| from(A).key(it));
    assert_eq!(bench.statuses(calls).await, [200, 200, 200, 429, 200, 429]);
}

#[tokio::test]
async fn clients_are_addresses_and_prefixes() {
    let unknown = |reason, last: &str| {
        let mut call = from(A);
        call.client = ClientIp::unknown(reason, last.parse().ok());
        call
    };
    let bench = bench(Quota::per_minute(1), |it| it);
    for (id, first, same, other) in [
        ("K01", "1.2.3.4", "1.2.3.4", "1.2.3.5"),
        ("K02", "5.6.7.8", "::ffff:5.6.7.8", "::ffff:5.6.7.9"),
        (
            "K04",
            "2001:db8:1234:5678::1.2.3.4",
            "2001:db8:1234:5601::7",
            "2001:db8:1234:5700::",
        ),
    ] {
        let calls = [first, same, other].map(from);
        assert_eq!(bench.statuses(calls).await, [200, 429, 200], "{id}");
    }
    // An unknown client is never counted with one that is known, not even with the proxy it was last seen behind.
    let calls = [
        unknown(UnknownReason::MissingPeer, ""),
        unknown(UnknownReason::MissingPeer, ""),
        unknown(UnknownReason::MissingPeer, "9.9.9.9"),
        from("9.9.9.9"),
    ];
    assert_eq!(bench.statuses(calls).await, [200, 429, 200, 200]);
}

#[tokio::test]
async fn without_a_client_layer_the_peer_is_the_client() {
    // U05: a header that nobody verified is not read.
    let layer = RateLimitLayer::new(Quota::per_minute(1));
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    }));
    let call = |peer: &str, forwarded: &str| {
        let peer: IpAddr = peer.parse().unwrap();
        let request = Request::builder()
            .header("x-forwarded-for", forwarded)
            .header("x-real-ip", forwarded)
            .extension(PeerAddr::Tcp((peer, 1).into()))
            .body(())
            .unwrap();
        service.clone().oneshot(request)
    };
    assert_eq!(call(A, "1.1.1.1").await.unwrap().status(), 200);
    assert_eq!(call(A, "1.1.1.2").await.unwrap().status(), 429);
    assert_eq!(call(B, "1.1.1.1").await.unwrap().status(), 200);
}

/// Sends requests from these peers with these `X-Forwarded-For` through a limit of one request a client.
async fn check_forwarded(id: &str, trusted: TrustedProxies, calls: &[(&str, &str, u16)]) {
    let limit = RateLimitLayer::new(Quota::per_minute(1));
    let service = ClientIpLayer::new(ClientIpSource::XForwardedFor(trusted)).layer(limit.layer(
        service_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }),
    ));
    for (peer, forwarded, expected) in calls {
        let mut request = Request::builder();
        if !forwarded.is_empty() {
            request = request.header("x-forwarded-for", *forwarded);
        }
        if !peer.is_empty() {
            let peer: IpAddr = peer.parse().unwrap();
            request = request.extension(PeerAddr::Tcp((peer, 1).into()));
        }
        let response = service.clone().oneshot(request.body(()).unwrap());
        let status = response.await.unwrap().status();
        assert_eq!(status, *expected, "{id} {peer} {forwarded}");
    }
}

#[tokio::test]
async fn behind_proxies_the_client_is_whom_the_last_trusted_one_saw() {
    let hops = |count| TrustedProxies::hops(count).unwrap();
    let peer = "192.0.2.1";
    // U07: what a client writes on the left is its own.
    check_forwarded(
        "U07",
        hops(1),
        &[
            (peer, "9.9.9.9, 7.7.7.7, 6.6.6.6", 200),
            (peer, "1.1.1.1, 6.6.6.6", 429),
            (peer, "9.9.9.9, 7.7.7.7, 5.5.5.5", 200),
        ],
    )
    .await;
    let four = "10.0.0.1,11.0.0.1,12.0.0.1,13.0.0.1";
    for (depth, same, other) in [
        (1, "9.9.9.9,13.0.0.1", "12.0.0.1"),
        (2, "9.9.9.9,12.0.0.1,8.8.8.8", "12.0.0.1,13.0.0.1,8.8.8.8"),
        (3, "11.0.0.1,7.7.7.7,8.8.8.8", "12.0.0.1,7.7.7.7,8.8.8.8"),
    ] {
        let calls = [(peer, four, 200), (peer, same, 429), (peer, other, 200)];
        check_forwarded("K14", hops(depth), &calls).await;
    }
    // K15: whose line is too short shares with those of the same peer, and with nobody who is known.
    check_forwarded(
        "K15",
        hops(5),
        &[
            (peer, four, 200),
            (peer, "10.0.0.2", 429),
            ("192.0.2.2", four, 200),
            (
                "192.0.2.3",
                "192.0.2.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
                200,
            ),
        ],
    )
    .await;
    // K17: proxies that forward for nobody are clients themselves, each of them one.
    let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
    let calls = [
        ("10.0.0.1", "", 200),
        ("10.0.0.2", "", 200),
        ("10.0.0.1", "", 429),
        ("203.0.113.7", "", 200),
    ];
    check_forwarded("K17", proxies, &calls).await;
    // K13: that everyone is a proxy has to be said in so many words.
    for all in ["0.0.0.0/0", "::/0", "10.0.0.0/8, 0.0.0.0/1, 128.0.0.0/1"] {
        assert!(all.parse::<TrustedProxies>().is_err(), "K13 {all}");
    }
    // K11: an address has no port and is never text; one that is missing is no way around the limit.
    let calls = [("", "", 200), ("", "", 429), ("", "1.2.3.4", 429)];
    check_forwarded("K11", TrustedProxies::none(), &calls).await;
}

#[tokio::test]
async fn an_address_that_a_closure_returns_counts_as_it_is() {
    // K10: nobody can tell that it is one; the key of the client's address knows of prefixes.
    let [one, two] = ["2001:db8::1", "2001:db8::2"];
    for (key, expected) in [
        (
            RateLimitKey::from_fn(|head| head.client()?.client().addr()),
            [200, 200],
        ),
        (RateLimitKey::client_ip(), [200, 429]),
    ] {
        let bench = bench(Quota::per_minute(1), |it| it.key(key));
        assert_eq!(bench.statuses([from(one), from(two)]).await, expected);
    }
}

#[tokio::test]
async fn a_handler_can_ask_how_its_client_stands() {
    // E13.
    let clock = ManualClock::new();
    let limit = RateLimit::builder(Quota::per_minute(6))
        .clock(clock.clone())
        .build()
        .unwrap();
    let asked = limit.clone();
    let service =
        EnforceLayer::new(limit)
            .with_clock(clock)
            .layer(service_fn(move |request: Request<()>| {
                let key = asked.key_of(&RequestHead::of(&request)).unwrap();
                let verdict = asked.peek(&key);
                let standing = verdict.tightest().unwrap();
                let left = standing.remaining();
                let used = standing.quota().capacity() - left;
                let reset = verdict.reset_after().as_secs();
                let text = format!("used {used} remaining {left} reset {reset}");
                std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(text)))
            }));
    for expected in ["used 1 remaining 5 reset 10", "used 2 remaining 4 reset 20"] {
        let response = service.clone().oneshot(request("/")).await.unwrap();
        assert_eq!(response.into_body(), expected);
    }
}

#[test]
fn asking_how_a_tier_stands_gives_it_nothing_back() {
    let clock = ManualClock::new();
    let tier = QuotaSet::from(Quota::per_hour(10));
    let limit = RateLimit::builder(Quota::per_minute(60))
        .clock(clock.clone())
        .tiers(move |_| Some(tier.clone()))
        .build()
        .unwrap();
    let (parts, ()) = request::<()>("/").into_parts();
    let head = RequestHead::with_clock(&parts, &clock);
    let key = limit.key_of(&head).unwrap();
    let admitted = || {
        let check = limit.check(&head);
        matches!(check, Check::Ready(Decision::Admit(_)))
    };
    for left in (0..10).rev() {
        assert!(admitted());
        let verdict = limit.peek(&key);
        assert_eq!(verdict.remaining(), left);
        assert_eq!(verdict.tightest().unwrap().name(), "10-per-hour");
    }
    assert!(!admitted());
    // What is given back is what was said, and no more.
    limit.refund(&key, 1);
    assert_eq!(limit.peek(&key).remaining(), 1);
    assert!(admitted());
    assert!(!admitted());
    limit.reset(&key);
    assert_eq!(limit.peek(&key).remaining(), 10);
}

#[test]
fn what_panics_harms_its_own_request_alone() {
    // E26: a closure of the limit, and a handler.
    let clock = ManualClock::new();
    let exempt = |head: &RequestHead<'_>| {
        assert_ne!(head.uri().path(), "/closure", "expected");
        false
    };
    let limit = RateLimit::builder(Quota::per_minute(2))
        .clock(clock.clone())
        .exempt(exempt)
        .count_successes_only()
        .build()
        .unwrap();
    let layer = EnforceLayer::new(limit.clone()).with_clock(clock);
    let service = layer.layer(service_fn(|request: Request<()>| {
        assert_ne!(request.uri().path(), "/handler", "expected");
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(
            String::new(),
        )))
    }));
    let call = |path: &str| {
        let request = request(path);
        catch_unwind(AssertUnwindSafe(|| {
            let future = pin!(service.clone().oneshot(request));
            match poll(future) {
                Poll::Ready(response) => response.unwrap().status().as_u16(),
                Poll::Pending => panic!("nothing here waits"),
            }
        }))
    };
    for path in ["/closure", "/handler", "/closure", "/handler"] {
        assert!(call(path).is_err(), "{path}");
        let key = limit.client_key(A.parse().unwrap()).unwrap();
        assert_eq!(limit.peek(&key).remaining(), 2, "{path}");
    }
    let statuses = ["/", "/", "/"].map(|it| call(it).unwrap());
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_missing_part_is_a_choice() {
    // K19, K20, N06: refused unless chosen otherwise.
    for (missing, expected) in [
        (MissingKey::Refuse, [400, 400, 200]),
        (MissingKey::Share, [200, 429, 200]),
        (MissingKey::Skip, [200, 200, 200]),
    ] {
        let bench = bench(Quota::per_minute(1), |it| {
            it.key(header_key().when_missing(missing))
        });
        let calls = [from(A), from(B), from(A).key("k")];
        assert_eq!(bench.statuses(calls).await, expected, "{missing:?}");
        if missing == MissingKey::Refuse {
            assert_eq!(bench.sink.take_words(), ["rate_limit_key_missing"; 2]);
        }
    }
}

#[tokio::test]
async fn parts_of_a_key_do_not_run_into_each_other() {
    // K22, L05.
    let key = || {
        let part = |position| {
            RateLimitKey::from_fn(move |head| {
                let text = head.headers().get("x-key")?.to_str().ok()?;
                text.split('|').nth(position).map(str::to_owned)
            })
        };
        part(0).and(part(1))
    };
    let bench = bench(Quota::per_minute(1), |it| it.key(key()));
    let calls = ["a-|b", "a|-b", "a-b|", "|a-b", "a-|b"].map(|it| from(A).key(it));
    assert_eq!(bench.statuses(calls).await, [200, 200, 200, 200, 429]);
}

#[tokio::test]
async fn a_key_may_be_method_and_client_or_all_together() {
    let both = bench(Quota::per_minute(1), |it| {
        it.key(RateLimitKey::client_ip().and(RateLimitKey::method()))
    });
    let calls = [
        from(A),
        from(A).method("POST"),
        from(B),
        from(A).method("POST"),
    ];
    assert_eq!(both.statuses(calls).await, [200, 200, 200, 429]);

    let all = bench(Quota::per_minute(1), |it| it.key(RateLimitKey::global()));
    assert_eq!(all.statuses([from(A), from(B)]).await, [200, 429]);
}

#[tokio::test]
async fn two_limits_in_a_row() {
    // E14, K21, L09, T21: a request that the first stops never reaches the second.
    let clock = ManualClock::new();
    let limit = |quota, key, status| {
        RateLimit::builder(quota)
            .max_keys(100)
            .clock(clock.clone())
            .key(key)
            .status(StatusCode::from_u16(status).unwrap())
            .build()
            .unwrap()
    };
    let bench = Bench::new(
        &clock,
        (
            limit(Quota::per_minute(2).with_name("key"), header_key(), 420),
            limit(
                Quota::per_minute(5).with_name("all"),
                RateLimitKey::global(),
                429,
            ),
        ),
    );
    let calls = ["k1", "k2", "k1", "k2", "k1", "k3", "k3"].map(|it| from(A).key(it));
    assert_eq!(
        bench.statuses(calls).await,
        [200, 200, 200, 200, 420, 200, 429]
    );

    // What a policy further in refuses can be taken back.
    for (uncount, left) in [(false, 1), (true, 3)] {
        let builder = RateLimit::builder(Quota::per_minute(3)).clock(clock.clone());
        let builder = if uncount {
            builder.uncount_refused()
        } else {
            builder
        };
        let limit = builder.build().unwrap();
        let bench = Bench::new(&clock, (limit.clone(), Refuse));
        assert_eq!(bench.statuses([from(A), from(A)]).await, [429, 429]);
        let key = limit.client_key(A.parse().unwrap()).unwrap();
        assert_eq!(limit.peek(&key).remaining(), left);
    }
}

#[tokio::test]
async fn outcomes_decide_what_counts() {
    // E15: failures alone.
    let failures = bench(Quota::per_minute(2), RateLimitBuilder::count_failures_only);
    let calls = [
        from(A),
        from(A),
        from(A),
        from(A).answered(401),
        from(A).answered(401),
        from(A),
    ];
    assert_eq!(
        failures.statuses(calls).await,
        [200, 200, 200, 401, 401, 429]
    );
    // The highest status of a success, and the lowest of a failure.
    failures.clock.advance(60 * SECOND);
    let calls = [399, 399, 399, 400, 400].map(|it| from(A).answered(it));
    assert_eq!(failures.statuses(calls).await, [399, 399, 399, 400, 400]);
    assert_eq!(failures.statuses([from(A)]).await, [429]);

    // E16: successes alone. E18: the refusal itself is not counted either.
    let successes = bench(Quota::per_minute(2), RateLimitBuilder::count_successes_only);
    let calls = [
        from(A).answered(500),
        from(A).answered(404),
        from(A),
        from(A),
        from(A),
        from(A),
    ];
    assert_eq!(
        successes.statuses(calls).await,
        [500, 404, 200, 200, 429, 429]
    );
    successes.clock.advance(30 * SECOND);
    assert_eq!(successes.statuses([from(A), from(A)]).await, [200, 429]);
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted_once_or_not_at_all() {
    // E17, E37.
    for (successes_only, left) in [(true, 2), (false, 1)] {
        let clock = ManualClock::new();
        let builder = RateLimit::builder(Quota::per_minute(2)).clock(clock.clone());
        let limit = if successes_only {
            builder.count_successes_only()
        } else {
            builder.count_failures_only()
        };
        let limit = limit.build().unwrap();
        let layer = EnforceLayer::new(limit.clone()).with_clock(clock);
        let mut service = layer.layer(service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<String>, std::convert::Infallible>>()
        }));
        let request = Request::builder()
            .extension(PeerAddr::Tcp(([203, 0, 113, 7], 1).into()))
            .body(())
            .unwrap();
        let key = limit.client_key(A.parse().unwrap()).unwrap();
        let future = tower::Service::call(&mut service, request);
        assert_eq!(limit.peek(&key).remaining(), 1);
        drop(future);
        assert_eq!(limit.peek(&key).remaining(), left);
    }
}

#[tokio::test]
async fn costs_are_reserved_and_settled() {
    let quota = || Quota::per_hour(100).with_name("tokens");
    let key = |bench: &Bench<RateLimit>, limit: &RateLimit| {
        let _ = bench;
        limit.client_key(A.parse().unwrap()).unwrap()
    };
    let clock = ManualClock::new();
    let limit = RateLimit::builder(quota())
        .clock(clock.clone())
        .cost(40)
        .settle_in_handler()
        .settle_by(|head| head.headers.get("x-cost")?.to_str().ok()?.parse().ok())
        .build()
        .unwrap();
    let bench = Bench::new(&clock, limit.clone());
    // The handler settles once, whatever it calls later.
    assert_eq!(bench.statuses([from(A).settled(10)]).await, [200]);
    assert_eq!(limit.peek(&key(&bench, &limit)).remaining(), 90);
    // Not settled, the reserved cost stands.
    assert_eq!(bench.statuses([from(A)]).await, [200]);
    assert_eq!(limit.peek(&key(&bench, &limit)).remaining(), 50);
    // Settling at more than was reserved.
    assert_eq!(bench.statuses([from(A).settled(50)]).await, [200]);
    assert_eq!(limit.peek(&key(&bench, &limit)).remaining(), 0);
    assert_eq!(bench.statuses([from(A)]).await, [429]);
    limit.refund(&key(&bench, &limit), 40);
    assert_eq!(bench.statuses([from(A)]).await, [200]);
}

/// Asks a handler what has been charged, and lets it settle.
async fn charge_of<P: PolicySet>(policies: P, request: Request<()>) -> Option<Charge> {
    let layer = EnforceLayer::new(policies);
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(String::new());
        if let Some(charge) = Charge::of(request.extensions()) {
            response.extensions_mut().insert(charge.clone());
        }
        Ok::<_, std::convert::Infallible>(response)
    }));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Charge::of(response.extensions()).cloned()
}

#[tokio::test]
async fn a_handler_finds_a_charge_where_nothing_is_charged() {
    let named = |name| Quota::per_hour(2).try_with_name(name).unwrap();
    let builder = |name| RateLimit::builder(named(name)).settle_in_handler();
    let build = |builder: RateLimitBuilder| builder.build().unwrap();
    let skip = || header_key().when_missing(MissingKey::Skip);
    for (uncharged, limit) in [
        (false, build(builder("own"))),
        (true, build(builder("own").exempt(|_| true))),
        (
            true,
            build(builder("own").exempt_addresses(A.parse::<IpSet>().unwrap())),
        ),
        (true, build(builder("own").key(skip()))),
    ] {
        // Whatever a limit further out has charged is still there.
        let outer = build(builder("outer"));
        let policies = (outer.clone(), limit.clone());
        let charge = charge_of(policies, request("/")).await.unwrap();
        assert_eq!(charge.policy(), "own");
        assert_eq!(charge.reserved(), u32::from(!uncharged));
        charge.settle(2);
        charge.named("outer").unwrap().settle(0);
        let left = |limit: &RateLimit| {
            let key = limit.client_key(A.parse().unwrap());
            key.map_or(2, |it| limit.peek(&it).remaining())
        };
        assert_eq!(left(&limit), if uncharged { 2 } else { 0 });
        assert_eq!(left(&outer), 2);
    }

    // A refusal that is not carried out, of either kind.
    let spent = build(builder("own"));
    let missing = build(builder("own").key(header_key()));
    for (calls, limit) in [(3, spent), (1, missing)] {
        let mut reserved = Vec::new();
        for _ in 0..calls {
            let policies = (build(builder("outer")), DryRun::new(limit.clone()));
            let charge = charge_of(policies, request("/")).await.unwrap();
            assert_eq!(charge.policy(), "own");
            assert!(charge.named("outer").is_some());
            reserved.push(charge.reserved());
            charge.settle(1);
        }
        assert_eq!(reserved, [1, 1, 0][3 - calls..]);
    }

    // A limit that is not settled by handlers leaves none, charged or not.
    let limit = build(RateLimit::builder(named("own")).exempt(|_| true));
    assert!(charge_of(limit, request("/")).await.is_none());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_extract_what_has_been_charged() {
    use axum::{Router, body::Body, routing::get};

    let routes = || {
        Router::new()
            .route(
                "/",
                get(|it: Charge| async move { it.reserved().to_string() }),
            )
            .route(
                "/optional",
                get(|it: Option<Charge>| async move { it.is_some().to_string() }),
            )
    };
    let layer = |exempt| {
        let limit = RateLimit::builder(Quota::per_hour(9))
            .settle_in_handler()
            .exempt(move |_| exempt);
        RateLimitLayer::from(limit.build().unwrap())
    };
    for (app, path, expected) in [
        (routes().layer(layer(false)), "/", Some("1")),
        (routes().layer(layer(true)), "/", Some("0")),
        (routes(), "/", None),
        (routes().layer(layer(false)), "/optional", Some("true")),
        (routes(), "/optional", Some("false")),
    ] {
        let request = request::<()>(path).map(|()| Body::empty());
        let response = app.oneshot(request).await.unwrap();
        let Some(expected) = expected else {
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            continue;
        };
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), 100).await;
        assert_eq!(body.unwrap(), expected, "{path}");
    }
}

#[tokio::test]
async fn handlers_find_the_charge_of_each_limit_by_its_name() {
    let clock = ManualClock::new();
    let limit = |name, cost| {
        let builder = RateLimit::builder(Quota::per_hour(100).with_name(name));
        let builder = builder.clock(clock.clone()).cost(cost).settle_in_handler();
        builder.build().unwrap()
    };
    let (tokens, images) = (limit("tokens", 40), limit("images", 2));
    let handler = service_fn(|request: Request<()>| async move {
        let inner = Charge::of(request.extensions()).unwrap();
        assert_eq!((inner.policy(), inner.reserved()), ("images", 2));
        let found = inner.named("images").unwrap();
        assert_eq!((found.policy(), found.reserved()), ("images", 2));
        let outer = inner.named("tokens").unwrap();
        assert_eq!((outer.policy(), outer.reserved()), ("tokens", 40));
        assert!(inner.named("requests").is_none());
        outer.settle(10);
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    });
    let service = EnforceLayer::new(tokens.clone())
        .with_clock(clock.clone())
        .layer(
            EnforceLayer::new(images.clone())
                .with_clock(clock.clone())
                .layer(handler),
        );
    let response = service.oneshot(request("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    for (limit, left) in [(tokens, 90), (images, 98)] {
        let key = limit.client_key(A.parse().unwrap()).unwrap();
        assert_eq!(limit.peek(&key).remaining(), left);
    }
}

#[tokio::test]
async fn costs_tiers_and_exemptions_go_by_the_request() {
    let cost = bench(Quota::per_minute(10), |it| {
        it.cost_by(|head| if head.method() == "POST" { 8 } else { 1 })
    });
    let calls = [
        from(A).method("POST"),
        from(A).method("POST"),
        from(A),
        from(A),
        from(A),
    ];
    assert_eq!(cost.statuses(calls).await, [200, 429, 200, 200, 429]);

    // A cost that can never be admitted is refused without a time to come again.
    let never = bench(Quota::per_minute(10), |it| it.cost_by(|_| 11));
    let response = never.call(from(A)).await;
    assert_eq!(response.status(), 429);
    assert!(!response.headers().contains_key("retry-after"));

    let paid = QuotaSet::new([Quota::per_minute(2), Quota::per_hour(3)]).unwrap();
    let tiers = bench(Quota::per_minute(1), |it| {
        it.key(header_key())
            .width(2)
            .tiers(move |head| (head.headers().get("x-key")? == "paid").then(|| paid.clone()))
    });
    let calls = ["free", "free", "paid", "paid", "paid"].map(|it| from(A).key(it));
    assert_eq!(tiers.statuses(calls).await, [200, 429, 200, 200, 429]);
    // F12: a tier has a time of its own.
    let short = QuotaSet::from(Quota::per_second(1));
    let tiers = bench(Quota::new(1, 5 * SECOND).unwrap(), |it| {
        it.tiers(move |head| head.headers().contains_key("x-key").then(|| short.clone()))
    });
    for (call, wait) in [(from(A), "5"), (from(A).key("short"), "1")] {
        assert_eq!(tiers.statuses([call.clone()]).await, [200]);
        assert_eq!(tiers.call(call).await.headers()["retry-after"], wait);
    }

    let exempt = bench(Quota::per_minute(1), |it| {
        it.exempt_addresses("203.0.113.8".parse::<IpSet>().unwrap())
            .exempt(|head| head.method() == "OPTIONS")
            .standard_fields(StandardFields::Draft11)
    });
    let calls = [
        from(A).method("OPTIONS"),
        from(A),
        from(A),
        from(A).method("OPTIONS"),
        from(B),
        from(B),
    ];
    assert_eq!(exempt.statuses(calls).await, [200, 200, 429, 200, 200, 200]);
    // N09: who is not limited gets no fields.
    let response = exempt.call(from(B)).await;
    assert!(!response.headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn addresses_are_exempt_where_the_peer_is_all_that_is_known() {
    // The peer of `request` is 203.0.113.7, and no layer has resolved the client.
    for (exempt, expected) in [("203.0.113.7", [200, 200]), ("203.0.113.8", [200, 429])] {
        let limit = RateLimit::builder(Quota::per_hour(1))
            .exempt_addresses(exempt.parse::<IpSet>().unwrap())
            .build()
            .unwrap();
        let service = RateLimitLayer::from(limit).layer(service_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }));
        for expected in expected {
            let response = service.clone().oneshot(request("/")).await.unwrap();
            assert_eq!(response.status(), expected, "{exempt}");
        }
    }
}

#[tokio::test]
async fn a_tier_that_is_too_wide_is_refused() {
    // T22.
    let wide = QuotaSet::new([Quota::per_minute(2), Quota::per_hour(3)]).unwrap();
    let bench = bench(Quota::per_minute(1), |it| {
        it.tiers(move |_| Some(wide.clone()))
    });
    assert_eq!(bench.statuses([from(A)]).await, [429]);
}

#[tokio::test]
async fn a_tier_waits_no_longer_than_told_after_the_clock_was_put_back() {
    let short = QuotaSet::from(Quota::per_second(1));
    let tiers = bench(Quota::per_minute(1), |it| {
        it.tiers(move |head| head.headers().contains_key("x-key").then(|| short.clone()))
    });
    let call = || from(A).key("short");
    tiers.clock.advance(60 * SECOND);
    assert_eq!(tiers.statuses([call()]).await, [200]);
    tiers.clock.rewind(30 * SECOND);
    assert_eq!(tiers.call(call()).await.headers()["retry-after"], "1");
    tiers.clock.advance(SECOND);
    assert_eq!(tiers.statuses([call(), call()]).await, [200, 429]);
}

#[tokio::test]
async fn a_dry_run_counts_and_reports_and_refuses_nobody() {
    // N08, V18.
    let clock = ManualClock::new();
    let limit = RateLimit::builder(Quota::per_minute(1))
        .clock(clock.clone())
        .build()
        .unwrap();
    let dry = Bench::new(&clock, DryRun::new(limit.clone()));
    assert_eq!(dry.statuses([from(A), from(A)]).await, [200, 200]);
    // What observes only is told when a service is made.
    let words = ["enforcement_disabled", "rate_limit_exceeded?"];
    assert_eq!(dry.sink.take_words(), words);
    // The same state, enforced.
    let wet = Bench::new(&clock, limit);
    assert_eq!(wet.statuses([from(A)]).await, [429]);
    assert_eq!(wet.sink.take_words(), ["rate_limit_exceeded"]);
}

#[tokio::test]
async fn a_warning_comes_when_the_mark_is_passed() {
    // V01 to V06, in our form: one event when a charge passes the mark.
    let bench = bench(Quota::per_minute(10), |it| it.near_limit(80));
    for charge in 1..=10 {
        assert_eq!(bench.statuses([from(A)]).await, [200]);
        let expected: &[&str] = if charge == 8 {
            &["rate_limit_warning"]
        } else {
            &[]
        };
        assert_eq!(bench.sink.take_words(), expected, "{charge}");
    }
}

#[tokio::test]
async fn a_full_table_is_reported_once_in_a_while() {
    // Where those who share are refused, and where they are admitted.
    for quota in [Quota::per_day(1), Quota::per_day(1000)] {
        let bench = bench(quota, |it| {
            it.max_keys(1).standard_fields(StandardFields::Draft11)
        });
        for low in 0..100_u8 {
            let _ = bench.call(from(&format!("192.0.2.{low}"))).await;
        }
        let count = |words: Vec<String>| {
            let full = words.iter().filter(|it| *it == "limiter_store_full");
            full.count()
        };
        assert_eq!(count(bench.sink.take_words()), 1);
        bench.clock.advance(60 * SECOND);
        let _ = bench.call(from("198.51.100.1")).await;
        let _ = bench.call(from("198.51.100.2")).await;
        assert_eq!(count(bench.sink.take_words()), 1);
    }
}

/// T16. Release builds do not look for it.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_limit_that_charges_a_request_twice_is_told() {
    let clock = ManualClock::new();
    let limit = |cost| {
        let builder = RateLimit::builder(Quota::per_minute(3)).cost(cost);
        builder.clock(clock.clone()).build().unwrap()
    };
    let (one, other, peek) = (limit(1), limit(1), limit(0));
    let told = ["rate_limit_charged_twice"];

    let twice = Bench::new(&clock, (one.clone(), one.clone()));
    assert_eq!(twice.statuses([from(A)]).await, [200]);
    assert_eq!(twice.sink.take_words(), told);
    // Refused by the second, which says so as well.
    assert_eq!(twice.statuses([from(A)]).await, [429]);
    assert_eq!(twice.sink.take_words(), [told[0], "rate_limit_exceeded"]);

    // Another limit has counters of its own, one that costs nothing takes nothing, and the next request is another one.
    let sound = Bench::new(&clock, (one, other, peek.clone(), peek));
    assert_eq!(sound.statuses([from(B), from(B), from(B)]).await, [200; 3]);
    assert!(sound.sink.take_words().is_empty());
}

/// T16, as it comes about: the same value around a router and around one nested in it.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_security_layer_that_stands_twice_is_told() {
    let sink = RecordingSink::default();
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_minute(2))
        .sink(sink.clone())
        .build();
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let once = security.layer(inner);
    let twice = security.layer(once.clone());
    let call = || {
        let peer = PeerAddr::Tcp((A.parse::<IpAddr>().unwrap(), 50_000).into());
        Request::get("/").extension(peer).body(()).unwrap()
    };
    assert_eq!(twice.oneshot(call()).await.unwrap().status(), 200);
    assert_eq!(sink.take_words(), ["rate_limit_charged_twice"]);
    assert_eq!(once.oneshot(call()).await.unwrap().status(), 429);
    assert_eq!(sink.take_words(), ["rate_limit_exceeded"]);
}

#[tokio::test]
async fn an_operator_lets_one_client_off() {
    let clock = ManualClock::new();
    let builder = RateLimit::builder(Quota::per_minute(1)).clock(clock.clone());
    let limit = builder.build().unwrap();
    let bench = Bench::new(&clock, limit.clone());
    let calls = [from(A), from(B), from(A), from(B)];
    assert_eq!(bench.statuses(calls).await, [200, 200, 429, 429]);
    limit.reset(&limit.client_key(A.parse().unwrap()).unwrap());
    assert_eq!(bench.statuses([from(A), from(B)]).await, [200, 429]);
}

#[test]
fn settings_without_sense_are_refused() {
    let check = |builder: RateLimitBuilder, expected: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let builder = || RateLimit::builder(Quota::per_second(5));
    check(builder().cost(6), "above the capacity");
    for status in [200, 399, 600] {
        let status = StatusCode::from_u16(status).unwrap();
        check(builder().status(status), "does not refuse");
    }
    for status in [400, 599] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(builder().status(status).build().is_ok());
    }
    check(builder().near_limit(0), "1 to 100");
    check(builder().near_limit(101), "1 to 100");
    check(builder().max_keys(0), "at least one");
    assert!(builder().cost(0).build().is_ok());
    assert!(builder().cost(5).build().is_ok());
}
