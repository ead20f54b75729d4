//! The facade's layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

#[cfg(feature = "jail")]
use crate::jail::{handle::JailHandle, policy::Jail};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::policy::RateLimit;
use crate::{
    client_ip::{
        layer::{ClientIpLayer, ResolveClientIp},
        source::ClientIpSource,
    },
    enforce::layer::{Enforce, EnforceLayer},
    ip_filter::{allowlist::IpAllowlist, denylist::IpDenylist},
    policy::{
        decision::Check,
        head::RequestHead,
        set::{Policy, PolicySet},
    },
    respond::ProblemJson,
    security::{builder::SecurityBuilder, known_peer::KnownPeer},
};

/// All protections of a service as one layer.
///
/// See [`SecurityLayer::builder`]. Clones share all state.
#[derive(Clone, Debug)]
pub struct SecurityLayer<R = ProblemJson> {
    pub(crate) client_ip: ClientIpLayer,
    pub(crate) enforce: EnforceLayer<SecurityPolicies, R>,
}

impl SecurityLayer {
    /// Starts from where the client's address comes from, the one choice that has no safe default.
    ///
    /// # Example
    ///
    #[cfg_attr(feature = "rate-limit", doc = "```")]
    #[cfg_attr(not(feature = "rate-limit"), doc = "```ignore")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::{convert::Infallible, net::SocketAddr};
    /// use http::{Request, Response};
    /// use palisade::{SecurityLayer, client_ip::{ClientIpSource, PeerAddr}, rate_limit::Quota};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let service = ServiceBuilder::new()
    ///     .layer(SecurityLayer::builder(ClientIpSource::Peer).rate_limit(Quota::per_minute(1)).build())
    ///     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
    ///
    /// let request = || {
    ///     let peer: SocketAddr = ([203, 0, 113, 7], 50_000).into();
    ///     Request::builder().extension(PeerAddr::from(peer)).body(())
    /// };
    /// assert_eq!(service.clone().oneshot(request()?).await?.status(), 200);
    /// assert_eq!(service.oneshot(request()?).await?.status(), 429);
    /// # Ok(()) }
    /// ```
    pub fn builder(source: ClientIpSource) -> SecurityBuilder {
        SecurityBuilder::new(source)
    }
}

#[cfg(feature = "jail")]
impl<R> SecurityLayer<R> {
    /// Returns the handle of the jail, if there is one, to list, make and lift bans.
    #[must_use]
    pub fn jail(&self) -> Option<JailHandle> {
        self.enforce.policies().jail.as_ref().map(Jail::handle)
    }
}

impl<S, R> Layer<S> for SecurityLayer<R> {
    type Service = ResolveClientIp<Enforce<S, SecurityPolicies, R>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.client_ip.layer(self.enforce.layer(inner))
    }
}

/// The policies of the facade, in its order.
#[derive(Default)]
pub struct SecurityPolicies {
    pub(crate) known_peer: KnownPeer,
    #[cfg(feature = "jail")]
    pub(crate) jail: Option<Jail>,
    #[cfg(not(feature = "jail"))]
    pub(crate) jail: Absent,
    pub(crate) deny: Vec<IpDenylist>,
    pub(crate) allow: Vec<IpAllowlist>,
    #[cfg(feature = "rate-limit")]
    pub(crate) rate_limit: Vec<RateLimit>,
    #[cfg(not(feature = "rate-limit"))]
    pub(crate) rate_limit: Absent,
    pub(crate) own: Vec<Arc<dyn PolicySet>>,
}

impl PolicySet for SecurityPolicies {
    fn steps(&self) -> usize {
        1 + self.jail.steps()
            + self.deny.steps()
            + self.allow.steps()
            + self.rate_limit.steps()
            + self.own.steps()
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        // The order is the point of the facade: who may come at all, then how, then how often.
        let Some(step) = step.checked_sub(1) else {
            return self.known_peer.check(request);
        };
        let Some(step) = step.checked_sub(self.jail.steps()) else {
            return self.jail.check_step(step, request);
        };
        let Some(step) = step.checked_sub(self.deny.steps()) else {
            return self.deny.check_step(step, request);
        };
        let Some(step) = step.checked_sub(self.allow.steps()) else {
            return self.allow.check_step(step, request);
        };
        match step.checked_sub(self.rate_limit.steps()) {
            None => self.rate_limit.check_step(step, request),
            Some(step) => self.own.check_step(step, request),
        }
    }
}

impl fmt::Debug for SecurityPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityPolicies")
            .field("jail", &self.jail)
            .field("deny", &self.deny)
            .field("allow", &self.allow)
            .field("rate_limit", &self.rate_limit)
            .field("own", &self.own.len())
            .finish_non_exhaustive()
    }
}

/// Stands where a policy would, if its feature were enabled.
#[cfg(not(all(feature = "jail", feature = "rate-limit")))]
#[derive(Debug, Default)]
pub(crate) struct Absent;

#[cfg(not(all(feature = "jail", feature = "rate-limit")))]
impl PolicySet for Absent {
    fn steps(&self) -> usize {
        0
    }

    fn check_step(&self, _: usize, _: &RequestHead<'_>) -> Check {
        Check::admit()
    }
}
