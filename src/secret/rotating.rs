//! Secrets that are replaced while the service runs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use secrecy::{ExposeSecret, SecretBox};
use subtle::ConstantTimeEq as _;

use crate::{
    clock::Clock,
    secret::{
        content::{Origin, SecretContent, accept, scrub_registers},
        digest::SecretDigest,
        error::{Fault, SecretError},
        pinned::{Pinned, Reload},
    },
};

/// No overlap is longer than a year; it keeps the arithmetic of time from overflowing.
const MAX_OVERLAP: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A secret that may be replaced while the service runs.
///
/// It is read again, from the place where it was found first, whenever [`reload`](Self::reload) is called; with the feature `tokio`
/// a [`ReloadTask`](crate::secret::ReloadTask) does so from time to time. For an overlap after a replacement the value before is valid as well,
/// so that not all parties have to change at one instant. Where a reload fails, the old value stays.
///
/// It polls, and finds a file whichever way it is replaced: in place, by renaming, or by the swap of `..data` that Kubernetes does. A
/// Kubernetes `subPath` mount never changes, and neither does the environment of a process.
///
/// Readers take no lock. Clones share the values.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use palisade::{clock::ManualClock, secret::{ExposeSecret, SecretLoader}};
///
/// let directory = tempfile::tempdir()?;
/// let file = directory.path().join("token");
/// std::fs::write(&file, "old\n")?;
///
/// let clock = ManualClock::new();
/// let loader = SecretLoader::new()
///     .with_directory(directory.path())
///     .with_clock(clock.clone());
/// let token = loader.secret("token").rotating(Duration::from_secs(60))?;
/// assert!(token.matches(b"old"));
///
/// std::fs::write(&file, "new\n")?;
/// token.reload()?;
/// assert_eq!(token.current().expose_secret(), "new");
/// assert!(token.matches(b"new") && token.matches(b"old"));
///
/// clock.advance(Duration::from_secs(60));
/// assert!(token.matches(b"new") && !token.matches(b"old"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RotatingSecret<S: SecretContent + ?Sized = str> {
    shared: Arc<Shared<S>>,
}

struct Shared<S: SecretContent + ?Sized> {
    values: ArcSwap<Values<S>>,
    pinned: Pinned,
    overlap: Duration,
}

struct Values<S: SecretContent + ?Sized> {
    current: Arc<Value<S>>,
    previous: Option<(Arc<Value<S>>, Instant)>,
}

struct Value<S: SecretContent + ?Sized> {
    secret: SecretBox<S>,
    digest: SecretDigest,
}

impl<S: SecretContent + ?Sized> RotatingSecret<S> {
    pub(crate) fn new(pinned: Pinned, secret: SecretBox<S>, overlap: Duration) -> Self {
        let values = Values {
            current: Arc::new(Value::new(secret)),
            previous: None,
        };
        Self {
            shared: Arc::new(Shared {
                values: ArcSwap::from_pointee(values),
                pinned,
                overlap: overlap.min(MAX_OVERLAP),
            }),
        }
    }

    /// Returns the value that is valid now. The guard is for use at once: what it shows is wiped when the last guard is dropped.
    #[must_use]
    pub fn current(&self) -> SecretGuard<S> {
        SecretGuard {
            values: self.shared.values.load(),
            which: Which::Current,
        }
    }

    /// Returns the value before, while the overlap lasts.
    #[must_use]
    pub fn previous(&self) -> Option<SecretGuard<S>> {
        let values = self.shared.values.load();
        let (_, until) = values.previous.as_ref()?;
        (self.clock().now() < *until).then_some(SecretGuard {
            values,
            which: Which::Previous,
        })
    }

