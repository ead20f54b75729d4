//! What loading secrets leaves in memory, under the allocator of the system.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod parent;

fn main() {
    #[cfg(target_os = "linux")]
    parent::main(parent::Allocator::System);
}
