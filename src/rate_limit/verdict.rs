//! What a limiter answers.

use std::{fmt, time::Duration};

use crate::rate_limit::{
    metered::Metered,
    quota::Quota,
    set::QuotaSet,
    store::memory::{Arrivals, Found, Place},
};

/// What a limiter answers: whether the cost was admitted, and how each quota stands.
#[derive(Clone)]
#[must_use]
pub struct Verdict {
    pub(crate) quotas: QuotaSet,
    pub(crate) arrivals: Arrivals,
    pub(crate) now: u64,
    pub(crate) cost: u32,
    pub(crate) admitted: bool,
    pub(crate) place: Place,
}

impl Verdict {
    pub(crate) fn new(found: &Found<'_>, now: u64) -> Self {
        Self {
            quotas: found.quotas.clone(),
            arrivals: *found.after,
            now,
            cost: found.cost,
            admitted: found.charged,
            place: found.place,
        }
    }

    /// Returns whether the cost was admitted, and so charged to all quotas; a refusal has charged none.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Returns the cost that was asked for; the part that was granted, where less would do.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns what can still be spent of all quotas: the least that is left of any.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.arrivals.remaining(&self.quotas, self.now)
    }

    /// Returns when the same cost can be admitted: the longest wait of the quotas that refuse.
    #[must_use]
    pub fn retry(&self) -> Retry {
        if self.admitted {
            return Retry::Now;
        }
        let mut longest = 0;
        for standing in self.standings() {
            match standing.wait {
                None => return Retry::Never,
                Some(wait) => longest = longest.max(wait),
            }
        }
        match longest {
            // More quotas than the limiter has room for.
            0 => Retry::Never,
            nanos => Retry::After(Duration::from_nanos(nanos)),
        }
    }

    /// Returns the time until all quotas are full again.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        let longest = self.standings().map(|it| it.reset).max();
        Duration::from_nanos(longest.unwrap_or(0))
    }

    /// Returns whether the key shares its state with others because the table is full.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.place != Place::Own
    }

    /// Returns how each quota stands.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.arrivals.iter(&self.quotas).map(|(metered, arrival)| {
            let meter = &metered.meter;
            Standing {
                metered,
                remaining: meter.remaining(arrival, self.now),
                reset: arrival.saturating_sub(self.now),
                wait: if self.admitted {
                    Some(0)
                } else {
                    meter.wait(arrival, self.cost, self.now)
                },
            }
        })
    }

    /// Returns the quotas that refuse.
    pub fn refusing(&self) -> impl Iterator<Item = Standing<'_>> {
        self.standings().filter(|it| it.wait != Some(0))
    }

    /// Returns the quota that has the least left; of several, the one that takes longest to fill.
    #[must_use]
    pub fn tightest(&self) -> Option<Standing<'_>> {
        let tightest = self.arrivals.tightest(&self.quotas, self.now)?;
        self.standings().nth(tightest.position.into())
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("admitted", &self.admitted)
            .field("cost", &self.cost)
            .field("remaining", &self.remaining())
            .field("retry", &self.retry())
            .field("reset_after", &self.reset_after())
            .finish_non_exhaustive()
    }
}

/// When a cost can be admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Retry {
    /// After this time, if nothing else is spent.
    After(Duration),
    /// Never: the cost is above the capacity.
    Never,
    /// It has been.
    Now,
}

/// How one quota stands.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    pub(crate) metered: &'a Metered,
    pub(crate) remaining: u32,
    pub(crate) reset: u64,
    pub(crate) wait: Option<u64>,
}

impl<'a> Standing<'a> {
    /// Returns the quota.
    pub fn quota(&self) -> &'a Quota {
        &self.metered.quota
    }

    /// Returns the quota's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.metered.name
    }

    /// Returns what can still be spent of this quota.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Returns the time until the quota is full again.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        Duration::from_nanos(self.reset)
    }

    /// Returns when this quota admits the cost.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.wait {
            None => Retry::Never,
            Some(0) => Retry::Now,
            Some(nanos) => Retry::After(Duration::from_nanos(nanos)),
        }
    }
}

impl fmt::Debug for Standing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("name", &self.name())
            .field("remaining", &self.remaining)
            .field("reset_after", &self.reset_after())
            .field("retry", &self.retry())
            .finish()
    }
}
