//! Where the state of the keys lives.

pub(crate) mod memory;
pub(crate) mod open;
pub(crate) mod places;
pub(crate) mod sync;
