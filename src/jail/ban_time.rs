//! How long a ban lasts.

use std::time::Duration;

/// The longest ban there is: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long a ban lasts: a fixed time, which may grow with every further ban of the same client.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use palisade::jail::BanTime;
///
/// // 10 minutes, then 20, 40, … up to a day, each a little longer than it could be reckoned.
/// let ban_time = BanTime::new(Duration::from_secs(600))
///     .with_growth(2)
///     .with_jitter(Duration::from_secs(60))
///     .with_max(Duration::from_secs(86_400));
/// # let _ = ban_time;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct BanTime {
    first: Duration,
    growth: u32,
    jitter: Duration,
    max: Option<Duration>,
    memory: Duration,
}

impl BanTime {
    /// Creates a fixed ban time. No ban is longer than ten years.
    pub const fn new(first: Duration) -> Self {
        Self {
            first,
            growth: 1,
            jitter: Duration::ZERO,
            max: None,
            memory: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Multiplies the time by `factor` with every further ban. The default, 1, does not grow; 0 is read as 1.
    ///
    /// Whoever has been banned is remembered for the time of [`with_memory`](Self::with_memory) after the ban.
    pub const fn with_growth(mut self, factor: u32) -> Self {
        self.growth = factor;
        self
    }

    /// Lengthens each ban by a random time up to `jitter`, so that its end cannot be reckoned. The default is none.
    pub const fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets the longest time, whatever growth and jitter say. The default is a week, or the first time where that is longer.
    pub const fn with_max(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// Sets how long a client that has been banned is remembered, where the time grows. The default is a day.
    pub const fn with_memory(mut self, memory: Duration) -> Self {
        self.memory = memory;
        self
    }

    /// Returns how long a ban lasts for a client that has been banned `before` times; `random` is any number.
    pub(crate) fn length(&self, before: u32, random: u64) -> Duration {
        let max = self
            .max
            .unwrap_or(self.first.max(Duration::from_secs(7 * 24 * 60 * 60)))
            .min(LONGEST);
        // A product that does not fit is longer than any maximum.
        let factor = self.growth.max(1).checked_pow(before);
        let grown = factor.and_then(|factor| self.first.checked_mul(factor));
        let jitter = fraction(self.jitter.min(LONGEST), random);
        grown
            .and_then(|grown| grown.checked_add(jitter))
            .map_or(max, |length| length.min(max))
    }

    /// Returns how long after its end a ban is remembered.
    pub(crate) fn memory(&self) -> Duration {
        match self.growth {
            0 | 1 => Duration::ZERO,
            _ => self.memory.min(LONGEST),
        }
    }
}

/// Ten minutes.
impl Default for BanTime {
    fn default() -> Self {
        Self::new(Duration::from_secs(600))
    }
}

/// Returns the part of `whole` that `random` is of all numbers, both ends included.
fn fraction(whole: Duration, random: u64) -> Duration {
    let parts = whole.as_nanos() + 1;
    // `whole` is at most ten years, 2^59 nanoseconds, so that the product fits.
    let nanos = (parts * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[track_caller]
    fn check(ban_time: BanTime, before: u32, random: u64, expected: Duration) {
        assert_eq!(ban_time.length(before, random), expected);
    }

    #[test]
    fn a_fixed_time_stays() {
        check(BanTime::default(), 0, 7, 10 * MINUTE);
        check(BanTime::default(), 1000, 7, 10 * MINUTE);
        check(BanTime::default().with_growth(0), 3, 7, 10 * MINUTE);
    }

    #[test]
    fn a_time_that_grows_is_a_week_at_most() {
        let week = 7 * 24 * 60 * MINUTE;
        check(BanTime::default().with_growth(2), 99, 0, week);
        check(
            BanTime::new(week + MINUTE).with_growth(2),
            99,
            0,
            week + MINUTE,
        );
    }

    #[test]
    fn a_growing_time_doubles() {
        let ban_time = BanTime::default().with_growth(2);
        for (before, factor) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32)] {
            check(ban_time, before, 0, factor * 10 * MINUTE);
        }
    }

    #[test]
    fn k09_growth_ends_at_the_maximum() {
        let day = 24 * 60 * MINUTE;
        let ban_time = BanTime::default().with_growth(2).with_max(day);
        for before in [8, 30, 31, 32, 63, 64, 1000, u32::MAX] {
            check(ban_time, before, 0, day);
        }
        check(BanTime::default().with_growth(2), 30, 0, 7 * day);
        check(BanTime::new(Duration::MAX), 0, 0, LONGEST);
        check(BanTime::new(30 * day), 0, 0, 30 * day);
        let most = BanTime::new(Duration::MAX)
            .with_growth(u32::MAX)
            .with_jitter(Duration::MAX)
            .with_max(Duration::MAX);
        check(most, u32::MAX, u64::MAX, LONGEST);
    }

    #[test]
    fn k10_jitter_only_lengthens() {
        let ban_time = BanTime::default().with_jitter(MINUTE);
        check(ban_time, 0, 0, 10 * MINUTE);
        check(ban_time, 0, u64::MAX, 11 * MINUTE);
        check(ban_time, 0, 1 << 63, 10 * MINUTE + MINUTE / 2);
    }

    proptest! {
        #[test]
        fn k10_jitter_stays_within_its_bounds(random: u64, jitter in 0_u64..1_000_000_000) {
            let jitter = Duration::from_micros(jitter);
            let length = BanTime::default().with_jitter(jitter).length(0, random);
            prop_assert!(10 * MINUTE <= length && length <= 10 * MINUTE + jitter);
        }

        #[test]
        fn no_length_overflows(first: u64, growth: u32, jitter: u64, before: u32, random: u64) {
            let length = BanTime::new(Duration::from_secs(first))
                .with_growth(growth)
                .with_jitter(Duration::from_secs(jitter))
                .length(before, random);
            prop_assert!(length <= LONGEST);
        }
    }
}
