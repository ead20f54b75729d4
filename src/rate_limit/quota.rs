//! How much a key may spend, and how fast it gets it back.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

/// How much a key may spend, and how fast it gets it back.
///
/// A quota has a limit per period and a capacity: what an idle client may spend at one instant. The capacity is the limit unless
/// [`with_burst`](Self::with_burst) says otherwise. A quota that exists is sound: nothing built from one can fail later.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use palisade::rate_limit::Quota;
///
/// const LOGINS: Quota = Quota::per_minute(5).with_name("logins");
/// assert_eq!(LOGINS.capacity(), 5);
///
/// let quota: Quota = "10/s burst 30".parse()?;
/// assert_eq!(quota, Quota::per_second(10).with_burst(30));
///
/// assert!(Quota::new(0, Duration::from_secs(60)).is_err());
/// assert!("10 per second".parse::<Quota>().is_err());
/// # Ok::<(), palisade::rate_limit::QuotaError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub struct Quota {
    name: Option<Cow<'static, str>>,
    limit: u32,
    /// Nanoseconds.
    period: u64,
    capacity: u32,
    overdraft: u32,
}

impl Quota {
    /// Creates a quota of `limit` per second.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero or above a thousand million. Use [`new`](Self::new) for a number that is not a literal.
    pub const fn per_second(limit: u32) -> Self {
        Self::literal(limit, SECOND)
    }

    /// Creates a quota of `limit` per minute.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero. Use [`new`](Self::new) for a number that is not a literal.
    pub const fn per_minute(limit: u32) -> Self {
        Self::literal(limit, 60 * SECOND)
    }

    /// Creates a quota of `limit` per hour.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero. Use [`new`](Self::new) for a number that is not a literal.
    pub const fn per_hour(limit: u32) -> Self {
        Self::literal(limit, 3600 * SECOND)
    }

    /// Creates a quota of `limit` per day.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero. Use [`new`](Self::new) for a number that is not a literal.
    pub const fn per_day(limit: u32) -> Self {
        Self::literal(limit, DAY)
    }

