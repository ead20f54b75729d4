//! A secret that has been found, and is read again from the same place.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use crate::secret::{
    content::Origin,
    error::{Fault, SecretError, SecretErrorKind, SecretPlace},
    loader::SecretLoader,
    notice::SecretNotice,
    spot::Spot,
};

/// Where a secret was found. Reading it again never looks elsewhere: the place further on may hold something older.
pub(crate) struct Pinned {
    pub(crate) loader: SecretLoader,
    pub(crate) name: Arc<str>,
    spot: Spot,
    told: Mutex<Told>,
}

/// What was wrong the last time, and has been told: what stays as it is, is told of once.
struct Told {
    failed: Option<SecretErrorKind>,
    /// The mode of a file that is less private than it should be.
    loose: Option<u32>,
}

impl Pinned {
    pub(crate) fn new(
        loader: SecretLoader,
        name: Arc<str>,
        spot: Spot,
        loose: Option<u32>,
    ) -> Self {
        let failed = None;
        Self {
            loader,
            name,
            spot,
            told: Mutex::new(Told { failed, loose }),
        }
    }

    pub(crate) fn place(&self) -> SecretPlace {
        self.spot.place(&self.name)
    }

    /// Reads the secret; `accept` returns nothing where it is the old one, and what it returns is handed to `replace`.
    ///
    /// Reloads come one after the other; readers do not wait for them.
    pub(crate) fn reload<T>(
        &self,
        mut accept: impl FnMut(&[u8], Origin) -> Result<Option<T>, Fault>,
        replace: impl FnOnce(T),
    ) -> Result<Reload, SecretError> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let found = retry_if_absent(|| {
            let found = self.loader.read(&self.name, &self.spot, told.loose)?;
            let read = found.ok_or_else(|| Fault::Missing(vec![self.place()]))?;
            told.loose = read.loose;
            accept(read.raw.bytes(), read.origin)
        });
        match found {
            Ok(None) => {
                told.failed = None;
                Ok(Reload::Unchanged)
            }
            Ok(Some(value)) => {
                told.failed = None;
                replace(value);
                self.loader.observer().tell(&SecretNotice::Rotated {
                    name: &self.name,
                    place: &self.place(),
                });
                Ok(Reload::Rotated)
            }
            Err(fault) => {
                let place = match fault {
                    Fault::Missing(_) => None,
                    _ => Some(self.place()),
                };
                let error = SecretError::new(&self.name, place, fault);
                if told.failed.replace(error.kind()) != Some(error.kind()) {
                    let notice = SecretNotice::LoadFailed { error: &error };
                    self.loader.observer().tell(&notice);
                }
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.name, self.place())
    }
}

/// What a reload found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reload {
    /// A new value, which is valid from now on.
    Rotated,
    /// The same value; its file may be another one.
    Unchanged,
}

/// Tries once more where nothing was found: whoever follows a link while a volume is updated may arrive when the directory is gone.
fn retry_if_absent<T>(mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    match attempt() {
        Err(Fault::Missing(_)) => attempt(),
        Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => attempt(),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attempts: Vec<Result<u8, Fault>>, expected: &str) {
        let mut attempts = attempts.into_iter();
        let result = retry_if_absent(|| attempts.next().unwrap());
        assert!(format!("{result:?}").starts_with(expected), "{result:?}");
    }

    #[test]
    fn g05_a_volume_is_updated_while_it_is_read() {
        let not_found = || Err(Fault::Io(io::ErrorKind::NotFound.into()));
        check(vec![Ok(1)], "Ok(1)");
        check(vec![not_found(), Ok(2)], "Ok(2)");
        check(vec![Err(Fault::Missing(vec![])), Ok(2)], "Ok(2)");
        check(vec![not_found(), not_found()], "Err(Io");
        check(vec![Err(Fault::Empty)], "Err(Empty");
        let forbidden = io::ErrorKind::PermissionDenied.into();
        check(vec![Err(Fault::Io(forbidden))], "Err(Io");
    }
}
