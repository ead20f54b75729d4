//! Sends requests through one service and prints nothing: for callgrind, by `tests/instructions.sh`. Times nothing itself.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench ends where something fails"
)]

use std::{
    convert::Infallible,
    env,
    future::{Ready, ready},
    hint::black_box,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::{HeaderValue, Request, Response, header::HOST};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr, SchemeSource, TrustedProxies},
    enforce::EnforceLayer,
    event::NullSink,
    https::{Hsts, Https, HttpsLayer},
    ip_filter::IpAllowlist,
    ip_set::{IpList, IpSet},
    policy::{Check, Policy, RequestHead},
    rate_limit::{Quota, QuotaSet, RateLimit, RateLimitLayer, StandardFields},
    response_headers::{ResponseHeaders, ResponseHeadersLayer},
};
use tower::{Layer, Service, layer::util::Identity};

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

struct Admit;

impl Policy for Admit {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        Check::admit()
    }
}

fn quota(refusing: bool) -> Quota {
    if refusing {
        Quota::per_day(1)
    } else {
        Quota::per_second(1_000_000_000)
    }
}

fn limit(quotas: impl Into<QuotaSet>, fields: bool) -> RateLimit {
    let mut builder = RateLimit::builder(quotas);
    if fields {
        builder = builder.standard_fields(StandardFields::Draft11);
    }
    builder.build().expect("the settings are sound")
}

fn proxies() -> TrustedProxies {
    PROXY.ip().to_string().parse().expect("a list")
}

/// The client's address behind one proxy, a deny list, an allow list of a thousand networks, HTTPS and one quota with its fields. With `more`, two
/// quotas, HSTS and the fields of the preset.
fn stack(refusing: bool, more: bool) -> SecurityLayer {
    let mut https = Https::reject(SchemeSource::XForwardedProto(proxies()));
    let mut quotas = vec![quota(refusing)];
    if more {
        https = https.with_hsts(Hsts::one_year());
        quotas.push(Quota::per_day(4_000_000_000));
    }
    let networks = (0..999_u32).map(|it| format!("172.{}.{}.0/25", 16 + it / 256, it % 256));
    let networks: Vec<_> = networks.chain(["203.0.113.0/24".to_owned()]).collect();
    let allowed: IpSet = networks.join(",").parse().expect("a list");
    let builder = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies()))
        .deny("198.51.100.0/24".parse().expect("a list"))
        .allow(IpAllowlist::new(IpList::new("allow", allowed)).expect("a list"))
        .https(https)
        .policy(limit(QuotaSet::new(quotas).expect("quotas"), true))
        .sink(NullSink);
    if more {
        builder.response_headers(ResponseHeaders::api()).build()
    } else {
        builder.build()
    }
}

/// Sends requests from one client behind the proxy.
fn send<L>(layer: &L, requests: u32)
where
    L: Layer<Inner>,
    L::Service: Service<Request<()>, Response = Response<String>>,
{
    let mut service = layer.layer(Inner);
    for _ in 0..requests {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        headers.insert(HOST, HeaderValue::from_static("api.example.com"));
        request.extensions_mut().insert(PeerAddr::from(PROXY));
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let answer = pin!(service.call(request)).poll(&mut context);
        assert!(black_box(answer).is_ready());
    }
}

fn main() {
    // `cargo bench` runs all benches, with an option: there is nothing to see here without callgrind.
    let arguments: Vec<_> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let [name, way, requests] = arguments.as_slice() else {
        println!("tests/instructions.sh counts the instructions of requests");
        return;
    };
    let requests = requests.parse().expect("a number");
    let refusing = way == "refused";
    match name.as_str() {
        "bare" => send(&Identity::new(), requests),
        "gate" => send(&EnforceLayer::new(Admit).with_sink(NullSink), requests),
        "limit" => send(
            &RateLimitLayer::from(limit(quota(refusing), false)).with_sink(NullSink),
            requests,
        ),
        "limit-fields" => send(
            &RateLimitLayer::from(limit(quota(refusing), true)).with_sink(NullSink),
            requests,
        ),
        "https-hsts" => {
            let https = Https::reject(SchemeSource::XForwardedProto(proxies()));
            let https = https.with_hsts(Hsts::one_year());
            send(&HttpsLayer::new(https).with_sink(NullSink), requests);
        }
        "preset" => send(&ResponseHeadersLayer::new(ResponseHeaders::api()), requests),
        "stack" => send(&stack(refusing, false), requests),
        "stack-more" => send(&stack(refusing, true), requests),
        other => panic!("there is no `{other}`"),
    }
}

const PROXY: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    40_000,
);
