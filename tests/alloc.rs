//! What the gate allocates. A binary of its own, for it needs a global allocator that counts: by thread, so that
//! those of the test harness do not disturb.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, PeerAddr, SchemeSource, TrustedProxies},
    enforce::EnforceLayer,
    event::{Action, NullSink},
    ip_set::IpSet,
    policy::{Check, Decision, DryRun, Policy, PolicySet, Rejection, RequestHead},
    respond::StatusOnly,
};
use tower::{Layer, Service};

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

struct Admit;

impl Policy for Admit {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        black_box(request.now());
        Check::admit()
    }
}

struct Refuse;

impl Policy for Refuse {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        Check::reject(Rejection::new(
            Action::Custom("refused"),
            StatusCode::FORBIDDEN,
            "no",
        ))
    }
}

struct Later;

impl Policy for Later {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        let method = request.method().clone();
        Check::later(async move {
            black_box(method);
            Decision::admit()
        })
    }
}

/// Counts the allocations of one request, whose status is returned beside.
fn allocations<S>(mut service: S) -> (u64, StatusCode)
where
    S: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    let mut once = || {
        let mut request = Request::new(());
        // Every server says who is there.
        let peer = PeerAddr::Tcp(([203, 0, 113, 7], 50_000).into());
        request.extensions_mut().insert(peer);
        let mut status = None;
        let counted = measure(|| {
            let mut context = Context::from_waker(Waker::noop());
            assert!(service.poll_ready(&mut context).is_ready());
            let future = pin!(service.call(request));
            if let Poll::Ready(Ok(response)) = future.poll(&mut context) {
                status = Some(response.status());
            }
        });
        let status = status.expect("everything here is ready at once");
        (counted.count_total, status)
    };
    once();
    once()
}

fn gate<P: PolicySet>(
    policies: P,
) -> impl Service<Request<()>, Response = Response<()>, Error = Infallible> {
    EnforceLayer::new(policies)
        .with_sink(NullSink)
        .with_responder(StatusOnly)
        .layer(Inner)
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| drop(black_box(Box::new(1))));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn a_policy_that_admits_at_once_allocates_nothing() {
    let bare = allocations(Inner);
    assert_eq!(bare, (0, StatusCode::OK));
    assert_eq!(allocations(gate(Admit)), bare);
    assert_eq!(
        allocations(gate((Admit, Some(Admit), None::<Admit>, vec![Admit]))),
        bare
    );
    assert_eq!(allocations(gate(DryRun::new(Admit))), bare);
}

#[test]
fn a_refusal_allocates_no_more_than_its_response() {
    // The rejection, the header map's two tables, and the extension that says it is a refusal, in the table of the request's.
    let (count, status) = allocations(gate(Refuse));
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(count <= 4, "{count} allocations");
}

#[test]
fn a_decision_that_takes_time_is_boxed() {
    let (count, status) = allocations(gate(Later));
    assert_eq!(status, StatusCode::OK);
    assert_eq!(count, 2, "its future and the request that waits");
}

/// Case J07.
#[test]
fn resolving_a_client_allocates_nothing() {
    let proxies: TrustedProxies = "10.0.0.0/8".parse().expect("a list");
    let peer = Some(PeerAddr::Tcp(([10, 0, 0, 1], 40_000).into()));
    let long = "10.0.0.2,".repeat(40_000);
    for (source, name, value, known) in [
        (
            ClientIpSource::XForwardedFor(proxies.clone()),
            "x-forwarded-for",
            "6.6.6.6, [2001:db8::7]:51000, 10.0.0.2:443",
            true,
        ),
        (
            ClientIpSource::Forwarded(proxies.clone()),
            "forwarded",
            "for=6.6.6.6, for=\"[2001:db8::7]:51000\";proto=https, for=10.0.0.2",
            true,
        ),
        (
            ClientIpSource::XForwardedFor(proxies),
            "x-forwarded-for",
            &*long,
            false,
        ),
    ] {
        let request = Request::builder().header(name, value).body(());
        let (parts, ()) = request.expect("a request").into_parts();
        let mut client = None;
        let counted = measure(|| client = source.resolve_from(peer, &parts).client().addr());
        assert_eq!(counted.count_total, 0, "{name}");
        assert_eq!(client.is_some(), known, "{name}");
    }
}

