//! Limits whose state is in a store that instances share.

pub(crate) mod cache;
pub(crate) mod decide;
pub(crate) mod limiter;
pub(crate) mod policy;
