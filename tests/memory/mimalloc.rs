//! What loading secrets leaves in memory, under mimalloc, which keeps freed blocks in pages of their own and overwrites no more than their heads.
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
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    #[cfg(target_os = "linux")]
    parent::main(parent::Allocator::Mimalloc);
}
