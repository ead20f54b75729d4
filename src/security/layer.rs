//! The facade's layer.

use std::{fmt, sync::Arc};

use http::{Request, request::Parts};
use tower_layer::Layer;

#[cfg(feature = "secrets")]
use crate::api_key::policy::ApiKeyPolicy;
#[cfg(feature = "jail")]
use crate::jail::{handle::JailHandle, policy::Jail};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::policy::RateLimit;
use crate::{
    client_ip::layer::{ClientIpLayer, ResolveClientIp},
    enforce::{
        counts::PolicyCounts,
        layer::{Enforce, EnforceLayer},
    },
    host::allowed::AllowedHosts,
    https::policy::{HstsPolicy, Https},
    ip_filter::{allowlist::IpAllowlist, denylist::IpDenylist},
    metrics::duration::DurationCounts,
    policy::{decision::Check, head::RequestHead, label::PolicyLabel, peek::Peek, set::PolicySet},
    respond::ProblemJson,
    response_headers::{ResponseHeadersLayer, SetResponseHeaders},
    security::{explain::Explanation, known_peer::KnownPeer},
};

/// All protections of a service as one layer.
///
/// See [`SecurityLayer::builder`]. Clones share all state.
#[derive(Clone, Debug)]
pub struct SecurityLayer<R = ProblemJson> {
    pub(crate) response_headers: ResponseHeadersLayer,
    pub(crate) client_ip: ClientIpLayer,
    pub(crate) enforce: EnforceLayer<SecurityPolicies, R>,
}

#[cfg(feature = "jail")]
impl<R> SecurityLayer<R> {
    /// Returns the handle of the jail, if there is one, to list, make and lift bans.
    #[must_use]
    pub fn jail(&self) -> Option<JailHandle> {
        self.enforce.policies().jail.as_ref().map(Jail::handle)
    }
}

impl<R> SecurityLayer<R> {
    /// Returns how often each policy has decided what, in the order in which they are checked. The counts are exact, whatever became of
    /// the events.
    #[must_use]
    pub fn counts(&self) -> Vec<PolicyCounts> {
        self.enforce.counts()
    }

    /// Tells what a request would meet, gate by gate, and changes nothing: nothing is charged, counted or banned, and no event is raised.
    ///
    /// The head of the request is what the server would hand over, with the peer of the connection in its extensions. Behind the gate that
    /// refuses, none is asked, for the request would never come there.
    ///
    /// # Example
    ///
    #[cfg_attr(feature = "rate-limit", doc = "```")]
    #[cfg_attr(not(feature = "rate-limit"), doc = "```ignore")]
    /// use std::net::SocketAddr;
    /// use http::Request;
    /// use palisade::{SecurityLayer, client_ip::{ClientIpSource, PeerAddr}, rate_limit::Quota, security::GateVerdict};
    ///
    /// let security = SecurityLayer::builder(ClientIpSource::Peer)
    ///     .deny("198.51.100.0/24".parse()?)
    ///     .rate_limit(Quota::per_minute(1))
    ///     .build();
    /// let request = |peer: &str| {
    ///     let peer: SocketAddr = peer.parse()?;
    ///     let (parts, ()) = Request::get("/").extension(PeerAddr::from(peer)).body(())?.into_parts();
    ///     Ok::<_, Box<dyn std::error::Error>>(parts)
    /// };
    ///
    /// let admitted = security.explain(&request("203.0.113.7:50000")?);
    /// assert!(admitted.is_admitted());
    ///
    /// let refused = security.explain(&request("198.51.100.66:50000")?);
    /// let gate = refused.refused_by().ok_or("admitted")?;
    /// assert_eq!((gate.label().layer(), gate.verdict()), ("ip_filter", GateVerdict::Refuses));
    /// println!("{refused}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self, request: &Parts) -> Explanation {
        let mut request = Request::from_parts(request.clone(), ());
        self.client_ip.resolve_silently(&mut request);
        Explanation::of(self.enforce.policies(), self.enforce.clock(), request)
    }

    /// Returns how long checks have taken so far; nothing unless
    /// [`check_duration`](crate::security::SecurityBuilder::check_duration) was called.
    #[must_use]
    pub fn check_durations(&self) -> Option<DurationCounts> {
        self.enforce.check_durations()
    }
}

