//! Rate limits: how much each client may spend, and how fast it gets it back.

pub(crate) mod charge;
pub(crate) mod fields;
pub(crate) mod gcra;
pub(crate) mod key;
pub(crate) mod layer;
pub(crate) mod limiter;
pub(crate) mod parse;
pub(crate) mod policy;
pub(crate) mod quota;
pub(crate) mod reservation;
pub(crate) mod set;
pub(crate) mod settings;
pub(crate) mod store;
pub(crate) mod usage;
pub(crate) mod verdict;

pub use self::{
    charge::Charge,
    key::{MissingKey, RateLimitKey},
    layer::RateLimitLayer,
    limiter::{RateLimiter, RateLimiterBuilder},
    policy::{RateLimit, RequestKey},
    quota::{Quota, QuotaError},
    reservation::Reservation,
    set::{QuotaSet, RateLimitError},
    settings::{LegacyReset, RateLimitBuilder, StandardFields},
    usage::TableUsage,
    verdict::{Retry, Standing, Verdict},
};
