//! The HTTPS check with HSTS against a layer that sets one header field, and the preset of header fields against inserting them by hand.
//!
//! `cargo bench --bench https` measures time. `cargo bench --bench https -- count` runs every subject under valgrind and counts instructions, which
//! does not depend on what else the machine does; then the bounds are checked, too.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

use std::{
    convert::Infallible,
    env,
    future::Ready,
    hint::black_box,
    net::SocketAddr,
    pin::pin,
    process::{Command, ExitCode},
    task::{Context, Poll, Waker},
};

use criterion::{BatchSize, Criterion};
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
        STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use palisade::{
    client_ip::{PeerAddr, SchemeSource, TlsConnection, TrustedProxies},
    enforce::EnforceLayer,
    https::{Hsts, Https, HttpsLayer},
    response_headers::{ResponseHeaders, ResponseHeadersLayer},
};
use tower::{Layer, Service};
use tower_http::set_header::SetResponseHeaderLayer;

/// A service that answers at once with one header field, as a handler of JSON would.
#[derive(Clone)]
struct App;

impl Service<Request<()>> for App {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(&request);
        std::future::ready(Ok(answer()))
    }
}

/// The same service, whose author inserts the fields of the preset by hand.
#[derive(Clone)]
struct ByHand;

impl Service<Request<()>> for ByHand {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(&request);
        let mut response = answer();
        insert_by_hand(response.headers_mut());
        std::future::ready(Ok(response))
    }
}

fn answer() -> Response<String> {
    let mut response = Response::new(String::new());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn insert_by_hand(headers: &mut HeaderMap) {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn request() -> Request<()> {
    let peer: SocketAddr = ([10, 0, 0, 1], 40_000).into();
    Request::get("/notes/7")
        .header(HOST, "api.example.com")
        .header("user-agent", "curl/8.0")
        .header("accept", "application/json")
        .header("x-forwarded-proto", "https")
        .extension(PeerAddr::from(peer))
        .extension(TlsConnection::new())
        .body(())
        .expect("the request is valid")
}

fn call<S>(service: &mut S, request: Request<()>) -> Response<String>
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(&mut context));
    let mut future = pin!(service.call(request));
    match future.as_mut().poll(&mut context) {
        Poll::Ready(Ok(response)) => response,
        _ => unreachable!("the service answers at once"),
    }
}

/// Hands every subject over by its name.
macro_rules! with_subjects {
    ($subject:ident => $body:expr) => {{
        let proxies: TrustedProxies = "10.0.0.0/8".parse().expect("the list is valid");
        let https = |source| HttpsLayer::new(Https::reject(source).with_hsts(Hsts::one_year()));
        let value = HeaderValue::from_static("max-age=31536000");
        let set = SetResponseHeaderLayer::if_not_present(STRICT_TRANSPORT_SECURITY, value);
        let preset = ResponseHeadersLayer::new(ResponseHeaders::api());
        macro_rules! one {
            ($name:literal, $service:expr) => {{
                let $subject = ($name, $service);
                $body
            }};
        }
        one!("bare", App);
        one!("gate", EnforceLayer::new(()).layer(App));
        one!("set_response_header", set.layer(App));
        one!("https_listener", https(SchemeSource::Listener).layer(App));
        one!(
            "https_proxy",
            https(SchemeSource::XForwardedProto(proxies)).layer(App)
        );
        one!("by_hand", ByHand);
        one!("preset", preset.layer(App));
    }};
}

/// The name of a subject, that of its peer, and how many times the peer's instructions it may need.
const BOUNDS: [(&str, &str, f64); 3] = [
    ("https_listener", "set_response_header", 1.3),
    ("https_proxy", "set_response_header", 1.3),
    ("preset", "by_hand", 1.2),
];

fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("https");
    with_subjects!(subject => {
        let (name, mut service) = subject;
        group.bench_function(name, |bencher| {
            bencher.iter_batched(request, |request| call(&mut service, request), BatchSize::SmallInput);
        });
    });
    group.finish();
    criterion.final_summary();
}

/// Calls one subject so many times.
fn run(name: &str, times: usize) {
    with_subjects!(subject => {
        let (candidate, mut service) = subject;
        if candidate == name {
            for _ in 0..times {
                black_box(call(&mut service, request()));
            }
        }
    });
}

/// Counts the instructions of one call, those of making the request among them.
fn count(name: &str) -> f64 {
    let total = |times: usize| -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().unwrap())
            .args(["run", name, &times.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        collected
            .expect("callgrind counts")
            .1
            .trim()
            .parse()
            .unwrap()
    };
    (total(2_000) - total(1_000)) / 1_000.0
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["run", name, times] => run(name, times.parse().unwrap()),
        ["count"] => {
            let bare = count("bare");
            println!("{bare:>8.0} instructions: a bare service");
            println!(
                "{:>8.0} instructions: a gate without policies",
                count("gate")
            );
            let mut held = true;
            for (name, peer, bound) in BOUNDS {
                let (own, other) = (count(name), count(peer));
                let ratio = own / other;
                println!("{own:>8.0} instructions: {name}; {other:.0}: {peer}");
                println!(
                    "{:>8} ratio of whole calls {ratio:.2} (bound {bound}); of what each adds to a bare service {:.2}: {:.0} to {:.0}",
                    "",
                    (own - bare) / (other - bare),
                    own - bare,
                    other - bare
                );
                held &= ratio <= bound;
            }
            if !held {
                return ExitCode::FAILURE;
            }
        }
        _ => time(),
    }
    ExitCode::SUCCESS
}
