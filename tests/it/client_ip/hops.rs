//! Section B: a fixed number of trusted hops.

use palisade::client_ip::{ClientIpSource, TrustedProxies};

use super::{headers, outcome, peer, resolve};

#[track_caller]
fn check_from(id: &str, proxies: TrustedProxies, from: &str, lines: &[&str], expected: &str) {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| ("x-forwarded-for", line.as_bytes()))
        .collect();
    let source = ClientIpSource::XForwardedFor(proxies);
    let client = resolve(&source, peer(from), headers(&lines));
    assert_eq!(outcome(client), expected, "{id}");
}

#[track_caller]
fn check(id: &str, count: usize, lines: &[&str], expected: &str) {
    check_from(
        id,
        TrustedProxies::hops(count).unwrap(),
        "192.0.2.5",
        lines,
        expected,
    );
}

#[test]
fn the_client_is_counted_from_the_right() {
    check("B01", 1, &["1.1.1.1, 2.2.2.2"], "2.2.2.2");
    check("B02", 2, &["1.1.1.1, 2.2.2.2, 3.3.3.3"], "2.2.2.2");
    check("B03", 3, &["1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4"], "2.2.2.2");
    check("B04", 2, &["1.1.1.1, 2.2.2.2"], "1.1.1.1");
    check("B07", 2, &["6.6.6.6, 1.1.1.1, 2.2.2.2, 3.3.3.3"], "2.2.2.2");
    check("B09", 2, &["1.1.1.1", "2.2.2.2", "3.3.3.3"], "2.2.2.2");
    check("B10", 2, &[",,, 3.3.3.3, 1.1.1.1, 2.2.2.2"], "1.1.1.1");
    check(
        "B14",
        2,
        &["203.0.113.128, 203.0.113.10, 203.0.113.1"],
        "203.0.113.10",
    );
    check(
        "B16",
        3,
        &["203.0.113.128, 203.0.113.10, 203.0.113.1, 192.0.2.5"],
        "203.0.113.10",
    );
    check(
        "B17",
        3,
        &["10.0.0.4,10.0.0.3,10.0.0.2,10.0.0.1"],
        "10.0.0.3",
    );
    check(
        "B18",
        1,
        &["10.0.0.1,11.0.0.1,12.0.0.1,13.0.0.1"],
        "13.0.0.1",
    );
    check(
        "B18",
        3,
        &["10.0.0.1,11.0.0.1,12.0.0.1,13.0.0.1"],
        "11.0.0.1",
    );
    check(
        "B19",
        4,
        &["1.1.1.1,2.2.2.2:1234,3.3.3.3,4.4.4.4,5.5.5.5"],
        "2.2.2.2",
    );
    check("B21", 1, &["::ffff:1.2.3.4"], "1.2.3.4");
    check("B21", 1, &["2001:db8::1%eth0"], "2001:db8::1");
}

#[test]
fn what_cannot_be_counted_is_nobody() {
    check("B05", 3, &["1.1.1.1, 2.2.2.2"], "unknown too_few_hops");
    check("B06", 1, &[], "unknown too_few_hops");
    check("B08", 2, &["garbage, 2.2.2.2"], "unknown malformed");
    check(
        "B18",
        5,
        &["10.0.0.1,11.0.0.1,12.0.0.1,13.0.0.1"],
        "unknown too_few_hops",
    );
    let long = "x".repeat(400_000);
    check(
        "400 kB",
        2,
        &["6.6.6.6", &format!("{long},1.1.1.1")],
        "unknown too_large",
    );
}

#[test]
fn all_lines_are_one_list() {
    let lines = [
        "4.4.4.4, 5.5.5.5",
        "::1, fe80::382b:141b:fa4a:2a16%28",
        "7.7.7.7.7, 8.8.8.8, 9.9.9.9, 10.10.10.10,11.11.11.11, 12.12.12.12",
    ];
    check("B11", 5, &lines, "8.8.8.8");
    check("B12", 50, &lines, "unknown too_few_hops");
    check("B11", 6, &lines, "unknown malformed");
    check("B11", 7, &lines, "fe80::382b:141b:fa4a:2a16");
}

#[test]
fn no_hops_are_no_proxies() {
    assert!(TrustedProxies::hops(0).is_err(), "B13");
    let lines = [(
        "x-forwarded-for",
        &b"203.0.113.128, 203.0.113.10, 203.0.113.1"[..],
    )];
    let client = resolve(&ClientIpSource::Peer, peer("192.0.2.5"), headers(&lines));
    assert_eq!(outcome(client), "192.0.2.5", "B15");
}

#[test]
fn counting_may_be_bound_to_the_peer() {
    let two = TrustedProxies::hops(2).unwrap();
    let bound = two.with_peers("10.0.0.0/8".parse().unwrap());
    check_from(
        "B20",
        bound.clone(),
        "9.9.9.9",
        &["1.1.1.1, 2.2.2.2"],
        "9.9.9.9",
    );
    check_from("B20", bound, "10.0.0.1", &["1.1.1.1, 2.2.2.2"], "1.1.1.1");

    let one = TrustedProxies::hops(1).unwrap();
    let one = one.with_peers("127.0.0.1/32, 10.0.1.0/24".parse().unwrap());
    check_from(
        "A12",
        one,
        "127.0.0.1",
        &["192.0.2.1", "127.0.0.1, 10.0.1.1"],
        "10.0.1.1",
    );
}
