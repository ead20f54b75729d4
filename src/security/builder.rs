//! The facade's builder.

use std::{fmt, sync::Arc};

use http::Extensions;

#[cfg(feature = "secrets")]
use crate::api_key::policy::ApiKeyPolicy;
#[cfg(feature = "jail")]
use crate::jail::builder::JailBuilder;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::{policy::RateLimit, quota::Quota, set::QuotaSet};
use crate::{
    client_ip::{
        layer::ClientIpLayer, peer::PeerAddr, scheme::SchemeSource, source::ClientIpSource,
    },
    clock::Clock,
    enforce::layer::EnforceLayer,
    event::sink::{EventSink, SharedSink},
    host::allowed::AllowedHosts,
    https::policy::Https,
    ip_filter::{allowlist::IpAllowlist, denylist::IpDenylist},
    policy::set::PolicySet,
    respond::ProblemJson,
    response_headers::{ResponseHeaders, ResponseHeadersLayer},
    security::{
        layer::SecurityLayer,
        policies::{SecurityParts, SecurityPolicies},
    },
};
#[cfg(feature = "redis")]
use crate::{
    rate_limit::{
        set::RateLimitError,
        shared::limiter::{SharedName, SharedSettings},
    },
    shared_store::{settings::OnStoreFailure, store::RedisStore},
};

/// Gathers what protects a service. Every value is valid by its type, so that [`build`](Self::build) cannot fail.
#[must_use]
pub struct SecurityBuilder<R = ProblemJson> {
    response_headers: ResponseHeaders,
    client_ip: ClientIpLayer,
    policies: SecurityParts,
    #[cfg(feature = "jail")]
    jail: Option<JailBuilder>,
    #[cfg(feature = "rate-limit")]
    quotas: Vec<Quota>,
    #[cfg(feature = "redis")]
    shared: Option<(SharedSettings, SharedName)>,
    sink: Option<SharedSink>,
    clock: Option<Arc<dyn Clock>>,
    check_duration: bool,
    respond: R,
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

impl SecurityBuilder {
    pub(crate) fn new(source: ClientIpSource) -> Self {
        Self {
            response_headers: ResponseHeaders::none(),
            client_ip: ClientIpLayer::new(source).leaving_missing_peer(),
            policies: SecurityParts::default(),
            #[cfg(feature = "jail")]
            jail: None,
            #[cfg(feature = "rate-limit")]
            quotas: Vec::new(),
            #[cfg(feature = "redis")]
            shared: None,
            sink: None,
            clock: None,
            check_duration: false,
            respond: ProblemJson,
        }
    }
}

impl<R> SecurityBuilder<R> {
    /// Bans clients whose requests end badly too often, whichever part or handler further in says so. The default is no jail.
    ///
    /// The jail's sink and clock are those of the facade, unless it has its own.
    /// [`SecurityLayer::jail`] has its handle. A second call replaces the first: give all rules to one jail.
    #[cfg(feature = "jail")]
    pub fn jail(mut self, jail: JailBuilder) -> Self {
        self.jail = Some(jail);
        self
    }

    /// Refuses whom a list covers. Called several times, any of the lists is enough. The default is to refuse nobody.
    pub fn deny(mut self, deny: IpDenylist) -> Self {
        self.policies.deny.push(deny);
        self
    }

    /// Refuses whom a list does not cover. Called several times, all lists must cover the client. The default is to admit everybody.
    pub fn allow(mut self, allow: IpAllowlist) -> Self {
        self.policies.allow.push(allow);
        self
    }

    /// Refuses requests for hosts that the service is not known by. The default is not to look at the host.
    /// A second call replaces the first: give all hosts to one set.
    pub fn hosts(mut self, hosts: AllowedHosts) -> Self {
        self.policies.hosts = Some(hosts);
        self
    }

