//! Keys as a tower layer.

use tower_layer::Layer;

use crate::{
    api_key::{keys::ApiKeys, policy::ApiKeyPolicy},
    clock::Clock,
    enforce::layer::{Enforce, EnforceLayer},
    event::sink::{EventSink, SharedSink},
    respond::ProblemJson,
};

/// Lets those in who present a valid API key.
///
/// See the [module](crate::api_key) for an example, and [`ApiKeyPolicy`] for what can be set.
#[derive(Clone, Debug)]
pub struct ApiKeyLayer<R = ProblemJson> {
    enforce: EnforceLayer<ApiKeyPolicy, R>,
}

impl ApiKeyLayer {
    /// Creates a layer that takes keys from `Authorization: Bearer`.
    #[must_use]
    pub fn new(keys: ApiKeys) -> Self {
        Self::from(ApiKeyPolicy::new(keys))
    }
}

impl From<ApiKeyPolicy> for ApiKeyLayer {
    fn from(policy: ApiKeyPolicy) -> Self {
        Self {
            enforce: EnforceLayer::new(policy),
        }
    }
}

impl<R: Clone> ApiKeyLayer<R> {
    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(self, sink: impl EventSink) -> Self {
        self.with_shared_sink(SharedSink::new(sink))
    }

    /// Sets who receives the security events, shared with other layers.
    #[must_use]
    pub fn with_shared_sink(mut self, sink: SharedSink) -> Self {
        self.enforce = self.enforce.with_shared_sink(sink);
        self
    }

    /// Sets the clock, by which the use of previous keys is told of once a minute. The default is the monotonic clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.enforce = self.enforce.with_clock(clock);
        self
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> ApiKeyLayer<R2> {
        ApiKeyLayer {
            enforce: self.enforce.with_responder(respond),
        }
    }
}

impl<S, R> Layer<S> for ApiKeyLayer<R> {
    type Service = Enforce<S, ApiKeyPolicy, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.enforce.layer(inner)
    }
}