/// Case J07, and the authority that the context carries: its text is shared with the request.
#[test]
fn the_layer_allocates_its_extension_alone() {
    let proxies: TrustedProxies = "10.0.0.0/8".parse().expect("a list");
    let layer = ClientIpLayer::new(ClientIpSource::XForwardedFor(proxies.clone()))
        .with_scheme(SchemeSource::XForwardedProto(proxies))
        .with_sink(NullSink);
    let mut service = layer.layer(Inner);
    // Servers cut fields and targets out of the one buffer that they read into.
    let read = Bytes::from(b"http://api.example.com/ api.example.com".to_vec());
    let (target, host) = (read.slice(..23), read.slice(24..));
    let request = Request::builder()
        .uri(Uri::from_maybe_shared(target).expect("a target"))
        .extension(PeerAddr::Tcp(([10, 0, 0, 1], 40_000).into()))
        .header(
            "host",
            HeaderValue::from_maybe_shared(host).expect("a value"),
        )
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.7")
        .header("x-forwarded-proto", "https")
        .body(())
        .expect("a request");
    let counted = measure(|| drop(black_box(service.call(request))));
    assert_eq!(counted.count_total, 1, "the box of the extension");
}

#[cfg(feature = "rate-limit")]
#[test]
fn a_rate_limit_allocates_for_its_fields_alone() {
    use palisade::rate_limit::{Quota, QuotaSet, RateLimit, RateLimitBuilder, StandardFields};

    let build = |quotas: QuotaSet, set: fn(RateLimitBuilder) -> RateLimitBuilder| {
        let limit = set(RateLimit::builder(quotas)).build();
        gate(limit.expect("the settings are sound"))
    };
    let two = || {
        QuotaSet::new([Quota::per_second(10), Quota::per_hour(100)]).expect("the quotas are sound")
    };
    let plain = allocations(build(Quota::per_second(10).into(), |it| it));
    assert_eq!(plain, (0, StatusCode::OK));
    assert_eq!(allocations(build(two(), |it| it)), plain);

    // The header map's two tables, and the text of one field.
    let (count, status) = allocations(build(two(), |it| {
        it.standard_fields(StandardFields::Draft11)
    }));
    assert_eq!(status, StatusCode::OK);
    assert!(count <= 3, "{count} allocations");
}

/// What a whole stack allocates: the client's address, both lists, the HTTPS check and a limit with its fields; then with HSTS, two quotas
/// and the fields of the preset.
#[cfg(feature = "rate-limit")]
#[test]
fn a_whole_stack_allocates_little() {
    use palisade::{
        SecurityLayer,
        https::{Hsts, Https},
        ip_filter::IpAllowlist,
        ip_set::IpList,
        rate_limit::{Quota, QuotaSet, RateLimit, StandardFields},
        response_headers::ResponseHeaders,
    };

    let proxies: TrustedProxies = "10.0.0.0/8".parse().expect("a list");
    let scheme = SchemeSource::XForwardedProto(proxies.clone());
    let stack = |quotas: QuotaSet, https: Https| {
        let limit = RateLimit::builder(quotas).standard_fields(StandardFields::Draft11);
        let allowed = "203.0.113.0/24".parse().expect("a list");
        SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies.clone()))
            .deny("198.51.100.0/24".parse().expect("a list"))
            .allow(IpAllowlist::new(IpList::new("allow", allowed)).expect("a list"))
            .https(https)
            .policy(limit.build().expect("the settings are sound"))
            .responder(StatusOnly)
            .sink(NullSink)
    };
    let count = |layer: SecurityLayer<StatusOnly>| {
        let mut service = layer.layer(Inner);
        let mut once = || {
            let request = Request::builder()
                .extension(PeerAddr::Tcp(([10, 0, 0, 1], 40_000).into()))
                .header("x-forwarded-for", "203.0.113.7")
                .header("x-forwarded-proto", "https")
                .header("host", HeaderValue::from_static("api.example.com"))
                .body(())
                .expect("a request");
            let mut status = None;
            let counted = measure(|| {
                let mut context = Context::from_waker(Waker::noop());
                let future = pin!(service.call(request));
                if let Poll::Ready(Ok(response)) = future.poll(&mut context) {
                    status = Some(response.status());
                }
            });
            assert_eq!(status, Some(StatusCode::OK));
            counted.count_total
        };
        once();
        once()
    };
    let one = Quota::per_second(1000).into();
    let less = stack(one, Https::reject(scheme.clone())).build();
    // The context, the header map's two tables, and the text of one field.
    assert_eq!(count(less), 4);
    let two = QuotaSet::new([Quota::per_second(1000), Quota::per_hour(100_000)]).expect("quotas");
    let https = Https::reject(scheme).with_hsts(Hsts::one_year());
    let more = stack(two, https).response_headers(ResponseHeaders::api());
    // Besides, the list of two policies' fields, and the tables of the map once more when it grows.
    let count = count(more.build());
    assert!(count <= 8, "{count} allocations");
}

