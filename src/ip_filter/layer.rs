//! The lists as a tower layer.

use tower_layer::Layer;

use crate::{
    enforce::layer::{Enforce, EnforceLayer},
    event::sink::{EventSink, SharedSink},
    ip_filter::{allowlist::IpAllowlist, denylist::IpDenylist},
    respond::ProblemJson,
};

/// Enforces a deny list, an allow list, or both. Apply a [`ClientIpLayer`](crate::client_ip::ClientIpLayer) outside.
///
/// See the [module](crate::ip_filter) for an example.
#[derive(Clone, Debug)]
pub struct IpFilterLayer<R = ProblemJson> {
    enforce: EnforceLayer<(Option<IpDenylist>, Option<IpAllowlist>), R>,
    deny: Option<IpDenylist>,
    allow: Option<IpAllowlist>,
    sink: SharedSink,
}

impl IpFilterLayer {
    /// Refuses everybody on the deny list, and of all others everybody who is not on the allow list.
    #[must_use]
    pub fn new(deny: IpDenylist, allow: IpAllowlist) -> Self {
        Self::of(Some(deny), Some(allow))
    }

    /// Refuses everybody who is not on a list.
    #[must_use]
    pub fn allow(allow: IpAllowlist) -> Self {
        Self::of(None, Some(allow))
    }

    /// Refuses everybody on a list.
    #[must_use]
    pub fn deny(deny: IpDenylist) -> Self {
        Self::of(Some(deny), None)
    }

    fn of(deny: Option<IpDenylist>, allow: Option<IpAllowlist>) -> Self {
        let sink = SharedSink::default();
        Self {
            enforce: EnforceLayer::new((deny.clone(), allow.clone()))
                .with_shared_sink(sink.clone()),
            deny,
            allow,
            sink,
        }
    }
}

impl<R: Clone> IpFilterLayer<R> {
    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(self, sink: impl EventSink) -> Self {
        self.with_shared_sink(SharedSink::new(sink))
    }

    /// Sets who receives the security events, shared with other layers.
    #[must_use]
    pub fn with_shared_sink(mut self, sink: SharedSink) -> Self {
        self.enforce = self.enforce.with_shared_sink(sink.clone());
        self.sink = sink;
        self
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> IpFilterLayer<R2> {
        IpFilterLayer {
            enforce: self.enforce.with_responder(respond),
            deny: self.deny,
            allow: self.allow,
            sink: self.sink,
        }
    }
}

impl<S, R> Layer<S> for IpFilterLayer<R> {
    type Service = Enforce<S, (Option<IpDenylist>, Option<IpAllowlist>), R>;

    fn layer(&self, inner: S) -> Self::Service {
        if let Some(deny) = &self.deny {
            deny.tell_host_bits(&self.sink);
        }
        if let Some(allow) = &self.allow {
            allow.tell_host_bits(&self.sink);
        }
        self.enforce.layer(inner)
    }
}
