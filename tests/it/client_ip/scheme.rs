//! Section E, as far as the scheme goes.

use http::{HeaderMap, Request, Version};
use palisade::client_ip::{SchemeOrigin, SchemeSource, TlsConnection};

use super::{headers, parts, peer, proxies};

fn x_forwarded_proto() -> SchemeSource {
    SchemeSource::XForwardedProto(proxies("::1, 10.0.0.0/8"))
}

#[track_caller]
fn check_on(
    id: &str,
    source: &SchemeSource,
    from: &str,
    tls: bool,
    headers: HeaderMap,
    expected: (&str, SchemeOrigin),
) {
    let mut parts = parts(headers);
    if tls {
        parts.extensions.insert(TlsConnection::new());
    }
    let scheme = source.resolve_from(peer(from), &parts);
    assert_eq!(
        (scheme.scheme().as_str(), scheme.origin()),
        expected,
        "{id}"
    );
}

#[track_caller]
fn check(id: &str, from: &str, lines: &[&str], expected: (&str, SchemeOrigin)) {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| ("x-forwarded-proto", line.as_bytes()))
        .collect();
    check_on(
        id,
        &x_forwarded_proto(),
        from,
        false,
        headers(&lines),
        expected,
    );
}

#[test]
fn the_nearest_value_of_a_trusted_proxy_counts() {
    check("E02", "::1", &["https"], ("https", SchemeOrigin::Proxy));
    check("E02", "::1", &["HTTPS"], ("https", SchemeOrigin::Proxy));
    check("E02", "::1", &["wss"], ("https", SchemeOrigin::Proxy));
    check(
        "E09",
        "::1",
        &["https, http"],
        ("http", SchemeOrigin::Proxy),
    );
    check(
        "E10",
        "::1",
        &["http, https"],
        ("https", SchemeOrigin::Proxy),
    );
    check(
        "E11",
        "::1",
        &["https", "http"],
        ("http", SchemeOrigin::Proxy),
    );
    check("E17", "::1", &[], ("http", SchemeOrigin::ProxySilent));
    let lines = headers(&[(
        "forwarded",
        b"for=6.6.6.6;proto=http, for=203.0.113.7;proto=https",
    )]);
    let source = SchemeSource::Forwarded(proxies("10.0.0.0/8"));
    check_on(
        "E16",
        &source,
        "10.0.0.1",
        false,
        lines,
        ("https", SchemeOrigin::Proxy),
    );
}

#[test]
fn what_is_no_scheme_is_plain_text() {
    for value in ["bar", "a b", "https;q", "ht\"tp", "h2, h1", "https, x"] {
        check(
            "E07 E08 E19",
            "::1",
            &[value],
            ("http", SchemeOrigin::ProxyMalformed),
        );
    }
    let lines = headers(&[("x-forwarded-proto", b"bar")]);
    let expected = ("http", SchemeOrigin::ProxyMalformed);
    check_on("E07", &x_forwarded_proto(), "::1", true, lines, expected);
}

#[test]
fn a_trusted_proxy_overrides_the_connection_and_nobody_else_does() {
    let http = || headers(&[("x-forwarded-proto", b"http")]);
    let source = x_forwarded_proto();
    check_on(
        "E12",
        &source,
        "::1",
        true,
        http(),
        ("http", SchemeOrigin::Proxy),
    );
    check_on(
        "E13",
        &source,
        "203.0.113.7",
        true,
        http(),
        ("https", SchemeOrigin::Connection),
    );
    check_on(
        "E17",
        &source,
        "::1",
        true,
        HeaderMap::new(),
        ("https", SchemeOrigin::ProxySilent),
    );
    check(
        "untrusted",
        "203.0.113.7",
        &["https"],
        ("http", SchemeOrigin::Connection),
    );
    check(
        "no peer",
        "",
        &["https"],
        ("http", SchemeOrigin::Connection),
    );
    let alias = headers(&[("x_forwarded_proto", b"https")]);
    check_on(
        "E21",
        &source,
        "203.0.113.7",
        false,
        alias,
        ("http", SchemeOrigin::Connection),
    );
}

#[test]
fn the_uri_is_never_believed() {
    for (id, version) in [("E14", Version::HTTP_11), ("E15", Version::HTTP_2)] {
        let request = Request::get("https://evil.test/a").version(version);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let scheme = x_forwarded_proto().resolve_from(peer("203.0.113.7"), &parts);
        assert!(!scheme.is_https(), "{id}");
        let scheme = SchemeSource::Listener.resolve_from(peer("203.0.113.7"), &parts);
        assert!(!scheme.is_https(), "{id}");
    }
}
