//! The layer.

use tower_layer::Layer;

use crate::{
    clock::Clock,
    enforce::layer::{Enforce, EnforceLayer},
    event::sink::{EventSink, SharedSink},
    rate_limit::{policy::RateLimit, set::QuotaSet},
    respond::ProblemJson,
};

/// Limits how often clients may come.
///
/// The state is in the layer: routes, clones of the service and connections share it.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{convert::Infallible, net::SocketAddr};
/// use http::{Request, Response};
/// use palisade::{client_ip::PeerAddr, rate_limit::{Quota, RateLimitLayer}};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(RateLimitLayer::new(Quota::per_minute(1)))
///     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
///
/// let request = || {
///     let peer: SocketAddr = ([203, 0, 113, 7], 50_000).into();
///     Request::builder().extension(PeerAddr::from(peer)).body(())
/// };
/// assert_eq!(service.clone().oneshot(request()?).await?.status(), 200);
/// let refused = service.oneshot(request()?).await?;
/// assert_eq!(refused.status(), 429);
/// assert_eq!(refused.headers()["retry-after"], "60");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitLayer<R = ProblemJson> {
    limit: RateLimit,
    enforce: EnforceLayer<RateLimit, R>,
}

impl RateLimitLayer {
    /// Creates a layer that counts by client address.
    #[must_use]
    pub fn new(quotas: impl Into<QuotaSet>) -> Self {
        Self::from(RateLimit::new(quotas))
    }
}

impl From<RateLimit> for RateLimitLayer {
    fn from(limit: RateLimit) -> Self {
        Self {
            enforce: EnforceLayer::new(limit.clone()),
            limit,
        }
    }
}

impl<R: Clone> RateLimitLayer<R> {
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

    /// Sets the clock that requests are measured by; [settling](crate::rate_limit::RateLimitBuilder::clock) has its own. The default is
    /// [`MonotonicClock`](crate::clock::MonotonicClock).
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.enforce = self.enforce.with_clock(clock);
        self
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> RateLimitLayer<R2> {
        RateLimitLayer {
            limit: self.limit,
            enforce: self.enforce.with_responder(respond),
        }
    }

    /// Returns the policy, for looking at and correcting what clients have spent.
    #[must_use]
    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }
}

impl<S, R> Layer<S> for RateLimitLayer<R> {
    type Service = Enforce<S, RateLimit, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.enforce.layer(inner)
    }
}
