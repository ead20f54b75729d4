//! What the crate knows of the caller of a request.

use std::{fmt, net::IpAddr};

use http::Extensions;

use crate::client_ip::{
    peer::PeerAddr,
    scheme::ResolvedScheme,
    unknown::{UnknownClient, UnknownReason},
};

/// The caller of a request as [`ClientIpLayer`](crate::client_ip::ClientIpLayer) resolved it: an extension of the request.
#[derive(Clone, Debug)]
pub struct ClientContext {
    client: ClientIp,
    peer: Option<PeerAddr>,
    scheme: Option<ResolvedScheme>,
}

impl ClientContext {
    /// Creates a context; a missing peer makes the client unknown.
    #[must_use]
    pub fn new(client: ClientIp, peer: Option<PeerAddr>) -> Self {
        Self {
            client,
            peer,
            scheme: None,
        }
    }

    /// Sets the scheme the request came by.
    #[must_use]
    pub fn with_scheme(mut self, scheme: ResolvedScheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Returns the context that the layer left in a request, if it ran.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Returns the client: the origin of the request as far as it can be verified.
    #[must_use]
    pub fn client(&self) -> ClientIp {
        self.client
    }

    /// Returns the other end of the connection, which may be a proxy.
    #[must_use]
    pub fn peer(&self) -> Option<PeerAddr> {
        self.peer
    }

    /// Returns the scheme the request came by, where it is verified; never what the request's own URI claims.
    #[must_use]
    pub fn scheme(&self) -> Option<&ResolvedScheme> {
        self.scheme.as_ref()
    }
}

/// The address of the client. Always canonical: an IPv4-mapped IPv6 address is held as IPv4.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ClientIp {
    /// Every hop is a trusted proxy; the furthest one is given.
    AllTrusted {
        /// The furthest verified hop.
        addr: IpAddr,
        /// Whether the address was read from a header rather than from the connection.
        from_header: bool,
    },
    /// The client's verified address.
    Known(IpAddr),
    /// The client cannot be known.
    Unknown(UnknownClient),
}

impl ClientIp {
    /// Returns the verified address, or nothing where the client is unknown.
    #[must_use]
    pub fn addr(self) -> Option<IpAddr> {
        match self {
            Self::AllTrusted { addr, .. } | Self::Known(addr) => Some(addr),
            Self::Unknown(_) => None,
        }
    }

    /// Returns an unknown client.
    #[must_use]
    pub fn unknown(reason: UnknownReason, last_verified: Option<IpAddr>) -> Self {
        Self::Unknown(UnknownClient {
            reason,
            last_verified,
        })
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllTrusted { addr, .. } | Self::Known(addr) => addr.fmt(f),
            Self::Unknown(unknown) => write!(f, "unknown ({})", unknown.reason.as_str()),
        }
    }
}
