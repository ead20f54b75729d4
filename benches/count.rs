//! Sends requests and prints nothing: for callgrind, by which `tests/instructions.sh` checks what a request costs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]

use std::{
    convert::Infallible,
    env,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::{HeaderValue, Request, Response, header::HOST};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr, SchemeSource, TrustedProxies},
    event::NullSink,
    https::{Hsts, Https},
    rate_limit::{Quota, RateLimit, RateLimitLayer, StandardFields},
    response_headers::ResponseHeaders,
};
use tower::{Layer, Service};

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

fn main() {
    let arguments: Vec<_> = env::args().filter(|it| it != "--bench").collect();
    let [_, name, requests] = arguments.as_slice() else {
        // `cargo bench` runs every benchmark there is.
        eprintln!("this benchmark is for tests/instructions.sh");
        return;
    };
    let requests = requests.parse().expect("a number");
    let limit = |quota, fields| {
        let mut builder = RateLimit::builder(quota).max_keys(1000);
        if fields {
            builder = builder.standard_fields(StandardFields::Draft11);
        }
        builder.build().expect("the settings are sound")
    };
    let layer = |limit| RateLimitLayer::from(limit).with_sink(NullSink);
    let many = || Quota::per_second(1_000_000_000);
    match name.as_str() {
        "bare" => run(Inner, requests),
        "limit" => run(layer(limit(many(), false)).layer(Inner), requests),
        "limit-fields" => run(layer(limit(many(), true)).layer(Inner), requests),
        "refused" => run(
            layer(limit(Quota::per_day(1), false)).layer(Inner),
            requests,
        ),
        "stack" => {
            let proxies: TrustedProxies = "192.0.2.1".parse().expect("a list");
            let security = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies.clone()))
                .deny("198.51.100.0/24".parse().expect("a list"))
                .allow("10.0.0.0/8".parse().expect("a list"))
                .https(
                    Https::reject(SchemeSource::XForwardedProto(proxies))
                        .with_hsts(Hsts::one_year()),
                )
                .response_headers(ResponseHeaders::api())
                .policy(limit(many(), true))
                .sink(NullSink)
                .build();
            run(security.layer(Inner), requests);
        }
        other => panic!("there is no `{other}`"),
    }
}

fn run<S>(mut service: S, requests: u32)
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    for _ in 0..requests {
        let mut request = Request::new(());
        let peer = PeerAddr::Tcp(([192, 0, 2, 1], 40_000).into());
        request.extensions_mut().insert(peer);
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.7"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        headers.insert(HOST, HeaderValue::from_static("api.example.com"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let answered = pin!(service.call(request)).poll(&mut context);
        assert!(matches!(black_box(answered), Poll::Ready(Ok(_))));
    }
}
