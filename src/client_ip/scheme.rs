//! Whether the client used HTTPS, as far as that can be verified.

use http::{Extensions, HeaderMap, HeaderName, header::FORWARDED, request::Parts, uri::Scheme};

use crate::client_ip::{
    forwarded::{Element, ElementsFromRight, PlainElement},
    peer::PeerAddr,
    proxies::TrustedProxies,
    x_forwarded_for::FromRight,
};

/// An extension that a server puts into the requests of connections that it decrypts itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct TlsConnection;

impl TlsConnection {
    /// Marks the requests of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    fn is_in(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some()
    }
}

impl Default for TlsConnection {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the scheme of a request is read from. There is exactly one source, apart from that of the address.
///
/// The scheme in the request's own URI is never read: over plain text, too, a client may write `GET https://…` or send `:scheme: https`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum SchemeSource {
    /// The `proto` parameter of the nearest element of `Forwarded`.
    Forwarded(TrustedProxies),
    /// The nearest value of a header with the meaning of `X-Forwarded-Proto` under another name.
    Header(HeaderName, TrustedProxies),
    /// The connection alone: HTTPS is what carries [`TlsConnection`].
    #[default]
    Listener,
    /// The nearest value of `X-Forwarded-Proto`.
    XForwardedProto(TrustedProxies),
}

impl SchemeSource {
    /// Returns the header that is read, if one is, and whose word is taken for it.
    pub(crate) fn header(&self) -> Option<(&HeaderName, &TrustedProxies)> {
        match self {
            Self::Forwarded(proxies) => Some((&FORWARDED, proxies)),
            Self::Header(name, proxies) => Some((name, proxies)),
            Self::Listener => None,
            Self::XForwardedProto(proxies) => Some((&X_FORWARDED_PROTO, proxies)),
        }
    }

    /// Resolves the scheme of a request that came over a connection to `peer`.
    ///
    /// What a trusted proxy says overrides the connection in both directions: it tells how the *client* came.
    #[must_use]
    pub fn resolve_from(&self, peer: Option<PeerAddr>, request: &Parts) -> ResolvedScheme {
        self.told(peer, &request.headers, &request.extensions)
    }

    pub(crate) fn told(
        &self,
        peer: Option<PeerAddr>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> ResolvedScheme {
        let told = match self {
            Self::Listener => None,
            Self::Forwarded(proxies) => {
                behind(peer, proxies).map(|proxies| nearest_element(proxies, headers))
            }
            Self::Header(name, proxies) => {
                behind(peer, proxies).map(|proxies| nearest_value(proxies, headers, name))
            }
            Self::XForwardedProto(proxies) => behind(peer, proxies)
                .map(|proxies| nearest_value(proxies, headers, &X_FORWARDED_PROTO)),
        };
        let (scheme, origin) = match told {
            None => (of_connection(extensions), SchemeOrigin::Connection),
            Some(Told::Missing) => (of_connection(extensions), SchemeOrigin::ProxySilent),
            Some(Told::Malformed) => (Scheme::HTTP, SchemeOrigin::ProxyMalformed),
            Some(Told::Scheme(scheme)) => (scheme, SchemeOrigin::Proxy),
        };
        ResolvedScheme { scheme, origin }
    }
}

/// The scheme of a request, and how it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolvedScheme {
    scheme: Scheme,
    origin: SchemeOrigin,
}

impl ResolvedScheme {
    /// Returns the scheme: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Returns how the scheme is known.
    #[must_use]
    pub fn origin(&self) -> SchemeOrigin {
        self.origin
    }

    /// Returns whether the client used HTTPS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }
}

/// How a scheme is known.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SchemeOrigin {
    /// The connection tells; no trusted proxy was to be asked.
    Connection,
    /// A trusted proxy told it.
    Proxy,
    /// A trusted proxy sent something that is no scheme: the request counts as plain text.
    ProxyMalformed,
    /// A trusted proxy sent nothing, so that the connection tells.
    ProxySilent,
}

enum Told {
    Malformed,
    Missing,
    Scheme(Scheme),
}

fn of_connection(extensions: &Extensions) -> Scheme {
    if TlsConnection::is_in(extensions) {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    }
}

fn behind(peer: Option<PeerAddr>, proxies: &TrustedProxies) -> Option<&TrustedProxies> {
    peer.is_some_and(|peer| proxies.trusts(peer))
        .then_some(proxies)
}

/// Reads what the nearest proxy wrote: the last value of the last line.
fn nearest_value(proxies: &TrustedProxies, headers: &HeaderMap, name: &HeaderName) -> Told {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => return Told::Missing,
        // What nearly every proxy sends: one value.
        (Some(line), None) if line.as_bytes() == b"https" => return Told::Scheme(Scheme::HTTPS),
        (Some(line), None) if line.as_bytes() == b"http" => return Told::Scheme(Scheme::HTTP),
        _ => {}
    }
    let max_bytes = proxies.max_bytes();
    match FromRight::new(headers, name, max_bytes).next() {
        Some(Ok(value)) => told(value),
        Some(Err(_)) => Told::Malformed,
        None => Told::Missing,
    }
}

fn nearest_element(proxies: &TrustedProxies, headers: &HeaderMap) -> Told {
    let max_bytes = proxies.max_bytes();
    if let Some(line) = headers.get_all(FORWARDED).iter().next_back()
        && line.len() <= max_bytes
        && let Some(PlainElement { proto, .. }) = PlainElement::parse(line.as_bytes())
    {
        return proto.map_or(Told::Missing, told);
    }
    let element = ElementsFromRight::new(headers, max_bytes).next();
    match element.map(|element| element.and_then(Element::parse)) {
        Some(Ok(element)) => element.proto.map_or(Told::Missing, told),
        Some(Err(_)) => Told::Malformed,
        None => Told::Missing,
    }
}

fn told(value: &[u8]) -> Told {
    // RFC 3986, section 3.1: schemes are case-insensitive. WebSocket's are those of the handshake.
    if value.eq_ignore_ascii_case(b"https") || value.eq_ignore_ascii_case(b"wss") {
        Told::Scheme(Scheme::HTTPS)
    } else if value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"ws") {
        Told::Scheme(Scheme::HTTP)
    } else {
        Told::Malformed
    }
}

static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
