//! One address in a forwarding header, in every form that proxies write it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

use crate::client_ip::{ipv4::parse_ipv4, unknown::UnknownReason};

/// Parses an entry of `X-Forwarded-For` or of a header with one address, without the white space around it.
///
/// The forms are `v4`, `v4:port`, `v6`, `[v6]` and `[v6]:port`, with or without a zone. The result is canonical: without the zone, and
/// IPv4 where it was IPv4-mapped.
pub(crate) fn parse_addr(entry: &[u8]) -> Result<IpAddr, UnknownReason> {
    parse(entry, is_port)
}

/// Parses a node of `Forwarded`, without quotes.
pub(crate) fn parse_node(node: &[u8]) -> Result<IpAddr, UnknownReason> {
    // RFC 7239, section 6: nodename [ ":" node-port ], where nodename may be "unknown" or an obfuscated identifier.
    let name = match node.iter().position(|byte| *byte == b':') {
        Some(colon) => node.get(..colon).unwrap_or_default(),
        None => node,
    };
    if is_obfuscated(name) || name.eq_ignore_ascii_case(b"unknown") {
        let port = node.get(name.len()..).unwrap_or_default();
        return match port {
            [] => Err(UnknownReason::Obfuscated),
            [b':', port @ ..] if is_node_port(port) => Err(UnknownReason::Obfuscated),
            _ => Err(UnknownReason::Malformed),
        };
    }
    parse(node, is_node_port)
}

/// Parses what stands in the brackets of a node, without a zone. IPv6 in full or shortened, and IPv4 that was mapped into it.
pub(crate) fn parse_quoted_ipv6(addr: &[u8]) -> Option<IpAddr> {
    let addr: Ipv6Addr = str::from_utf8(addr).ok()?.parse().ok()?;
    canonical(addr.into()).ok()
}

/// Parses the value of `CloudFront-Viewer-Address`: an address and always a port, without brackets round IPv6.
pub(crate) fn parse_viewer_address(value: &[u8]) -> Result<IpAddr, UnknownReason> {
    let text = str::from_utf8(value).map_err(|_| UnknownReason::Malformed)?;
    let (addr, port) = text.rsplit_once(':').ok_or(UnknownReason::Malformed)?;
    if !is_port(port.as_bytes()) {
        return Err(UnknownReason::Malformed);
    }
    canonical(addr.parse().map_err(|_| UnknownReason::Malformed)?)
}

fn parse(entry: &[u8], is_port: fn(&[u8]) -> bool) -> Result<IpAddr, UnknownReason> {
    // First what nearly all proxies write, and without a detour through text.
    if let Some(addr) = parse_ipv4(entry) {
        return canonical(addr.into());
    }
    let text = str::from_utf8(entry).map_err(|_| UnknownReason::Malformed)?;
    let addr = match text.parse() {
        Ok(addr) => Some(addr),
        Err(_) => decorated(text, is_port),
    };
    canonical(addr.ok_or(UnknownReason::Malformed)?)
}

/// Parses an address with a port, brackets or a zone.
fn decorated(text: &str, is_port: fn(&[u8]) -> bool) -> Option<IpAddr> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (addr, rest) = bracketed.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) if is_port(port.as_bytes()) => zoned(addr),
            None if rest.is_empty() => zoned(addr),
            Some(_) | None => None,
        };
    }
    match text.split_once(':') {
        // One colon only: were there more, this would be IPv6, and the last of them part of the address.
        Some((addr, port)) if is_port(port.as_bytes()) => {
            addr.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
        Some(_) => zoned(text),
        None => None,
    }
}

