//! An id with its keys, as every text of keys is read into.

use crate::secret::digest::SecretDigest;

/// An id with its keys.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) digests: Vec<SecretDigest>,
    pub(crate) scopes: Vec<String>,
    /// Whether one of its keys is none. It is told of later, for what a parser is told it quotes.
    pub(crate) is_bad: bool,
}

impl Record {
    pub(crate) fn single(id: &str, digest: SecretDigest) -> Self {
        Self {
            id: id.to_owned(),
            digests: vec![digest],
            scopes: Vec::new(),
            is_bad: false,
        }
    }
}

/// Visible ASCII: what can stand in a header field and in a log without harm.
pub(crate) fn is_visible(text: &str) -> bool {
    matches!(text.len(), 1..=128) && text.bytes().all(|c| c.is_ascii_graphic())
}

/// The longest key, so that a client cannot have much hashed.
pub(crate) const MAX_KEY_LEN: usize = 512;
