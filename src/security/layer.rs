//! The facade's layer.

use http::{Request, request::Parts};
use tower_layer::Layer;

#[cfg(feature = "jail")]
use crate::jail::{handle::JailHandle, policy::Jail};
use crate::{
    client_ip::layer::{ClientIpLayer, ResolveClientIp},
    enforce::{
        counts::PolicyCounts,
        layer::{Enforce, EnforceLayer},
    },
    metrics::duration::DurationCounts,
    respond::ProblemJson,
    response_headers::{ResponseHeadersLayer, SetResponseHeaders},
    security::{explain::Explanation, policies::SecurityPolicies},
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
        self.enforce.policies().jail().map(Jail::handle)
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
