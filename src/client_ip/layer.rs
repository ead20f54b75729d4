//! The layer that resolves the client once per request.

use std::task::{Context, Poll};

use http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::client_ip::{
    peer::{PeerAddr, PeerSource},
    scheme::SchemeSource,
    source::ClientIpSource,
};

/// Resolves the client and leaves a [`ClientContext`](crate::client_ip::ClientContext) in the request's extensions.
///
/// It refuses nothing by itself: the policies behind it refuse a client that is unknown.
#[derive(Clone, Debug)]
pub struct ClientIpLayer {
    source: ClientIpSource,
    scheme: SchemeSource,
    peer: PeerSource,
}

impl ClientIpLayer {
    /// Creates a layer that reads the client's address from `source`.
    #[must_use]
    pub fn new(source: ClientIpSource) -> Self {
        Self {
            source,
            scheme: SchemeSource::default(),
            peer: PeerSource::default(),
        }
    }

    /// Sets where the scheme of requests is read from. The default is [`SchemeSource::Listener`].
    #[must_use]
    pub fn with_scheme(mut self, scheme: SchemeSource) -> Self {
        self.scheme = scheme;
        self
    }

    /// Finds the peer of the connection with a closure, for servers that hand it over in a way of their own.
    #[must_use]
    pub fn with_peer(
        mut self,
        find: impl Fn(&Extensions) -> Option<PeerAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = PeerSource::from_fn(find);
        self
    }
}

impl<S> Layer<S> for ClientIpLayer {
    type Service = ResolveClientIp<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResolveClientIp {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`ClientIpLayer`].
#[derive(Clone, Debug)]
pub struct ResolveClientIp<S> {
    inner: S,
    layer: ClientIpLayer,
}

impl<S, B> Service<Request<B>> for ResolveClientIp<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let peer = self.layer.peer.find(&parts.extensions);
        let scheme = self.layer.scheme.resolve_from(peer, &parts);
        let client = self.layer.source.resolve_from(peer, &parts);
        let context = client.with_scheme(scheme);
        parts.extensions.insert(context);
        self.inner.call(Request::from_parts(parts, body))
    }
}
