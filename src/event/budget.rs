//! A budget of events per time, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: u64 = 1_000_000_000;

/// Lets through so many events per second after a burst: the generic cell rate algorithm over nanoseconds.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Time between two events.
    interval: u64,
    /// How far ahead of time the events of a burst may be.
    tolerance: u64,
    /// Theoretical arrival time of the next event.
    next: AtomicU64,
}

impl Budget {
    /// Creates a budget; both numbers are at least 1.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = SECOND / u64::from(per_second.max(1));
        Self {
            interval,
            tolerance: interval.saturating_mul(u64::from(burst.max(1) - 1)),
            next: AtomicU64::new(0),
        }
    }

    /// Takes one event out of the budget at that time; returns whether there was one.
    pub(crate) fn take(&self, now: u64) -> bool {
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                let next = next.max(now);
                (next - now <= self.tolerance).then(|| next.saturating_add(self.interval))
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_the_burst_and_the_rate() {
        let budget = Budget::new(100, 200);
        let taken = (0..20_000)
            .filter(|i| budget.take(i * SECOND / 20_000))
            .count();
        assert!((299..=300).contains(&taken), "{taken}");
        // Afterwards only the rate is left.
        let taken = (20_000..40_000)
            .filter(|i| budget.take(i * SECOND / 20_000))
            .count();
        assert!((99..=101).contains(&taken), "{taken}");
    }

    #[test]
    fn zeros_are_ones_and_time_may_step_back() {
        let budget = Budget::new(0, 0);
        assert!(budget.take(10 * SECOND));
        assert!(!budget.take(9 * SECOND));
        assert!(budget.take(11 * SECOND));
        assert!(!budget.take(11 * SECOND));
    }
}
