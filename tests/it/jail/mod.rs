//! Automatic bans: cases K and L09, attacks on the jail itself, files and administration.

#![allow(
    clippy::allow_attributes,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on shall fail"
)]

#[cfg(feature = "jail-admin")]
mod admin;
mod attacks;
mod events;
mod facade;
mod file;
mod memory;
mod rules;
mod support;
#[cfg(feature = "tokio")]
mod task;
mod traps;
