//! The lock of the table: that of the standard library, or of the model checker.

use std::sync::PoisonError;

#[cfg(palisade_shuttle)]
use shuttle::sync as imp;
#[cfg(not(palisade_shuttle))]
use std::sync as imp;

/// A lock that is held for some tens of nanoseconds, and never across an await.
#[derive(Debug)]
pub(crate) struct Lock<T>(imp::Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> imp::MutexGuard<'_, T> {
        // Nothing that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
