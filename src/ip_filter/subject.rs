//! Whom a list judges.

use std::net::IpAddr;

use http::StatusCode;

use crate::{
    client_ip::{context::ClientIp, peer::PeerAddr, unknown::UnknownReason},
    event::model::Action,
    policy::{head::RequestHead, rejection::Rejection},
};

/// Whose address a list judges.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum IpSubject {
    /// The client, as far as trusted proxies vouch for it.
    #[default]
    Client,
    /// The other end of the connection, which may be a proxy.
    Peer,
}

/// What a deny list does with clients that cannot be known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnknownClients {
    /// Lets them pass, so that whoever can hide its address escapes the list.
    Admit,
    /// Refuses them.
    #[default]
    Refuse,
}

/// What is known of the one who is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judged {
    Addr {
        addr: IpAddr,
        /// Whether the address is that of a trusted proxy, and was read from a header.
        proxy_from_header: bool,
    },
    /// No [`ClientIpLayer`](crate::client_ip::ClientIpLayer) ran, or the server did not hand over the peer.
    Misconfigured,
    Unix,
    Unknown,
}

impl IpSubject {
    pub(crate) fn of(self, request: &RequestHead<'_>) -> Judged {
        let Some(context) = request.client() else {
            return Judged::Misconfigured;
        };
        match self {
            Self::Client => match context.client() {
                ClientIp::AllTrusted { addr, from_header } => Judged::Addr {
                    addr,
                    proxy_from_header: from_header,
                },
                ClientIp::Known(addr) => Judged::Addr {
                    addr,
                    proxy_from_header: false,
                },
                ClientIp::Unknown(unknown) => match unknown.reason() {
                    UnknownReason::MissingPeer => Judged::Misconfigured,
                    UnknownReason::UnixPeer => Judged::Unix,
                    _ => Judged::Unknown,
                },
            },
            Self::Peer => match context.peer() {
                Some(peer @ PeerAddr::Tcp(_)) => match peer.ip() {
                    Some(addr) => Judged::Addr {
                        addr,
                        proxy_from_header: false,
                    },
                    None => Judged::Misconfigured,
                },
                Some(PeerAddr::Unix) => Judged::Unix,
                None => Judged::Misconfigured,
            },
        }
    }
}

/// Refuses where nobody can be judged because the service is put together wrongly.
pub(crate) fn misconfigured() -> Rejection {
    Rejection::new(
        Action::ClientUnknown,
        StatusCode::INTERNAL_SERVER_ERROR,
        "the service is misconfigured",
    )
}
