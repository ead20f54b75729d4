//! The integration tests: one binary, a module per concern.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod adapters;
mod auto_traits;
mod client_ip;
mod clients;
mod contract;
#[cfg(all(
    feature = "metrics",
    feature = "privacy",
    feature = "tracing-subscriber"
))]
mod event;
#[cfg(all(feature = "axum", feature = "rate-limit"))]
mod facade;
mod host;
mod https;
mod ip_filter;
mod ip_list;
#[cfg(feature = "jail")]
mod jail;
mod nginx;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod response_headers;
mod support;
mod tls;
mod way_back;
