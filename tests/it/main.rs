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
mod auto_traits;
mod client_ip;
mod contract;
#[cfg(all(feature = "axum", feature = "rate-limit"))]
mod facade;
mod ip_filter;
mod ip_list;
mod ip_set;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod support;
mod way_back;
