//! Section A: `X-Forwarded-For` behind proxies that are trusted by address.

use palisade::{
    client_ip::{ClientIp, ClientIpSource, TrustedProxies},
    ip_set::IpSet,
};

use super::{headers, outcome, peer, proxies, resolve};

#[track_caller]
fn check_with(id: &str, trusted: TrustedProxies, from: &str, lines: &[&[u8]], expected: &str) {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| ("x-forwarded-for", *line))
        .collect();
    let source = ClientIpSource::XForwardedFor(trusted);
    let client = resolve(&source, peer(from), headers(&lines));
    assert_eq!(outcome(client), expected, "{id}");
}

#[track_caller]
fn check(id: &str, trusted: &str, from: &str, lines: &[&str], expected: &str) {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    check_with(id, proxies(trusted), from, &lines, expected);
}

#[test]
fn the_peer_is_asked_first() {
    check("A01", "", "127.0.0.1", &["10.0.0.1, 10.0.0.2"], "127.0.0.1");
    check(
        "A02",
        "10.0.0.0/8",
        "9.9.9.9:1234",
        &["1.2.3.4, 10.0.0.1"],
        "9.9.9.9",
    );
    check("A03", "10.0.0.0/8", "9.9.9.9", &[], "9.9.9.9");
    check(
        "A04",
        "10.0.0.0/8",
        "10.0.0.5:555",
        &["3.3.3.3, 10.0.0.1"],
        "3.3.3.3",
    );
    check(
        "A05",
        "127.0.0.0/8",
        "127.0.0.1:12345",
        &["31.40.0.10"],
        "31.40.0.10",
    );
    check(
        "A06",
        "127.0.0.0/8",
        "10.0.0.1:12345",
        &["31.40.0.10"],
        "10.0.0.1",
    );
    check(
        "A07",
        "127.0.0.0/8, 10.0.0.0/8",
        "10.0.0.1",
        &["31.40.0.10"],
        "31.40.0.10",
    );
    check(
        "A13",
        "10.0.0.1, 10.0.0.2",
        "10.0.0.1",
        &["192.168.0.1, 10.0.0.2"],
        "192.168.0.1",
    );
    check(
        "A15",
        "127.0.0.1, 192.168.0.100",
        "10.0.0.1",
        &["192.168.0.1, 10.0.0.2"],
        "10.0.0.1",
    );
    check("A57", "::1, 127.0.0.0/8", "::", &["10.0.0.1:1234"], "::");
    check(
        "A57",
        "::1, 127.0.0.0/8",
        "127.0.1.1",
        &["10.0.0.1:1234"],
        "10.0.0.1",
    );
    check(
        "A57",
        "::1, 127.0.0.0/8",
        "11.111.111.11",
        &["10.0.0.1:1234"],
        "11.111.111.11",
    );
    check(
        "A64",
        "10.0.0.0/8",
        "[fe80::1%7]:80",
        &["1.2.3.4"],
        "fe80::1",
    );
}

#[test]
fn the_walk_stops_at_the_first_address_that_is_not_trusted() {
    let nginx = "127.0.0.1/32, 10.0.1.0/24";
    check(
        "A09",
        nginx,
        "127.0.0.1",
        &["10.0.1.1, 192.0.2.1, 127.0.0.1"],
        "192.0.2.1",
    );
    check(
        "A10",
        nginx,
        "127.0.0.1",
        &["10.0.1.1", "192.0.2.1", "127.0.0.1"],
        "192.0.2.1",
    );
    check(
        "A16",
        "203.0.113.0/24",
        "203.0.113.1",
        &["100.100.100.100, 203.0.113.0"],
        "100.100.100.100",
    );
    check(
        "A17",
        "203.0.113.0/24",
        "203.0.113.1",
        &["100.100.100.100, 203.0.113.255"],
        "100.100.100.100",
    );
    check(
        "A18",
        "203.0.113.0/24",
        "203.0.113.1",
        &["203.0.114.1, 203.0.113.1"],
        "203.0.114.1",
    );
    check(
        "A20",
        "2606:4700::/32, 203.0.113.0/24",
        "203.0.113.9",
        &["8.8.8.8, 2606:4700::1, 203.0.113.5"],
        "8.8.8.8",
    );
    check(
        "A21",
        "198.51.100.0/24",
        "198.51.100.9",
        &["127.0.0.1", "8.8.8.8, 198.51.100.1"],
        "8.8.8.8",
    );
    check(
        "A22",
        "10.0.0.0/8",
        "10.0.0.1",
        &["6.6.6.6", "203.0.113.7"],
        "203.0.113.7",
    );
    check(
        "A23",
        "10.0.0.0/8",
        "10.0.0.1",
        &["6.6.6.6, 203.0.113.7"],
        "203.0.113.7",
    );
    check(
        "A34",
        "10.0.0.0/8",
        "10.0.0.1",
        &["not-an-ip, 203.0.113.7"],
        "203.0.113.7",
    );
    check(
        "A35",
        "10.0.0.1",
        "10.0.0.1",
        &["oh, hi,,127.0.0.1,,,,"],
        "127.0.0.1",
    );
    check(
        "A36",
        "10.0.0.0/8",
        "10.0.0.1",
        &["203.0.113.7, , 10.0.0.2,,"],
        "203.0.113.7",
    );
    check(
        "A63",
        "172.16.0.0/12",
        "172.18.0.3",
        &["1.2.3.4, 172.17.0.1"],
        "1.2.3.4",
    );
    let lines = vec!["6.6.6.6"; 97];
    let lines = [&*lines, &["203.0.113.7"]].concat();
    check("J02", "10.0.0.0/8", "10.0.0.1", &lines, "203.0.113.7");
    let commas = format!("{}, 203.0.113.7", ",".repeat(8_000));
    check("J03", "10.0.0.0/8", "10.0.0.1", &[&commas], "203.0.113.7");
}

