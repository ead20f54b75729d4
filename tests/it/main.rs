//! The integration tests: one binary, a module per concern.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod adapters;
#[cfg(feature = "secrets")]
mod api_keys;
mod auto_traits;
mod client_ip;
mod contract;
#[cfg(all(feature = "axum", feature = "rate-limit"))]
mod facade;
mod ip_filter;
mod ip_list;
#[cfg(feature = "secrets")]
mod secret_rotation;
#[cfg(feature = "secrets")]
mod secrets;
mod support;
mod way_back;
