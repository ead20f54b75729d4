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
#[cfg(feature = "redis")]
use crate::{
    rate_limit::shared::{
        decide::WideKey,
        limiter::{By, Outcome, SharedCharge, SharedRateLimiter, local_key},
    },
    shared_store::failure::StoreFailure,
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

#[cfg(feature = "redis")]
impl SharedRateLimiter {
    /// Charges `cost` now, to be settled at the real cost later; the inner error is the verdict where the cost is refused. A reservation that is
    /// dropped stays charged.
    ///
    /// Settling sends the difference to the store and does not wait. Where the store is away then, the charge stays as it was.
    ///
    /// # Errors
    ///
    /// The store is away, and the limiter [denies](crate::shared_store::OnStoreFailure::Deny) then.
    pub async fn reserve<K: Hash + ?Sized>(
        &self,
        key: &K,
        cost: u32,
    ) -> Result<Result<Reservation, Verdict>, StoreFailure> {
        let key = self.key(key);
        let asked = self.now();
        if let Some(refused) = self.refused(key, cost, asked, None) {
            return Ok(Err(refused));
        }
        let finish = |found: &Found<'_>, now, by| {
            if found.charged {
                Ok(Reservation::by(self, &by, key, None, found))
            } else {
                Err(Verdict::new(found, now))
            }
        };
        match self
            .charge(key, Cost::Exactly(cost), asked, None, finish)
            .await
        {
            Outcome::Allowed => Ok(Ok(Reservation {
                cost,
                charged: Charged::Nowhere,
            })),
            Outcome::Decided(decided) => Ok(decided),
            Outcome::Denied(cause) => Err(StoreFailure(cause)),
        }
    }
}

/// A cost that has been charged, and that is settled when the real cost is known.
///
/// Dropped, it stays charged. What has come back by the passing of time is not given back again: settling never credits a later charge.
#[must_use = "a reservation that is dropped stays charged"]
pub struct Reservation {
    cost: u32,
    charged: Charged,
}

/// Where the cost has been charged.
enum Charged {
    Here(Here),
    #[cfg(feature = "redis")]
    Nowhere,
    #[cfg(feature = "redis")]
    Shared(SharedCharge),
}

/// A cost that has been charged in the memory of this process.
struct Here {
    limiter: RateLimiter,
    key: KeyHash,
    quotas: QuotaSet,
    own_quotas: bool,
    place: Place,
    charged_until: Arrivals,
}

impl Reservation {
    pub(crate) fn new(
        limiter: RateLimiter,
        key: KeyHash,
        tier: Option<&QuotaSet>,
        found: &Found<'_>,
    ) -> Self {
        Self {
            cost: found.cost,
            charged: Charged::Here(Here {
                limiter,
                key,
                quotas: found.quotas.clone(),
                own_quotas: tier.is_none(),
                place: found.place,
                charged_until: *found.after,
            }),
        }
    }

    /// Takes note of a charge in the store, or in what stands in for it.
    #[cfg(feature = "redis")]
    pub(crate) fn by(
        limiter: &SharedRateLimiter,
        by: &By,
        key: WideKey,
        tier: Option<&QuotaSet>,
        found: &Found<'_>,
    ) -> Self {
        match by {
            By::Local => {
                let share = Some(found.quotas);
                Self::new(limiter.local().clone(), local_key(key), share, found)
            }
            By::Store => Self {
                cost: found.cost,
                charged: Charged::Shared(SharedCharge {
                    limiter: limiter.clone(),
                    key,
                    quotas: found.quotas.clone(),
                    own_quotas: tier.is_none(),
                    until: *found.after,
                }),
            },
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
        match &self.charged {
            Charged::Here(here) => here.settle(self.cost, cost),
            #[cfg(feature = "redis")]
            Charged::Nowhere => {}
            #[cfg(feature = "redis")]
            Charged::Shared(charge) => charge.settle(self.cost, cost),
        }
    }

    /// Settles at nothing.
    pub fn cancel(self) {
        self.settle(0);
    }
}

impl Here {
    fn settle(&self, reserved: u32, cost: u32) {
        let now = self.limiter.now();
        let table = self.limiter.table();
        match cost.checked_sub(reserved) {
            None => table.give_back(self.key, now, &self.correction(reserved - cost)),
            Some(0) => {}
            Some(more) => table.force(self.key, now, &self.correction(more)),
        }
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
