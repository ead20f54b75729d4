//! `X-Forwarded-For` in lines of any bytes: nothing panics, the peer is asked first, and what stands before never matters.

use http::{HeaderName, HeaderValue, Request, request::Parts};
use palisade::client_ip::{ClientIp, ClientIpSource, PeerAddr, TrustedProxies};

const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");

fn parts<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    for value in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        parts.headers.append(NAME, value);
    }
    parts
}

fn peer(last: u8) -> PeerAddr {
    PeerAddr::Tcp(([10, 0, 0, last], 80).into())
}

pub(crate) fn check(data: &[u8]) {
    let proxies: TrustedProxies = "10.0.0.0/28, 2001:db8::/32".parse().expect("a list");
    let lines = || data.split(|byte| *byte == b'\n').take(64);
    for source in [
        ClientIpSource::XForwardedFor(proxies.clone()),
        ClientIpSource::XForwardedFor(TrustedProxies::hops(2).expect("not zero")),
        ClientIpSource::Header(NAME, proxies.clone()),
    ] {
        let client = source.resolve_from(Some(peer(1)), &parts(lines())).client();
        if let Some(addr) = client.addr() {
            assert_eq!(addr, addr.to_canonical());
            assert!(!addr.is_unspecified());
            assert_eq!(addr.to_string().parse(), Ok(addr));
        }
    }

    let source = ClientIpSource::XForwardedFor(proxies);
    let untrusted = source.resolve_from(Some(peer(99)), &parts(lines()));
    assert_eq!(untrusted.client(), ClientIp::Known([10, 0, 0, 99].into()));

    let with_proxy = lines().chain([&b"203.0.113.7, 10.0.0.2"[..]]);
    let client = source
        .resolve_from(Some(peer(1)), &parts(with_proxy))
        .client();
    assert_eq!(client, ClientIp::Known([203, 0, 113, 7].into()));
}