    /// Refuses or redirects plain-text requests, and sends HSTS on secure responses, refusals among them. The default is to do neither.
    ///
    /// The scheme of requests is read where `https` says, for the [context](crate::client_ip::ClientContext) of requests too, whatever
    /// [`scheme`](Self::scheme) says. A second call replaces the first, its HSTS too.
    pub fn https(mut self, https: Https) -> Self {
        let (hsts, https) = https.with_scheme_from_context().split_hsts();
        self.policies.hsts = hsts;
        self.policies.https = Some(https);
        self
    }

    /// Puts header fields on every response, refusals among them. The default is none; [`ResponseHeaders::api`] is the preset for APIs.
    pub fn response_headers(mut self, headers: ResponseHeaders) -> Self {
        self.response_headers = headers;
        self
    }

    /// Sets where the scheme of requests is read from, for services that look at it themselves. The default is [`SchemeSource::Listener`].
    pub fn scheme(mut self, scheme: SchemeSource) -> Self {
        self.client_ip = self.client_ip.with_scheme(scheme);
        self
    }

    /// Removes forwarding headers that no trusted proxy vouches for, as
    /// [`ClientIpLayer::without_untrusted_headers`] does. The default is to remove none.
    pub fn without_untrusted_headers(mut self) -> Self {
        self.client_ip = self.client_ip.without_untrusted_headers();
        self
    }

    /// Limits how often a client may come. Called several times, all quotas are charged together or none is; of more than eight, each eight. The default
    /// is no limit.
    #[cfg(feature = "rate-limit")]
    pub fn rate_limit(mut self, quota: Quota) -> Self {
        self.quotas.push(quota);
        self
    }

    /// Adds limits with settings of their own: a `RateLimit`, an `InFlight`, or either within a [`DryRun`](crate::policy::DryRun).
    ///
    /// They are checked behind the [quotas](Self::rate_limit) and before API keys, so that guessing keys is limited as well; a limit that looks
    /// at the key belongs to [`policy`](Self::policy). Called several times, in that order.
    ///
    /// Requests in flight count to the end of their bodies where a [`TrackBodyLayer`](crate::enforce::TrackBodyLayer) stands outside of this layer, and
    /// to the head of the response elsewhere.
    pub fn limit(mut self, limits: impl PolicySet) -> Self {
        self.policies.limits.push(Arc::new(limits));
        self
    }

    /// Keeps what clients have spent of the quotas in a store that instances share. The default is the memory of this instance.
    ///
    /// The name must be the same on all instances and in all versions of the service, and another one for every layer and limit. `on_failure` says
    /// what becomes of requests while the store is away. A [jail](Self::jail) shares its bans with a setting of its own.
    ///
    /// # Errors
    ///
    /// Refuses a name that is not 1 to 32 letters, digits, `-`, `_` and `.`, or that is taken in this store.
    #[cfg(feature = "redis")]
    pub fn shared_rate_limit(
        mut self,
        store: &RedisStore,
        name: &str,
        on_failure: OnStoreFailure,
    ) -> Result<Self, RateLimitError> {
        // The name of an earlier call is given up.
        self.shared = None;
        let name = SharedName::take(store, name)?;
        let mut settings = SharedSettings::new(store);
        settings.on_failure = on_failure;
        self.shared = Some((settings, name));
        Ok(self)
    }

    /// Demands an API key of every request. The default is to demand none. A second call replaces the first: one
    /// [`ApiKeys`](crate::api_key::ApiKeys) holds the keys of all.
    #[cfg(feature = "secrets")]
    pub fn api_keys(mut self, keys: ApiKeyPolicy) -> Self {
        self.policies.api_keys = Some(keys);
        self
    }

    /// Adds a policy of one's own, which is checked after those of the crate. Called several times, in that order.
    pub fn policy(mut self, policies: impl PolicySet) -> Self {
        self.policies.own.push(Arc::new(policies));
        self
    }

