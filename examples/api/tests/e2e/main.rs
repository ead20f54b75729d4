//! Runs the built example and drives it over HTTP.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod admin;
mod browser;
mod chaos;
mod config;
mod misconfiguration;
mod nginx;
mod protection;
mod service;
mod soak;
mod support;
