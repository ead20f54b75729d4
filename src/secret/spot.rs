//! The places to look at for a secret.

#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::secret::{
    content::Raw,
    error::{Fault, SecretPlace},
};

/// One place to look at for a secret.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    Entry(PathBuf, Arc<str>),
    Environment,
    FileNamed,
}

impl Spot {
    pub(crate) fn place(&self, name: &Arc<str>) -> SecretPlace {
        match self {
            Self::Entry(directory, entry) => SecretPlace::Entry(directory.join(&**entry)),
            Self::Environment => SecretPlace::Environment(Arc::clone(name)),
            Self::FileNamed => SecretPlace::FileNamedBy(file_variable(name).into()),
        }
    }
}

pub(crate) fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// Reads a path where it lies, so that no copy of it is left: a hurried operator may have put the secret itself there.
pub(crate) fn path_of(raw: &Raw) -> Result<&Path, Fault> {
    #[cfg(unix)]
    let path = Ok(<OsStr as OsStrExt>::from_bytes(raw.bytes()));
    #[cfg(not(unix))]
    let path = str::from_utf8(raw.bytes())
        .map(OsStr::new)
        .map_err(Fault::NotUtf8);
    path.map(Path::new)
}

/// Kubernetes reserves names that begin with two dots, and a single dot is the directory.
pub(crate) fn is_name(name: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    matches!(name.len(), 1..=253)
        && name.bytes().all(is_allowed)
        && name != "."
        && !name.starts_with("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: bool) {
        assert_eq!(is_name(name), expected, "{name:?}");
    }

    #[test]
    fn names_cannot_lead_anywhere() {
        check("db-pass_1.v2", true);
        check(&"a".repeat(253), true);
        check(&"a".repeat(254), false);
        check(".hidden", true);
        for name in [
            "", ".", "..", "..data", "a/b", "a\\b", "a\0", "/a", "a b", "ä", "a=",
        ] {
            check(name, false);
        }
    }
}
