//! Why API keys cannot be used.

use std::{error::Error, fmt};

/// Why a text does not hold API keys. It never shows any of the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKeysError(pub(crate) Fault);

impl fmt::Display for ApiKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Error for ApiKeysError {}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    DuplicateId,
    DuplicateKey,
    Id,
    Json,
    Key,
    NoKeys,
    Realm,
    Scope,
    Toml,
}

impl Fault {
    /// The phrases complete "cannot be parsed as …", too.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateId => "API keys, for an id is there twice",
            Self::DuplicateKey => "API keys, for a key is there twice",
            Self::Id => "API keys, for an id is not 1 to 128 visible ASCII characters",
            Self::Json => "API keys, for it is not a JSON object of ids",
            Self::Key => {
                "API keys, for a key is neither 16 to 512 visible ASCII characters nor \"sha256:\" and 64 hexadecimal digits"
            }
            Self::NoKeys => "API keys, for there is no key",
            Self::Realm => {
                "a realm, for it is not made of visible ASCII characters and blanks without quotes"
            }
            Self::Scope => {
                "API keys, for a scope is not 1 to 128 visible ASCII characters without quotes"
            }
            Self::Toml => "API keys, for it is not a TOML table of ids",
        }
    }
}
