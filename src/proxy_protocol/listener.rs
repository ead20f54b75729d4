//! The protocol for `axum::serve`.

use std::{fmt, io, net::SocketAddr};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{io::AsyncRead, task::JoinSet};

use crate::{client_ip::peer::PeerAddr, proxy_protocol::accept::ProxyProtocol};

/// Wraps the listener of `axum::serve` in the PROXY protocol.
///
/// Serve with `into_make_service_with_connect_info::<PeerAddr>()`. Headers are read in tasks beside the loop that accepts, so that a
/// proxy which is slow holds up nobody else.
pub struct ProxyProtocolListener<L: Listener> {
    listener: L,
    protocol: ProxyProtocol,
    max_pending: usize,
    pending: JoinSet<io::Result<(L::Io, PeerAddr)>>,
}

impl<L> ProxyProtocolListener<L>
where
    L: Listener<Addr = SocketAddr>,
    L::Io: AsyncRead,
{
    /// Wraps a listener.
    #[must_use]
    pub fn new(listener: L, protocol: ProxyProtocol) -> Self {
        Self {
            listener,
            protocol,
            max_pending: 1_024,
            pending: JoinSet::new(),
        }
    }

    /// Sets how many connections may wait for their headers at a time; more are left to the operating system's queue. The default is
    /// 1,024, and none counts as one.
    #[must_use]
    pub fn with_max_pending(mut self, max_pending: usize) -> Self {
        self.max_pending = max_pending.max(1);
        self
    }
}

impl<L> Listener for ProxyProtocolListener<L>
where
    L: Listener<Addr = SocketAddr>,
{
    type Io = L::Io;
    type Addr = PeerAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Both sides can be given up at any time: connections that wait are kept in the set, not in this future.
            tokio::select! {
                Some(finished) = self.pending.join_next() => {
                    if let Ok(Ok(connection)) = finished {
                        return connection;
                    }
                }
                (stream, peer) = self.listener.accept(), if self.pending.len() < self.max_pending => {
                    let protocol = self.protocol.clone();
                    self.pending.spawn(async move { protocol.accept(stream, peer).await });
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr().map(PeerAddr::Tcp)
    }
}

impl<L> Connected<IncomingStream<'_, ProxyProtocolListener<L>>> for PeerAddr
where
    L: Listener<Addr = SocketAddr>,
{
    fn connect_info(stream: IncomingStream<'_, ProxyProtocolListener<L>>) -> Self {
        *stream.remote_addr()
    }
}

impl<L: Listener> fmt::Debug for ProxyProtocolListener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyProtocolListener")
            .field("protocol", &self.protocol)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