fn zoned(text: &str) -> Option<IpAddr> {
    let addr = match text.split_once('%') {
        Some((addr, zone)) if is_zone(zone) => addr,
        Some(_) => return None,
        None => text,
    };
    addr.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Returns the canonical form of an address that is somebody's.
fn canonical(addr: IpAddr) -> Result<IpAddr, UnknownReason> {
    let addr = addr.to_canonical();
    if addr.is_unspecified() {
        return Err(UnknownReason::Unspecified);
    }
    Ok(addr)
}

fn is_zone(zone: &str) -> bool {
    // RFC 6874, section 2: unreserved characters. The length is bounded by what is read at all.
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !zone.is_empty() && zone.bytes().all(is_unreserved)
}

fn is_port(port: &[u8]) -> bool {
    matches!(port.len(), 1..=5)
        && port
            .iter()
            .try_fold(0_u32, |number, byte| {
                let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
                Some(number * 10 + digit)
            })
            .is_some_and(|number| u16::try_from(number).is_ok())
}

fn is_node_port(port: &[u8]) -> bool {
    // RFC 7239, section 6: node-port = port / obfport.
    is_port(port) || is_obfuscated(port)
}

fn is_obfuscated(name: &[u8]) -> bool {
    // RFC 7239, section 6: "_" 1*( ALPHA / DIGIT / "." / "_" / "-").
    match name {
        [b'_', rest @ ..] => {
            !rest.is_empty()
                && rest
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MALFORMED: Result<&str, UnknownReason> = Err(UnknownReason::Malformed);
    const OBFUSCATED: Result<&str, UnknownReason> = Err(UnknownReason::Obfuscated);
    const UNSPECIFIED: Result<&str, UnknownReason> = Err(UnknownReason::Unspecified);

    #[track_caller]
    fn check(entry: &str, expected: Result<&str, UnknownReason>) {
        let expected = expected.map(|addr| addr.parse().unwrap());
        assert_eq!(parse_addr(entry.as_bytes()), expected, "{entry:?}");
    }

    #[track_caller]
    fn check_node(node: &str, expected: Result<&str, UnknownReason>) {
        let expected = expected.map(|addr| addr.parse().unwrap());
        assert_eq!(parse_node(node.as_bytes()), expected, "{node:?}");
    }

    #[track_caller]
    fn check_viewer(value: &str, expected: Result<&str, UnknownReason>) {
        let expected = expected.map(|addr| addr.parse().unwrap());
        assert_eq!(
            parse_viewer_address(value.as_bytes()),
            expected,
            "{value:?}"
        );
    }

    #[test]
    fn every_form_of_an_address_is_read() {
        check("203.0.113.7", Ok("203.0.113.7"));
        check("203.0.113.7:51000", Ok("203.0.113.7"));
        check("203.0.113.7:0", Ok("203.0.113.7"));
        check("2001:db8::7", Ok("2001:db8::7"));
        check("[2001:db8::7]", Ok("2001:db8::7"));
        check("[2001:db8::7]:65535", Ok("2001:db8::7"));
        check("2001:db8::1%eth0", Ok("2001:db8::1"));
        check("[fe80::1%eth0.1]:80", Ok("fe80::1"));
        check("::ffff:1.2.3.4", Ok("1.2.3.4"));
        check("[::ffff:1.2.3.4]:9", Ok("1.2.3.4"));
        check("::ffff:0:1%lo", Ok("0.0.0.1"));
        check("64:ff9b::188.0.2.128", Ok("64:ff9b::bc00:280"));
    }

    #[test]
    fn everything_else_is_malformed() {
        for entry in [
            "",
            "unknown",
            "_hidden",
            "010.0.0.1",
            "0x0a.0.0.1",
            "1e1.0.0.1",
            "10.1",
            "167772161",
            "\"203.0.113.7\"",
            "203.0.113.7:99999",
            "203.0.113.7:",
            "203.0.113.7:nope",
            "203.0.113.7:+1",
            "203.0.113.7:123456",
            "203.0.113.7:1:2",
            "203.0.113.7;1",
            "[203.0.113.7]",
            "[203.0.113.7]:80",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]80",
            "[2001:db8::7]:",
            "[2001:db8::7]:x",
            "[[2001:db8::7]]",
            "10.0.0.1%eth0",
            "::1%",
            "::1% :",
            "::1%a b",
            "::1%a%b",
            ":80",
            "1:2:3:4:5:6:7:8:9",
        ] {
            check(entry, MALFORMED);
        }
        assert_eq!(
            parse_addr(b"203.0.113.7\xff"),
            Err(UnknownReason::Malformed)
        );
    }

    #[test]
    fn the_unspecified_address_is_nobody() {
        check("0.0.0.0", UNSPECIFIED);
        check("0.0.0.0:80", UNSPECIFIED);
        check("::", UNSPECIFIED);
        check("::ffff:0.0.0.0", UNSPECIFIED);
    }

    #[test]
    fn nodes_may_be_hidden() {
        check_node("192.0.2.60", Ok("192.0.2.60"));
        check_node("192.0.2.1:_port", Ok("192.0.2.1"));
        check_node("[::1]:_id", Ok("::1"));
        check_node("[2001:db8:cafe::17]:4711", Ok("2001:db8:cafe::17"));
        check_node("2001:db7::abcd", Ok("2001:db7::abcd"));
        check_node("unknown", OBFUSCATED);
        check_node("Unknown:132", OBFUSCATED);
        check_node("unknown:_a", OBFUSCATED);
        check_node("_mdn", OBFUSCATED);
        check_node("_gazonk:80", OBFUSCATED);
        check_node("_", MALFORMED);
        check_node("_a b", MALFORMED);
        check_node("_a:", MALFORMED);
        check_node("unknown:", MALFORMED);
        check_node("[::1]:", MALFORMED);
        check_node("192.0.2.1:_", MALFORMED);
        check_node("", MALFORMED);
    }

    /// Cases C13, C14.
    #[test]
    fn viewer_addresses_always_have_a_port() {
        check_viewer("1.2.3.4:8000", Ok("1.2.3.4"));
        check_viewer("1:23:4567:89ab:c:d:e:f:8000", Ok("1:23:4567:89ab:c:d:e:f"));
        check_viewer("2001:db8::7:443", Ok("2001:db8::7"));
        check_viewer("1.2.3.4", MALFORMED);
        check_viewer("1.2.3.4:", MALFORMED);
        check_viewer("::ffff:1.2.3.4:80", Ok("1.2.3.4"));
    }
}
