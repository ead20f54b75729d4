//! The tests against real servers: Redis, or Valkey where `PALISADE_REDIS_SERVER` names its program.
//!
//! Each test starts the servers it needs, on sockets and loopback ports of its own, and stops them.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod acl;
mod bans;
mod cases;
mod cluster;
mod deadline;
mod equal;
mod faults;
mod http;
mod keys;
mod processes;
mod proxy;
mod support;
#[cfg(feature = "redis-tls")]
mod tls;
