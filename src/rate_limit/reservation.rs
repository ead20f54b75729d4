//! A cost that is settled later.

use std::{fmt, hash::Hash};

use crate::rate_limit::{
    limiter::RateLimiter,
    set::QuotaSet,
    store::{
        memory::{Correction, Cost, Found},
        open::OpenCharge,
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
        let finish = |found: &Found<'_>, now, by: By<'_>| {
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
///
/// In memory, all else is given back. In a shared store, which remembers less, that is so where the reservations of a key end in the order in which they
/// were made, or in the reverse; else some of what they give back may be left to time.
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
    /// Nothing where it has been settled.
    open: Option<OpenCharge>,
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
                open: found.keep_open(key),
            }),
        }
    }

    /// Takes note of a charge in the store, or in what stands in for it.
    #[cfg(feature = "redis")]
    pub(crate) fn by(
        limiter: &SharedRateLimiter,
        by: &By<'_>,
        key: WideKey,
        tier: Option<&QuotaSet>,
        found: &Found<'_>,
    ) -> Self {
        match by {
            By::Local => {
                let share = Some(found.quotas);
                Self::new(limiter.local().clone(), local_key(key), share, found)
            }
            By::Store(charge) => Self {
                cost: found.cost,
                charged: Charged::Shared(SharedCharge {
                    limiter: limiter.clone(),
                    key,
                    quotas: found.quotas.clone(),
                    own_quotas: tier.is_none(),
                    charge: **charge,
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
    pub fn settle(mut self, cost: u32) {
        match &mut self.charged {
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
    fn settle(&mut self, reserved: u32, cost: u32) {
        let Some(open) = self.open.take() else {
            return;
        };
        let now = self.limiter.now();
        let table = self.limiter.table();
        let correction = |units| Correction {
            quotas: &self.quotas,
            own_quotas: self.own_quotas,
            open,
            units,
        };
        match cost.checked_sub(reserved) {
            None => table.give_back(self.key, now, &correction(reserved - cost)),
            Some(0) => table.close(self.key, open),
            Some(more) => table.force(self.key, now, &correction(more)),
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.limiter.table().close(self.key, open);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::quota::Quota;

    #[test]
    fn what_is_settled_or_dropped_is_remembered_no_longer() {
        let limiter = RateLimiter::new(Quota::per_day(100));
        let ends: [fn(Reservation); 5] = [
            drop,
            Reservation::cancel,
            |it| it.settle(1),
            |it| it.settle(5),
            |it| it.settle(9),
        ];
        for end in ends {
            let open = limiter.reserve("key", 5).unwrap();
            assert_eq!(limiter.table().open(), 1);
            end(open);
            assert_eq!(limiter.table().open(), 0);
        }
        // Those that have been let off, or were made under other quotas, are no exception.
        let [one, two] = [1, 1].map(|it| limiter.reserve("key", it).unwrap());
        limiter.reset("key");
        one.cancel();
        limiter.replace_quotas(Quota::per_day(99)).unwrap();
        two.cancel();
        assert_eq!(limiter.table().open(), 0);
        assert!(limiter.reserve("key", 100).is_err());
        assert_eq!(limiter.table().open(), 0);
    }
}
