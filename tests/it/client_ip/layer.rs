//! The layer: events, the removal of headers, the extractors.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, SchemeSource, TrustedProxies},
    event::{SecurityEvent, Severity},
    ip_set::IpList,
};
use tower::{Layer, ServiceExt, service_fn};

use super::{headers, outcome, peer, proxies};
use crate::support::Fussy;

/// Sends one request, and returns the events and the names of the headers that arrived.
async fn send(
    layer: ClientIpLayer,
    from: &str,
    lines: &[(&'static str, &[u8])],
) -> (Vec<String>, Vec<String>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&events);
    let layer = layer.with_sink(move |event: &SecurityEvent<'_>| {
        let peer = event
            .peer()
            .map(|peer| peer.to_string())
            .unwrap_or_default();
        let header = event.policy().unwrap_or_default();
        let event = format!("{} {header} {peer}", event.action().as_str());
        recorded.lock().unwrap().push(event);
    });
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let names = request.headers().keys().map(ToString::to_string);
        let mut names: Vec<_> = names.collect();
        names.sort();
        Ok::<_, Infallible>(Response::new(names))
    }));
    let mut request = Request::new(());
    *request.headers_mut() = headers(lines);
    if let Some(peer) = peer(from) {
        request.extensions_mut().insert(peer);
    }
    let Ok(response) = service.oneshot(request).await;
    let events = std::mem::take(&mut *events.lock().unwrap());
    (events, response.into_body())
}

fn layer() -> ClientIpLayer {
    ClientIpLayer::new(ClientIpSource::XForwardedFor(proxies("10.0.0.0/8")))
        .with_scheme(SchemeSource::XForwardedProto(proxies("10.0.0.0/8")))
}

#[tokio::test]
async fn an_event_tells_why_a_header_was_not_used() {
    #[track_caller]
    fn check(sent: &(Vec<String>, Vec<String>), expected: &[&str]) {
        assert_eq!(sent.0, expected);
    }
    const NAME: &str = "x-forwarded-for";

    check(
        &send(layer(), "10.0.0.1", &[(NAME, b"203.0.113.7")]).await,
        &[],
    );
    check(&send(layer(), "10.0.0.1", &[]).await, &[]);
    check(&send(layer(), "203.0.113.7", &[]).await, &[]);
    check(
        &send(layer(), "203.0.113.7", &[(NAME, b"6.6.6.6")]).await,
        &["forwarded_header_untrusted x-forwarded-for 203.0.113.7"],
    );
    check(
        &send(layer(), "203.0.113.7", &[("x-real-ip", b"6.6.6.6")]).await,
        &[],
    );
    check(
        &send(layer(), "10.0.0.1", &[(NAME, b"nonsense")]).await,
        &["forwarded_header_malformed x-forwarded-for 10.0.0.1"],
    );
    // Cases A51, E07.
    check(
        &send(layer(), "", &[(NAME, b"6.6.6.6")]).await,
        &["client_unknown x-forwarded-for "],
    );
    check(
        &send(layer(), "10.0.0.1", &[("x-forwarded-proto", b"bar")]).await,
        &["forwarded_header_malformed x-forwarded-proto 10.0.0.1"],
    );
}

