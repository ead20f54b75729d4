//! Section C: headers that hold one address.

use http::HeaderName;
use palisade::client_ip::ClientIpSource;

use super::{headers, outcome, peer, proxies, resolve};

#[track_caller]
fn check_lines(
    id: &str,
    from: &str,
    name: &'static str,
    lines: &[(&'static str, &str)],
    expected: &str,
) {
    let lines: Vec<_> = lines
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    let source = ClientIpSource::Header(HeaderName::from_static(name), proxies("10.0.0.0/8"));
    let client = resolve(&source, peer(from), headers(&lines));
    assert_eq!(outcome(client), expected, "{id}");
}

#[track_caller]
fn check(id: &str, name: &'static str, value: &str, expected: &str) {
    check_lines(id, "10.0.0.1", name, &[(name, value)], expected);
}

#[test]
fn the_address_is_canonical() {
    check(
        "C02",
        "x-real-ip",
        "2607:f8b0:4004:83f::19",
        "2607:f8b0:4004:83f::19",
    );
    check(
        "C04",
        "x-real-ip",
        "2345:0425:2CA1:0000:0000:0567:5673:23B5",
        "2345:425:2ca1::567:5673:23b5",
    );
    check("C05", "x-real-ip", "::ffff:172.21.0.6", "172.21.0.6");
    check(
        "C06",
        "x-real-ip",
        "64:ff9b::188.0.2.128",
        "64:ff9b::bc00:280",
    );
    check(
        "C13",
        "cloudfront-viewer-address",
        "1.2.3.4:8000",
        "1.2.3.4",
    );
    check(
        "C14",
        "cloudfront-viewer-address",
        "1:23:4567:89ab:c:d:e:f:8000",
        "1:23:4567:89ab:c:d:e:f",
    );
    check(
        "a proxy",
        "x-real-ip",
        "10.0.0.9",
        "all trusted 10.0.0.9 (header)",
    );
}

#[test]
fn one_address_means_one() {
    check(
        "C07",
        "x-real-ip",
        "100.100.100.100,200.200.200.200",
        "unknown malformed",
    );
    check("C15", "x-real-ip", "<script>6", "unknown malformed");
    check(
        "400 kB",
        "x-real-ip",
        &"1".repeat(400_000),
        "unknown too_large",
    );
    check_lines(
        "C08",
        "10.0.0.1",
        "x-real-ip",
        &[("x-real-ip", "6.6.6.6"), ("x-real-ip", "100.2.2.2")],
        "unknown duplicate",
    );
}

#[test]
fn only_the_named_header_and_only_from_a_trusted_peer() {
    check_lines(
        "C10",
        "10.0.0.1",
        "x-real-ip",
        &[
            ("x-forwarded-for", "3.3.3.3"),
            ("true-client-ip", "2.2.2.2"),
        ],
        "unknown missing_address",
    );
    check_lines(
        "C11",
        "9.9.9.9",
        "x-real-ip",
        &[("x-real-ip", "1.1.1.1")],
        "9.9.9.9",
    );
}

#[test]
fn a_value_is_read_up_to_its_bound() {
    let name = http::HeaderName::from_static("x-real-ip");
    for (bytes, expected) in [(11, "203.0.113.7"), (10, "unknown too_large")] {
        let trusted = proxies("10.0.0.0/8").with_max_bytes(bytes);
        let source = ClientIpSource::Header(name.clone(), trusted);
        let lines = headers(&[("x-real-ip", b"203.0.113.7")]);
        let client = resolve(&source, peer("10.0.0.1"), lines);
        assert_eq!(outcome(client), expected);
    }
}
