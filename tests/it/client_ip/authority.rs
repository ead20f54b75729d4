//! The authority that a request names, in the context. The ids are those of section E of the cases.

use std::convert::Infallible;

use http::{Request, Response, Version, header::HOST, request::Parts};
use palisade::{
    client_ip::{ClientContext, ClientIpLayer, ClientIpSource},
    host::RequestHost,
};
use tower::{Layer, ServiceExt, service_fn};

use super::{peer, proxies};

fn layer() -> ClientIpLayer {
    ClientIpLayer::new(ClientIpSource::XForwardedFor(proxies("10.0.0.0/8")))
}

fn request(version: Version, target: &str, lines: &[&str]) -> Request<()> {
    let mut request = Request::builder().version(version).uri(target);
    for line in lines {
        request = request.header(HOST, *line);
    }
    request = request.extension(peer("10.0.0.1").unwrap());
    request.body(()).unwrap()
}

/// Sends a request through the layer and returns its head as a handler sees it.
async fn resolved(request: Request<()>) -> Parts {
    let service = layer().layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.into_parts().0))
    }));
    let Ok(response) = service.oneshot(request).await;
    response.into_body()
}

#[tokio::test]
async fn the_context_names_one_authority_or_says_why_not() {
    const MISSING: Result<&str, &str> = Err("the request names no host");
    const DUPLICATE: Result<&str, &str> = Err("the request has more than one host field");
    const MALFORMED: Result<&str, &str> = Err("the host of the request is malformed");
    const DISAGREEING: Result<&str, &str> = Err("the request names two hosts");
    const USER_INFO: Result<&str, &str> = Err("the host of the request bears user information");
    const V1: Version = Version::HTTP_11;
    const V2: Version = Version::HTTP_2;

    for (id, version, target, lines, expected) in [
        ("E23", V1, "/", &[][..], MISSING),
        ("E23", V1, "/", &[""][..], MISSING),
        ("E24", V1, "/", &["good", "evil"], DUPLICATE),
        ("E24", V1, "/", &["good", "good"], DUPLICATE),
        ("E25", V1, "/", &["a/b"], MALFORMED),
        ("E26", V1, "http://evil/a", &["good"], DISAGREEING),
        ("E27", V2, "http://good/a", &["evil"], DISAGREEING),
        ("E28", V1, "/", &["u:p@evil"], USER_INFO),
        ("E28", V2, "http://u:p@evil/", &[], USER_INFO),
        ("E35", V1, "/", &["EXAMPLE.com."], Ok("example.com")),
        ("", V1, "/", &["good:8443"], Ok("good:8443")),
        ("", V1, "/", &["api.7node"], Ok("api.7node")),
        ("", V1, "/", &["node.7"], MALFORMED),
        ("", V1, "/", &["[2001:DB8::7]:80"], Ok("[2001:db8::7]:80")),
        ("", V1, "http://good/a", &["GOOD."], Ok("good")),
        ("", V1, "http://good/a", &[], MISSING),
        ("", V2, "https://good/a", &[], Ok("good")),
    ] {
        let parts = resolved(request(version, target, lines)).await;
        let context = ClientContext::of(&parts.extensions).unwrap();
        let found = context.authority();
        let shown = found.map(|host| host.to_string());
        let shown = shown.as_deref().map_err(|error| error.as_str());
        assert_eq!(shown, expected, "{id} {target} {lines:?}");
        assert_eq!(found, RequestHost::of(&parts), "{id} {target} {lines:?}");
    }
}

#[tokio::test]
async fn a_forwarded_host_is_no_authority() {
    let mut forwarded = request(Version::HTTP_11, "/", &["good"]);
    let evil = "evil".parse().unwrap();
    forwarded.headers_mut().insert("x-forwarded-host", evil);
    let parts = resolved(forwarded).await;
    let context = ClientContext::of(&parts.extensions).unwrap();
    assert_eq!(context.authority().unwrap().host(), "good");
}

#[tokio::test]
async fn the_authority_stays_when_the_request_is_rewritten() {
    let mut parts = resolved(request(Version::HTTP_11, "/", &["good"])).await;
    parts.headers.remove(HOST);
    let context = ClientContext::of(&parts.extensions).unwrap();
    assert_eq!(context.authority().unwrap().host(), "good");
    assert!(RequestHost::of(&parts).is_err());
}

#[test]
fn a_context_without_a_request_names_none() {
    let parts = request(Version::HTTP_11, "/", &["good"]).into_parts().0;
    let context = ClientIpSource::Peer.resolve(&parts);
    assert!(context.authority().is_err());
    let context = context.with_authority_of(&parts);
    assert_eq!(context.authority().unwrap().host(), "good");
}

#[tokio::test]
async fn debug_shows_no_password() {
    let parts = resolved(request(Version::HTTP_11, "/", &["user:secret@evil"])).await;
    let context = ClientContext::of(&parts.extensions).unwrap();
    let shown = format!("{context:?}");
    assert!(shown.contains("user information"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_can_ask_for_it() {
    use axum::{Router, body::Body, routing::get};

    let handler = async |context: ClientContext| match context.authority() {
        Ok(host) => host.to_string(),
        Err(error) => error.to_string(),
    };
    let router = Router::new().route("/", get(handler)).layer(layer());
    for (lines, expected) in [
        (&["API.example.com:8443"][..], "api.example.com:8443"),
        (
            &["good", "evil"],
            "the request has more than one host field",
        ),
    ] {
        let request = request(Version::HTTP_11, "/", lines).map(|()| Body::empty());
        let response = router.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 100)
            .await
            .unwrap();
        assert_eq!(body, expected);
    }
}
