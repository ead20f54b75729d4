//! The other end of the connection, as the server hands it over.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::Extensions;

/// The other end of a connection: an extension that servers without `ConnectInfo` insert themselves.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum PeerAddr {
    /// A TCP connection.
    Tcp(SocketAddr),
    /// A Unix socket, which has no address.
    Unix,
}

impl PeerAddr {
    /// Returns the canonical address: IPv4-mapped IPv6 is folded to IPv4. A Unix socket has none.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            // `to_canonical` unmaps `::ffff:a.b.c.d` alone; `to_ipv4` would also turn `::1` into `0.0.0.1`.
            Self::Tcp(addr) => Some(addr.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// Returns the port of a TCP peer.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

/// Where the peer of a connection is found in a request's extensions.
///
/// The default looks for [`PeerAddr`], then (feature `axum`) axum's `ConnectInfo` of `SocketAddr` or [`PeerAddr`] and `MockConnectInfo`, then
/// (feature `tonic`) tonic's `TcpConnectInfo`.
#[derive(Clone, Default)]
#[expect(
    clippy::type_complexity,
    reason = "a name for the closure's type would say less than the type"
)]
pub struct PeerSource(Option<Arc<dyn Fn(&Extensions) -> Option<PeerAddr> + Send + Sync>>);

impl PeerSource {
    /// Creates a source that asks a closure instead of looking in the usual places.
    #[must_use]
    pub fn from_fn(find: impl Fn(&Extensions) -> Option<PeerAddr> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(find)))
    }

    /// Returns the peer, if the server left one.
    #[must_use]
    pub fn find(&self, extensions: &Extensions) -> Option<PeerAddr> {
        match &self.0 {
            Some(find) => find(extensions),
            None => usual_places(extensions),
        }
    }
}

impl fmt::Debug for PeerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match &self.0 {
            Some(_) => "closure",
            None => "usual places",
        };
        f.debug_tuple("PeerSource").field(&places).finish()
    }
}

/// Looks where [`PeerSource`] looks by default.
pub(crate) fn usual_places(extensions: &Extensions) -> Option<PeerAddr> {
    let peer = extensions.get::<PeerAddr>().copied();
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| connect_info(extensions));
    #[cfg(feature = "tonic")]
    let peer = peer.or_else(|| tcp_connect_info(extensions));
    peer
}

#[cfg(feature = "axum")]
fn connect_info(extensions: &Extensions) -> Option<PeerAddr> {
    use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

    // A server leaves one of these, the first one mostly. Listeners of the crate, such as that of the PROXY protocol, leave the second.
    if let Some(info) = extensions.get::<ConnectInfo<SocketAddr>>() {
        return Some(PeerAddr::Tcp(info.0));
    }
    if let Some(info) = extensions.get::<ConnectInfo<PeerAddr>>() {
        return Some(info.0);
    }
    // Only axum's extractor falls back to the mock, so a layer has to look for both.
    let mock = extensions.get::<MockConnectInfo<SocketAddr>>();
    mock.map(|info| PeerAddr::Tcp(info.0))
}

#[cfg(feature = "tonic")]
fn tcp_connect_info(extensions: &Extensions) -> Option<PeerAddr> {
    use tonic::transport::server::TcpConnectInfo;

    extensions
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr)
        .map(PeerAddr::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, expected: &str) {
        let peer = PeerAddr::Tcp(addr.parse().unwrap());
        assert_eq!(peer.ip(), Some(expected.parse().unwrap()));
        assert_eq!(peer.port(), Some(50_000));
    }

    #[test]
    fn peers_are_canonical() {
        check("203.0.113.7:50000", "203.0.113.7");
        check("[::ffff:203.0.113.7]:50000", "203.0.113.7");
        check("[::1]:50000", "::1");
        check("[2001:db8::7]:50000", "2001:db8::7");
    }

    #[test]
    fn a_unix_peer_has_no_address() {
        assert_eq!(PeerAddr::Unix.ip(), None);
        assert_eq!(PeerAddr::Unix.port(), None);
    }
}
