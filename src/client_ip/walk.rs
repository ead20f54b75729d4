//! The walk from the peer towards the client.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
};

use http::{HeaderMap, HeaderName, header::FORWARDED};

use crate::{
    client_ip::{
        context::ClientIp,
        forwarded::{Element, ElementsFromRight, PlainElement},
        ipv4::split_ipv4,
        node::{parse_addr, parse_viewer_address},
        peer::PeerAddr,
        proxies::{Rules, TrustedProxies, Vouching},
        unknown::UnknownReason,
        x_forwarded_for::FromRight,
    },
    ip_set::set::IpSet,
};

/// Resolves the client by the lists of `X-Forwarded-For` or another header of the same form.
pub(crate) fn by_list(
    peer: Option<PeerAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
    name: &HeaderName,
) -> ClientIp {
    if let Some(addr) = plain_ipv4(peer, proxies, headers, name) {
        return ClientIp::Known(addr.into());
    }
    behind(peer, proxies, |peer, rules, vouching| {
        let entries = FromRight::new(headers, name, rules.max_bytes);
        walk(peer, rules, vouching, entries, parse_addr)
    })
}

/// Finds the client where it, the peer and all proxies are addresses of IPv4 in the last line and nothing is unusual, which is most
/// requests by far. Then an entry is parsed and its end is found in one pass. Whatever is not that is left to the walk, so that
/// an address found here is the one that the walk would find.
#[inline]
fn plain_ipv4(
    peer: Option<PeerAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
    name: &HeaderName,
) -> Option<Ipv4Addr> {
    let (proxies, rules) = proxies.fixed()?;
    let Some(IpAddr::V4(peer)) = peer?.ip() else {
        return None;
    };
    if !proxies.contains_ipv4(peer) {
        return None;
    }
    let mut line = headers.get_all(name).iter().next_back()?.as_bytes();
    if rules.max_bytes < line.len() {
        return None;
    }
    for _ in 0..rules.max_entries {
        let (addr, before) = split_ipv4(line)?;
        line = match before {
            [] => before,
            [rest @ .., b','] | [rest @ .., b',', b' '] => rest,
            _ => return None,
        };
        if addr.is_unspecified() {
            return None;
        }
        if !proxies.contains_ipv4(addr) {
            return Some(addr);
        }
    }
    None
}

/// Resolves the client by `Forwarded`.
pub(crate) fn by_forwarded(
    peer: Option<PeerAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
) -> ClientIp {
    if let Some(addr) = plain_element(peer, proxies, headers) {
        return ClientIp::Known(addr);
    }
    behind(peer, proxies, |peer, rules, vouching| {
        let elements = ElementsFromRight::new(headers, rules.max_bytes);
        walk(peer, rules, vouching, elements, Element::parse_addr)
    })
}

/// Finds the client where the last line is one element that a trusted peer wrote about it, which is most requests by far.
#[inline]
fn plain_element(
    peer: Option<PeerAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    let (proxies, rules) = proxies.fixed()?;
    let trusts = |addr| match addr {
        IpAddr::V4(addr) => proxies.contains_ipv4(addr),
        addr @ IpAddr::V6(_) => proxies.contains(addr),
    };
    if !trusts(peer?.ip()?) {
        return None;
    }
    let line = headers.get_all(FORWARDED).iter().next_back()?.as_bytes();
    if rules.max_bytes < line.len() || rules.max_entries == 0 {
        return None;
    }
    let addr = PlainElement::parse(line)?.addr?;
    (!trusts(addr)).then_some(addr)
}

/// Resolves the client by a header that holds one address.
pub(crate) fn by_header(
    peer: Option<PeerAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
    name: &HeaderName,
) -> ClientIp {
    behind(peer, proxies, |peer, rules, vouching| {
        let mut values = headers.get_all(name).iter();
        let addr = match (values.next(), values.next()) {
            (None, _) => Err(UnknownReason::MissingAddress),
            // Whether a proxy replaces the client's line or adds its own behind it cannot be seen.
            (Some(_), Some(_)) => Err(UnknownReason::Duplicate),
            (Some(value), None) if rules.max_bytes < value.len() => Err(UnknownReason::TooLarge),
            (Some(value), None) if *name == CLOUDFRONT_VIEWER_ADDRESS => {
                parse_viewer_address(value.as_bytes().trim_ascii())
            }
            (Some(value), None) => parse_addr(value.as_bytes().trim_ascii()),
        };
        match (addr, vouching) {
            (Ok(addr), Vouching::Addresses(proxies)) if proxies.contains(addr) => {
                let from_header = true;
                ClientIp::AllTrusted { addr, from_header }
            }
            (Ok(addr), _) => ClientIp::Known(addr),
            (Err(reason), _) => ClientIp::unknown(reason, peer),
        }
    })
}

