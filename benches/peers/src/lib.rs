//! What is compared; see `src/main.rs` for the tables and `src/bin/count.rs` for callgrind.

pub mod variants;

use std::net::{Ipv4Addr, SocketAddr};

/// Returns the address of a client.
pub fn client(key: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + key), 50_000))
}

/// Returns the middle of some figures.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
