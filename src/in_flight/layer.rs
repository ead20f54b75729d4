//! The layer.

use tower_layer::Layer;

use crate::{
    enforce::{
        layer::{Enforce, EnforceLayer},
        track_body::{TrackBody, TrackBodyLayer},
    },
    event::sink::{EventSink, SharedSink},
    in_flight::policy::InFlight,
    respond::ProblemJson,
};

/// Limits how many requests of a client are being served at the same time, until the bodies of their responses have ended.
///
/// The state is in the layer: routes, clones of the service and connections share it. The bodies of responses are wrapped.
#[derive(Clone, Debug)]
pub struct InFlightLayer<R = ProblemJson> {
    enforce: EnforceLayer<InFlight, R>,
}

impl InFlightLayer {
    /// Creates a layer that counts by client address and answers with 429.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self::from(InFlight::new(limit))
    }
}

impl From<InFlight> for InFlightLayer {
    fn from(policy: InFlight) -> Self {
        Self {
            enforce: EnforceLayer::new(policy),
        }
    }
}

impl<R: Clone> InFlightLayer<R> {
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

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> InFlightLayer<R2> {
        InFlightLayer {
            enforce: self.enforce.with_responder(respond),
        }
    }
}

impl<S, R> Layer<S> for InFlightLayer<R> {
    type Service = TrackBody<Enforce<S, InFlight, R>>;

    fn layer(&self, inner: S) -> Self::Service {
        TrackBodyLayer::new().layer(self.enforce.layer(inner))
    }
}