    /// Creates a quota of `limit` per `period`.
    ///
    /// # Errors
    ///
    /// Refuses a limit or a period of zero, a period above 366 days, and more than one unit per nanosecond.
    pub const fn new(limit: u32, period: Duration) -> Result<Self, QuotaError> {
        let nanos = period.as_nanos();
        if nanos > MAX_PERIOD as u128 {
            return Err(QuotaError(Kind::PeriodTooLong));
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
        Self::checked(limit, nanos as u64)
    }

    /// Sets the capacity: what an idle client may spend at one instant. The default is the limit.
    ///
    /// # Panics
    ///
    /// Panics if `burst` is zero or would take more than ten years to refill. Use [`try_with_burst`](Self::try_with_burst) for a number
    /// that is not a literal.
    pub const fn with_burst(mut self, burst: u32) -> Self {
        assert!(burst != 0, "a burst of zero admits nothing");
        assert!(
            refills_in_time(self.period, self.limit, burst),
            "the burst takes more than ten years to refill"
        );
        self.capacity = burst;
        self
    }

    /// Sets the capacity, as [`with_burst`](Self::with_burst) does.
    ///
    /// # Errors
    ///
    /// Refuses zero, and a burst that takes more than ten years to refill.
    pub fn try_with_burst(mut self, burst: u32) -> Result<Self, QuotaError> {
        if burst == 0 {
            return Err(QuotaError(Kind::ZeroBurst));
        }
        if !refills_in_time(self.period, self.limit, burst) {
            return Err(QuotaError(Kind::BurstTooLarge));
        }
        self.capacity = burst;
        Ok(self)
    }

    /// Names the quota in header fields, problem documents and events. The default says limit and period, as in `50-per-second`.
    ///
    /// # Panics
    ///
    /// Panics unless the name is 1 to 64 printable ASCII characters. Use [`try_with_name`](Self::try_with_name) for a name that is not a
    /// literal.
    pub const fn with_name(mut self, name: &'static str) -> Self {
        assert!(
            is_name(name.as_bytes()),
            "a quota's name is 1 to 64 printable ASCII characters"
        );
        // A `const fn` cannot drop what it replaces.
        std::mem::forget(self.name.replace(Cow::Borrowed(name)));
        self
    }

    /// Names the quota, as [`with_name`](Self::with_name) does.
    ///
    /// # Errors
    ///
    /// Refuses a name that is not 1 to 64 printable ASCII characters.
    pub fn try_with_name(mut self, name: impl Into<String>) -> Result<Self, QuotaError> {
        let name = name.into();
        if !is_name(name.as_bytes()) {
            return Err(QuotaError(Kind::Name));
        }
        self.name = Some(Cow::Owned(name));
        Ok(self)
    }

    /// Sets how far settling a reservation may overdraw the quota, beyond what is left. The default is zero: what a request has cost beyond
    /// the capacity is forgiven.
    ///
    /// # Panics
    ///
    /// Panics if the overdraft would take more than ten years to refill.
    pub const fn with_overdraft(mut self, units: u32) -> Self {
        assert!(
            refills_in_time(self.period, self.limit, units),
            "the overdraft takes more than ten years to refill"
        );
        self.overdraft = units;
        self
    }

    /// Sets how far settling may overdraw the quota, as [`with_overdraft`](Self::with_overdraft) does.
    ///
    /// # Errors
    ///
    /// Refuses an overdraft that takes more than ten years to refill.
    pub fn try_with_overdraft(mut self, units: u32) -> Result<Self, QuotaError> {
        if !refills_in_time(self.period, self.limit, units) {
            return Err(QuotaError(Kind::OverdraftTooLarge));
        }
        self.overdraft = units;
        Ok(self)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        if let Some(name) = &self.name {
            return Cow::Borrowed(name);
        }
        let unit = match self.period {
            SECOND => "second",
            MINUTE => "minute",
            HOUR => "hour",
            DAY => "day",
            _ => return Cow::Owned(format!("{}-per-{}", self.limit, ascii(self.period()))),
        };
        Cow::Owned(format!("{}-per-{unit}", self.limit))
    }

    /// Returns the limit per period.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// Returns the capacity: what an idle client may spend at one instant.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns how far settling may overdraw the quota.
    #[must_use]
    pub const fn overdraft(&self) -> u32 {
        self.overdraft
    }

    /// Returns the time in which one unit comes back, rounded up so that the rate is never exceeded.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(interval(self.period, self.limit))
    }

    /// Returns what one of so many instances may let pass. Limits are not divided, but periods multiplied, for the least limit is one.
    #[cfg(feature = "redis")]
    pub(crate) fn share(&self, instances: std::num::NonZeroU32) -> Self {
        let count = instances.get();
        let burst = (self.capacity / count).max(1);
        let mut share = match self.period.checked_mul(count.into()) {
            Some(period) if period <= MAX_PERIOD => Self::unchecked(self.limit, period),
            _ => Self::unchecked((self.limit / count).max(1), self.period),
        };
        // One that takes longer than ten years to come back is one that does not: then the whole is no less than a share.
        if refills_in_time(share.period, share.limit, burst) {
            share.capacity = burst;
        } else {
            share = self.clone();
        }
        share.name = Some(Cow::Owned(self.name().into_owned()));
        share.overdraft = 0;
        share
    }

    const fn literal(limit: u32, period: u64) -> Self {
        assert!(limit != 0, "a quota of zero admits nothing");
        assert!(
            limit as u64 <= period,
            "no more than one unit per nanosecond can be metered"
        );
        Self::unchecked(limit, period)
    }

    const fn checked(limit: u32, period: u64) -> Result<Self, QuotaError> {
        if limit == 0 {
            return Err(QuotaError(Kind::ZeroLimit));
        }
        if period == 0 {
            return Err(QuotaError(Kind::ZeroPeriod));
        }
        if limit as u64 > period {
            return Err(QuotaError(Kind::TooFast));
        }
        Ok(Self::unchecked(limit, period))
    }

