//! What loading secrets leaves in memory, under the allocator of the system.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod parent;

fn main() {
    #[cfg(target_os = "linux")]
    parent::main(parent::Allocator::System);
}
