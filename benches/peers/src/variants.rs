//! The services that are compared: each answers one request per call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use http::{HeaderValue, Request, Response, StatusCode, header};
use ipnet::Ipv4Net;
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, SchemeSource, TrustedProxies},
    event::NullSink,
    https::{Hsts, Https, HttpsLayer},
    ip_filter::IpAllowlist,
    ip_set::IpSet,
    rate_limit::{Quota, RateLimit, RateLimitLayer, StandardFields},
    response_headers::{ResponseHeaders, ResponseHeadersLayer},
};
use prefix_trie::PrefixSet;
use tower::{Layer, Service, util::BoxCloneSyncService};
use tower_governor::{
    GovernorLayer,
    governor::GovernorConfigBuilder,
    key_extractor::{KeyExtractor, PeerIpKeyExtractor, SmartIpKeyExtractor},
};
use tower_http::set_header::SetResponseHeaderLayer;

/// The service that everything stands around.
#[derive(Clone)]
pub struct Inner {
    content_type: bool,
}

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        if self.content_type {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        ready(Ok(response))
    }
}

/// Sends one request from a client and returns the status.
pub type Call = Box<dyn FnMut(SocketAddr) -> u16 + Send>;

/// Where a request comes from, and what stands around the inner service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Around {
    /// A tower service; the peer is the client.
    Tower,
    /// The same, whose answer has a `content-type`.
    TowerContentType,
    /// A route of an axum router, with the layer around the router's routes.
    Axum,
    /// A tower service behind one proxy, which is trusted and says who and how in `X-Forwarded-For` and `X-Forwarded-Proto`.
    Proxy,
}

impl Around {
    pub const ALL: [(&str, Self); 4] = [
        ("tower", Self::Tower),
        ("content-type", Self::TowerContentType),
        ("axum", Self::Axum),
        ("proxy", Self::Proxy),
    ];

    /// Returns the one of that name.
    pub fn named(name: &str) -> Self {
        let found = Self::ALL.iter().find(|it| it.0 == name);
        found.unwrap_or_else(|| panic!("there is no `{name}`")).1
    }
}

/// The limiters: their clients are told by the peer.
pub const LIMITERS: [&str; 7] = [
    "bare",
    "palisade",
    "palisade fields",
    "tower_governor",
    "tower_governor headers",
    "axum-governor",
    "raw governor",
];

/// The stacks: their clients are told by `X-Forwarded-For`.
pub const STACKS: [&str; 7] = [
    "bare",
    "tower_governor smart",
    "palisade stack a",
    "palisade stack b",
    "palisade stack b, metrics",
    "typical stack",
    "typical stack, metrics",
];

/// What is put on responses and into the check of HTTPS, with what it is compared to.
pub const FIELDS: [&str; 6] = [
    "bare",
    "palisade https hsts",
    "tower-http one field",
    "palisade preset",
    "by hand preset",
    "no-op layer",
];

/// Makes a service that refuses all requests of a client but its first, or none, with room for so many clients where that is fixed.
pub fn make(name: &str, around: Around, refusing: bool, keys: u32) -> Call {
    make_shared(name, around, refusing, keys, 1).remove(0)
}