    /// Returns whether `presented` is the value that is valid now or, while the overlap lasts, the one before.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.match_of(presented).is_some()
    }

    /// Returns which of the valid values `presented` is. Both are always compared, by their digests and in constant time.
    #[must_use]
    pub fn match_of(&self, presented: &[u8]) -> Option<SecretMatch> {
        let values = self.shared.values.load();
        let presented = SecretDigest::hash(presented);
        let is_current = values.current.digest.is(&presented);
        let is_previous = values.previous.as_ref().is_some_and(|(value, until)| {
            value.digest.is(&presented) & (self.clock().now() < *until)
        });
        if is_current {
            Some(SecretMatch::Current)
        } else if is_previous {
            Some(SecretMatch::Previous)
        } else {
            None
        }
    }

    /// Reads the secret again, and forgets the value before once its overlap has ended.
    ///
    /// It reads a file and may block; a reader never waits for it.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used; the value that was valid stays valid. The observer of the loader is told once
    /// for each way to fail in a row.
    pub fn reload(&self) -> Result<Reload, SecretError> {
        let now = self.clock().now();
        let result = self.shared.pinned.reload(
            |raw, origin| self.replacement(raw, origin),
            |secret| self.replace(secret, now),
        );
        self.forget_expired(now);
        result
    }

    /// Returns the name of the secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.pinned.name
    }

    fn clock(&self) -> &dyn Clock {
        &**self.shared.pinned.loader.clock()
    }

    /// Makes a secret of what was read, unless it is the current one.
    fn replacement(&self, raw: &[u8], origin: Origin) -> Result<Option<SecretBox<S>>, Fault> {
        let secret = accept::<S>(raw, origin)?;
        let values = self.shared.values.load();
        let current = values.current.secret.expose_secret().raw();
        let is_same: bool = current.ct_eq(secret.expose_secret().raw()).into();
        scrub_registers(current.len());
        Ok((!is_same).then_some(secret))
    }

    fn replace(&self, secret: SecretBox<S>, now: Instant) {
        let shared = &*self.shared;
        let old = Arc::clone(&shared.values.load().current);
        let previous = match now.checked_add(shared.overlap) {
            Some(until) if now < until => Some((old, until)),
            _ => None,
        };
        shared.values.store(Arc::new(Values {
            current: Arc::new(Value::new(secret)),
            previous,
        }));
    }

    fn forget_expired(&self, now: Instant) {
        let values = self.shared.values.load();
        if let Some((_, until)) = &values.previous
            && *until <= now
        {
            let without = Arc::new(Values {
                current: Arc::clone(&values.current),
                previous: None,
            });
            // If another reload has come in between, its values stay.
            self.shared.values.compare_and_swap(&values, without);
        }
    }
}

impl<S: SecretContent + ?Sized> Clone for RotatingSecret<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: SecretContent + ?Sized> fmt::Debug for RotatingSecret<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingSecret")
            .field("secret", &self.shared.pinned)
            .field("overlap", &self.shared.overlap)
            .finish_non_exhaustive()
    }
}

impl<S: SecretContent + ?Sized> Value<S> {
    fn new(secret: SecretBox<S>) -> Self {
        Self {
            digest: SecretDigest::of(&secret),
            secret,
        }
    }
}

/// A value of a [`RotatingSecret`], held without a lock. `Debug` shows nothing of it.
pub struct SecretGuard<S: SecretContent + ?Sized = str> {
    values: Guard<Arc<Values<S>>>,
    which: Which,
}

#[derive(Clone, Copy)]
enum Which {
    Current,
    Previous,
}

impl<S: SecretContent + ?Sized> ExposeSecret<S> for SecretGuard<S> {
    fn expose_secret(&self) -> &S {
        let values = &*self.values;
        match (self.which, &values.previous) {
            (Which::Previous, Some((previous, _))) => previous.secret.expose_secret(),
            (Which::Current | Which::Previous, _) => values.current.secret.expose_secret(),
        }
    }
}

impl<S: SecretContent + ?Sized> fmt::Debug for SecretGuard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretGuard([REDACTED])")
    }
}

/// Which of the valid values of a [`RotatingSecret`] was presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecretMatch {
    /// The value that is valid now.
    Current,
    /// The value before, whose overlap lasts.
    Previous,
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use crate::{clock::ManualClock, secret::loader::SecretLoader};

    #[test]
    fn the_value_before_is_kept_no_longer_than_it_is_valid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "old").unwrap();
        let clock = ManualClock::new();
        let loader = SecretLoader::new()
            .with_environment(|_| None)
            .with_directory(directory.path())
            .with_clock(clock.clone());
        let overlap = Duration::from_secs(60);
        let secret = loader.secret("key").rotating(overlap).unwrap();
        let is_kept = || secret.shared.values.load().previous.is_some();
        assert!(!is_kept());
        fs::write(&path, "new").unwrap();
        secret.reload().unwrap();
        assert!(is_kept());
        clock.advance(overlap);
        secret.reload().unwrap();
        assert!(!is_kept());
    }
}
