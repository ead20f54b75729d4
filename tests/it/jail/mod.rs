//! Automatic bans: cases K and L09, attacks on the jail itself, files and administration.

#[cfg(feature = "jail-admin")]
mod admin;
mod attacks;
mod events;
mod facade;
mod file;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod rules;
mod support;
#[cfg(feature = "tokio")]
mod task;
mod traps;
