//! The integration tests: one binary, a module per concern.

#[cfg(feature = "jail")]
mod jail;
