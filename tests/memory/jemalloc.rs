//! What loading secrets leaves in memory, under jemalloc, which moves a block to shrink it and leaves freed blocks as they are: a `String`
//! that was made into a secret shows only here.
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

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    #[cfg(target_os = "linux")]
    parent::main(parent::Allocator::Jemalloc);
}
