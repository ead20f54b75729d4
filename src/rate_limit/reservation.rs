//! A cost that is settled later.

use std::fmt;

use crate::rate_limit::{
    limiter::RateLimiter,
    set::QuotaSet,
    store::{
        memory::{Arrivals, Correction, Found, Place},
        places::KeyHash,
    },
};

/// A cost that has been charged, and that is settled when the real cost is known.
///
/// Dropped, it stays charged. What has come back by the passing of time is not given back again: settling never credits a later charge.
#[must_use = "a reservation that is dropped stays charged"]
pub struct Reservation {
    limiter: RateLimiter,
    key: KeyHash,
    quotas: QuotaSet,
    own_quotas: bool,
    place: Place,
    charged_until: Arrivals,
    cost: u32,
}

impl Reservation {
    pub(crate) fn new(
        limiter: RateLimiter,
        key: KeyHash,
        tier: Option<&QuotaSet>,
        found: &Found<'_>,
    ) -> Self {
        Self {
            limiter,
            key,
            quotas: found.quotas.clone(),
            own_quotas: tier.is_none(),
            place: found.place,
            charged_until: *found.after,
            cost: found.cost,
        }
    }

    /// Returns the cost that was reserved.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Settles at the real cost: the difference is given back, or charged.
    ///
    /// A difference above what is left empties the quotas, and [overdraws](crate::rate_limit::Quota::with_overdraft) those that allow it. Where the
    /// quotas have been replaced meanwhile, nothing is changed.
    pub fn settle(self, cost: u32) {
        let now = self.limiter.now();
        let table = self.limiter.table();
        match cost.checked_sub(self.cost) {
            None => table.give_back(self.key, now, &self.correction(self.cost - cost)),
            Some(0) => {}
            Some(more) => table.force(self.key, now, &self.correction(more)),
        }
    }

    /// Settles at nothing.
    pub fn cancel(self) {
        self.settle(0);
    }

    fn correction(&self, units: u32) -> Correction<'_> {
        Correction {
            quotas: &self.quotas,
            own_quotas: self.own_quotas,
            place: self.place,
            charged_until: &self.charged_until,
            units,
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
