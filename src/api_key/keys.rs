//! The store of keys.

use std::{fmt, sync::Arc};

use arc_swap::{ArcSwap, Guard};

use crate::{
    api_key::{
        error::ApiKeysError,
        identity::ApiKeyIdentity,
        parse::KeyFormat,
        record::Record,
        table::{Entry, Table},
    },
    clock::{Clock, MonotonicClock},
    secret::{
        content::{Origin, text},
        digest::SecretDigest,
        error::{Fault as SecretFault, SecretError},
        pinned::{Pinned, Reload},
        request::SecretRequest,
    },
};

/// The API keys that are valid: their digests alone, so that the store holds no usable key.
///
/// Clones share the keys. A reload replaces all of them at once; to retire a key gently, leave it in the list of its id, behind the new one,
/// until nobody uses it any more.
///
/// # Example
///
/// ```
/// use palisade::api_key::{ApiKeys, KeyFormat};
///
/// let keys = ApiKeys::parse(
///     r#"{
///         "alice": "sha256:87cf5cf0e3ad7cba9ca92a31ff47e9faeea2c9b2a8a6b1ff8a4fbb6b4a9a9c5c",
///         "bob": { "keys": ["the-new-key-of-bob", "the-old-key-of-bob"], "scopes": ["read"] }
///     }"#,
///     KeyFormat::Json,
/// )?;
///
/// let bob = keys.verify(b"the-old-key-of-bob").ok_or("refused")?;
/// assert_eq!(bob.identity().id(), "bob");
/// assert!(bob.identity().has_scope("read") && bob.is_previous());
/// assert!(keys.verify(b"the-key-of-nobody").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ApiKeys(Arc<Shared>);

struct Shared {
    table: ArcSwap<Table>,
    source: Option<Source>,
}

struct Source {
    pinned: Pinned,
    format: KeyFormat,
    /// The digest of the text the keys were read from.
    seen: ArcSwap<SecretDigest>,
}

impl ApiKeys {
    /// Loads keys from a secret.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used, and if it does not hold keys in this format.
    pub fn load(request: &SecretRequest, format: KeyFormat) -> Result<Self, SecretError> {
        let (pinned, (seen, table)) =
            request.pin(|raw, origin| table_of(raw, origin, format, &MonotonicClock))?;
        let source = Source {
            pinned,
            format,
            seen: ArcSwap::from_pointee(seen),
        };
        Ok(Self(Arc::new(Shared {
            table: ArcSwap::from_pointee(table),
            source: Some(source),
        })))
    }

    /// Reads keys from text that the caller holds, and wipes.
    ///
    /// # Errors
    ///
    /// Fails if the text does not hold keys in this format.
    pub fn parse(text: &str, format: KeyFormat) -> Result<Self, ApiKeysError> {
        let records = format.parse(text).map_err(ApiKeysError)?;
        Self::of(&records)
    }

    /// Creates a store of a single key.
    ///
    /// # Errors
    ///
    /// Fails if the id is not 1 to 128 visible ASCII characters.
    pub fn single(id: &str, digest: &SecretDigest) -> Result<Self, ApiKeysError> {
        Self::of(&[Record::single(id, digest.clone())])
    }

    fn of(records: &[Record]) -> Result<Self, ApiKeysError> {
        let table = Table::new(records, MonotonicClock.now()).map_err(ApiKeysError)?;
        Ok(Self(Arc::new(Shared {
            table: ArcSwap::from_pointee(table),
            source: None,
        })))
    }

    /// Returns whose key was presented.
    ///
    /// The key is looked up by its digest, and compared in constant time; a key that there is not takes the same work as one that there is.
    #[must_use]
    pub fn verify(&self, presented: &[u8]) -> Option<KeyMatch> {
        let table = self.0.table.load();
        let entry = table.find(presented)?;
        Some(KeyMatch::of(entry))
    }

    /// Reads the keys again, from the place where they were found. Keys that were not loaded from a secret stay as they are.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used; the keys that were valid stay valid.
    pub fn reload(&self) -> Result<Reload, SecretError> {
        let Some(source) = &self.0.source else {
            return Ok(Reload::Unchanged);
        };
        let clock = source.pinned.loader.clock();
        source.pinned.reload(
            |raw, origin| {
                if source.seen.load().is(&SecretDigest::wiping(raw)) {
                    return Ok(None);
                }
                table_of(raw, origin, source.format, &**clock).map(Some)
            },
            |(seen, table)| {
                self.0.table.store(Arc::new(table));
                source.seen.store(Arc::new(seen));
            },
        )
    }

    /// Reloads the keys every `period`, at least 100 ms, until the task is dropped. Who should know of failures is the observer of the loader.
    ///
    /// # Errors
    ///
    /// Fails outside of a tokio runtime.
    #[cfg(feature = "tokio")]
    pub fn reload_every(
        &self,
        period: std::time::Duration,
    ) -> Result<crate::secret::task::ReloadTask, crate::secret::task::NoRuntimeError> {
        let keys = self.clone();
        crate::secret::task::ReloadTask::spawn(period, move || {
            // The observer has been told, and the old keys stay.
            let _ = keys.reload();
        })
    }

    /// Returns how many keys are valid.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.table.load().len()
    }

    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.0.table.load()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("count", &self.count())
            .field("source", &self.0.source.as_ref().map(|it| &it.pinned))
            .finish()
    }
}

fn table_of(
    raw: &[u8],
    origin: Origin,
    format: KeyFormat,
    clock: &dyn Clock,
) -> Result<(SecretDigest, Table), SecretFault> {
    let text = text(raw, origin)?;
    let now = clock.now();
    let table = format
        .parse(text)
        .and_then(|records| Table::new(&records, now))
        .map_err(|fault| SecretFault::Unparsable(fault.as_str()))?;
    Ok((SecretDigest::wiping(raw), table))
}

/// A key that is valid, and whose it is.
#[derive(Clone, Debug)]
pub struct KeyMatch {
    identity: ApiKeyIdentity,
    is_previous: bool,
}

impl KeyMatch {
    fn of(entry: &Entry) -> Self {
        Self {
            identity: entry.identity.clone(),
            is_previous: entry.is_previous,
        }
    }

    /// Returns whose key it is.
    #[must_use]
    pub fn identity(&self) -> &ApiKeyIdentity {
        &self.identity
    }

    /// Returns whether the key is about to be retired.
    #[must_use]
    pub fn is_previous(&self) -> bool {
        self.is_previous
    }
}
