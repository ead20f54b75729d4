//! The section `in_flight`.

use serde::Deserialize;

use crate::{
    config::{
        error::Faults,
        key::{LimitKey, MissingKeyKind},
    },
    in_flight::policy::{InFlight, Overload},
    policy::dry_run::DryRun,
    security::builder::SecurityBuilder,
};

/// How many requests of a client are served at the same time.
///
/// It counts to the end of the response's body where a [`TrackBodyLayer`](crate::enforce::TrackBodyLayer) stands outside, and else to the end of its head.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct InFlightConfig {
    /// How many requests of one key may be in flight.
    pub limit: u32,
    /// What requests are counted under.
    #[serde(default)]
    pub key: LimitKey,
    /// The length of the IPv6 prefix that counts as one client, 32 to 128; 56 if nothing is said.
    #[serde(default)]
    pub ipv6_prefix: Option<u8>,
    /// What happens to a request that has not all parts of the key.
    #[serde(default)]
    pub missing_key: MissingKeyKind,
    /// How a request that is too many is refused.
    #[serde(default)]
    pub overload: OverloadKind,
    /// How many keys may have requests in flight; 100,000 if nothing is said.
    #[serde(default)]
    pub max_keys: Option<usize>,
    /// Whether the limit only observes.
    #[serde(default)]
    pub dry_run: bool,
}

/// How a request that is too many is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OverloadKind {
    /// With 503: the service is at its limit.
    ServiceUnavailable,
    /// With 429: the client is at its limit.
    #[default]
    TooManyRequests,
}

impl InFlightConfig {
    pub(crate) fn assemble(
        &self,
        builder: SecurityBuilder,
        faults: &mut Faults,
    ) -> SecurityBuilder {
        if self.limit == 0 {
            faults.add("in_flight.limit", "must be at least 1");
        }
        if self.max_keys == Some(0) {
            faults.add("in_flight.max_keys", "must be at least 1");
        }
        let key = self
            .key
            .make("in_flight", self.ipv6_prefix, self.missing_key, faults);
        let mut limit =
            InFlight::new(self.limit)
                .with_key(key)
                .with_overload(match self.overload {
                    OverloadKind::ServiceUnavailable => Overload::ServiceUnavailable,
                    OverloadKind::TooManyRequests => Overload::TooManyRequests,
                });
        if let Some(max_keys) = self.max_keys {
            limit = limit.with_max_keys(max_keys);
        }
        match (self.key.is_by_api_key(), self.dry_run) {
            (false, false) => builder.limit(limit),
            (false, true) => builder.limit(DryRun::new(limit)),
            (true, false) => builder.policy(limit),
            (true, true) => builder.policy(DryRun::new(limit)),
        }
    }
}
