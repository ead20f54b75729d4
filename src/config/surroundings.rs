//! What a configuration is built with that no file can hold.

use std::sync::Arc;

#[cfg(feature = "redis")]
use crate::shared_store::{settings::OnStoreFailure, store::RedisStore};
#[cfg(feature = "secrets")]
use crate::{api_key::keys::ApiKeys, secret::loader::SecretLoader};
use crate::{
    clock::Clock,
    event::sink::{EventSink, SharedSink},
};

/// What a configuration is built with that no file can hold: where events go, and where secrets come from.
///
/// # Example
///
/// ```
/// use palisade::{config::Surroundings, event::NullSink};
///
/// let surroundings = Surroundings::new().with_sink(NullSink);
/// # let _ = surroundings;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Surroundings {
    pub(crate) sink: Option<SharedSink>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    #[cfg(feature = "secrets")]
    pub(crate) secrets: SecretLoader,
    #[cfg(feature = "secrets")]
    pub(crate) api_keys: Option<ApiKeys>,
    #[cfg(feature = "redis")]
    pub(crate) store: Option<SharedStore>,
}

/// Where limits and bans are shared.
#[cfg(feature = "redis")]
#[derive(Clone, Debug)]
pub(crate) struct SharedStore {
    pub(crate) store: RedisStore,
    pub(crate) name: String,
    pub(crate) on_failure: OnStoreFailure,
}

impl Surroundings {
    /// Creates the usual surroundings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets who receives the security events, as they are: the section `events` is for the default sink, and for
    /// [`EventsConfig::sink`](crate::config::EventsConfig::sink), which makes such a sink of any other.
    ///
    /// The default is what that section makes of [`TracingSink`](crate::event::TracingSink) with the feature `tracing`, and nobody without it.
    pub fn with_sink(mut self, sink: impl EventSink) -> Self {
        self.sink = Some(SharedSink::new(sink));
        self
    }

    /// Sets the clock. The default is [`MonotonicClock`](crate::clock::MonotonicClock).
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Sets where the secrets come from that the configuration names. The default is [`SecretLoader::new`].
    #[cfg(feature = "secrets")]
    pub fn with_secrets(mut self, secrets: SecretLoader) -> Self {
        self.secrets = secrets;
        self
    }

    /// Shares the limits and the bans with other instances. The default is that each instance counts by itself.
    ///
    /// The limit of the plain quotas has this name in the store, and the further ones the name with a dot and their place in the list behind it:
    /// all instances must have the same configuration. `on_failure` says what becomes of requests while the store is away.
    #[cfg(feature = "redis")]
    pub fn with_store(
        mut self,
        store: &RedisStore,
        name: impl Into<String>,
        on_failure: OnStoreFailure,
    ) -> Self {
        self.store = Some(SharedStore {
            store: store.clone(),
            name: name.into(),
            on_failure,
        });
        self
    }

    /// Sets the API keys, so that the secret that the configuration names is not loaded.
    #[cfg(feature = "secrets")]
    pub fn with_api_keys(mut self, keys: ApiKeys) -> Self {
        self.api_keys = Some(keys);
        self
    }
}
