//! A histogram of durations.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets, inclusive, in nanoseconds. What a check in memory takes lies near the start, a store that is away
/// near the end.
const BOUNDS: [u64; 15] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    1_000_000_000,
];

/// A histogram of durations.
pub(crate) struct Durations {
    /// One more than there are bounds: the last bucket has none.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
    #[cfg(feature = "metrics")]
    handle: ::metrics::Histogram,
}

impl Durations {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "only a recorder needs a name")
    )]
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            buckets: Default::default(),
            nanos: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            handle: {
                crate::metrics::counter::describe(name);
                ::metrics::histogram!(name)
            },
        }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.handle.record(duration.as_secs_f64());
    }

    pub(crate) fn counts(&self) -> DurationCounts {
        DurationCounts {
            buckets: std::array::from_fn(|place| {
                self.buckets
                    .get(place)
                    .map_or(0, |it| it.load(Ordering::Relaxed))
            }),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

/// How long checks have taken so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DurationCounts {
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl DurationCounts {
    /// Returns the upper bound of each bucket, inclusive, and how many durations fell into it and no lower one; the last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        BOUNDS
            .iter()
            .map(|bound| Some(Duration::from_nanos(*bound)))
            .chain([None])
            .zip(self.buckets)
    }

    /// Returns how many durations were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all durations.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let durations = Durations::new("palisade_test_seconds");
        for nanos in [0, 250, 251, 1_000_000_000, 1_000_000_001] {
            durations.record(Duration::from_nanos(nanos));
        }
        let counts = durations.counts();
        let filled: Vec<_> = counts
            .buckets()
            .filter(|(_, count)| *count != 0)
            .map(|(bound, count)| (bound.map(|it| it.as_nanos()), count))
            .collect();
        assert_eq!(
            filled,
            [
                (Some(250), 2),
                (Some(500), 1),
                (Some(1_000_000_000), 1),
                (None, 1)
            ]
        );
        assert_eq!(counts.count(), 5);
        assert_eq!(counts.sum(), Duration::from_nanos(2_000_000_502));
    }
}
