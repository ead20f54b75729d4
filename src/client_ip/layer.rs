//! The layer that resolves the client once per request.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    client_ip::{
        peer::{PeerAddr, PeerSource},
        resolve::{Clean, MissingPeer, Resolver},
        scheme::SchemeSource,
        source::ClientIpSource,
    },
    event::sink::{EventSink, SharedSink},
};

/// Resolves the client and leaves a [`ClientContext`](crate::client_ip::ClientContext) in the request's extensions.
///
/// It refuses nothing by itself: the policies behind it refuse a client that is unknown. Nor does it change what the server says of the
/// connection, such as axum's `ConnectInfo`.
///
/// # Example
///
/// ```
/// use std::{convert::Infallible, net::SocketAddr};
/// use http::{Request, Response};
/// use palisade::client_ip::{ClientContext, ClientIpLayer, ClientIpSource, PeerAddr, SchemeSource, TrustedProxies};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let proxies: TrustedProxies = "10.0.0.0/28".parse()?;
/// let layer = ClientIpLayer::new(ClientIpSource::XForwardedFor(proxies.clone()))
///     .with_scheme(SchemeSource::XForwardedProto(proxies))
///     .without_untrusted_headers();
/// let service = ServiceBuilder::new().layer(layer).service(service_fn(async |request: Request<()>| {
///     let client = ClientContext::of(request.extensions()).map(|context| context.client().to_string());
///     Ok::<_, Infallible>(Response::new(client))
/// }));
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let ask = |peer: SocketAddr| {
///     let request = Request::builder().extension(PeerAddr::from(peer)).header("x-forwarded-for", "203.0.113.7");
///     let response = service.clone().oneshot(request.body(()).unwrap());
///     runtime.block_on(response).map(Response::into_body)
/// };
/// assert_eq!(ask("10.0.0.1:80".parse()?)?.as_deref(), Some("203.0.113.7"));
/// assert_eq!(ask("198.51.100.66:80".parse()?)?.as_deref(), Some("198.51.100.66"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientIpLayer {
    resolver: Arc<Resolver>,
}

impl ClientIpLayer {
    /// Creates a layer that reads the client's address from `source`.
    #[must_use]
    pub fn new(source: ClientIpSource) -> Self {
        Self {
            resolver: Arc::new(Resolver {
                source,
                scheme: SchemeSource::default(),
                peer: PeerSource::default(),
                sink: SharedSink::default(),
                clean: Clean::Keep,
                missing_peer: MissingPeer::Record,
            }),
        }
    }

    /// Sets where the scheme of requests is read from. The default is [`SchemeSource::Listener`].
    #[must_use]
    pub fn with_scheme(mut self, scheme: SchemeSource) -> Self {
        self.resolver_mut().scheme = scheme;
        self
    }

    /// Finds the peer of the connection with a closure, for servers that hand it over in a way of their own.
    #[must_use]
    pub fn with_peer(
        mut self,
        find: impl Fn(&Extensions) -> Option<PeerAddr> + Send + Sync + 'static,
    ) -> Self {
        self.resolver_mut().peer = PeerSource::from_fn(find);
        self
    }

    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(self, sink: impl EventSink) -> Self {
        self.with_shared_sink(SharedSink::new(sink))
    }

    /// Sets who receives the security events, shared with other layers.
    #[must_use]
    pub fn with_shared_sink(mut self, sink: SharedSink) -> Self {
        self.resolver_mut().sink = sink;
        self
    }

    /// Removes forwarding headers that no trusted proxy vouches for, so that no handler can believe them by mistake.
    ///
    /// A trusted proxy vouches for all that it lets pass, under whatever name: have it clear those that it does not set.
    ///
    /// These are `Forwarded`, everything that begins with `X-Forwarded-`, and the headers with one address that proxies and content delivery
    /// networks are known to send. Names with underscores for hyphens (`X_Forwarded_For`), which are the same to programs that read
    /// headers out of environment variables, are removed even if they come through a trusted proxy. The default is to remove none.
    #[must_use]
    pub fn without_untrusted_headers(mut self) -> Self {
        self.resolver_mut().clean = Clean::Remove;
        self
    }

    /// Records an event if entries of the proxies that are trusted for the address or the scheme were read as the network around them.
    pub(crate) fn tell_host_bits(&self) {
        let Resolver { source, scheme, .. } = &*self.resolver;
        for (_, proxies) in source.header().into_iter().chain(scheme.header()) {
            proxies.tell_host_bits(&self.resolver.sink);
        }
    }

    /// Leaves it to the policies further in to say that the peer is missing.
    pub(crate) fn leaving_missing_peer(mut self) -> Self {
        self.resolver_mut().missing_peer = MissingPeer::Leave;
        self
    }

    /// Does to the head of a request what the service does, but for the events.
    pub(crate) fn resolve_silently<B>(&self, request: &mut Request<B>) {
        self.resolver.resolve_silently(request);
    }

    fn resolver_mut(&mut self) -> &mut Resolver {
        Arc::make_mut(&mut self.resolver)
    }
}

impl<S> Layer<S> for ClientIpLayer {
    type Service = ResolveClientIp<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.tell_host_bits();
        ResolveClientIp {
            inner,
            resolver: Arc::clone(&self.resolver),
        }
    }
}

/// The service of [`ClientIpLayer`].
#[derive(Clone, Debug)]
pub struct ResolveClientIp<S> {
    inner: S,
    resolver: Arc<Resolver>,
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.resolver.resolve(&mut request);
        self.inner.call(request)
    }
}
