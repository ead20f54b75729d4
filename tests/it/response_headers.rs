//! Security headers on every response: the cases H14 to H22.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use palisade::{
    client_ip::SchemeSource,
    https::{Https, HttpsLayer},
    response_headers::{ResponseHeaders, ResponseHeadersLayer},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const API: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Answers with a status and fields, and returns what comes out of the layer.
async fn through(
    headers: ResponseHeaders,
    status: u16,
    fields: &[(&'static str, &'static str)],
) -> HeaderMap {
    let app = service_fn(|_: Request<()>| async {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        Ok::<_, Infallible>(response.body(String::new()).unwrap())
    });
    let service = ResponseHeadersLayer::new(headers).layer(app);
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(response.body(), "");
    response.into_parts().0.headers
}

#[track_caller]
fn check(headers: &HeaderMap, expected: &[(&str, &str)]) {
    let mut found: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_preset_for_apis_is_that_of_owasp() {
    // H14, H20
    for status in [200, 204, 304, 404, 500] {
        check(&through(ResponseHeaders::api(), status, &[]).await, &API);
    }
    check(&through(ResponseHeaders::default(), 200, &[]).await, &API);
    check(&through(ResponseHeaders::none(), 200, &[]).await, &[]);
}

#[tokio::test]
async fn the_preset_for_pages_differs() {
    let headers = through(ResponseHeaders::html(), 200, &[]).await;
    assert_eq!(headers.len(), 7);
    assert!(!headers.contains_key("cache-control"));
    assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
}

#[tokio::test]
async fn the_field_of_the_application_is_kept() {
    // H16
    let own = [("cache-control", "max-age=60"), ("cache-control", "public")];
    let headers = through(ResponseHeaders::api(), 200, &own).await;
    let values = headers.get_all("cache-control");
    assert!(values.iter().eq(["max-age=60", "public"]));
    assert_eq!(headers["x-frame-options"], "DENY");
    // H18
    let own = [("x-content-type-options", "foo")];
    let headers = through(ResponseHeaders::api(), 200, &own).await;
    let values = headers.get_all("x-content-type-options");
    assert!(values.iter().eq(["foo"]));
}

#[tokio::test]
async fn an_override_replaces_all_of_the_name() {
    // H17
    let value = HeaderValue::from_static("private");
    let overridden = ResponseHeaders::api().with_override(header::CACHE_CONTROL, value);
    let own = [("cache-control", "max-age=60"), ("cache-control", "public")];
    let headers = through(overridden, 200, &own).await;
    let values = headers.get_all("cache-control");
    assert!(values.iter().eq(["private"]));
}

#[tokio::test]
async fn single_fields_can_be_switched() {
    let value = HeaderValue::from_static("same-origin");
    let headers = ResponseHeaders::none()
        .with(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"))
        .with(header::REFERRER_POLICY, HeaderValue::from_static("origin"))
        .with(header::REFERRER_POLICY, value)
        .without(header::X_FRAME_OPTIONS);
    check(
        &through(headers, 200, &[]).await,
        &[("referrer-policy", "same-origin")],
    );
}

#[tokio::test]
async fn telling_fields_can_be_taken_off() {
    // H19
    let headers = ResponseHeaders::none()
        .removing(header::SERVER)
        .removing(header::HeaderName::from_static("x-powered-by"));
    let own = [
        ("server", "a/1"),
        ("x-powered-by", "b"),
        ("x-powered-by", "c"),
        ("date", "now"),
    ];
    check(&through(headers, 200, &own).await, &[("date", "now")]);
    // What was said last counts.
    let value = HeaderValue::from_static("ours");
    let headers = ResponseHeaders::none()
        .removing(header::SERVER)
        .with(header::SERVER, value);
    check(&through(headers, 200, &[]).await, &[("server", "ours")]);
}

#[tokio::test]
async fn a_switch_of_protocols_is_left_alone() {
    // H21
    let upgrade = [
        ("connection", "upgrade"),
        ("sec-websocket-accept", "x"),
        ("upgrade", "websocket"),
    ];
    let headers = ResponseHeaders::api().removing(header::UPGRADE);
    check(&through(headers, 101, &upgrade).await, &upgrade);
}

#[tokio::test]
async fn a_preflight_keeps_its_fields() {
    // H22
    let service = ServiceBuilder::new()
        .layer(ResponseHeadersLayer::default())
        .layer(tower_http::cors::CorsLayer::permissive())
        .service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let request = Request::options("/")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .body(())
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(headers.contains_key("access-control-allow-methods"));
    for (name, value) in API {
        assert_eq!(headers[name], value);
    }
}

#[tokio::test]
async fn refusals_bear_the_fields() {
    // H13
    let service = ServiceBuilder::new()
        .layer(ResponseHeadersLayer::default())
        .layer(HttpsLayer::new(Https::reject(SchemeSource::Listener)))
        .service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn errors_and_readiness_pass_through() {
    struct Busy;

    impl Service<Request<()>> for Busy {
        type Response = Response<String>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Err("broken"))
        }
    }

    let mut service = ResponseHeadersLayer::default().layer(Busy);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut context).is_pending());
    assert_eq!(service.call(Request::new(())).await.unwrap_err(), "broken");
}
