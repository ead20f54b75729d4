//! Taking over connections from proxies.

use std::{error::Error, fmt, io, net::SocketAddr, time::Duration};

use tokio::{io::AsyncRead, time::timeout};

use crate::{
    client_ip::peer::PeerAddr,
    event::{
        model::{Action, SecurityEvent},
        sink::{EventSink, SharedSink},
    },
    ip_set::list::IpList,
    proxy_protocol::header::{HeaderError, read},
};

/// Expects a header of the PROXY protocol at the start of every connection, and only from the proxies that are named.
///
/// See the [module](crate::proxy_protocol) for examples.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    proxies: IpList,
    deadline: Duration,
    sink: SharedSink,
}

impl ProxyProtocol {
    /// Expects the protocol from the proxies with the addresses of a set or list.
    ///
    /// # Errors
    ///
    /// Fails if the list is empty, or if it covers all of IPv4 or all of IPv6: then any client could write its own address.
    pub fn new(proxies: impl Into<IpList>) -> Result<Self, ProxyProtocolError> {
        let proxies = proxies.into();
        let snapshot = proxies.load();
        if snapshot.set.is_empty() {
            return Err(ProxyProtocolError("set of proxies is empty"));
        }
        if snapshot.set.is_everything() {
            let reason = "set of proxies covers every address of a family";
            return Err(ProxyProtocolError(reason));
        }
        drop(snapshot);
        Ok(Self {
            proxies,
            deadline: Duration::from_secs(5),
            sink: SharedSink::default(),
        })
    }

    /// Sets within what time the header has to be complete. The default is 5 seconds.
    ///
    /// The protocol asks for at least 3 seconds, so that a lost packet can be sent again.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(mut self, sink: impl EventSink) -> Self {
        self.sink = SharedSink::new(sink);
        self
    }

    /// Takes the header off a connection, and returns the connection with the peer that the header names.
    ///
    /// It waits for the other side: call it in the task of the connection, never in the loop that accepts.
    ///
    /// # Errors
    ///
    /// Fails if the connection is not from one of the proxies, or if the header is malformed or not complete in time. Close the connection
    /// then; there is nobody to answer to.
    pub async fn accept<S>(&self, mut stream: S, peer: SocketAddr) -> io::Result<(S, PeerAddr)>
    where
        S: AsyncRead + Unpin,
    {
        if !self.trusts(peer) {
            let reason =
                "a peer that is no trusted proxy connected where the PROXY protocol is expected";
            self.record(Action::ForwardedHeaderUntrusted, reason, peer);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        let result = timeout(self.deadline, read(&mut stream)).await;
        let error = match result {
            Ok(Ok(source)) => return Ok((stream, PeerAddr::Tcp(source.unwrap_or(peer)))),
            Ok(Err(error)) => io::Error::new(io::ErrorKind::InvalidData, error),
            Err(_) => {
                let reason = "header of the PROXY protocol is late";
                io::Error::new(io::ErrorKind::TimedOut, reason)
            }
        };
        let reason = match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(error) => HeaderError::to_string(error),
            None => error.to_string(),
        };
        self.record(Action::ForwardedHeaderMalformed, &reason, peer);
        Err(error)
    }

    pub(crate) fn trusts(&self, peer: SocketAddr) -> bool {
        let proxies = self.proxies.load();
        // The list may have come to cover everybody by a reload.
        !proxies.set.is_everything() && proxies.set.contains(peer.ip())
    }

    fn record(&self, action: Action, reason: &str, peer: SocketAddr) {
        let event = SecurityEvent::new(action, reason)
            .with_policy("proxy-protocol")
            .with_peer(peer.ip().to_canonical());
        self.sink.record(&event);
    }
}

/// Why the PROXY protocol cannot be expected from such proxies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxyProtocolError(&'static str);

impl fmt::Display for ProxyProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for ProxyProtocolError {}
