//! The HTTPS check as a layer.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
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
}

impl HttpsLayer {
    /// Creates a layer from the policy.
    #[must_use]
    pub fn new(https: Https) -> Self {
        Self {
            enforce: EnforceLayer::shared(Arc::new(https)),
        }
    }
}

impl<R: Clone> HttpsLayer<R> {
    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(self, sink: impl EventSink) -> Self {
        let enforce = self.enforce.with_shared_sink(SharedSink::new(sink));
        Self { enforce }
    }

    /// Sets the clock. The default is [`MonotonicClock`](crate::clock::MonotonicClock).
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        let enforce = self.enforce.with_clock(clock);
        Self { enforce }
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> HttpsLayer<R2> {
        HttpsLayer {
            enforce: self.enforce.with_responder(respond),
        }
    }
}

impl<S, R> Layer<S> for HttpsLayer<R> {
    type Service = Enforce<S, Https, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.enforce.layer(inner)
    }
}
