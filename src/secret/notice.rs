//! What is worth telling about secrets while they are loaded.

use std::{fmt, sync::Arc};

use crate::secret::error::{SecretError, SecretPlace};

/// Something worth telling about a secret: never a byte of its value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SecretNotice<'a> {
    /// The secret could not be loaded; where it had been loaded before, the old value stays.
    LoadFailed {
        /// What is wrong.
        error: &'a SecretError,
    },
    /// The secret was loaded.
    Loaded {
        /// The name of the secret.
        name: &'a str,
        /// Where it was found.
        place: &'a SecretPlace,
    },
    /// The secret was accepted although its file is less private than it should be.
    LoosePermissions {
        /// The name of the secret.
        name: &'a str,
        /// Where it was found.
        place: &'a SecretPlace,
        /// The permission bits of the file.
        mode: u32,
    },
    /// The secret was replaced by a new value.
    Rotated {
        /// The name of the secret.
        name: &'a str,
        /// Where it was found.
        place: &'a SecretPlace,
    },
    /// The secret is set at two places, one of which is not used.
    Shadowed {
        /// The name of the secret.
        name: &'a str,
        /// The place whose value is used.
        used: &'a SecretPlace,
        /// The place whose value is not used.
        ignored: &'a SecretPlace,
    },
}

/// Receives notices.
#[derive(Clone, Default)]
#[expect(
    clippy::type_complexity,
    reason = "a name for the closure's type would say less than the type"
)]
pub(crate) struct Observer(Option<Arc<dyn Fn(&SecretNotice<'_>) + Send + Sync>>);

impl Observer {
    pub(crate) fn new(observe: impl Fn(&SecretNotice<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    pub(crate) fn tell(&self, notice: &SecretNotice<'_>) {
        if let Some(observe) = &self.0 {
            observe(notice);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "closure",
            None => "nobody",
        })
    }
}
