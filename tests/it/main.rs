//! The integration tests: one binary, a module per concern.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test that fails panics"
)]

mod event;
