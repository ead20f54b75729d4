//! Where the client's address is read from.

use http::{request::Parts, uri::Scheme};

use crate::client_ip::{
    context::{ClientContext, ClientIp, UnknownReason},
    peer::{PeerAddr, PeerSource},
};

/// Where the client's address is read from. There is exactly one source, and it is named: nothing is guessed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientIpSource {
    /// The peer of the connection: no proxy stands in front.
    Peer,
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
        let _ = request;
        let client = match (self, peer.and_then(PeerAddr::ip)) {
            (Self::Peer, Some(addr)) => ClientIp::Known(addr),
            (Self::Peer, None) => ClientIp::unknown(UnknownReason::MissingPeer, None),
        };
        ClientContext::new(client, peer).with_scheme(Scheme::HTTP)
    }
}
