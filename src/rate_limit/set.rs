//! Quotas that are decided upon together.

#[cfg(feature = "redis")]
use std::num::NonZeroU32;
use std::{error::Error, fmt, sync::Arc};

use http::HeaderValue;

#[cfg(feature = "redis")]
use crate::rate_limit::gcra::Meter;
use crate::rate_limit::{
    fields,
    metered::Metered,
    quota::{Quota, QuotaError},
};

/// One to eight quotas that are decided upon together: all are charged, or none. Clones share the same quotas.
///
/// # Example
///
/// ```
/// use palisade::rate_limit::{Quota, QuotaSet};
///
/// let quotas = QuotaSet::new([Quota::per_second(10), Quota::per_hour(1000)])?;
/// assert_eq!(quotas.len(), 2);
///
/// // The longer window would make the shorter one pointless.
/// assert!(QuotaSet::new([Quota::per_second(10), Quota::per_hour(5)]).is_err());
/// # Ok::<(), palisade::rate_limit::RateLimitError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct QuotaSet(Arc<Quotas>);

/// What the clones of a [`QuotaSet`] share.
#[derive(Debug)]
pub(crate) struct Quotas {
    pub(crate) metered: Box<[Metered]>,
    max_cost: u32,
    /// The value of `RateLimit-Policy`.
    pub(crate) policy_field: HeaderValue,
}

impl QuotaSet {
    /// Creates a set of quotas.
    ///
    /// # Errors
    ///
    /// Refuses no quota, more than eight, two of the same name, and a longer period with a lower limit than a shorter one has.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self, RateLimitError> {
        let quotas: Vec<_> = quotas.into_iter().collect();
        if quotas.is_empty() {
            return Err(RateLimitError(Kind::NoQuota));
        }
        if quotas.len() > MAX_QUOTAS {
            return Err(RateLimitError(Kind::TooManyQuotas));
        }
        for (position, quota) in quotas.iter().enumerate() {
            for other in quotas.iter().skip(position + 1) {
                if quota.name() == other.name() {
                    return Err(RateLimitError(Kind::DuplicateName(quota.name().into())));
                }
                let (short, long) = if quota.period() < other.period() {
                    (quota, other)
                } else {
                    (other, quota)
                };
                if short.period() < long.period() && long.limit() < short.limit() {
                    return Err(RateLimitError(Kind::Shadowed {
                        short: short.name().into(),
                        long: long.name().into(),
                    }));
                }
            }
        }
        Ok(Self::sound(quotas))
    }

    /// Creates sets of any quotas, in as few sets as they fit in: where nothing may fail, later quotas of the same name get a number.
    pub(crate) fn gather(quotas: Vec<Quota>) -> Vec<Self> {
        let mut named: Vec<Quota> = Vec::with_capacity(quotas.len());
        for (position, quota) in quotas.into_iter().enumerate() {
            let again = named.iter().any(|it| it.name() == quota.name());
            let renamed = format!("{}-{}", quota.name(), position + 1);
            named.push(match quota.clone().try_with_name(renamed) {
                Ok(renamed) if again => renamed,
                // A name that is too long to be numbered stays: equal names confuse readers alone.
                _ => quota,
            });
        }
        let sets = named.chunks(MAX_QUOTAS);
        sets.map(|it| Self::sound(it.to_vec())).collect()
    }

    /// Returns how many quotas there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.metered.len()
    }

    /// Returns the quotas.
    pub fn iter(&self) -> impl Iterator<Item = &Quota> {
        self.0.metered.iter().map(|it| &it.quota)
    }

    /// Returns the most that one request can cost: the smallest capacity.
    #[must_use]
    pub fn max_cost(&self) -> u32 {
        self.0.max_cost
    }

    pub(crate) fn metered(&self) -> &[Metered] {
        &self.0.metered
    }

    pub(crate) fn shared(&self) -> &Arc<Quotas> {
        &self.0
    }

    /// Returns whether both are clones of the same set.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the same quotas in steps of microseconds, in which a shared store counts.
    #[cfg(feature = "redis")]
    pub(crate) fn in_micros(&self) -> Self {
        Self::of(
            self.iter()
                .map(|quota| Metered {
                    meter: Meter::with_grain(quota, MICROSECOND),
                    ..Metered::from(quota.clone())
                })
                .collect(),
        )
    }

    /// Returns what one of so many instances may let pass, so that all together let no more pass than the quotas, or one each where that is more.
    #[cfg(feature = "redis")]
    pub(crate) fn share(&self, instances: NonZeroU32) -> Self {
        Self::sound(self.iter().map(|it| it.share(instances)).collect())
    }

    fn sound(quotas: Vec<Quota>) -> Self {
        Self::of(quotas.into_iter().map(Metered::from).collect())
    }

    fn of(metered: Box<[Metered]>) -> Self {
        let max_cost = metered
            .iter()
            .map(|it| it.meter.capacity)
            .min()
            .unwrap_or_default();
        let policy_field = fields::policy(&metered);
        Self(Arc::new(Quotas {
            metered,
            max_cost,
            policy_field,
        }))
    }
}

impl From<Quota> for QuotaSet {
    fn from(quota: Quota) -> Self {
        Self::sound(vec![quota])
    }
}

impl From<&QuotaSet> for QuotaSet {
    fn from(quotas: &QuotaSet) -> Self {
        quotas.clone()
    }
}

impl fmt::Debug for QuotaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Why a rate limiter cannot be made of its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RateLimitError(pub(crate) Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    CostAboveCapacity {
        cost: u32,
        capacity: u32,
    },
    DuplicateName(String),
    #[cfg(feature = "redis")]
    DuplicateSharedName(String),
    NearLimit,
    NoQuota,
    NoRoom,
    Prefix(u8),
    Quota(QuotaError),
    Shadowed {
        short: String,
        long: String,
    },
    #[cfg(feature = "redis")]
    SharedName,
    Status(u16),
    TooManyKeys,
    TooManyQuotas,
    #[cfg(feature = "redis")]
    TooManyRemembered,
    TooWide {
        quotas: usize,
        width: usize,
    },
}

