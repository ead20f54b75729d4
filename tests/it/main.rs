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
#[cfg(feature = "secrets")]
mod api_keys;
mod auto_traits;
mod client_ip;
#[cfg(any(feature = "axum", feature = "secrets"))]
mod clients;
#[cfg(all(
    feature = "axum",
    feature = "flood-control",
    feature = "in-flight",
    feature = "jail",
    feature = "privacy",
    feature = "rate-limit",
    feature = "secrets",
    feature = "serde"
))]
mod config;
mod contract;
#[cfg(all(feature = "in-flight", feature = "jail", feature = "rate-limit"))]
mod defaults;
mod docs;
#[cfg(all(
    feature = "metrics",
    feature = "privacy",
    feature = "rate-limit",
    feature = "tracing-subscriber"
))]
mod event;
#[cfg(all(
    feature = "axum",
    feature = "in-flight",
    feature = "jail",
    feature = "rate-limit",
    feature = "secrets"
))]
mod explain;
#[cfg(all(feature = "axum", feature = "rate-limit"))]
mod facade;
#[cfg(unix)]
mod fuzz_seeds;
mod host;
mod https;
#[cfg(feature = "in-flight")]
mod in_flight;
mod ip_filter;
mod ip_list;
mod ip_set;
#[cfg(feature = "jail")]
mod jail;
mod layout;
#[cfg(feature = "axum")]
mod nginx;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(feature = "rate-limit")]
mod rate_limit_attacks;
#[cfg(all(feature = "jail", feature = "rate-limit"))]
mod rate_limit_blocks;
#[cfg(feature = "rate-limit")]
mod rate_limit_fields;
#[cfg(feature = "rate-limit")]
mod rate_limit_http;
mod response_headers;
#[cfg(feature = "secrets")]
mod secret_rotation;
#[cfg(feature = "secrets")]
mod secrets;
mod support;
#[cfg(feature = "secrets")]
mod tls;
mod way_back;
