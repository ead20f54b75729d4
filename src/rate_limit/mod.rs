//! A provisional rate limiter, which the bounded one replaces.
#![allow(
    missing_docs,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::missing_errors_doc,
    reason = "provisional"
)]

pub(crate) mod policy;
pub(crate) mod quota;

pub use self::{policy::RateLimit, quota::Quota};