impl fmt::Display for RateLimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::CostAboveCapacity { cost, capacity } => write!(
                f,
                "cost {cost} is above the capacity {capacity} and would never be admitted: lower the cost, or raise the quota's burst"
            ),
            Kind::DuplicateName(name) => write!(
                f,
                "two quotas are named `{name}`: give one of them another name"
            ),
            #[cfg(feature = "redis")]
            Kind::DuplicateSharedName(name) => write!(
                f,
                "two limits are named `{name}` in the shared store: give one of them another name"
            ),
            Kind::NearLimit => f.write_str("near-limit percentage must be from 1 to 100"),
            Kind::NoQuota => f.write_str("rate limit has no quota: add one"),
            Kind::NoRoom => f.write_str("maximum of keys is zero: allow at least one"),
            Kind::Prefix(prefix) => {
                write!(f, "IPv6 prefix {prefix} is out of range: use 32 to 128")
            }
            Kind::Quota(_) => f.write_str("quota is unsound"),
            Kind::Shadowed { short, long } => write!(
                f,
                "quota `{long}` has a longer period and a lower limit than `{short}`, which could never be reached: raise `{long}`, or leave `{short}` out"
            ),
            #[cfg(feature = "redis")]
            Kind::SharedName => f.write_str(
                "name of a limit in the shared store must be 1 to 32 letters, digits, `-`, `_` and `.`",
            ),
            Kind::Status(status) => write!(
                f,
                "status {status} does not refuse: use 429, or another one from 400 to 599"
            ),
            Kind::TooManyKeys => {
                write!(f, "maximum of keys is above {MAX_KEYS}: lower it")
            }
            Kind::TooManyQuotas => write!(f, "more than {MAX_QUOTAS} quotas: leave some out"),
            #[cfg(feature = "redis")]
            Kind::TooManyRemembered => {
                write!(
                    f,
                    "maximum of remembered refusals is above {MAX_REMEMBERED}: lower it"
                )
            }
            Kind::TooWide { quotas, width } => write!(
                f,
                "{quotas} quotas where the limiter has room for {width} per key: set its width when it is built"
            ),
        }
    }
}

impl Error for RateLimitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Quota(error) => Some(error),
            _ => None,
        }
    }
}

impl From<QuotaError> for RateLimitError {
    fn from(error: QuotaError) -> Self {
        Self(Kind::Quota(error))
    }
}

#[cfg(feature = "redis")]
const MICROSECOND: u64 = 1000;
/// The most quotas that are decided upon together.
pub(crate) const MAX_QUOTAS: usize = 8;
/// The most keys of a table.
pub(crate) const MAX_KEYS: usize = 1 << 28;
/// The most refusals of a shared store that are remembered.
#[cfg(feature = "redis")]
pub(crate) const MAX_REMEMBERED: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(quotas: impl IntoIterator<Item = Quota>, expected: Option<&Kind>) {
        let found = QuotaSet::new(quotas).err().map(|it| it.0);
        assert_eq!(found.as_ref(), expected);
    }

    #[test]
    fn quotas_that_contradict_each_other_are_refused() {
        check([], Some(&Kind::NoQuota));
        check(
            (1..=9).map(|it| {
                Quota::per_second(1)
                    .try_with_name(format!("q{it}"))
                    .unwrap()
            }),
            Some(&Kind::TooManyQuotas),
        );
        // T20.
        check(
            [Quota::per_second(1), Quota::per_second(1).with_burst(5)],
            Some(&Kind::DuplicateName("1-per-second".into())),
        );
        check(
            [Quota::per_hour(5), Quota::per_second(10)],
            Some(&Kind::Shadowed {
                short: "10-per-second".into(),
                long: "5-per-hour".into(),
            }),
        );
        check([Quota::per_second(10), Quota::per_minute(10)], None);
        check([Quota::per_second(10), Quota::per_hour(1000)], None);
        check(
            [Quota::per_second(10).with_name("a"), Quota::per_second(5)],
            None,
        );
    }

    #[test]
    fn gathered_quotas_of_one_name_get_numbers() {
        let names = |quotas: Vec<Quota>| -> Vec<Vec<String>> {
            let names = |set: &QuotaSet| set.iter().map(|it| it.name().into_owned()).collect();
            QuotaSet::gather(quotas).iter().map(names).collect()
        };
        let quotas = [1, 60, 1].map(|period| Quota::new(1, Duration::from_secs(period)).unwrap());
        let expected = ["1-per-second", "1-per-minute", "1-per-second-3"];
        assert_eq!(names(quotas.to_vec()), [expected]);
        let many: Vec<_> = (1..=9).map(Quota::per_second).collect();
        let found = names(many);
        assert_eq!(
            (found[0].len(), &found[1]),
            (8, &vec!["9-per-second".to_owned()])
        );
        // There is no room for a number.
        let long = Quota::per_second(1).try_with_name("x".repeat(64)).unwrap();
        assert_eq!(
            names(vec![long.clone(), long]),
            [["x".repeat(64), "x".repeat(64)]]
        );
    }

    #[test]
    fn a_quota_that_is_unsound_is_the_source_of_the_error() {
        let error = RateLimitError::from(Quota::new(0, Duration::from_secs(1)).unwrap_err());
        assert!(
            error
                .source()
                .unwrap()
                .to_string()
                .contains("limit is zero")
        );
        assert!(RateLimitError(Kind::NoQuota).source().is_none());
    }
}