#[test]
fn addresses_are_canonical() {
    check(
        "A24",
        "10.0.0.0/8",
        "[::ffff:10.0.0.1]:1",
        &["203.0.113.7"],
        "203.0.113.7",
    );
    check(
        "A25",
        "10.0.0.1, 10.0.0.2",
        "::ffff:a00:1",
        &["192.168.0.1, 10.0.0.2"],
        "192.168.0.1",
    );
    check(
        "A27",
        "::1, 127.0.0.0/8",
        "::1",
        &["22.33.44.55,::ffff:127.0.0.1"],
        "22.33.44.55",
    );
    check(
        "A37",
        "127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
        "127.0.0.1",
        &["3.4.5.6:1234,127.0.0.1"],
        "3.4.5.6",
    );
    check(
        "A38",
        "127.0.0.0/8",
        "127.0.0.1",
        &["[fe80:0000:0000:0000:0202:b3ff:fe1e:8329]:3000"],
        "fe80::202:b3ff:fe1e:8329",
    );
    check(
        "A39",
        "10.0.0.0/8",
        "10.0.0.1",
        &["2001:db8::7"],
        "2001:db8::7",
    );
    check(
        "A40",
        "10.0.0.0/8",
        "10.0.0.1",
        &["[2001:db8::7]"],
        "2001:db8::7",
    );
    check(
        "A41",
        "10.0.0.0/8",
        "10.0.0.1",
        &["203.0.113.7:51000, 10.0.0.2:443"],
        "203.0.113.7",
    );
    check(
        "A42",
        "10.0.0.0/8",
        "10.0.0.1",
        &["6.6.6.6, 203.0.113.7:51000"],
        "203.0.113.7",
    );
}

