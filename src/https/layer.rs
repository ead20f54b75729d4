//! The HTTPS check as a layer.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
    client_ip::scheme::SchemeSource,
    clock::Clock,
    enforce::layer::{Enforce, EnforceLayer},
    event::sink::{EventSink, SharedSink},
    https::policy::Https,
    respond::ProblemJson,
};

/// Lets no plain text through to the inner service.
#[derive(Clone, Debug)]
pub struct HttpsLayer<R = ProblemJson> {
    enforce: EnforceLayer<Https, R>,
    scheme: SchemeSource,
    sink: SharedSink,
}

impl HttpsLayer {
    /// Creates a layer from the policy.
    #[must_use]
    pub fn new(https: Https) -> Self {
        let (scheme, sink) = (https.scheme_source().clone(), SharedSink::default());
        Self {
            enforce: EnforceLayer::shared(Arc::new(https)).with_shared_sink(sink.clone()),
            scheme,
            sink,
        }
    }
}

impl<R: Clone> HttpsLayer<R> {
    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(mut self, sink: impl EventSink) -> Self {
        self.sink = SharedSink::new(sink);
        self.enforce = self.enforce.with_shared_sink(self.sink.clone());
        self
    }

    /// Sets the clock. The default is [`MonotonicClock`](crate::clock::MonotonicClock).
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.enforce = self.enforce.with_clock(clock);
        self
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> HttpsLayer<R2> {
        HttpsLayer {
            enforce: self.enforce.with_responder(respond),
            scheme: self.scheme,
            sink: self.sink,
        }
    }
}

impl<S, R> Layer<S> for HttpsLayer<R> {
    type Service = Enforce<S, Https, R>;

    fn layer(&self, inner: S) -> Self::Service {
        if let Some((_, proxies)) = self.scheme.header() {
            proxies.tell_host_bits(&self.sink);
        }
        self.enforce.layer(inner)
    }
}
