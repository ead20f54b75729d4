//! Secrets.
pub(crate) mod batch;
pub(crate) mod content;
pub(crate) mod digest;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod loader;
pub(crate) mod notice;
pub(crate) mod permissions;
pub(crate) mod rotating;
#[cfg(feature = "tokio")]
pub(crate) mod task;

pub use secrecy::{ExposeSecret, SecretBox, SecretSlice, SecretString};

#[cfg(feature = "tokio")]
pub use self::task::{NoRuntimeError, ReloadTask};
pub use self::{
    batch::{SecretResults, load_all},
    content::SecretContent,
    digest::{ParseDigestError, SecretDigest},
    error::{SecretError, SecretErrorKind, SecretErrors, SecretPlace},
    loader::{SecretLoader, SecretRequest},
    notice::SecretNotice,
    permissions::FilePermissions,
    rotating::{Reload, RotatingSecret, SecretGuard, SecretMatch},
};