impl<S, R> Layer<S> for SecurityLayer<R> {
    type Service = SetResponseHeaders<ResolveClientIp<Enforce<S, SecurityPolicies, R>>>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.client_ip.layer(self.enforce.layer(inner));
        self.response_headers.layer(inner)
    }
}

/// The policies of the facade, in its order.
#[derive(Default)]
pub struct SecurityPolicies {
    pub(crate) known_peer: KnownPeer,
    pub(crate) hsts: Option<HstsPolicy>,
    #[cfg(feature = "jail")]
    pub(crate) jail: Option<Jail>,
    #[cfg(not(feature = "jail"))]
    pub(crate) jail: Absent,
    pub(crate) deny: Vec<IpDenylist>,
    pub(crate) allow: Vec<IpAllowlist>,
    pub(crate) hosts: Option<AllowedHosts>,
    pub(crate) https: Option<Https>,
    #[cfg(feature = "rate-limit")]
    pub(crate) rate_limit: Vec<RateLimit>,
    #[cfg(not(feature = "rate-limit"))]
    pub(crate) rate_limit: Absent,
    #[cfg(feature = "secrets")]
    pub(crate) api_keys: Option<ApiKeyPolicy>,
    #[cfg(not(feature = "secrets"))]
    pub(crate) api_keys: Absent,
    /// Limits with settings of their own.
    pub(crate) limits: Vec<Arc<dyn PolicySet>>,
    pub(crate) own: Vec<Arc<dyn PolicySet>>,
}

impl PolicySet for SecurityPolicies {
    fn steps(&self) -> usize {
        self.known_peer.steps()
            + self.hsts.steps()
            + self.jail.steps()
            + self.deny.steps()
            + self.allow.steps()
            + self.hosts.steps()
            + self.https.steps()
            + self.rate_limit.steps()
            + self.limits.steps()
            + self.api_keys.steps()
            + self.own.steps()
    }

    fn check_step(&self, mut step: usize, request: &RequestHead<'_>) -> Check {
        // The order is the point of the facade: who may come at all, then how, then how often. HSTS refuses nothing and stands on refusals.
        macro_rules! check_in_order {
            ($($policies:ident),*) => {
                $(
                    let steps = self.$policies.steps();
                    if step < steps {
                        return self.$policies.check_step(step, request);
                    }
                    step -= steps;
                )*
            };
        }
        check_in_order!(
            known_peer, hsts, jail, deny, allow, hosts, https, rate_limit, limits, api_keys
        );
        self.own.check_step(step, request)
    }

    fn step_label(&self, mut step: usize) -> PolicyLabel {
        for part in self.parts() {
            let steps = part.steps();
            if step < steps {
                return part.step_label(step);
            }
            step -= steps;
        }
        PolicyLabel::of_type::<Self>()
    }

    fn peek_step(&self, mut step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        for part in self.parts() {
            let steps = part.steps();
            if step < steps {
                return part.peek_step(step, request);
            }
            step -= steps;
        }
        None
    }
}

impl SecurityPolicies {
    /// Returns all policies in their order, for what is not done per request.
    fn parts(&self) -> [&dyn PolicySet; 11] {
        [
            &self.known_peer,
            &self.hsts,
            &self.jail,
            &self.deny,
            &self.allow,
            &self.hosts,
            &self.https,
            &self.rate_limit,
            &self.limits,
            &self.api_keys,
            &self.own,
        ]
    }
}

impl fmt::Debug for SecurityPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityPolicies")
            .field("jail", &self.jail)
            .field("deny", &self.deny)
            .field("allow", &self.allow)
            .field("hosts", &self.hosts)
            .field("https", &self.https)
            .field("rate_limit", &self.rate_limit)
            .field("limits", &self.limits.len())
            .field("api_keys", &self.api_keys)
            .field("own", &self.own.len())
            .finish_non_exhaustive()
    }
}

/// Stands where a policy would, if its feature were enabled.
#[cfg(not(all(feature = "jail", feature = "rate-limit", feature = "secrets")))]
#[derive(Debug, Default)]
pub(crate) struct Absent;

#[cfg(not(all(feature = "jail", feature = "rate-limit", feature = "secrets")))]
impl PolicySet for Absent {
    fn steps(&self) -> usize {
        0
    }

    fn check_step(&self, _: usize, _: &RequestHead<'_>) -> Check {
        Check::admit()
    }
}
