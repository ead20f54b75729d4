//! The one place that reads a clock.
//!
//! Everything in the crate that depends on time is given its time by a [`Clock`], so that a test can move it by hand.
//!
//! # Example
//!
//! A request that is refused, and let in a minute later, in no time:
//!
#![cfg_attr(feature = "rate-limit", doc = "```")]
#![cfg_attr(not(feature = "rate-limit"), doc = "```ignore")]
//! use std::time::Duration;
//! use palisade::{clock::ManualClock, rate_limit::{Quota, RateLimiter}};
//!
//! let clock = ManualClock::new();
//! let limiter = RateLimiter::builder(Quota::per_minute(1)).clock(clock.clone()).build()?;
//! assert!(limiter.check("alice", 1).is_admitted());
//! assert!(!limiter.check("alice", 1).is_admitted());
//!
//! clock.advance(Duration::from_secs(60));
//! assert!(limiter.check("alice", 1).is_admitted());
//! # Ok::<(), palisade::rate_limit::RateLimitError>(())
//! ```

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// Tells the time.
///
/// Implementations must be cheap: a protected request reads the clock about once.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the monotonic time, which limits, windows and bans are measured in.
    fn now(&self) -> Instant;

    /// Returns the wall-clock time, which is only ever shown or stored, never measured with.
    fn system_now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The operating system's monotonic clock; the default everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that a test moves by hand. Clones share the same time.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use palisade::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(clock.now() - start, Duration::from_secs(3));
/// ```
#[derive(Clone)]
pub struct ManualClock {
    start: Instant,
    system_start: SystemTime,
    /// Nanoseconds since `start`.
    elapsed: Arc<AtomicU64>,
}

impl ManualClock {
    /// Creates a clock that stands still at the current time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            system_start: SystemTime::now(),
            elapsed: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Steps the clock back, at most to the time at which it was created.
    pub fn rewind(&self, by: Duration) {
        let by = nanos(by);
        let _ = self
            .elapsed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |elapsed| {
                Some(elapsed.saturating_sub(by))
            });
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Ordering::SeqCst))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn system_now(&self) -> SystemTime {
        self.system_start + self.elapsed()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_never_goes_before_its_start() {
        let clock = ManualClock::new();
        let start = clock.now();
        clock.advance(Duration::from_secs(5));
        clock.rewind(Duration::from_secs(60));
        assert_eq!(clock.now(), start);
    }

    #[test]
    fn clones_share_the_time() {
        let clock = ManualClock::new();
        let other = clock.clone();
        other.advance(Duration::from_millis(1));
        assert_eq!(clock.now(), other.now());
        assert_eq!(clock.system_now(), other.system_now());
    }
}