/// Case J13: what any client can bring about, although every proxy does what it should, is no more than a trace.
#[tokio::test]
async fn what_a_client_causes_at_will_is_for_debugging() {
    const LIST: &str = "x-forwarded-for";
    let list: fn(TrustedProxies) -> ClientIpSource = ClientIpSource::XForwardedFor;
    let elements: fn(TrustedProxies) -> ClientIpSource = ClientIpSource::Forwarded;
    let single: fn(TrustedProxies) -> ClientIpSource =
        |proxies| ClientIpSource::Header(http::HeaderName::from_static("x-real-ip"), proxies);
    let long = "10.0.0.2,".repeat(1_000);
    let many = "10.0.0.2,".repeat(33);
    for (source, sent_by, lines, expected) in [
        (
            list,
            "203.0.113.7",
            vec![(LIST, "6.6.6.6")],
            Severity::Debug,
        ),
        (list, "10.0.0.1", vec![(LIST, &*long)], Severity::Debug),
        (list, "10.0.0.1", vec![(LIST, &*many)], Severity::Debug),
        (
            single,
            "10.0.0.1",
            vec![("x-real-ip", "6.6.6.6"), ("x-real-ip", "203.0.113.7")],
            Severity::Debug,
        ),
        (
            elements,
            "10.0.0.1",
            vec![("forwarded", r#"for="evil, for=203.0.113.7"#)],
            Severity::Debug,
        ),
        // These are the proxy's fault.
        (list, "10.0.0.1", vec![(LIST, "nonsense")], Severity::Warn),
        (
            elements,
            "10.0.0.1",
            vec![("forwarded", "for=unknown")],
            Severity::Error,
        ),
    ] {
        let severities = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&severities);
        let layer = ClientIpLayer::new(source(proxies("10.0.0.0/8"))).with_sink(
            move |event: &SecurityEvent<'_>| recorded.lock().unwrap().push(event.severity()),
        );
        let service = layer.layer(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(()))
        }));
        let mut request = Request::new(());
        let bytes: Vec<_> = lines
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        *request.headers_mut() = headers(&bytes);
        request.extensions_mut().insert(peer(sent_by).unwrap());
        let Ok(_) = service.oneshot(request).await;
        assert_eq!(*severities.lock().unwrap(), [expected], "{lines:.60?}");
    }
}

/// Case J13, with the flood control of the default sink.
#[cfg(feature = "flood-control")]
#[tokio::test]
async fn a_flood_of_malformed_headers_is_one_event_per_window() {
    use std::time::Duration;

    use palisade::{
        clock::ManualClock,
        event::{FloodControl, SharedSink},
    };

    let (clock, events) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
    let recorded = Arc::clone(&events);
    let sink = FloodControl::new(move |event: &SecurityEvent<'_>| {
        let shown = (event.action().as_str(), event.count());
        recorded.lock().unwrap().push(shown);
    });
    let sink = SharedSink::new(sink.with_clock(clock.clone()));
    let service =
        layer()
            .with_shared_sink(sink.clone())
            .layer(service_fn(async |_: Request<()>| {
                Ok::<_, Infallible>(Response::new(()))
            }));
    for window in 0..3 {
        for number in 0..1_000 {
            let mut request = Request::new(());
            let value = format!("nonsense-{window}-{number}");
            let lines = headers(&[("x-forwarded-for", value.as_bytes())]);
            *request.headers_mut() = lines;
            request.extensions_mut().insert(peer("10.0.0.1").unwrap());
            let Ok(_) = service.clone().oneshot(request).await;
        }
        let seen: Vec<_> = std::mem::take(&mut *events.lock().unwrap());
        let first = ("forwarded_header_malformed", None);
        // The repeats of the window before are summed up once it is over.
        let repeats = ("events_suppressed", Some(999));
        let expected = if window == 0 {
            &[first][..]
        } else {
            &[repeats, first]
        };
        assert_eq!(seen, expected);
        clock.advance(Duration::from_secs(61));
    }
}

