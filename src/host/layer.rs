//! The host check as a layer.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
    enforce::layer::{Enforce, EnforceLayer},
    event::sink::{EventSink, SharedSink},
    host::allowed::AllowedHosts,
    respond::ProblemJson,
};

/// Refuses requests for hosts that the service is not known by.
#[derive(Clone, Debug)]
pub struct AllowedHostsLayer<R = ProblemJson> {
    enforce: EnforceLayer<AllowedHosts, R>,
}

impl AllowedHostsLayer {
    /// Creates a layer from the list of hosts.
    #[must_use]
    pub fn new(hosts: AllowedHosts) -> Self {
        Self {
            enforce: EnforceLayer::shared(Arc::new(hosts)),
        }
    }
}

impl<R: Clone> AllowedHostsLayer<R> {
    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(self, sink: impl EventSink) -> Self {
        let enforce = self.enforce.with_shared_sink(SharedSink::new(sink));
        Self { enforce }
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> AllowedHostsLayer<R2> {
        AllowedHostsLayer {
            enforce: self.enforce.with_responder(respond),
        }
    }
}

impl<S, R> Layer<S> for AllowedHostsLayer<R> {
    type Service = Enforce<S, AllowedHosts, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.enforce.layer(inner)
    }
}
