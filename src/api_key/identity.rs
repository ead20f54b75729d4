//! Who presented a key.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::request::Parts;

/// Whose API key a request presented: an extension of the request, and (feature `axum`) an extractor.
///
/// Two identities are equal if their ids are. It is a key to limit by: `RateLimitKey::extension(ApiKeyIdentity::clone)` in a layer
/// further in.
#[derive(Clone)]
pub struct ApiKeyIdentity(Arc<Inner>);

struct Inner {
    id: Box<str>,
    scopes: Box<[Box<str>]>,
}

impl ApiKeyIdentity {
    pub(crate) fn new(id: &str, scopes: &[String]) -> Self {
        Self(Arc::new(Inner {
            id: id.into(),
            scopes: scopes.iter().map(|scope| scope.as_str().into()).collect(),
        }))
    }

    /// Returns the identity of a request that passed an [`ApiKeyLayer`](crate::api_key::ApiKeyLayer).
    #[must_use]
    pub fn of(parts: &Parts) -> Option<&Self> {
        parts.extensions.get()
    }

    /// Returns the id that the key has in the store. It is no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns what the key may be used for.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.scopes.iter().map(|scope| &**scope)
    }

    /// Returns whether the key may be used for this.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|own| own == scope)
    }
}

impl PartialEq for ApiKeyIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ApiKeyIdentity {}

impl Hash for ApiKeyIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for ApiKeyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyIdentity")
            .field("id", &self.0.id)
            .field("scopes", &self.0.scopes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn an_identity_is_its_id() {
        let identity = |id, scopes: &[&str]| {
            let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
            ApiKeyIdentity::new(id, &scopes)
        };
        let (alice, other) = (identity("alice", &["read"]), identity("alice", &[]));
        assert_eq!(alice, other);
        let state = RandomState::new();
        assert_eq!(state.hash_one(&alice), state.hash_one(&other));
        assert_ne!(alice, identity("bob", &["read"]));
        assert!(alice.has_scope("read") && !alice.has_scope("write"));
        assert!(!other.has_scope("read"));
    }
}
