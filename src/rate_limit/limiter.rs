//! The limiter by itself, without HTTP.

use std::{
    fmt,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::{Clock, MonotonicClock},
    rate_limit::{
        hasher::KeyHasher,
        set::{Kind, MAX_KEYS, MAX_QUOTAS, QuotaSet, RateLimitError},
        store::{
            memory::{Cost, Found, Table},
            places::KeyHash,
        },
        usage::TableUsage,
        verdict::Verdict,
    },
};

/// Counts what keys spend: for web requests, for messages of a socket, for jobs. Clones share the same state.
///
/// The memory is fixed when the limiter is made: by default room for 100,000 keys at some 23 bytes for each key and quota, all of it written to at
/// once. What is [reserved](Self::reserve) is remembered beside that until it is settled or dropped. Keys are hashed with a random key of this limiter; the
/// keys themselves are not kept.
///
/// # Example
///
/// ```
/// use palisade::rate_limit::{Quota, QuotaSet, RateLimiter, Retry};
///
/// let limiter = RateLimiter::new(QuotaSet::new([
///     Quota::per_second(2),
///     Quota::per_hour(100),
/// ])?);
/// assert!(limiter.check("alice", 2).is_admitted());
///
/// let refused = limiter.check("alice", 1);
/// assert!(!refused.is_admitted());
/// assert!(matches!(refused.retry(), Retry::After(_)));
/// assert!(refused.refusing().map(|it| it.name()).eq(["2-per-second"]));
///
/// assert!(limiter.check("bob", 1).is_admitted());
/// assert_eq!(limiter.check("bob", 3).retry(), Retry::Never);
/// # Ok::<(), palisade::rate_limit::RateLimitError>(())
/// ```
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

struct Inner {
    table: Table,
    hash: KeyHasher,
    clock: Arc<dyn Clock>,
    epoch: Instant,
}

impl RateLimiter {
    /// Creates a limiter for 100,000 keys that reads the monotonic clock.
    #[must_use]
    pub fn new(quotas: impl Into<QuotaSet>) -> Self {
        Self::builder(quotas).sound()
    }

    /// Returns a builder for a limiter with other settings.
    pub fn builder(quotas: impl Into<QuotaSet>) -> RateLimiterBuilder {
        let quotas = quotas.into();
        RateLimiterBuilder {
            width: quotas.len(),
            quotas,
            max_keys: MAX_KEYS_DEFAULT,
            clock: Arc::new(MonotonicClock),
        }
    }

    /// Charges `cost` to all quotas of `key`, or to none.
    ///
    /// A cost of zero is always admitted and charges nothing; one above the capacity is refused for ever, and changes nothing either.
    pub fn check<K: Hash + ?Sized>(&self, key: &K, cost: u32) -> Verdict {
        self.check_at(key, cost, self.0.clock.now())
    }

    /// Does what [`check`](Self::check) does, at a time that is known already.
    ///
    /// Threads may come with their times in any order, as long as none is a second late: that would be a clock that was put back, and what comes back
    /// in that second would come back twice.
    pub fn check_at<K: Hash + ?Sized>(&self, key: &K, cost: u32, now: Instant) -> Verdict {
        let now = self.nanos(now);
        self.charge(self.hash(key), Cost::Exactly(cost), now, None, |found| {
            Verdict::new(&found, now)
        })
    }

    /// Charges as much of `cost` as is left; [`Verdict::cost`] says how much that was, which may be nothing.
    pub fn check_up_to<K: Hash + ?Sized>(&self, key: &K, cost: u32) -> Verdict {
        let now = self.now();
        self.charge(self.hash(key), Cost::AtMost(cost), now, None, |found| {
            Verdict::new(&found, now)
        })
    }

    /// Answers what [`check`](Self::check) would, and charges nothing.
    pub fn peek<K: Hash + ?Sized>(&self, key: &K, cost: u32) -> Verdict {
        let now = self.now();
        let verdict = |found: Found<'_>| Verdict::new(&found, now);
        self.table().peek(self.hash(key), cost, now, None, verdict)
    }

    /// Gives `units` back to `key`, at most until its quotas are full.
    pub fn refund<K: Hash + ?Sized>(&self, key: &K, units: u32) {
        let now = self.now();
        self.0.table.refund(self.hash(key), units, now, None);
    }

