//! What the crate knows of the caller of a request.

use std::{fmt, net::IpAddr};

use http::{Extensions, request::Parts};

use crate::client_ip::{
    authority::{HostError, RequestHost},
    marks::Marks,
    named_host::NamedHost,
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
    host: NamedHost,
    marks: Marks,
}

impl ClientContext {
    /// Creates a context of all that the layer finds out.
    #[inline]
    pub(crate) fn resolved(
        client: ClientIp,
        peer: Option<PeerAddr>,
        scheme: ResolvedScheme,
        host: NamedHost,
    ) -> Self {
        Self {
            client,
            peer,
            scheme: Some(scheme),
            host,
            marks: Marks::default(),
        }
    }

    /// Creates a context. The client is taken as it is, even where there is no peer.
    #[must_use]
    pub fn new(client: ClientIp, peer: Option<PeerAddr>) -> Self {
        Self {
            client,
            peer,
            scheme: None,
            host: NamedHost::default(),
            marks: Marks::default(),
        }
    }

    /// Sets the scheme the request came by.
    #[must_use]
    pub fn with_scheme(mut self, scheme: ResolvedScheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Keeps the authority that a request names, without a copy of its text.
    #[must_use]
    pub fn with_authority_of(mut self, request: &Parts) -> Self {
        self.host = NamedHost::of(&request.uri, &request.headers, request.version);
        self
    }

    /// Leaves the context in a request. What was done for that request was done, whoever resolves it anew.
    pub(crate) fn leave(self, extensions: &mut Extensions) {
        if let Some(before) = extensions.insert(self)
            && let Some(now) = extensions.get_mut::<Self>()
        {
            now.marks = before.marks;
        }
    }

    /// Returns what was done for the request that is to be done once.
    #[cfg(all(feature = "rate-limit", debug_assertions))]
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
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

    /// Returns the authority that the request names: host and port, as [`RequestHost::of`] reads them.
    ///
    /// It is the client's text, and no proxy's: what a trusted proxy says in `X-Forwarded-Host`, and which hosts are served at all, is
    /// the business of [`AllowedHosts`](crate::host::AllowedHosts).
    ///
    /// # Errors
    ///
    /// Fails if the host is missing, appears twice, does not parse, bears user information, or if the request names two. Also fails if the
    /// context was made without a request.
    ///
    /// # Example
    ///
    /// ```
    /// use http::Request;
    /// use palisade::client_ip::{ClientContext, ClientIpSource};
    ///
    /// let resolve = |lines: &[&str]| {
    ///     let mut request = Request::builder();
    ///     for line in lines {
    ///         request = request.header("host", *line);
    ///     }
    ///     let (parts, ()) = request.body(())?.into_parts();
    ///     Ok::<_, http::Error>(ClientIpSource::Peer.resolve(&parts).with_authority_of(&parts))
    /// };
    /// let context = resolve(&["API.example.com:8443"])?;
    /// assert_eq!(context.authority()?.host(), "api.example.com");
    /// assert_eq!(context.authority()?.port(), Some(8443));
    /// assert!(resolve(&["good.example", "evil.example"])?.authority().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn authority(&self) -> Result<RequestHost<'_>, HostError> {
        self.host.parse()
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
