//! A cost that is settled later.

use std::{fmt, hash::Hash};

use crate::rate_limit::{
    limiter::RateLimiter,
    set::QuotaSet,
    store::{
        memory::{Arrivals, Correction, Cost, Found, Place},
        places::KeyHash,
    },
    verdict::Verdict,
};

impl RateLimiter {
    /// Charges `cost` now, to be settled at the real cost later. A reservation that is dropped stays charged.
    ///
    /// # Errors
    ///
    /// Returns the verdict where the cost is refused.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::rate_limit::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(1000).with_name("tokens"));
    /// let Ok(reservation) = limiter.reserve("alice", 800) else {
    ///     unreachable!("a fresh key has all of its quota")
    /// };
    /// assert!(limiter.reserve("alice", 800).is_err());
    ///
    /// reservation.settle(100);
    /// assert!(limiter.reserve("alice", 800).is_ok());
    /// ```
    pub fn reserve<K: Hash + ?Sized>(&self, key: &K, cost: u32) -> Result<Reservation, Verdict> {
        let hash = self.hash(key);
        let now = self.now();
        self.charge(hash, Cost::Exactly(cost), now, None, |found| {
            if found.charged {
                Ok(Reservation::new(self.clone(), hash, None, &found))
            } else {
                Err(Verdict::new(&found, now))
            }
        })
    }
}

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