/// Makes several services that share the state of one layer.
pub fn make_shared(
    name: &str,
    around: Around,
    refusing: bool,
    keys: u32,
    services: usize,
) -> Vec<Call> {
    if let Some(name) = name.strip_suffix(", metrics") {
        return recorded(|| make_shared(name, around, refusing, keys, services));
    }
    let around = Several { around, services };
    match name {
        "bare" => around.call(&tower::layer::util::Identity::new()),
        "no-op layer" => around.call(&NoOpLayer),
        "palisade" => around.call(&palisade(refusing, false, keys)),
        "palisade fields" => around.call(&palisade(refusing, true, keys)),
        "palisade stack a" => around.call(&stack(refusing, false)),
        "palisade stack b" => around.call(&stack(refusing, true)),
        "palisade https hsts" => {
            let proxies: TrustedProxies = PROXY.parse().expect("a list");
            let https =
                Https::reject(SchemeSource::XForwardedProto(proxies)).with_hsts(Hsts::one_year());
            around.call(&HttpsLayer::new(https).with_sink(NullSink))
        }
        "palisade preset" => around.call(&ResponseHeadersLayer::new(ResponseHeaders::api())),
        "by hand preset" => around.call(&ByHandLayer),
        "tower-http one field" => {
            around.call(&set("strict-transport-security", "max-age=31536000"))
        }
        "tower_governor" => around.call(&tower_governor(PeerIpKeyExtractor, refusing, 1)),
        "tower_governor headers" => around.call(&with_headers(PeerIpKeyExtractor, refusing)),
        "tower_governor smart" => around.call(&with_headers(SmartIpKeyExtractor, refusing)),
        "typical stack" => around.call(&typical(refusing)),
        "axum-governor" => {
            use axum_governor::{GovernorConfigBuilder, GovernorLayer, Quota, extractor::PeerIp};
            let number = |it| NonZeroU32::new(it).expect("it is not zero");
            let quota = if refusing {
                Quota::requests_per_hour(number(1))
            } else {
                Quota::requests_per_second(number(1_000_000_000))
            };
            let config = GovernorConfigBuilder::default()
                .with_extractor(PeerIp::default())
                .expect_connect_info()
                .quota_default(quota)
                .finish()
                .expect("the quota is sound");
            around.call(&GovernorLayer::new(config))
        }
        "raw governor" => {
            let quota = if refusing {
                governor::Quota::with_period(std::time::Duration::from_secs(86_400))
                    .expect("a period")
            } else {
                governor::Quota::per_second(NonZeroU32::MAX)
            };
            let limiter = std::sync::Arc::new(governor::RateLimiter::keyed(quota));
            around.call(&RawGovernorLayer(limiter))
        }
        other => panic!("there is no `{other}`"),
    }
}

/// Makes services whose counters are those of a Prometheus recorder, with which they are called, too.
fn recorded(make: impl FnOnce() -> Vec<Call>) -> Vec<Call> {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let recorder = std::sync::Arc::new(recorder);
    let calls = metrics::with_local_recorder(&*recorder, make);
    let recorded = |mut call: Call| -> Call {
        let recorder = recorder.clone();
        Box::new(move |client| metrics::with_local_recorder(&*recorder, || call(client)))
    };
    calls.into_iter().map(recorded).collect()
}

fn quota(refusing: bool) -> Quota {
    if refusing {
        Quota::per_day(1)
    } else {
        Quota::per_second(1_000_000_000)
    }
}

fn palisade(refusing: bool, fields: bool, keys: u32) -> RateLimitLayer {
    let mut builder = RateLimit::builder(quota(refusing)).max_keys(keys.max(100_000) as usize);
    if fields {
        builder = builder.standard_fields(StandardFields::Draft11);
    }
    let limit = builder.build().expect("the settings are sound");
    RateLimitLayer::from(limit).with_sink(NullSink)
}

/// A stack as issue 10 has it: (a), or (b) with more.
fn stack(refusing: bool, more: bool) -> SecurityLayer {
    let proxies: TrustedProxies = PROXY.parse().expect("a list");
    let mut https = Https::reject(SchemeSource::XForwardedProto(proxies.clone()));
    let mut quotas = vec![quota(refusing)];
    if more {
        https = https.with_hsts(Hsts::one_year());
        quotas.push(Quota::per_day(4_000_000_000));
    }
    let limit = RateLimit::builder(palisade::rate_limit::QuotaSet::new(quotas).expect("quotas"))
        .standard_fields(StandardFields::Draft11)
        .build()
        .expect("the settings are sound");
    let mut builder = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies))
        .deny("198.51.100.0/24".parse().expect("a list"))
        .allow(IpAllowlist::new(palisade::ip_set::IpList::new("allow", allowed())).expect("a list"))
        .https(https)
        .policy(limit)
        .sink(NullSink);
    if more {
        builder = builder.response_headers(ResponseHeaders::api());
    }
    builder.build()
}

/// A thousand networks, with those of the clients among them.
fn entries() -> impl Iterator<Item = String> {
    let others = (0..999_u32).map(|it| format!("172.{}.{}.0/25", 16 + it / 256, it % 256));
    others.chain(["10.0.0.0/8".to_owned()])
}

