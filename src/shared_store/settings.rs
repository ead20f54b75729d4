//! How the store is reached and used.

use std::{num::NonZeroU32, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{secret::rotating::RotatingSecret, shared_store::hash::HashKey};

/// How the store is reached and used.
pub(crate) struct Settings {
    pub(crate) addresses: Vec<redis::ConnectionInfo>,
    pub(crate) topology: Topology,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) hash_key: HashKey,
    pub(crate) prefix: String,
    pub(crate) deadline: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) instances: NonZeroU32,
}

/// What stands at the addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Topology {
    /// Nodes of a cluster.
    Cluster,
    /// Sentinels that know the master of this name.
    Sentinel(String),
    /// The store, or others that may be it.
    Single,
}

/// The password, which may be replaced while the service runs.
pub(crate) enum Password {
    Fixed(SecretString),
    Rotating(RotatingSecret),
}

impl Password {
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Fixed(secret) => use_it(secret.expose_secret()),
            Self::Rotating(secret) => use_it(secret.current().expose_secret()),
        }
    }
}

/// What becomes of a decision that the store has not made: it is away, refuses, or takes longer than the deadline.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnStoreFailure {
    /// The request passes, uncounted: for what must be served whatever happens.
    Allow,
    /// The request is refused with 503 and `Retry-After`: for what must never be tried more often, as logins.
    Deny,
    /// The instance counts by itself, with its share of the quotas: both are divided by the number of
    /// [instances](crate::shared_store::RedisStoreBuilder::expected_instances). The default.
    #[default]
    Fallback,
}
