//! The arithmetic of the generic cell rate algorithm, driven through governor.
//!
//! The state of one quota of one key is one number: the theoretical arrival time, in nanoseconds since the epoch of the table, at which the
//! quota is full again. governor decides by it; the rest here reads it.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore,
};

use crate::rate_limit::quota::Quota;

/// A quota ready for arithmetic: all products are computed once and known to fit.
#[derive(Debug)]
pub(crate) struct Meter {
    /// governor, asked in times from now on: its clock stands still at zero, so that one is made per quota and not per decision.
    governor: RateLimiter<Staged, StagedStore, Now, NoOpMiddleware<Nanos>>,
    /// Nanoseconds in which one unit comes back.
    pub(crate) interval: u64,
    /// Nanoseconds in which the whole capacity comes back.
    pub(crate) full: u64,
    /// Nanoseconds of the quota's period.
    pub(crate) period: u64,
    pub(crate) overdraft: u64,
    pub(crate) capacity: u32,
    /// By how many nanoseconds the interval may have been rounded up.
    pub(crate) grain: u64,
}

impl Meter {
    pub(crate) fn new(quota: &Quota) -> Self {
        Self::with_grain(quota, 1)
    }

    /// Returns the meter of a quota whose interval is rounded up to a multiple of `grain` nanoseconds.
    pub(crate) fn with_grain(quota: &Quota, grain: u64) -> Self {
        let nanos = u64::try_from(quota.interval().as_nanos()).unwrap_or(u64::MAX);
        let nanos = nanos.div_ceil(grain).saturating_mul(grain);
        let interval = Duration::from_nanos(nanos);
        let capacity = NonZeroU32::new(quota.capacity()).unwrap_or(NonZeroU32::MIN);
        // The interval of a quota is never zero.
        let governed = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(capacity);
        Self {
            governor: RateLimiter::new(governed, StagedStore, Now),
            interval: nanos,
            period: u64::try_from(quota.period().as_nanos()).unwrap_or(u64::MAX),
            full: nanos.saturating_mul(capacity.get().into()),
            overdraft: nanos.saturating_mul(quota.overdraft().into()),
            capacity: capacity.get(),
            grain,
        }
    }

    /// Returns an arrival time that this quota can have got into: one further ahead comes from a larger quota, or from a clock that has
    /// stepped back.
    #[inline]
    pub(crate) fn clamp(&self, arrival: u64, now: u64) -> u64 {
        arrival.min(now.saturating_add(self.full).saturating_add(self.overdraft))
    }

    /// Charges `cost`, if it conforms, to a clamped arrival time.
    #[inline]
    pub(crate) fn charge(&self, arrival: u64, cost: NonZeroU32, now: u64) -> Option<u64> {
        // governor multiplies without a check.
        if cost.get() > self.capacity {
            return None;
        }
        let staged = Staged(Cell::new(arrival.saturating_sub(now)));
        let conforms = match cost.get() {
            1 => self.governor.check_key(&staged).is_ok(),
            _ => matches!(self.governor.check_key_n(&staged, cost), Ok(Ok(()))),
        };
        conforms.then(|| now.saturating_add(staged.0.get()))
    }

    /// Charges what has been spent already; what exceeds capacity and overdraft is forgiven.
    pub(crate) fn force(&self, arrival: u64, cost: u32, now: u64) -> u64 {
        let weight = self.interval.saturating_mul(cost.into());
        self.clamp(arrival.max(now).saturating_add(weight), now)
    }

    /// Returns how much can be spent now.
    pub(crate) fn remaining(&self, arrival: u64, now: u64) -> u32 {
        let spendable = now
            .saturating_add(self.full)
            .saturating_sub(arrival.max(now));
        u32::try_from(spendable / self.interval).unwrap_or(u32::MAX)
    }

    /// Returns the nanoseconds after which `cost` can be spent: zero if now, nothing if never.
    pub(crate) fn wait(&self, arrival: u64, cost: u32, now: u64) -> Option<u64> {
        if cost > self.capacity {
            return None;
        }
        let weight = self.interval.saturating_mul(cost.into());
        let conforming = arrival
            .max(now)
            .saturating_add(weight)
            .saturating_sub(self.full);
        Some(conforming.saturating_sub(now))
    }
}

/// The time until the arrival of the one quota that is being asked: governor sees it as a key, and the store behind it holds nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Staged(Cell<u64>);

impl Hash for Staged {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[derive(Debug)]
struct StagedStore;

impl StateStore for StagedStore {
    type Key = Staged;

    fn measure_and_replace<T, F, E>(&self, staged: &Staged, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(staged.0.get())))?;
        staged.0.set(next.as_u64());
        Ok(outcome)
    }
}

/// The clock of all decisions.
#[derive(Clone, Debug)]
struct Now;

impl Clock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::quota::SECOND;

    #[track_caller]
    fn check(quota: &Quota, arrival: u64, cost: u32, now: u64, expected: Option<u64>) {
        let meter = Meter::new(quota);
        let cost = NonZeroU32::new(cost).unwrap();
        assert_eq!(meter.charge(arrival, cost, now), expected);
        assert_eq!(
            meter.wait(arrival, cost.get(), now) == Some(0),
            expected.is_some()
        );
    }

    #[test]
    fn cost_moves_the_arrival_time() {
        let quota = Quota::per_second(1).with_burst(5);
        check(&quota, 0, 1, 0, Some(SECOND));
        check(&quota, 0, 5, 0, Some(5 * SECOND));
        check(&quota, SECOND, 5, 0, None);
        check(&quota, SECOND, 5, SECOND, Some(6 * SECOND));
        check(&quota, 0, 1, 100 * SECOND, Some(101 * SECOND));
    }

    #[test]
    fn no_cost_overflows() {
        let quota = Quota::per_hour(10);
        check(&quota, 0, 51_240_957, 0, None);
        check(&quota, 0, u32::MAX, 0, None);
        check(&quota, 0, 10, 0, Some(3600 * SECOND));
    }

    #[test]
    fn an_arrival_far_ahead_waits_no_longer_than_the_capacity() {
        // T08.
        let meter = Meter::new(&Quota::per_second(1).with_burst(5));
        let arrival = meter.clamp(u64::MAX, SECOND);
        assert_eq!(meter.wait(arrival, 5, SECOND), Some(5 * SECOND));
        assert_eq!(meter.remaining(arrival, SECOND), 0);
    }
}
