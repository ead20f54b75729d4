//! Section J: what holds whatever is sent.

use http::{HeaderName, HeaderValue};
use palisade::{
    client_ip::{ClientIp, ClientIpSource, TrustedProxies},
    ip_set::IpList,
};
use proptest::{collection::vec, prelude::*};

use super::{headers, peer, proxies, resolve};

const NAMES: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x_forwarded_for",
    "x-client-ip",
    "cloudfront-viewer-address",
];

/// Bytes that a header value may hold, near enough to addresses to get somewhere.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        Just(&b","[..]),
        Just(&b", "[..]),
        Just(&b"10.0.0.2"[..]),
        Just(&b"6.6.6.6"[..]),
        Just(&b"2001:db8::7"[..]),
        Just(&b"[::ffff:10.1.1.1]:80"[..]),
        Just(&b"for="[..]),
        Just(&b";"[..]),
        Just(&b"\""[..]),
        Just(&b"\\"[..]),
        Just(&b"unknown"[..]),
        Just(&b"_x"[..]),
        Just(&b"%eth0"[..]),
        Just(&b"\xff"[..]),
        Just(&b":"[..]),
        Just(&b"proto=https"[..]),
    ];
    let arbitrary = vec(
        prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8],
        0..40,
    );
    prop_oneof![
        vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
        arbitrary
    ]
}

fn sources(trusted: &TrustedProxies) -> Vec<ClientIpSource> {
    vec![
        ClientIpSource::Forwarded(trusted.clone()),
        ClientIpSource::Header(HeaderName::from_static("x-real-ip"), trusted.clone()),
        ClientIpSource::Header(
            HeaderName::from_static("cloudfront-viewer-address"),
            trusted.clone(),
        ),
        ClientIpSource::Peer,
        ClientIpSource::XForwardedFor(trusted.clone()),
    ]
}

fn lines() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    vec((0..NAMES.len(), value()), 0..8)
}

fn named(lines: &[(usize, Vec<u8>)]) -> Vec<(&'static str, &[u8])> {
    lines
        .iter()
        .map(|(name, value)| (NAMES[*name], &**value))
        .collect()
}

proptest! {
    /// J09.
    #[test]
    fn an_untrusted_peer_is_the_client(lines in lines()) {
        for source in sources(&proxies("10.0.0.0/8")) {
            let client = resolve(&source, peer("203.0.113.7:80"), headers(&named(&lines)));
            prop_assert_eq!(client, ClientIp::Known("203.0.113.7".parse().unwrap()));
        }
    }

    /// J10.
    #[test]
    fn prepended_text_changes_nothing(before in value(), behind in vec(0..2_usize, 0..3)) {
        let hops: Vec<_> = behind.iter().map(|hop| ["10.0.0.2", "10.9.9.9:443"][*hop]).collect();
        let proxied = [&["203.0.113.7"], &*hops].concat().join(", ");
        let line = [&*before, b",", proxied.as_bytes()].concat();
        let source = ClientIpSource::XForwardedFor(proxies("10.0.0.0/8"));
        let client = resolve(&source, peer("10.0.0.1:80"), headers(&[("x-forwarded-for", &line)]));
        prop_assert_eq!(client, ClientIp::Known("203.0.113.7".parse().unwrap()));
    }

    /// J11.
    #[test]
    fn earlier_lines_change_nothing(before in vec(value(), 0..4)) {
        for (name, line) in [("x-forwarded-for", "203.0.113.7, 10.0.0.2"), ("forwarded", "for=203.0.113.7, for=10.0.0.2")] {
            let mut lines: Vec<_> = before.iter().map(|line| (name, &**line)).collect();
            lines.push((name, line.as_bytes()));
            let trusted = proxies("10.0.0.0/8");
            let source = match name {
                "forwarded" => ClientIpSource::Forwarded(trusted),
                _ => ClientIpSource::XForwardedFor(trusted),
            };
            let client = resolve(&source, peer("10.0.0.1:80"), headers(&lines));
            prop_assert_eq!(client, ClientIp::Known("203.0.113.7".parse().unwrap()));
        }
    }

    /// Lists that can be replaced take the long way always, fixed ones only where a header is unusual.
    #[test]
    fn the_short_way_ends_where_the_long_one_does(
        lines in vec(
            vec(
                prop_oneof![
                    Just("10.0.0.2"), Just("10.0.0.3"), Just("203.0.113.7"), Just("0.0.0.0"), Just("010.0.0.1"),
                    Just("10.0.0.2:443"), Just("2001:db8::7"), Just(","), Just(", "), Just(", "), Just(" "), Just("\t"), Just("."), Just("1"),
                ],
                0..12,
            ),
            0..3,
        ),
        trusted in prop_oneof![Just("10.0.0.0/8"), Just("0.0.0.0/5"), Just("10.0.0.2, 10.0.0.1, 192.0.2.0/24, 192.0.2.1, 2001:db8::/32")],
        peer_addr in prop_oneof![Just("10.0.0.1"), Just("[::ffff:10.0.0.1]:80"), Just("203.0.113.9"), Just("2001:db8::1")],
        max_bytes in 0..60_usize,
        max_entries in 0..5_usize,
    ) {
        let limited = |trusted: TrustedProxies| {
            let trusted = trusted.with_max_bytes(max_bytes).with_max_entries(max_entries);
            ClientIpSource::XForwardedFor(trusted)
        };
        let list = IpList::new("proxies", trusted.parse().unwrap());
        let long = limited(TrustedProxies::from_list(list).unwrap());
        let short = limited(proxies(trusted));
        let lines: Vec<_> = lines.iter().map(|line| line.concat().trim().to_owned()).collect();
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect();
        prop_assert_eq!(
            resolve(&short, peer(peer_addr), headers(&lines)),
            resolve(&long, peer(peer_addr), headers(&lines))
        );
    }

    /// J12.
    #[test]
    fn other_headers_change_nothing(own in value(), others in lines()) {
        for (source, own_name) in [
            (ClientIpSource::Forwarded(proxies("10.0.0.0/8")), "forwarded"),
            (ClientIpSource::XForwardedFor(proxies("10.0.0.0/8")), "x-forwarded-for"),
            (ClientIpSource::Header(HeaderName::from_static("x-real-ip"), proxies("10.0.0.0/8")), "x-real-ip"),
        ] {
            let alone = resolve(&source, peer("10.0.0.1:80"), headers(&[(own_name, &own)]));
            let mut lines = named(&others);
            lines.retain(|(name, _)| *name != own_name);
            lines.insert(lines.len() / 2, (own_name, &own));
            let among = resolve(&source, peer("10.0.0.1:80"), headers(&lines));
            prop_assert_eq!(alone, among);
        }
    }

    /// J08: nothing panics, nothing that is trusted is taken for the client, and every answer is canonical and reads back as itself.
    #[test]
    fn every_answer_is_canonical(lines in lines()) {
        for trusted in [proxies("10.0.0.0/8"), TrustedProxies::hops(2).unwrap()] {
            for source in sources(&trusted) {
                let client = resolve(&source, peer("10.0.0.1:80"), headers(&named(&lines)));
                let Some(addr) = client.addr() else { continue };
                prop_assert_eq!(addr.to_canonical(), addr);
                let again = addr.to_string();
                HeaderValue::from_str(&again).unwrap();
                let source = ClientIpSource::XForwardedFor(TrustedProxies::hops(1).unwrap());
                let again = resolve(&source, peer("10.0.0.1:80"), headers(&[("x-forwarded-for", again.as_bytes())]));
                prop_assert_eq!(again, ClientIp::Known(addr));
            }
        }
    }
}
