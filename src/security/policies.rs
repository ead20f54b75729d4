//! The policies of the facade.

use std::{fmt, sync::Arc};

#[cfg(feature = "secrets")]
use crate::api_key::policy::ApiKeyPolicy;
#[cfg(feature = "jail")]
use crate::jail::policy::Jail;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::policy::RateLimit;
use crate::{
    host::allowed::AllowedHosts,
    https::policy::{HstsPolicy, Https},
    ip_filter::{allowlist::IpAllowlist, denylist::IpDenylist},
    policy::{decision::Check, head::RequestHead, label::PolicyLabel, peek::Peek, set::PolicySet},
    security::known_peer::KnownPeer,
};

/// The policies of the facade, in its order.
pub struct SecurityPolicies {
    /// The set of each step, and the position in there. It is looked up for every policy of every request: to count the steps of all sets in front
    /// of it instead took a twentieth of a request through a whole stack.
    steps: Box<[(Arc<dyn PolicySet>, usize)]>,
    #[cfg(feature = "jail")]
    jail: Option<Jail>,
}

/// What the policies are made of.
#[derive(Default)]
pub(crate) struct SecurityParts {
    pub(crate) known_peer: KnownPeer,
    pub(crate) hsts: Option<HstsPolicy>,
    #[cfg(feature = "jail")]
    pub(crate) jail: Option<Jail>,
    pub(crate) deny: Vec<IpDenylist>,
    pub(crate) allow: Vec<IpAllowlist>,
    pub(crate) hosts: Option<AllowedHosts>,
    pub(crate) https: Option<Https>,
    #[cfg(feature = "rate-limit")]
    pub(crate) rate_limit: Vec<RateLimit>,
    /// Limits with settings of their own.
    pub(crate) limits: Vec<Arc<dyn PolicySet>>,
    #[cfg(feature = "secrets")]
    pub(crate) api_keys: Option<ApiKeyPolicy>,
    pub(crate) own: Vec<Arc<dyn PolicySet>>,
}

#[cfg(feature = "jail")]
impl SecurityPolicies {
    pub(crate) fn jail(&self) -> Option<&Jail> {
        self.jail.as_ref()
    }
}

impl From<SecurityParts> for SecurityPolicies {
    fn from(parts: SecurityParts) -> Self {
        #[cfg(feature = "jail")]
        let jail = parts.jail.clone();
        let mut steps = Vec::new();
        let mut add = |set: Arc<dyn PolicySet>| {
            steps.extend((0..set.steps()).map(|step| (Arc::clone(&set), step)));
        };
        // The order is the point of the facade: who may come at all, then how, then how often. HSTS refuses nothing and stands on refusals.
        add(Arc::new(parts.known_peer));
        add(Arc::new(parts.hsts));
        #[cfg(feature = "jail")]
        add(Arc::new(parts.jail));
        for list in parts.deny {
            add(Arc::new(list));
        }
        for list in parts.allow {
            add(Arc::new(list));
        }
        add(Arc::new(parts.hosts));
        add(Arc::new(parts.https));
        #[cfg(feature = "rate-limit")]
        for limit in parts.rate_limit {
            add(Arc::new(limit));
        }
        parts.limits.into_iter().for_each(&mut add);
        #[cfg(feature = "secrets")]
        add(Arc::new(parts.api_keys));
        parts.own.into_iter().for_each(add);
        Self {
            steps: steps.into(),
            #[cfg(feature = "jail")]
            jail,
        }
    }
}

impl PolicySet for SecurityPolicies {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        match self.steps.get(step) {
            Some((set, step)) => set.check_step(*step, request),
            None => Check::admit(),
        }
    }

    fn step_label(&self, step: usize) -> PolicyLabel {
        match self.steps.get(step) {
            Some((set, step)) => set.step_label(*step),
            None => PolicyLabel::of_type::<Self>(),
        }
    }

    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        let (set, step) = self.steps.get(step)?;
        set.peek_step(*step, request)
    }
}

impl fmt::Debug for SecurityPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = (0..self.steps()).map(|step| self.step_label(step));
        f.debug_list().entries(labels).finish()
    }
}

impl fmt::Debug for SecurityParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SecurityParts");
        #[cfg(feature = "jail")]
        shown.field("jail", &self.jail);
        shown
            .field("deny", &self.deny)
            .field("allow", &self.allow)
            .field("hosts", &self.hosts)
            .field("https", &self.https);
        #[cfg(feature = "rate-limit")]
        shown.field("rate_limit", &self.rate_limit);
        shown.field("limits", &self.limits.len());
        #[cfg(feature = "secrets")]
        shown.field("api_keys", &self.api_keys);
        shown.field("own", &self.own.len()).finish_non_exhaustive()
    }
}
