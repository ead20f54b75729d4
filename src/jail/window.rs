//! A true sliding window over the failures of one client under one rule.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The times of the latest failures; fewer than the limit of the rule, for reaching it empties the window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    times: VecDeque<Instant>,
}

impl Window {
    /// Notes a failure, and returns whether it makes `limit` failures that are all younger than `span`.
    pub(crate) fn note(&mut self, now: Instant, limit: usize, span: Duration) -> bool {
        // A clock that steps back stands still here: a failure must not become younger than an earlier one.
        let now = self.times.back().map_or(now, |last| now.max(*last));
        while let Some(first) = self.times.front()
            && span <= now.saturating_duration_since(*first)
        {
            self.times.pop_front();
        }
        if limit <= self.times.len() + 1 {
            self.times.clear();
            return true;
        }
        self.times.push_back(now);
        false
    }

    /// Returns whether all failures are too old to count.
    pub(crate) fn is_over(&self, now: Instant, span: Duration) -> bool {
        self.times
            .back()
            .is_none_or(|last| span <= now.saturating_duration_since(*last))
    }

    /// Returns when the last failure happened.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.times.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(600);

    /// Returns at which of the failures, given in seconds, the limit of five is reached.
    #[track_caller]
    fn check(times: &[u64], expected: &[usize]) {
        let start = Instant::now();
        let mut window = Window::default();
        let reached: Vec<_> = times
            .iter()
            .map(|time| window.note(start + Duration::from_secs(*time), 5, SPAN))
            .enumerate()
            .filter_map(|(index, reached)| reached.then_some(index))
            .collect();
        assert_eq!(reached, expected);
    }

    #[test]
    fn k01_four_failures_are_too_few() {
        check(&[0, 1, 2, 3], &[]);
    }

    #[test]
    fn k06_failures_before_a_pause_are_forgotten() {
        check(&[0, 0, 0, 0, 601, 601, 601, 601], &[]);
        // A fixed or estimated window would ban here or not ban below.
        check(&[0, 500, 500, 500, 601, 602], &[5]);
    }

    #[test]
    fn k07_the_window_slides() {
        check(&[0, 150, 300, 450, 599], &[4]);
        check(&[0, 150, 300, 450, 600], &[]);
        check(&[0, 150, 300, 450, 600, 601], &[5]);
    }

    #[test]
    fn a_clock_that_steps_back_stands_still() {
        check(&[100, 100, 50, 0, 0], &[4]);
        check(&[600, 0, 0, 0, 1199], &[4]);
        check(&[600, 0, 0, 0, 1200], &[]);
    }

    #[test]
    fn a_limit_of_one_keeps_nothing() {
        let mut window = Window::default();
        assert!(window.note(Instant::now(), 1, SPAN));
        assert_eq!(window.last(), None);
    }

    proptest! {
        /// The naive reference keeps every failure since the limit was last reached and counts afresh.
        #[test]
        fn agrees_with_a_naive_reference(
            limit in 1_usize..8,
            span in 1_u64..50,
            steps in proptest::collection::vec(0_u64..20, 0..200),
        ) {
            let start = Instant::now();
            let mut window = Window::default();
            let mut all: Vec<u64> = Vec::new();
            let mut time = 0;
            for step in steps {
                time += step;
                all.push(time);
                let expected = limit <= all.iter().filter(|it| time - **it < span).count();
                if expected {
                    all.clear();
                }
                let now = start + Duration::from_secs(time);
                prop_assert_eq!(window.note(now, limit, Duration::from_secs(span)), expected);
                prop_assert!(window.times.len() < limit);
            }
        }
    }
}