    const fn unchecked(limit: u32, period: u64) -> Self {
        Self {
            name: None,
            limit,
            period,
            capacity: limit,
            overdraft: 0,
        }
    }
}

/// Writes what the quota is parsed from.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.limit)?;
        match self.period {
            SECOND => f.write_str("second")?,
            MINUTE => f.write_str("minute")?,
            HOUR => f.write_str("hour")?,
            DAY => f.write_str("day")?,
            period if period % SECOND == 0 => write!(f, "{}s", period / SECOND)?,
            // Not a form that is parsed: text has no periods below a second.
            _ => f.write_str(&ascii(self.period()))?,
        }
        if self.capacity != self.limit {
            write!(f, " burst {}", self.capacity)?;
        }
        Ok(())
    }
}

/// Why a [`Quota`] cannot be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuotaError(pub(crate) Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    BurstTooLarge,
    Name,
    OverdraftTooLarge,
    PeriodTooLong,
    Syntax,
    TooFast,
    ZeroBurst,
    ZeroLimit,
    ZeroPeriod,
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::BurstTooLarge => {
                "quota's burst takes more than ten years to refill: lower it, or shorten the period"
            }
            Kind::Name => "quota's name must be 1 to 64 printable ASCII characters",
            Kind::OverdraftTooLarge => {
                "quota's overdraft takes more than ten years to refill: lower it"
            }
            Kind::PeriodTooLong => "quota's period is longer than 366 days: shorten it",
            Kind::Syntax => "quota must be written as `60/minute` or `10/s burst 30`",
            Kind::TooFast => {
                "quota's limit is more than one per nanosecond: lower it, or leave the limit out"
            }
            Kind::ZeroBurst => {
                "quota's burst is zero, which admits nothing: deny the route instead"
            }
            Kind::ZeroLimit => {
                "quota's limit is zero, which admits nothing: deny the route, or leave the limit out for no limit"
            }
            Kind::ZeroPeriod => "quota's period is zero: give the time in which the limit is spent",
        })
    }
}

impl Error for QuotaError {}

/// Returns the nanoseconds in which one unit comes back.
pub(crate) const fn interval(period: u64, limit: u32) -> u64 {
    period.div_ceil(limit as u64)
}

const fn refills_in_time(period: u64, limit: u32, burst: u32) -> bool {
    match interval(period, limit).checked_mul(burst as u64) {
        Some(nanos) => nanos <= MAX_REFILL,
        None => false,
    }
}

/// Writes a period in ASCII, which header fields are made of: microseconds are `us`.
fn ascii(period: Duration) -> String {
    format!("{period:?}").replace('\u{b5}', "u")
}