    /// Finds the peer of the connection with a closure, for servers that hand it over in a way of their own.
    ///
    /// The default looks in the [usual places](crate::client_ip::PeerSource).
    pub fn peer(
        mut self,
        find: impl Fn(&Extensions) -> Option<PeerAddr> + Send + Sync + 'static,
    ) -> Self {
        self.client_ip = self.client_ip.with_peer(find);
        self
    }

    /// Sets who receives the security events. The default is [`SharedSink::default`].
    pub fn sink(mut self, sink: impl EventSink) -> Self {
        self.sink = Some(SharedSink::new(sink));
        self
    }

    /// Sets the clock. The default is [`MonotonicClock`](crate::clock::MonotonicClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Sets the clock, shared with others.
    #[cfg(feature = "serde")]
    pub(crate) fn shared_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Measures how long the policies take to decide. It is off by default, because it reads the clock twice per request.
    pub fn check_duration(mut self) -> Self {
        self.check_duration = true;
        self
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    pub fn responder<R2>(self, respond: R2) -> SecurityBuilder<R2> {
        SecurityBuilder {
            response_headers: self.response_headers,
            client_ip: self.client_ip,
            policies: self.policies,
            #[cfg(feature = "jail")]
            jail: self.jail,
            #[cfg(feature = "rate-limit")]
            quotas: self.quotas,
            #[cfg(feature = "redis")]
            shared: self.shared,
            sink: self.sink,
            clock: self.clock,
            check_duration: self.check_duration,
            respond,
        }
    }
}

impl<R: Clone> SecurityBuilder<R> {
    /// Makes the layer. One event per list tells of entries with bits set behind their prefix (`10.0.0.1/8`), which may be typos.
    #[must_use]
    pub fn build(self) -> SecurityLayer<R> {
        let policies = SecurityParts {
            #[cfg(feature = "jail")]
            jail: self.jail.map(|mut jail| {
                if let Some(sink) = &self.sink {
                    jail = jail.or_sink(sink);
                }
                if let Some(clock) = &self.clock {
                    jail = jail.or_clock(clock);
                }
                jail.build()
            }),
            #[cfg(feature = "rate-limit")]
            rate_limit: QuotaSet::gather(self.quotas)
                .into_iter()
                .enumerate()
                .map(|(number, quotas)| {
                    let mut builder = RateLimit::builder(quotas);
                    if let Some(clock) = &self.clock {
                        builder = builder.shared_clock(Arc::clone(clock));
                    }
                    #[cfg(feature = "redis")]
                    if let Some((settings, name)) = &self.shared {
                        return builder.sound_shared(settings.clone(), name.numbered(number));
                    }
                    let _ = number;
                    builder.sound()
                })
                .collect(),
            ..self.policies
        };
        let mut client_ip = self.client_ip;
        if let Some(https) = &policies.https {
            // One source for the check and for the context, or the two could disagree.
            client_ip = client_ip.with_scheme(https.scheme_source().clone());
        }
        // One sink for both layers, so that they share the budget of the default one.
        let sink = self.sink.unwrap_or_default();
        for list in &policies.deny {
            list.tell_host_bits(&sink);
        }
        for list in &policies.allow {
            list.tell_host_bits(&sink);
        }
        let mut enforce =
            EnforceLayer::new(SecurityPolicies::from(policies)).with_responder(self.respond);
        client_ip = client_ip.with_shared_sink(sink.clone());
        client_ip.tell_host_bits();
        enforce = enforce.with_shared_sink(sink);
        if self.check_duration {
            enforce = enforce.with_check_duration();
        }
        if let Some(clock) = self.clock {
            enforce = enforce.with_shared_clock(clock);
        }
        SecurityLayer {
            response_headers: ResponseHeadersLayer::new(self.response_headers),
            client_ip,
            enforce,
        }
    }
}

impl<R> fmt::Debug for SecurityBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityBuilder")
            .field("client_ip", &self.client_ip)
            .field("policies", &self.policies)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
