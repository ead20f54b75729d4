//! Bans that instances share.

pub(crate) mod entry;
pub(crate) mod outbox;
pub(crate) mod sync;