    /// Makes all quotas of `key` full again.
    pub fn reset<K: Hash + ?Sized>(&self, key: &K) {
        self.0.table.reset(self.hash(key));
    }

    /// Replaces the quotas for all keys. What they have spent is kept, quota by quota in their order, and clamped to the new capacities.
    ///
    /// # Errors
    ///
    /// Refuses more quotas than the limiter was [built](RateLimiterBuilder::width) for.
    pub fn replace_quotas(&self, quotas: impl Into<QuotaSet>) -> Result<(), RateLimitError> {
        let quotas = quotas.into();
        fits(&quotas, self.0.table.width())?;
        self.0.table.replace(&quotas);
        Ok(())
    }

    /// Returns the quotas.
    pub fn quotas(&self) -> QuotaSet {
        self.0.table.quotas()
    }

    /// Returns how full the table is.
    #[must_use]
    pub fn usage(&self) -> TableUsage {
        self.0.table.usage()
    }

    pub(crate) fn charge<R>(
        &self,
        key: KeyHash,
        cost: Cost,
        now: u64,
        quotas: Option<&QuotaSet>,
        finish: impl FnOnce(Found<'_>) -> R,
    ) -> R {
        self.0.table.charge(key, cost, now, quotas, finish)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0.table
    }

    pub(crate) fn now(&self) -> u64 {
        self.nanos(self.0.clock.now())
    }

    /// Returns the nanoseconds since the epoch of the table.
    #[inline]
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.0.epoch);
        // In 584 years the clock stands still.
        since
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(since.subsec_nanos().into())
    }

    pub(crate) fn hash<K: Hash + ?Sized>(&self, key: &K) -> KeyHash {
        self.0.hash.of(key)
    }

    pub(crate) fn hasher(&self) -> &KeyHasher {
        &self.0.hash
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("quotas", &self.quotas())
            .field("usage", &self.usage())
            .field("clock", &self.0.clock)
            .finish_non_exhaustive()
    }
}

/// Builds a [`RateLimiter`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimiterBuilder {
    quotas: QuotaSet,
    max_keys: usize,
    width: usize,
    clock: Arc<dyn Clock>,
}

impl RateLimiterBuilder {
    /// Sets for how many keys there is room. The default is 100,000.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Sets for how many quotas per key there is room. The default is the number of quotas; more are needed where tiers or later quotas are more.
    pub fn width(mut self, quotas: usize) -> Self {
        self.width = quotas;
        self
    }

    /// Sets the clock. The default is [`MonotonicClock`].
    pub fn clock(self, clock: impl Clock) -> Self {
        self.shared_clock(Arc::new(clock))
    }

    pub(crate) fn shared_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn quotas(&self) -> &QuotaSet {
        &self.quotas
    }

    #[cfg(feature = "redis")]
    pub(crate) fn clock_of(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// Refuses room for no key or for more than 268 million, and room for fewer quotas than there are or for more than eight.
    pub fn build(self) -> Result<RateLimiter, RateLimitError> {
        if self.max_keys == 0 {
            return Err(RateLimitError(Kind::NoRoom));
        }
        if self.max_keys > MAX_KEYS {
            return Err(RateLimitError(Kind::TooManyKeys));
        }
        if self.width > MAX_QUOTAS {
            return Err(RateLimitError(Kind::TooManyQuotas));
        }
        fits(&self.quotas, self.width)?;
        Ok(self.sound())
    }

    /// Builds the limiter of settings that are the defaults or known to be sound.
    pub(crate) fn sound(self) -> RateLimiter {
        RateLimiter(Arc::new(Inner {
            table: Table::new(self.max_keys, self.width, &self.quotas),
            hash: KeyHasher::new(),
            clock: self.clock,
            epoch: epoch(),
        }))
    }
}

pub(crate) fn fits(quotas: &QuotaSet, width: usize) -> Result<(), RateLimitError> {
    let quotas = quotas.len();
    if quotas > width {
        return Err(RateLimitError(Kind::TooWide { quotas, width }));
    }
    Ok(())
}

/// Returns a time well before any that a request can have, for clocks may have been made before the limiter.
fn epoch() -> Instant {
    let now = Instant::now();
    [365 * 86_400, 86_400, 3600, 60, 1]
        .into_iter()
        .find_map(|seconds| now.checked_sub(Duration::from_secs(seconds)))
        .unwrap_or(now)
}

const MAX_KEYS_DEFAULT: usize = 100_000;
