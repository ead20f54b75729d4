//! Refusals that are remembered.
//!
//! A client that is refused is refused until its quotas have come back so far, whoever else of the instances it asks: what others admit meanwhile only makes
//! it later. So an instance may refuse by itself, and never admits by itself. It knows the clock of the store no better than this: when the store
//! decided it was *at least* as late here as when the question was sent. The estimate therefore runs ahead of the store's clock, by as much as the question took, and the
//! memory ends early by that.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::rate_limit::{set::QuotaSet, shared::decide::WideKey, store::memory::Arrivals};

/// Refusals that are remembered: a bounded table, in which a new one takes the place of the oldest of its row.
pub(crate) struct DenyCache {
    rows: Box<[Mutex<Row>]>,
}

type Row = [Option<Refusal>; WAYS];

/// A refusal.
#[derive(Clone)]
struct Refusal {
    key: WideKey,
    quotas: QuotaSet,
    arrivals: Arrivals,
    /// When the store decided, in nanoseconds of its clock.
    decided: u64,
    /// When the question was sent.
    sent: Instant,
}

impl DenyCache {
    pub(crate) fn new(entries: usize) -> Self {
        let rows = match entries {
            0 => 0,
            entries => entries.div_ceil(WAYS).next_power_of_two(),
        };
        Self {
            rows: (0..rows).map(|_| Mutex::default()).collect(),
        }
    }

    /// Remembers a refusal of the store.
    pub(crate) fn remember(
        &self,
        key: WideKey,
        quotas: &QuotaSet,
        arrivals: Arrivals,
        decided: u64,
        sent: Instant,
    ) {
        self.with(key, |row| {
            let same = row.iter().position(is(key));
            let free = same.or_else(|| row.iter().position(Option::is_none));
            let oldest = || {
                let sent = |way: &usize| row.get(*way)?.as_ref().map(|it| it.sent);
                (0..WAYS).min_by_key(sent)
            };
            let way = free.or_else(oldest);
            if let Some(place) = way.and_then(|way| row.get_mut(way)) {
                *place = Some(Refusal {
                    key,
                    quotas: quotas.clone(),
                    arrivals,
                    decided,
                    sent,
                });
            }
        });
    }

    /// Returns the arrival times and the time of the store's clock, at the latest, where the store would refuse the cost.
    pub(crate) fn refuses(
        &self,
        key: WideKey,
        quotas: &QuotaSet,
        cost: u32,
        now: Instant,
    ) -> Option<(Arrivals, u64)> {
        self.with(key, |row| {
            let place = row.iter_mut().find(|it| is(key)(it))?;
            let refusal = place.as_ref()?;
            let since = now.saturating_duration_since(refusal.sent);
            // A refund on another instance is seen after this time at the latest.
            if MOST <= since || !refusal.quotas.is(quotas) {
                *place = None;
                return None;
            }
            let elapsed = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
            let now = refusal.decided.saturating_add(elapsed);
            let refuses = refusal
                .arrivals
                .iter(quotas)
                .any(|(metered, arrival)| metered.meter.wait(arrival, cost, now) != Some(0));
            refuses.then_some((refusal.arrivals, now))
        })?
    }

    /// Forgets a refusal, as when something has been given back.
    pub(crate) fn forget(&self, key: WideKey) {
        self.with(key, |row| {
            for place in row.iter_mut().filter(|it| is(key)(it)) {
                *place = None;
            }
        });
    }

    fn with<R>(&self, key: WideKey, use_it: impl FnOnce(&mut Row) -> R) -> Option<R> {
        let mask = self.rows.len().checked_sub(1)?;
        // The hash is keyed: no client chooses its row.
        let row = usize::try_from(key.0 & (mask as u128)).ok()?;
        let mut row = self
            .rows
            .get(row)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(use_it(&mut row))
    }
}

fn is(key: WideKey) -> impl Fn(&Option<Refusal>) -> bool {
    move |place| place.as_ref().is_some_and(|it| it.key == key)
}

const WAYS: usize = 4;
/// A refusal is remembered no longer than this.
const MOST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::quota::{Quota, SECOND};

    /// As the setting says that makes it.
    #[test]
    fn a_refusal_takes_so_much() {
        for (entries, room) in [(4096, 4096), (4097, 8192)] {
            let cache = DenyCache::new(entries);
            let bytes = size_of_val(&*cache.rows);
            assert!((110 * room..=130 * room).contains(&bytes), "{bytes}");
        }
    }

    /// The store decides at 1000 s that the key is full again five seconds later, and answers a question that was sent at `sent`.
    fn cache(quotas: &QuotaSet, sent: Instant) -> DenyCache {
        let cache = DenyCache::new(64);
        let mut arrivals = Arrivals::NONE;
        arrivals.0[0] = 1005 * SECOND;
        cache.remember(WideKey(7), quotas, arrivals, 1000 * SECOND, sent);
        cache
    }

    #[track_caller]
    fn check(after: Duration, cost: u32, expected: bool) {
        // Five per ten seconds: the next unit comes back in two seconds, or in half a second of ten per second.
        let quotas = QuotaSet::from(
            Quota::new(10, Duration::from_secs(5))
                .unwrap()
                .with_burst(10),
        );
        let sent = Instant::now();
        let cache = cache(&quotas, sent);
        let found = cache.refuses(WideKey(7), &quotas, cost, sent + after);
        assert_eq!(found.is_some(), expected, "{after:?} {cost}");
    }

    // T25
    #[test]
    fn a_refusal_holds_until_the_store_could_admit_and_no_longer_than_a_second() {
        // The key is full at 1005 s: one unit is there now.
        check(Duration::ZERO, 1, true);
        check(Duration::from_millis(499), 1, true);
        check(Duration::from_millis(500), 1, false);
        check(Duration::from_millis(999), 2, true);
        check(Duration::from_secs(1), 9, false);
        check(Duration::ZERO, 11, true);
        check(Duration::ZERO, 0, false);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let quotas = QuotaSet::from(Quota::per_second(1));
        let sent = Instant::now();
        let cache = DenyCache::new(4);
        let mut arrivals = Arrivals::NONE;
        arrivals.0[0] = u64::MAX;
        for number in 0..5_u128 {
            let sent = sent + Duration::from_millis(u64::try_from(number).unwrap());
            cache.remember(WideKey(number), &quotas, arrivals, 0, sent);
        }
        let refuses = |number| cache.refuses(WideKey(number), &quotas, 1, sent).is_some();
        assert_eq!(
            [0, 1, 2, 3, 4].map(refuses),
            [false, true, true, true, true]
        );
        cache.forget(WideKey(3));
        assert!(!refuses(3));
        let none = DenyCache::new(0).refuses(WideKey(0), &quotas, 1, sent);
        assert!(none.is_none());
    }
}