#[test]
fn a_set_tells_what_it_takes_on_the_heap() {
    let many: Vec<String> = (0..3000_u32)
        .map(|it| format!("{}.{}.{}.0/24", 1 + it % 200, it / 200, it % 7))
        .collect();
    let many = many.join(",");
    for text in [
        "192.0.2.1",
        "2001:db8::/32",
        "192.0.2.1/24, 2001:db8::1/32",
        many.as_str(),
        "0.0.0.0/0",
    ] {
        let mut set = None;
        let kept = measure(|| set = text.parse::<IpSet>().ok());
        let set = set.expect("a list");
        let told = i64::try_from(set.heap_size()).expect("a few bytes");
        assert_eq!(kept.bytes_current, told, "{} bytes of text", text.len());
    }
}

/// Bytes that are held for each of `count` things that `keep` makes, and that it returns.
#[cfg(any(feature = "jail", feature = "rate-limit"))]
fn bytes_each<T>(count: u32, keep: impl FnOnce() -> T) -> f64 {
    let mut kept = None;
    let counted = measure(|| kept = Some(keep()));
    drop(kept);
    let bytes = u32::try_from(counted.bytes_current).expect("some, and less than 4 GiB");
    f64::from(bytes) / f64::from(count)
}

/// "Some 23 bytes per key and quota", which several quotas share: never more than the 24 that were asked for.
#[cfg(feature = "rate-limit")]
#[test]
fn a_table_takes_what_is_said_for_each_key_and_quota() {
    use palisade::rate_limit::{Quota, QuotaSet, RateLimiter};

    let keys = 1_000_000;
    let quotas = [Quota::per_second(1), Quota::per_hour(100)];
    for width in [1, 2] {
        let quotas = QuotaSet::new(quotas[..width].to_vec()).expect("the quotas are sound");
        let each = bytes_each(keys, || {
            let builder = RateLimiter::builder(quotas).max_keys(1_000_000);
            builder.build().expect("the settings are sound")
        });
        let each = each / f64::from(u8::try_from(width).expect("a small number"));
        let least = if width == 1 { 20.0 } else { 12.0 };
        assert!(
            (least..=24.0).contains(&each),
            "{each} bytes, {width} quotas"
        );
    }
}

/// "A ban some 250" bytes.
#[cfg(feature = "jail")]
#[test]
fn a_ban_takes_what_is_said() {
    use std::{net::Ipv4Addr, time::Duration};

    use palisade::jail::Jail;

    // Tables grow by doubling: between two sizes.
    let bans = 20_000;
    let each = bytes_each(bans, || {
        let jail = Jail::builder().sink(NullSink).build();
        for number in 0..bans {
            let client = Ipv4Addr::from_bits(0x0b00_0000 + number).into();
            let banned = jail.handle().ban(client, Duration::from_secs(60));
            assert!(banned.is_ok());
        }
        jail
    });
    assert!((150.0..=350.0).contains(&each), "{each} bytes");
}

/// "A failure counter takes some 150 bytes and 16 for each failure."
#[cfg(feature = "jail")]
#[test]
fn a_failure_takes_what_is_said() {
    use std::net::Ipv4Addr;

    use palisade::jail::{Jail, JailLayer, Rule};

    let clients = 20_000;
    let each = bytes_each(clients, || {
        let rule = Rule::status(StatusCode::UNAUTHORIZED).with_limit(5);
        let jail = Jail::builder()
            .rule(rule)
            .max_counters(clients as usize)
            .sink(NullSink)
            .build();
        let who = ClientIpLayer::new(ClientIpSource::Peer).with_sink(NullSink);
        let mut service = who.layer(JailLayer::new(jail.clone()).layer(Refused));
        for number in 0..clients {
            let mut request = Request::new(());
            let peer = Ipv4Addr::from_bits(0x0b00_0000 + number);
            let peer = PeerAddr::Tcp((peer, 50_000).into());
            request.extensions_mut().insert(peer);
            let mut context = Context::from_waker(Waker::noop());
            assert!(pin!(service.call(request)).poll(&mut context).is_ready());
        }
        // Some share a row that is full, and are forgotten for others.
        assert!(clients / 2 < u32::try_from(jail.handle().counts().counters()).unwrap_or(0));
        jail
    });
    assert!((80.0..=300.0).contains(&each), "{each} bytes");
}

/// Answers as where a key is wrong.
#[cfg(feature = "jail")]
#[derive(Clone)]
struct Refused;

#[cfg(feature = "jail")]
impl Service<Request<()>> for Refused {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        ready(Ok(response))
    }
}
