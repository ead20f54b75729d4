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
    parts: SecurityParts,
    /// Where the policy of each step is. It is looked up for every policy of every request: to count the steps of all parts in front of it instead
    /// took a twentieth of a request through a whole stack.
    order: Box<[Step]>,
}

/// Where a policy is: its part, and its position there.
type Step = (PartName, usize);

macro_rules! parts {
    ($($(#[$attribute:meta])* $variant:ident $name:ident: $policies:ty,)*) => {
        /// The parts of the facade.
        #[derive(Default)]
        pub(crate) struct SecurityParts {
            $($(#[$attribute])* pub(crate) $name: $policies,)*
        }

        #[derive(Clone, Copy)]
        enum PartName {
            $($(#[$attribute])* $variant,)*
        }

        impl SecurityParts {
            /// Returns where all policies are, in their order.
            fn order(&self) -> Box<[Step]> {
                let mut order = Vec::new();
                $($(#[$attribute])* order.extend((0..self.$name.steps()).map(|step| (PartName::$variant, step)));)*
                order.into()
            }

            #[inline]
            fn check(&self, (part, step): Step, request: &RequestHead<'_>) -> Check {
                match part {
                    $($(#[$attribute])* PartName::$variant => self.$name.check_step(step, request),)*
                }
            }

            /// Returns a part, for what is not done per request.
            fn part(&self, part: PartName) -> &dyn PolicySet {
                match part {
                    $($(#[$attribute])* PartName::$variant => &self.$name,)*
                }
            }
        }
    };
}

// The order is the point of the facade: who may come at all, then how, then how often. HSTS refuses nothing and stands on refusals.
parts! {
    KnownPeer known_peer: KnownPeer,
    Hsts hsts: Option<HstsPolicy>,
    #[cfg(feature = "jail")]
    Jail jail: Option<Jail>,
    Deny deny: Vec<IpDenylist>,
    Allow allow: Vec<IpAllowlist>,
    Hosts hosts: Option<AllowedHosts>,
    Https https: Option<Https>,
    #[cfg(feature = "rate-limit")]
    RateLimit rate_limit: Vec<RateLimit>,
    // Limits with settings of their own.
    Limits limits: Vec<Arc<dyn PolicySet>>,
    #[cfg(feature = "secrets")]
    ApiKeys api_keys: Option<ApiKeyPolicy>,
    Own own: Vec<Arc<dyn PolicySet>>,
}

#[cfg(feature = "jail")]
impl SecurityPolicies {
    pub(crate) fn jail(&self) -> Option<&Jail> {
        self.parts.jail.as_ref()
    }
}

impl From<SecurityParts> for SecurityPolicies {
    fn from(parts: SecurityParts) -> Self {
        Self {
            order: parts.order(),
            parts,
        }
    }
}

impl PolicySet for SecurityPolicies {
    fn steps(&self) -> usize {
        self.order.len()
    }

    fn check_step(&self, step: usize, request: &RequestHead<'_>) -> Check {
        match self.order.get(step) {
            Some(step) => self.parts.check(*step, request),
            None => Check::admit(),
        }
    }

    fn step_label(&self, step: usize) -> PolicyLabel {
        match self.order.get(step) {
            Some((part, step)) => self.parts.part(*part).step_label(*step),
            None => PolicyLabel::of_type::<Self>(),
        }
    }

    fn peek_step(&self, step: usize, request: &RequestHead<'_>) -> Option<Peek> {
        let (part, step) = self.order.get(step)?;
        self.parts.part(*part).peek_step(*step, request)
    }
}

impl fmt::Debug for SecurityPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

impl fmt::Debug for SecurityParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SecurityPolicies");
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