const fn is_name(mut name: &[u8]) -> bool {
    if name.is_empty() || name.len() > 64 {
        return false;
    }
    while let [first, rest @ ..] = name {
        // RFC 9651, section 3.3.3: a String holds printable ASCII alone.
        if *first < 0x20 || *first > 0x7e {
            return false;
        }
        name = rest;
    }
    true
}

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
const MAX_PERIOD: u64 = 366 * DAY;
/// Together with the distance of the epoch this stays far below the range of the clock.
const MAX_REFILL: u64 = 3660 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(quota: Result<Quota, QuotaError>, expected: Result<(u32, u64), Kind>) {
        let found = quota.map(|it| (it.capacity(), interval(it.period, it.limit)));
        assert_eq!(found, expected.map_err(QuotaError));
    }

    #[test]
    fn absurd_quotas_are_refused() {
        let second = Duration::from_secs(1);
        // G19, F11, F30, T03: zero is neither "no limit" nor a division by zero.
        check(Quota::new(0, second), Err(Kind::ZeroLimit));
        check(Quota::new(0, Duration::ZERO), Err(Kind::ZeroLimit));
        // F10: what never comes back is no quota.
        check(Quota::new(1, Duration::ZERO), Err(Kind::ZeroPeriod));
        check(Quota::new(1, Duration::MAX), Err(Kind::PeriodTooLong));
        // B19.
        check(
            Quota::new(101, Duration::from_nanos(100)),
            Err(Kind::TooFast),
        );
        check(Quota::new(100, Duration::from_nanos(100)), Ok((100, 1)));
        // G20.
        check(Quota::per_second(1).try_with_burst(0), Err(Kind::ZeroBurst));
        check(
            Quota::per_day(1).try_with_burst(300_000),
            Err(Kind::BurstTooLarge),
        );
        check(
            Quota::per_hour(10).try_with_burst(30),
            Ok((30, 360 * SECOND)),
        );
        check(
            Quota::per_day(1).try_with_overdraft(300_000),
            Err(Kind::OverdraftTooLarge),
        );
        let debt = Quota::per_day(1).try_with_overdraft(300).unwrap();
        assert_eq!(debt.overdraft(), 300);
        for name in ["", "caf\u{e9}", "a\nb", &"x".repeat(65)] {
            check(Quota::per_second(1).try_with_name(name), Err(Kind::Name));
        }
    }

    #[test]
    fn one_unit_never_comes_back_too_early() {
        check(Ok(Quota::per_second(3)), Ok((3, 333_333_334)));
        check(Ok(Quota::per_second(1000)), Ok((1000, 1_000_000)));
    }

    #[test]
    fn names_say_limit_and_period() {
        assert_eq!(Quota::per_second(50).name(), "50-per-second");
        assert_eq!(Quota::per_day(1).name(), "1-per-day");
        let quota = Quota::new(7, Duration::from_secs(90)).unwrap();
        assert_eq!(quota.name(), "7-per-90s");
        // They stand in header fields, where all is ASCII.
        for (nanos, expected) in [
            (10_000, "5-per-10us"),
            (1_500, "5-per-1.5us"),
            (100, "5-per-100ns"),
            (2_500_000, "5-per-2.5ms"),
        ] {
            let quota = Quota::new(5, Duration::from_nanos(nanos)).unwrap();
            assert_eq!(quota.name(), expected);
            assert!(is_name(quota.name().as_bytes()));
            assert!(quota.to_string().is_ascii());
        }
        assert_eq!(quota.with_name("own").name(), "own");
    }

    #[test]
    fn quotas_are_written_as_they_are_parsed() {
        for (period, text) in [
            (Duration::from_secs(1), "7/second"),
            (Duration::from_secs(60), "7/minute"),
            (Duration::from_secs(90), "7/90s"),
            (Duration::from_millis(1500), "7/1.5s"),
            (Duration::from_millis(50), "7/50ms"),
        ] {
            let quota = Quota::new(7, period).unwrap();
            assert_eq!(quota.to_string(), text);
            assert_eq!(quota.with_burst(9).to_string(), format!("{text} burst 9"));
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn all_shares_together_are_no_more_than_the_whole() {
        #[track_caller]
        fn check(whole: &Quota, instances: u32, expected: (u32, Duration, u32)) {
            let share = whole.share(instances.try_into().unwrap());
            assert_eq!((share.limit(), share.period(), share.capacity()), expected);
            assert_eq!(share.name(), whole.name());
            assert_eq!(share.overdraft(), 0);
        }

        let second = Duration::from_secs(1);
        let burst = Quota::per_second(10).with_burst(30).with_overdraft(5);
        check(&burst, 1, (10, second, 30));
        check(&burst, 3, (10, 3 * second, 10));
        check(&burst, 7, (10, 7 * second, 4));
        check(&Quota::per_second(1), 5, (1, 5 * second, 1));
        // The longest period that a quota may have, and one that would be longer.
        let days = |days: u64| Duration::from_secs(days * 86_400);
        check(&Quota::new(6, days(122)).unwrap(), 3, (6, days(366), 2));
        check(&Quota::new(6, days(123)).unwrap(), 3, (2, days(123), 2));
        // What would take more than ten years to come back is not divided.
        let slow = Quota::new(3, days(366)).unwrap().with_burst(28);
        check(&slow, 2, (3, days(366), 28));
    }
}
