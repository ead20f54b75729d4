//! Automatic bans.

#[cfg(feature = "jail-admin")]
pub(crate) mod admin;
pub(crate) mod ban;
pub(crate) mod ban_time;
pub(crate) mod bans;
pub(crate) mod builder;
pub(crate) mod failures;
pub(crate) mod file;
pub(crate) mod handle;
pub(crate) mod key;
pub(crate) mod layer;
pub(crate) mod policy;
pub(crate) mod rule;
pub(crate) mod state;
#[cfg(feature = "tokio")]
pub(crate) mod task;
pub(crate) mod trap;
pub(crate) mod window;

#[cfg(feature = "jail-admin")]
pub use self::admin::admin_router;
#[cfg(feature = "tokio")]
pub use self::task::JailTask;
pub use self::{
    ban::{Ban, BanError},
    ban_time::BanTime,
    builder::JailBuilder,
    file::BanFileError,
    handle::{JailCounts, JailHandle},
    layer::JailLayer,
    policy::Jail,
    rule::{Rule, RuleNameError},
    trap::{TrapPathError, TrapPaths},
};