#[tokio::test]
async fn headers_that_nobody_vouches_for_can_be_removed() {
    let lines: [(&str, &[u8]); 6] = [
        ("accept", b"*/*"),
        ("x-forwarded-for", b"203.0.113.7"),
        ("x_forwarded_for", b"6.6.6.6"),
        ("x-forwarded-host", b"evil.test"),
        ("x-real-ip", b"6.6.6.6"),
        ("forwarded", b"for=6.6.6.6"),
    ];
    let (_, kept) = send(layer(), "203.0.113.7", &lines).await;
    assert_eq!(kept.len(), 6);
    let clean = layer().without_untrusted_headers();
    let (_, kept) = send(clean.clone(), "203.0.113.7", &lines).await;
    assert_eq!(kept, ["accept"]);
    let (_, kept) = send(clean.clone(), "", &lines).await;
    assert_eq!(kept, ["accept"]);
    let (_, kept) = send(clean, "10.0.0.1", &lines).await;
    let expected = [
        "accept",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
    ];
    assert_eq!(kept, expected);
    let peer_only = ClientIpLayer::new(ClientIpSource::Peer).without_untrusted_headers();
    let (_, kept) = send(peer_only.clone(), "10.0.0.1", &lines).await;
    assert_eq!(kept, ["accept"]);
    // A proxy that is trusted for the scheme alone vouches, too.
    let scheme = SchemeSource::XForwardedProto(proxies("10.0.0.0/8"));
    let (_, kept) = send(peer_only.with_scheme(scheme), "10.0.0.1", &lines).await;
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_trusted_proxy_that_names_itself_is_no_stranger() {
    let layer = ClientIpLayer::new(ClientIpSource::XForwardedFor(
        TrustedProxies::hops(1).unwrap(),
    ));
    let lines: [(&str, &[u8]); 1] = [("x-forwarded-for", b"10.0.0.1")];
    let (events, _) = send(layer, "10.0.0.1", &lines).await;
    assert_eq!(events, [] as [&str; 0]);
}

#[tokio::test]
async fn the_instance_that_is_called_is_the_one_that_was_ready() {
    let service = layer().layer(Fussy::default());
    let response = service.oneshot(Request::new(())).await;
    assert_eq!(response.unwrap().body(), "");
}

#[test]
fn a_list_of_proxies_says_what_is_wrong_with_it() {
    use std::error::Error as _;

    let error = "10.0.0.0/8, proxy".parse::<TrustedProxies>().unwrap_err();
    assert!(error.to_string().contains("malformed"), "{error}");
    let source = error.source().unwrap().to_string();
    assert!(source.contains("entry 2"), "{source}");
    assert!(TrustedProxies::hops(0).unwrap_err().source().is_none());
}

#[test]
fn trusted_proxies_can_be_replaced() {
    let list = IpList::new("proxies", "10.0.0.0/8".parse().unwrap());
    let trusted = palisade::client_ip::TrustedProxies::from_list(list.clone()).unwrap();
    let source = ClientIpSource::XForwardedFor(trusted);
    let resolve = || {
        let lines = headers(&[("x-forwarded-for", b"203.0.113.7")]);
        outcome(super::resolve(&source, peer("10.0.0.1"), lines))
    };
    assert_eq!(resolve(), "203.0.113.7");
    list.replace("192.0.2.0/24".parse().unwrap());
    assert_eq!(resolve(), "10.0.0.1");
    // A list that has come to cover everybody is trusted for nobody.
    list.replace("0.0.0.0/0".parse().unwrap());
    assert_eq!(resolve(), "10.0.0.1");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_can_ask() {
    use axum::{Router, body::Body, extract::FromRequestParts as _, routing::get};
    use palisade::client_ip::ClientIp;

    let handler = async |client: ClientIp, context: palisade::client_ip::ClientContext| {
        format!(
            "{client} over {}",
            context.scheme().map_or("?", |it| it.scheme().as_str())
        )
    };
    let router = Router::new().route("/", get(handler));
    let request = || {
        let request = Request::get("/").header("x-forwarded-for", "203.0.113.7");
        let request = request.header("x-forwarded-proto", "https");
        request
            .extension(peer("10.0.0.1").unwrap())
            .body(Body::empty())
            .unwrap()
    };
    let response = router
        .clone()
        .layer(layer())
        .oneshot(request())
        .await
        .unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100)
        .await
        .unwrap();
    assert_eq!(body, "203.0.113.7 over https");

    let response = router.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::INTERNAL_SERVER_ERROR);

    let (mut parts, ()) = Request::new(()).into_parts();
    let error = ClientIp::from_request_parts(&mut parts, &()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("client address layer"), "{error}");
}

/// Case C15: what a client sent is never sent back.
#[cfg(feature = "axum")]
#[tokio::test]
async fn what_cannot_be_read_is_not_echoed() {
    use axum::{Router, body::Body, routing::get};
    use palisade::client_ip::ClientIp;

    let source = ClientIpSource::Header(
        http::HeaderName::from_static("x-real-ip"),
        proxies("10.0.0.0/8"),
    );
    let router = Router::new().route("/", get(async |client: ClientIp| client.to_string()));
    let request = Request::get("/").header("x-real-ip", "<script>6");
    let request = request
        .extension(peer("10.0.0.1").unwrap())
        .body(Body::empty())
        .unwrap();
    let response = router
        .layer(ClientIpLayer::new(source))
        .oneshot(request)
        .await
        .unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100)
        .await
        .unwrap();
    assert_eq!(body, "unknown (malformed)");
}
