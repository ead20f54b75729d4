//! The lock of the table: that of the standard library, or of the model checker.

use std::{
    hint,
    sync::{PoisonError, TryLockError},
};

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

    #[inline]
    pub(crate) fn lock(&self) -> imp::MutexGuard<'_, T> {
        // Nothing that could panic runs under the lock.
        match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait(),
        }
    }

    /// Waits for the lock. It is held for less than it takes to be put to sleep and woken up, so that is the last resort: with two threads on one
    /// key, it is the difference between 1.5 and 0.6 times the throughput of one.
    #[cold]
    fn wait(&self) -> imp::MutexGuard<'_, T> {
        for round in 0..ROUNDS {
            for _ in 0..1 << round {
                hint::spin_loop();
            }
            match self.0.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often the lock is tried again, after pauses that double.
const ROUNDS: u32 = 10;
