//! The facade's builder.

use std::{fmt, sync::Arc};

use http::Extensions;

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
    ip_filter::{allowlist::IpAllowlist, denylist::IpDenylist},
    policy::set::PolicySet,
    respond::ProblemJson,
    security::layer::{SecurityLayer, SecurityPolicies},
};

/// Gathers what protects a service. Every value is valid by its type, so that [`build`](Self::build) cannot fail.
#[must_use]
pub struct SecurityBuilder<R = ProblemJson> {
    client_ip: ClientIpLayer,
    policies: SecurityPolicies,
    #[cfg(feature = "jail")]
    jail: Option<JailBuilder>,
    #[cfg(feature = "rate-limit")]
    quotas: Vec<Quota>,
    sink: Option<SharedSink>,
    clock: Option<Arc<dyn Clock>>,
    respond: R,
}

impl SecurityBuilder {
    pub(crate) fn new(source: ClientIpSource) -> Self {
        Self {
            client_ip: ClientIpLayer::new(source).leaving_missing_peer(),
            policies: SecurityPolicies::default(),
            #[cfg(feature = "jail")]
            jail: None,
            #[cfg(feature = "rate-limit")]
            quotas: Vec::new(),
            sink: None,
            clock: None,
            respond: ProblemJson,
        }
    }
}

impl<R> SecurityBuilder<R> {
    /// Bans clients whose requests end badly too often, whichever part or handler further in says so. The default is no jail.
    ///
    /// The jail's sink and clock are those of the facade, unless it has its own.
    /// [`SecurityLayer::jail`] has its handle.
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

    /// Sets where the scheme of requests is read from. The default is [`SchemeSource::Listener`].
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

    /// Limits how often a client may come. Called several times, all quotas are charged together or none is. The default is no limit.
    #[cfg(feature = "rate-limit")]
    pub fn rate_limit(mut self, quota: Quota) -> Self {
        self.quotas.push(quota);
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

    /// Sets how refusals look. The default is [`ProblemJson`].
    pub fn responder<R2>(self, respond: R2) -> SecurityBuilder<R2> {
        SecurityBuilder {
            client_ip: self.client_ip,
            policies: self.policies,
            #[cfg(feature = "jail")]
            jail: self.jail,
            #[cfg(feature = "rate-limit")]
            quotas: self.quotas,
            sink: self.sink,
            clock: self.clock,
            respond,
        }
    }
}

impl<R: Clone> SecurityBuilder<R> {
    /// Makes the layer.
    #[must_use]
    pub fn build(self) -> SecurityLayer<R> {
        let policies = SecurityPolicies {
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
                .map(|quotas| {
                    let builder = RateLimit::builder(quotas);
                    match &self.clock {
                        Some(clock) => builder.shared_clock(Arc::clone(clock)).sound(),
                        None => builder.sound(),
                    }
                })
                .collect(),
            ..self.policies
        };
        let mut client_ip = self.client_ip;
        let mut enforce = EnforceLayer::new(policies).with_responder(self.respond);
        if let Some(sink) = self.sink {
            client_ip = client_ip.with_shared_sink(sink.clone());
            enforce = enforce.with_shared_sink(sink);
        }
        if let Some(clock) = self.clock {
            enforce = enforce.with_shared_clock(clock);
        }
        SecurityLayer { client_ip, enforce }
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
