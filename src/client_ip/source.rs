//! Where the client's address is read from.

use http::{HeaderMap, HeaderName, header::FORWARDED, request::Parts};

use crate::client_ip::{
    context::{ClientContext, ClientIp},
    peer::{PeerAddr, PeerSource},
    proxies::TrustedProxies,
    walk::{by_forwarded, by_header, by_list, by_peer},
};

/// Where the client's address is read from. There is exactly one source, and it is named: nothing is guessed.
///
/// The [module](crate::client_ip) tells which one to choose.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientIpSource {
    /// The elements of `Forwarded` (RFC 7239), from the right.
    Forwarded(TrustedProxies),
    /// A header that holds one address, as content delivery networks send it: `CF-Connecting-IP`, `True-Client-IP`, `X-Real-IP`,
    /// `CloudFront-Viewer-Address`.
    ///
    /// Right only if the proxy *replaces* what the client sent under that name.
    Header(HeaderName, TrustedProxies),
    /// The peer of the connection: no proxy stands in front.
    Peer,
    /// The entries of `X-Forwarded-For`, from the right.
    XForwardedFor(TrustedProxies),
}

impl ClientIpSource {
    /// Resolves the caller of a request, with the peer looked for in the usual places.
    #[must_use]
    pub fn resolve(&self, request: &Parts) -> ClientContext {
        self.resolve_from(PeerSource::default().find(&request.extensions), request)
    }

    /// Resolves the caller of a request that came over a connection to `peer`.
    #[must_use]
    pub fn resolve_from(&self, peer: Option<PeerAddr>, request: &Parts) -> ClientContext {
        ClientContext::new(self.client(peer, &request.headers), peer)
    }

    /// Resolves the client alone.
    #[inline]
    pub(crate) fn client(&self, peer: Option<PeerAddr>, headers: &HeaderMap) -> ClientIp {
        match self {
            Self::Forwarded(proxies) => by_forwarded(peer, proxies, headers),
            Self::Header(name, proxies) => by_header(peer, proxies, headers, name),
            Self::Peer => by_peer(peer),
            Self::XForwardedFor(proxies) => by_list(peer, proxies, headers, &X_FORWARDED_FOR),
        }
    }

    /// Returns the header that is read, if one is, and whose word is taken for it.
    pub(crate) fn header(&self) -> Option<(&HeaderName, &TrustedProxies)> {
        match self {
            Self::Forwarded(proxies) => Some((&FORWARDED, proxies)),
            Self::Header(name, proxies) => Some((name, proxies)),
            Self::Peer => None,
            Self::XForwardedFor(proxies) => Some((&X_FORWARDED_FOR, proxies)),
        }
    }
}

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
