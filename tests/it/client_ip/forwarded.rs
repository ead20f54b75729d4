//! Section D: `Forwarded`.

use palisade::client_ip::{ClientIpSource, TrustedProxies};

use super::{headers, outcome, peer, proxies, resolve};

#[track_caller]
fn check_with(id: &str, trusted: TrustedProxies, lines: &[&str], expected: &str) {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| ("forwarded", line.as_bytes()))
        .collect();
    let source = ClientIpSource::Forwarded(trusted);
    let client = resolve(&source, peer("10.0.0.1"), headers(&lines));
    assert_eq!(outcome(client), expected, "{id}");
}

#[track_caller]
fn check(id: &str, lines: &[&str], expected: &str) {
    check_with(id, proxies("10.0.0.0/8"), lines, expected);
}

#[test]
fn elements_are_read_from_the_right() {
    check(
        "D01",
        &["for=192.0.2.60;proto=http;by=203.0.113.43"],
        "192.0.2.60",
    );
    check(
        "D02",
        &[r#"For="[2001:db8:cafe::17]:4711""#],
        "2001:db8:cafe::17",
    );
    check("D04", &["for=192.0.2.43, for=10.0.0.9"], "192.0.2.43");
    check(
        "D05",
        &[
            r#"for="_mdn""#,
            r#"For="[2001:db8:cafe::17]:4711""#,
            "for=192.0.2.60;proto=http",
        ],
        "192.0.2.60",
    );
    check("D09", &[r#"for="192.0.2.1:_port""#], "192.0.2.1");
    check("D10", &[r#"for="[::1]:_id""#], "::1");
    check(
        "D12",
        &["for=[2607:f8b0:4004:83f::200e]"],
        "2607:f8b0:4004:83f::200e",
    );
    check(
        "D23",
        &[r#"FOR="[::ffff:188.0.2.128]:49428""#],
        "188.0.2.128",
    );
    check(
        "D24",
        &[r#"for="[0:0:0:0:0:ffff:bc15:0006]""#],
        "188.21.0.6",
    );
    check("D29", &["for=127.0.0.1;host=v.test"], "127.0.0.1");
    let ranges = "2.2.2.2/32, 2607:f8b0:4004:83f::200e/128, 3.3.0.0/16, 2001:db7::/64, ::ffff:4.4.4.4/124, \
                  64:ff9b::188.0.2.128/112, 10.0.0.0/8";
    check_with(
        "D31",
        proxies(ranges),
        &[
            r#"for=99.99.99.99, for=4.4.4.8, for="[2607:f8b0:4004:83f::200e]:4747""#,
            "for=2.2.2.2:8883, for=64:ff9b::188.0.2.200, for=3.3.5.5, for=2001:db7::abcd",
        ],
        "99.99.99.99",
    );
}

#[test]
fn what_is_hidden_is_nobody() {
    check(
        "D06",
        &[r#"for=1.2.3.4, for="_obfuscated""#],
        "unknown obfuscated",
    );
    check("D08", &[r#"for="unknown:132""#], "unknown obfuscated");
    check("D26", &[r#"for="_gazonk""#], "unknown obfuscated");
    check("D30", &[r#"fore="unknown:132""#], "unknown missing_address");
}

#[test]
fn what_is_malformed_is_nobody() {
    check(
        "D11",
        &[r#"for=203.0.113.7;by="[::1]:""#],
        "unknown malformed",
    );
    check(
        "D18",
        &[r#"for="evil, for=203.0.113.7"#],
        "unknown malformed",
    );
    check("D21", &["for =1.1.1.1"], "unknown malformed");
    check("D21", &["for= 1.1.1.1"], "unknown malformed");
}

#[test]
fn quotes_hide_nothing_and_poison_nothing() {
    check(
        "comma in quotes",
        &[r#"for=203.0.113.7;host="a,for=6.6.6.6""#],
        "203.0.113.7",
    );
    check(
        "D16",
        &[r#"for=203.0.113.7;host="x;for=6.6.6.6""#],
        "203.0.113.7",
    );
    check(
        "D17",
        &[r#"For="1.1.1.1, For=2.2.2.2, For=3.3.3.3", For="4.4.4.4""#],
        "4.4.4.4",
    );
    check("D19", &[r#"for="evil"#, "for=203.0.113.7"], "203.0.113.7");
}

#[test]
fn other_headers_are_not_read() {
    let source = ClientIpSource::XForwardedFor(proxies("10.0.0.0/8"));
    let lines = [
        ("x-forwarded-for", &b"203.0.113.7"[..]),
        ("forwarded", b"for=6.6.6.6;proto=https;host=evil.test"),
    ];
    let client = resolve(&source, peer("10.0.0.1"), headers(&lines));
    assert_eq!(outcome(client), "203.0.113.7", "D28");
}

#[test]
fn work_is_bounded() {
    let pairs = format!("for=203.0.113.7{}", ";a=b".repeat(10_000));
    check("J05", &[&pairs], "unknown too_large");
    let quoted = format!("for=203.0.113.7;a=\"{}\"", "\\\"".repeat(100_000));
    check("J06", &[&quoted], "unknown too_large");
    let quoted = format!("for=203.0.113.7;a=\"{}\"", "\\\"".repeat(4_000));
    check("J06", &[&quoted], "203.0.113.7");
    let hops = "for=10.0.0.2,".repeat(40);
    check("many hops", &[&hops], "unknown too_many_hops");
}

#[test]
fn hops_are_counted_in_elements() {
    let two = TrustedProxies::hops(2).unwrap();
    check_with(
        "hops",
        two.clone(),
        &[r#"for=6.6.6.6, for="[2001:db8::7]:1""#, "for=_x"],
        "2001:db8::7",
    );
    check_with(
        "hops",
        two.clone(),
        &["for=6.6.6.6"],
        "unknown too_few_hops",
    );
    check_with(
        "hops",
        two,
        &["for=6.6.6.6", r#"for=6.6.6.6, for="x"#],
        "unknown malformed",
    );
}

/// A usual line, which has a way of its own, ends where unusual ones do.
#[test]
fn what_is_looked_at_is_bounded_in_usual_lines_too() {
    let line = ["for=203.0.113.7"];
    let bytes = |number| proxies("10.0.0.0/8").with_max_bytes(number);
    check_with("15", bytes(15), &line, "203.0.113.7");
    check_with("14", bytes(14), &line, "unknown too_large");
    let entries = |number| proxies("10.0.0.0/8").with_max_entries(number);
    check_with("1", entries(1), &line, "203.0.113.7");
    check_with("0", entries(0), &line, "unknown too_many_hops");
}

#[test]
fn the_peer_is_asked_first() {
    let source = ClientIpSource::Forwarded(proxies("10.0.0.0/8"));
    for line in [
        "for=192.0.2.60",
        "for=\"[2001:db8::60]\"",
        "for=192.0.2.60, for=10.0.0.2",
    ] {
        for from in ["203.0.113.9", "2001:db8::9"] {
            let client = resolve(
                &source,
                peer(from),
                headers(&[("forwarded", line.as_bytes())]),
            );
            assert_eq!(outcome(client), from, "{line}");
        }
    }
}

#[test]
fn a_usual_line_of_a_proxy_alone_names_no_client() {
    check("proxy", &["for=10.0.0.9"], "all trusted 10.0.0.9 (header)");
}
