//! The HTTPS check in the facade: the cases G37 and H13.
use std::convert::Infallible;

use http::{Request, Response, header::HOST};
use palisade::{
    SecurityLayer,
    client_ip::{ClientContext, ClientIpSource, SchemeSource},
    https::{Hsts, Https},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::https::support::{PROXY, STRANGER, from, get, x_forwarded_proto};

/// Sends a request through a facade, and returns its status, whether HSTS was sent, and the scheme that the application saw.
async fn ask(
    security: &SecurityLayer,
    request: http::request::Builder,
) -> (u16, bool, Option<String>) {
    let service = security.layer(service_fn(|request: Request<()>| async move {
        let context = ClientContext::of(request.extensions()).unwrap();
        let scheme = context.scheme().unwrap().scheme().to_string();
        Ok::<_, Infallible>(Response::new(scheme))
    }));
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    let hsts = response.headers().contains_key("strict-transport-security");
    let status = response.status().as_u16();
    let scheme = (status == 200).then(|| response.into_body());
    (status, hsts, scheme)
}

fn https() -> Https {
    Https::reject(x_forwarded_proto()).with_hsts(Hsts::one_year())
}

fn told(peer: &str, scheme: &str) -> http::request::Builder {
    from(peer, get("/")).header("x-forwarded-proto", scheme)
}

#[tokio::test]
async fn everybody_reads_the_same_scheme() {
    let secure = Some(String::from("https"));
    let builder = || SecurityLayer::builder(ClientIpSource::Peer);
    for security in [
        builder().https(https()).build(),
        builder()
            .scheme(SchemeSource::Listener)
            .https(https())
            .build(),
    ] {
        let answer = ask(&security, told(PROXY, "https")).await;
        assert_eq!(answer, (200, true, secure.clone()));
        let answer = ask(&security, told(PROXY, "http")).await;
        assert_eq!(answer, (403, false, None));
        let answer = ask(&security, told(STRANGER, "https")).await;
        assert_eq!(answer, (403, false, None));
    }
}

#[tokio::test]
async fn refusals_before_the_check_bear_hsts() {
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .deny("10.0.0.0/8".parse().unwrap())
        .https(https())
        .build();
    assert_eq!(
        ask(&security, told(PROXY, "https")).await,
        (403, true, None)
    );
    assert_eq!(
        ask(&security, told(PROXY, "http")).await,
        (403, false, None)
    );
}

#[tokio::test]
async fn hosts_are_checked_before_plain_text() {
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .hosts("testserver".parse().unwrap())
        .https(https())
        .build();
    let ask_for = async |host: &str, scheme: &str| {
        let mut request = told(PROXY, scheme);
        let host = host.parse().unwrap();
        request.headers_mut().unwrap().insert(HOST, host);
        ask(&security, request).await.0
    };
    assert_eq!(ask_for("testserver", "https").await, 200);
    assert_eq!(ask_for("testserver", "http").await, 403);
    assert_eq!(ask_for("evil.test", "https").await, 421);
    assert_eq!(ask_for("evil.test", "http").await, 421);
    assert_eq!(ask_for("a/b", "https").await, 400);
}