fn allowed() -> IpSet {
    let entries: Vec<_> = entries().collect();
    entries.join(",").parse().expect("a list")
}

fn tower_governor<K: KeyExtractor>(
    key: K,
    refusing: bool,
    times: u32,
) -> GovernorLayer<K, governor::middleware::NoOpMiddleware, Body> {
    let mut builder = GovernorConfigBuilder::default().key_extractor(key);
    if refusing {
        builder.per_second(86_400).burst_size(1);
    } else {
        builder.per_nanosecond(1).burst_size(1_000_000_000 / times);
    }
    GovernorLayer::new(builder.finish().expect("the quota is sound"))
}

fn with_headers<K: KeyExtractor>(
    key: K,
    refusing: bool,
) -> GovernorLayer<K, governor::middleware::StateInformationMiddleware, Body> {
    let mut builder = GovernorConfigBuilder::default()
        .key_extractor(key)
        .use_headers();
    if refusing {
        builder.per_second(86_400).burst_size(1);
    } else {
        builder.per_nanosecond(1).burst_size(1_000_000_000);
    }
    GovernorLayer::new(builder.finish().expect("the quota is sound"))
}

fn set(name: &'static str, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    let name = header::HeaderName::from_static(name);
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// What one puts together of public layers today: as much as stack (b), with an address that any client can forge, and two limits that are not
/// charged together.
fn typical(refusing: bool) -> Typical {
    let list = entries().map(|it| it.parse().expect("a network")).collect();
    Typical {
        list: std::sync::Arc::new(list),
        first: tower_governor(SmartIpKeyExtractor, refusing, 2),
        second: with_headers(SmartIpKeyExtractor, refusing),
    }
}

#[derive(Clone)]
struct Typical {
    list: std::sync::Arc<PrefixSet<Ipv4Net>>,
    first: GovernorLayer<SmartIpKeyExtractor, governor::middleware::NoOpMiddleware, Body>,
    second:
        GovernorLayer<SmartIpKeyExtractor, governor::middleware::StateInformationMiddleware, Body>,
}

impl<S> Layer<S> for Typical
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: axum::response::IntoResponse,
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

    fn layer(&self, inner: S) -> Self::Service {
        let list = self.list.clone();
        let limited = tower::ServiceBuilder::new()
            .layer(set("cache-control", "no-store"))
            .layer(set(
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ))
            .layer(set("referrer-policy", "no-referrer"))
            .layer(set("x-content-type-options", "nosniff"))
            .layer(set("x-frame-options", "DENY"))
            .layer(set("strict-transport-security", "max-age=31536000"))
            .layer(axum::middleware::from_fn(counted))
            .layer(axum::middleware::from_fn(move |request, next| {
                filtered(list.clone(), request, next)
            }))
            .layer(axum::middleware::from_fn(over_https))
            .layer(self.first.clone())
            .layer(self.second.clone())
            .service(inner);
        BoxCloneSyncService::new(limited)
    }
}

async fn counted(request: Request<Body>, next: axum::middleware::Next) -> Response<Body> {
    let response = next.run(request).await;
    metrics::counter!("requests_total", "status" => response.status().as_str().to_owned())
        .increment(1);
    response
}