/// The one header whose IPv6 addresses stand without brackets before a port.
const CLOUDFRONT_VIEWER_ADDRESS: &str = "cloudfront-viewer-address";

/// Resolves the client as the peer itself.
pub(crate) fn by_peer(peer: Option<PeerAddr>) -> ClientIp {
    match peer.map(PeerAddr::ip) {
        Some(Some(addr)) => ClientIp::Known(addr),
        Some(None) => ClientIp::unknown(UnknownReason::UnixPeer, None),
        None => ClientIp::unknown(UnknownReason::MissingPeer, None),
    }
}

/// Asks the peer first: only behind a trusted one is a header looked at.
fn behind(
    peer: Option<PeerAddr>,
    proxies: &TrustedProxies,
    read: impl FnOnce(Option<IpAddr>, &Rules, Vouching<'_>) -> ClientIp,
) -> ClientIp {
    let found = peer.and_then(|peer| {
        // One view for the peer and for the whole walk, even if the list of proxies is replaced meanwhile.
        proxies.view(|rules, vouching| {
            let trusted = vouching.trusts(peer, rules);
            trusted.then(|| read(peer.ip(), rules, vouching))
        })
    });
    found.unwrap_or_else(|| by_peer(peer))
}

fn walk<'a>(
    peer: Option<IpAddr>,
    rules: &Rules,
    vouching: Vouching<'_>,
    entries: impl Iterator<Item = Result<&'a [u8], UnknownReason>>,
    parse: impl Fn(&'a [u8]) -> Result<IpAddr, UnknownReason>,
) -> ClientIp {
    match vouching {
        Vouching::Addresses(proxies) => until_untrusted(peer, rules, proxies, entries, parse),
        Vouching::Hops { count, .. } => nth(count, peer, entries, parse),
    }
}

/// Goes from entry to entry as long as trusted proxies vouch for the next one.
fn until_untrusted<'a>(
    peer: Option<IpAddr>,
    rules: &Rules,
    proxies: &IpSet,
    entries: impl Iterator<Item = Result<&'a [u8], UnknownReason>>,
    parse: impl Fn(&'a [u8]) -> Result<IpAddr, UnknownReason>,
) -> ClientIp {
    let mut last = peer;
    let mut from_header = false;
    for (number, entry) in entries.enumerate() {
        if rules.max_entries <= number {
            return ClientIp::unknown(UnknownReason::TooManyHops, last);
        }
        match entry.and_then(&parse) {
            Ok(addr) if proxies.contains(addr) => last = Some(addr),
            Ok(addr) => return ClientIp::Known(addr),
            Err(reason) => return ClientIp::unknown(reason, last),
        }
        from_header = true;
    }
    match last {
        Some(addr) => ClientIp::AllTrusted { addr, from_header },
        None => ClientIp::unknown(UnknownReason::MissingAddress, None),
    }
}

/// Takes the entry that the farthest of a fixed number of proxies wrote.
fn nth<'a>(
    count: NonZeroUsize,
    peer: Option<IpAddr>,
    entries: impl Iterator<Item = Result<&'a [u8], UnknownReason>>,
    parse: impl Fn(&'a [u8]) -> Result<IpAddr, UnknownReason>,
) -> ClientIp {
    let mut found = Err(UnknownReason::TooFewHops);
    let mut missing = count.get();
    for entry in entries.take(count.get()) {
        missing -= 1;
        found = entry;
        // What lies behind the end of what can be read is not known to be entries.
        if found.is_err() {
            break;
        }
    }
    if found.is_ok() && missing != 0 {
        found = Err(UnknownReason::TooFewHops);
    }
    match found.and_then(parse) {
        Ok(addr) => ClientIp::Known(addr),
        Err(reason) => ClientIp::unknown(reason, peer),
    }
}
