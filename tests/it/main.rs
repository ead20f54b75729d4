//! The integration tests: one binary, a module per concern.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod client_ip;
mod ip_filter;
mod ip_list;