async fn filtered(
    list: std::sync::Arc<PrefixSet<Ipv4Net>>,
    request: Request<Body>,
    next: axum::middleware::Next,
) -> Result<Response<Body>, StatusCode> {
    let value = request.headers().get("x-forwarded-for");
    let last = value.and_then(|it| it.to_str().ok()?.rsplit(',').next());
    let client: Ipv4Addr = last
        .and_then(|it| it.trim().parse().ok())
        .ok_or(StatusCode::FORBIDDEN)?;
    if list.get_lpm(&Ipv4Net::from(client)).is_some() {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}

async fn over_https(
    request: Request<Body>,
    next: axum::middleware::Next,
) -> Result<Response<Body>, StatusCode> {
    match request.headers().get("x-forwarded-proto") {
        Some(scheme) if scheme == "https" => Ok(next.run(request).await),
        _ => Err(StatusCode::FORBIDDEN),
    }
}

/// A layer that does nothing but to stand there.
#[derive(Clone)]
struct NoOpLayer;

impl<S> Layer<S> for NoOpLayer {
    type Service = NoOp<S>;

    fn layer(&self, inner: S) -> NoOp<S> {
        NoOp(inner)
    }
}

#[derive(Clone)]
struct NoOp<S>(S);

impl<S: Service<R>, R> Service<R> for NoOp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// The preset's fields, inserted into the response by hand.
#[derive(Clone)]
struct ByHandLayer;

impl<S> Layer<S> for ByHandLayer {
    type Service = ByHand<S>;

    fn layer(&self, inner: S) -> ByHand<S> {
        ByHand(inner)
    }
}

#[derive(Clone)]
struct ByHand<S>(S);

impl<S> Service<Request<Body>> for ByHand<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures_util::future::MapOk<S::Future, fn(Response<Body>) -> Response<Body>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        use futures_util::TryFutureExt;
        self.0.call(request).map_ok(|mut response| {
            let headers = response.headers_mut();
            for (name, value) in [
                (header::CACHE_CONTROL, "no-store"),
                (
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; frame-ancestors 'none'",
                ),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::X_FRAME_OPTIONS, "DENY"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            response
        })
    }
}

/// governor with the least that it takes to stand before a service: a bare 429.
#[derive(Clone)]
struct RawGovernorLayer(std::sync::Arc<governor::DefaultKeyedRateLimiter<IpAddr>>);

impl<S> Layer<S> for RawGovernorLayer {
    type Service = RawGovernor<S>;

    fn layer(&self, inner: S) -> RawGovernor<S> {
        RawGovernor {
            inner,
            limiter: self.0.clone(),
        }
    }
}

#[derive(Clone)]
struct RawGovernor<S> {
    inner: S,
    limiter: std::sync::Arc<governor::DefaultKeyedRateLimiter<IpAddr>>,
}

impl<S> Service<Request<Body>> for RawGovernor<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures_util::future::Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let client = info.expect("the peer is known").0.ip();
        if self.limiter.check_key(&client).is_ok() {
            futures_util::future::Either::Right(self.inner.call(request))
        } else {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            futures_util::future::Either::Left(ready(Ok(response)))
        }
    }
}

/// How many services are made of one layer.
struct Several {
    around: Around,
    services: usize,
}

impl Several {
    fn call<L>(&self, layer: &L) -> Vec<Call>
    where
        L: Layer<Inner> + Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        <L as Layer<Inner>>::Service:
            Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        <L as Layer<axum::routing::Route>>::Service: Service<
                Request<Body>,
                Response = Response<Body>,
                Error = Infallible,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let make = |_| match self.around {
            Around::Axum => {
                let router = Router::new()
                    .route("/", get(|| async { StatusCode::OK }))
                    .layer(layer.clone());
                one_by_one(router, self.around)
            }
            around => {
                let content_type = around == Around::TowerContentType;
                one_by_one(layer.layer(Inner { content_type }), around)
            }
        };
        (0..self.services).map(make).collect()
    }
}

fn one_by_one<S>(mut service: S, around: Around) -> Call
where
    S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
{
    Box::new(move |client| {
        let mut request = Request::new(Body::empty());
        let mut peer = client;
        if around == Around::Proxy {
            peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
            let mut text = [0; 15];
            let value =
                HeaderValue::from_str(write_ip(client.ip(), &mut text)).expect("an address");
            let headers = request.headers_mut();
            headers.insert("x-forwarded-for", value);
            headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
            headers.insert(header::HOST, HeaderValue::from_static("api.example.com"));
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        match pin!(service.call(request)).poll(&mut context) {
            Poll::Ready(Ok(response)) => response.status().as_u16(),
            _ => unreachable!("nothing here waits or fails"),
        }
    })
}

/// Writes an address without an allocation.
fn write_ip(ip: IpAddr, text: &mut [u8; 15]) -> &str {
    use std::io::Write as _;
    let mut rest = &mut text[..];
    write!(rest, "{ip}").expect("it fits");
    let left = rest.len();
    std::str::from_utf8(&text[..15 - left]).expect("ASCII")
}

const PROXY: &str = "192.0.2.1";
