//! What a rate limit does beside counting.

use std::{fmt, hash::RandomState, time::Duration};

use http::{StatusCode, response};

use crate::{
    policy::{head::RequestHead, receipt::Outcome},
    rate_limit::{key::RateLimitKey, set::QuotaSet},
};

/// What a policy does beside counting.
#[expect(
    clippy::type_complexity,
    reason = "names for the closures' types would say less than the types"
)]
pub(crate) struct Settings {
    pub(crate) key: RateLimitKey,
    pub(crate) cost: Costs,
    pub(crate) tiers: Option<Box<dyn Fn(&RequestHead<'_>) -> Option<QuotaSet> + Send + Sync>>,
    pub(crate) exempt: Vec<Box<dyn Fn(&RequestHead<'_>) -> bool + Send + Sync>>,
    pub(crate) uncount: Option<Box<dyn Fn(&Outcome<'_>) -> bool + Send + Sync>>,
    pub(crate) settle: Option<Box<dyn Fn(&response::Parts) -> Option<u32> + Send + Sync>>,
    pub(crate) settle_in_handler: bool,
    pub(crate) standard: Option<StandardFields>,
    pub(crate) legacy: Option<LegacyReset>,
    pub(crate) redirects: Redirects,
    /// Whether scripts of other origins may read the fields.
    pub(crate) exposed: bool,
    /// Hashes what requests are counted under once more, for clients to tell apart what they are counted under.
    pub(crate) partition: Option<RandomState>,
    pub(crate) status: StatusCode,
    pub(crate) near_limit: Option<u8>,
    pub(crate) retry_after: Option<RetryAfter>,
}

/// What requests cost.
pub(crate) enum Costs {
    By(Box<dyn Fn(&RequestHead<'_>) -> u32 + Send + Sync>),
    Fixed(u32),
}

/// Whether fields stand on responses that redirect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Redirects {
    Skip,
    Tell,
}

/// How the wait of a refusal is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RetryAfter {
    pub(crate) at_least: Duration,
    pub(crate) jitter: Duration,
}

/// Which standard fields responses carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StandardFields {
    /// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11. Drafts before the eighth look different, and some clients read
    /// only those.
    Draft11,
}

/// What `X-RateLimit-Reset` says: there is no standard, and clients guess.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LegacyReset {
    /// Seconds from now.
    Delta,
    /// Seconds since 1970, as GitHub does.
    Epoch,
}

impl Settings {
    /// Returns whether charges may be corrected later.
    pub(crate) fn reserves(&self) -> bool {
        self.uncount.is_some() || self.settle.is_some() || self.settle_in_handler
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("key", &self.key)
            .field("standard", &self.standard)
            .field("legacy", &self.legacy)
            .field("status", &self.status)
            .field("near_limit", &self.near_limit)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}
