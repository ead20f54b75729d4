//! Rate limits: how much each client may spend, and how fast it gets it back.
#![allow(dead_code, reason = "the layer is about to use it")]

pub(crate) mod fields;
pub(crate) mod gcra;
pub(crate) mod limiter;
pub(crate) mod parse;
pub(crate) mod policy;
pub(crate) mod quota;
pub(crate) mod reservation;
pub(crate) mod set;
pub(crate) mod store;
pub(crate) mod usage;
pub(crate) mod verdict;

pub use self::{
    limiter::{RateLimiter, RateLimiterBuilder},
    policy::RateLimit,
    quota::{Quota, QuotaError},
    reservation::Reservation,
    set::{QuotaSet, RateLimitError},
    usage::TableUsage,
    verdict::{Retry, Standing, Verdict},
};