#[test]
fn a_malformed_entry_is_nobody() {
    for entry in [
        ("A43", "203.0.113.7:99999"),
        ("A43", "203.0.113.7:"),
        ("A43", "203.0.113.7:nope"),
        ("A44", "010.0.0.1"),
        ("A45", "0x0a.0.0.1"),
        ("A45", "1e1.0.0.1"),
        ("A45", "10.1"),
        ("A45", "167772161"),
        ("A47", r#""203.0.113.7""#),
    ] {
        check(
            entry.0,
            "10.0.0.0/8",
            "10.0.0.1",
            &[entry.1],
            "unknown malformed",
        );
    }
    check(
        "A46",
        "10.0.0.0/8",
        "10.0.0.1",
        &["0.0.0.0"],
        "unknown unspecified",
    );
    check(
        "A46",
        "10.0.0.0/8",
        "10.0.0.1",
        &["::"],
        "unknown unspecified",
    );
    let lines: [&[u8]; 2] = [b"6.6.6.6", b"203.0.113.7\xff"];
    check_with(
        "A48",
        proxies("10.0.0.0/8"),
        "10.0.0.1",
        &lines,
        "unknown malformed",
    );
}

#[test]
fn the_last_verified_hop_of_an_unknown_client_is_told() {
    let trusted = proxies("10.0.0.1, 11.111.111.11, 12.112.112.12");
    let line = b"13.113.113.13:34567, 12.112.112.12;23456, 11.111.111.11:12345";
    let source = ClientIpSource::XForwardedFor(trusted);
    let client = resolve(
        &source,
        peer("10.0.0.1"),
        headers(&[("x-forwarded-for", line)]),
    );
    let ClientIp::Unknown(unknown) = client else {
        panic!("A56: {client:?}");
    };
    assert_eq!(unknown.reason().as_str(), "malformed", "A56");
    assert_eq!(
        unknown.last_verified(),
        Some("11.111.111.11".parse().unwrap()),
        "A56"
    );
}

#[test]
fn trusted_proxies_alone_are_told_apart() {
    check(
        "A29",
        "10.0.0.0/8",
        "10.0.0.1",
        &["::ffff:10.0.0.5, 10.0.0.1"],
        "all trusted 10.0.0.5 (header)",
    );
    check(
        "A32",
        "127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
        "127.0.0.1",
        &["172.31.4.4, 10.0.0.1"],
        "all trusted 172.31.4.4 (header)",
    );
    check(
        "no header",
        "10.0.0.0/8",
        "10.0.0.1",
        &[],
        "all trusted 10.0.0.1 (peer)",
    );
    check(
        "empty header",
        "10.0.0.0/8",
        "10.0.0.1",
        &[", ,"],
        "all trusted 10.0.0.1 (peer)",
    );
}

#[test]
fn a_connection_without_an_address_is_trusted_only_by_choice() {
    let lines: [&[u8]; 1] = [b"3.3.3.3, 10.0.0.1"];
    let trusting = proxies("10.0.0.0/8").with_unix_sockets();
    check_with("A49", trusting.clone(), "unix", &lines, "3.3.3.3");
    check_with(
        "A49",
        proxies("10.0.0.0/8"),
        "unix",
        &lines,
        "unknown unix_peer",
    );
    check_with("A49", trusting, "unix", &[], "unknown missing_address");
    check(
        "A51",
        "10.0.0.0/8",
        "",
        &["6.6.6.6"],
        "unknown missing_peer",
    );
}

#[test]
fn the_walk_is_capped() {
    let line: [&[u8]; 1] = [b"203.0.113.7, 10.0.0.5, 10.0.0.4, 10.0.0.3, 10.0.0.2"];
    let three = proxies("10.0.0.0/8").with_max_entries(3);
    check_with("A52", three, "10.0.0.1", &line, "unknown too_many_hops");
    let five = proxies("10.0.0.0/8").with_max_entries(5);
    check_with("A52", five, "10.0.0.1", &line, "203.0.113.7");

    let line: [&[u8]; 1] = [b"12.112.112.12:23456, 11.111.111.11:12345"];
    let two = proxies("10.0.0.1, 11.111.111.11").with_max_entries(2);
    check_with("A53", two, "10.0.0.1:99", &line, "12.112.112.12");
    let one = proxies("10.0.0.1").with_max_entries(1);
    check_with("A54", one, "10.0.0.1:99", &line, "11.111.111.11");

    let long = "10.0.0.2,".repeat(50_000);
    check(
        "400 kB",
        "10.0.0.0/8",
        "10.0.0.1",
        &[&long],
        "unknown too_many_hops",
    );
    let wide = "x".repeat(400_000);
    check(
        "400 kB",
        "10.0.0.0/8",
        "10.0.0.1",
        &[&wide],
        "unknown too_large",
    );
    let empty = format!("203.0.113.7{}", ",".repeat(8_193));
    check(
        "8 KiB",
        "10.0.0.0/8",
        "10.0.0.1",
        &[&empty],
        "unknown too_large",
    );
}

#[test]
fn trusting_everyone_takes_a_dangerous_word() {
    for list in [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1, 128.0.0.0/1",
        "10.0.0.0/8, 0.0.0.0/0",
        "",
    ] {
        assert!(list.parse::<TrustedProxies>().is_err(), "A61 {list:?}");
    }
    assert!(TrustedProxies::new(IpSet::any()).is_err(), "A61");
    assert!(TrustedProxies::new(IpSet::empty()).is_err(), "A61");
    let everyone = TrustedProxies::dangerous_trust_everyone();
    assert!(everyone.trusts(peer("203.0.113.7").unwrap()), "A61");
    assert!(!everyone.trusts(peer("unix").unwrap()), "A61");
}

/// Usual lines, which have a way of their own, end where unusual ones do.
#[test]
fn what_is_looked_at_is_bounded_in_usual_lines_too() {
    let line: &[&[u8]] = &[b"203.0.113.7, 10.0.0.2"];
    let bytes = |number| proxies("10.0.0.0/8").with_max_bytes(number);
    check_with("21", bytes(21), "10.0.0.1", line, "203.0.113.7");
    check_with("20", bytes(20), "10.0.0.1", line, "unknown too_large");
    let entries = |number| proxies("10.0.0.0/8").with_max_entries(number);
    check_with("2", entries(2), "10.0.0.1", line, "203.0.113.7");
    check_with("1", entries(1), "10.0.0.1", line, "unknown too_many_hops");
    check_with("0", entries(0), "10.0.0.1", line, "unknown too_many_hops");
}
