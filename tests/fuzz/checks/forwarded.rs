//! `Forwarded` in lines of any bytes: nothing panics, and an earlier line never matters.

use http::{HeaderValue, Request, header::FORWARDED, request::Parts};
use palisade::client_ip::{ClientIp, ClientIpSource, PeerAddr, SchemeSource, TrustedProxies};

fn parts<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    for value in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        parts.headers.append(FORWARDED, value);
    }
    parts
}

pub(crate) fn check(data: &[u8]) {
    let proxies: TrustedProxies = "10.0.0.0/28, 2001:db8::/32".parse().expect("a list");
    let peer = Some(PeerAddr::Tcp(([10, 0, 0, 1], 80).into()));
    let lines = || data.split(|byte| *byte == b'\n').take(64);

    let scheme = SchemeSource::Forwarded(proxies.clone()).resolve_from(peer, &parts(lines()));
    assert!(["http", "https"].contains(&scheme.scheme().as_str()));

    let source = ClientIpSource::Forwarded(proxies);
    if let Some(addr) = source.resolve_from(peer, &parts(lines())).client().addr() {
        assert_eq!(addr, addr.to_canonical());
        assert!(!addr.is_unspecified());
    }
    let with_proxy = lines().chain([&b"for=203.0.113.7;host=\"a,for=6.6.6.6\", for=10.0.0.2"[..]]);
    let client = source.resolve_from(peer, &parts(with_proxy)).client();
    assert_eq!(client, ClientIp::Known([203, 0, 113, 7].into()));
}
