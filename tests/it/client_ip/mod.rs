//! Whom a request comes from. The names of the cases are those of the table they were gathered in.

mod authority;
mod forwarded;
mod hops;
mod layer;
mod properties;
mod scheme;
mod single_header;
mod x_forwarded_for;

use http::{HeaderMap, HeaderName, HeaderValue, Request, request::Parts};
use palisade::client_ip::{ClientIp, ClientIpSource, PeerAddr, TrustedProxies};

/// Parses a peer: `unix`, nothing, an address with a port or without.
fn peer(text: &str) -> Option<PeerAddr> {
    match text {
        "" => None,
        "unix" => Some(PeerAddr::Unix),
        text => Some(match text.parse() {
            Ok(addr) => PeerAddr::Tcp(addr),
            Err(_) => PeerAddr::Tcp((text.parse::<std::net::IpAddr>().unwrap(), 50_000).into()),
        }),
    }
}

/// Parses lists of proxies; an empty one trusts nobody.
fn proxies(list: &str) -> TrustedProxies {
    match list {
        "" => TrustedProxies::none(),
        list => list.parse().unwrap(),
    }
}

fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn parts(headers: HeaderMap) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = headers;
    parts
}

fn resolve(source: &ClientIpSource, peer: Option<PeerAddr>, headers: HeaderMap) -> ClientIp {
    source.resolve_from(peer, &parts(headers)).client()
}

/// Writes a client in the words of the tables.
fn outcome(client: ClientIp) -> String {
    match client {
        ClientIp::AllTrusted { addr, from_header } => {
            let origin = if from_header { "header" } else { "peer" };
            format!("all trusted {addr} ({origin})")
        }
        ClientIp::Known(addr) => addr.to_string(),
        ClientIp::Unknown(unknown) => format!("unknown {}", unknown.reason().as_str()),
        other => format!("{other:?}"),
    }
}
