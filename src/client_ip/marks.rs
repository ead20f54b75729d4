//! What was done for a request that is to be done once.

use std::fmt;
#[cfg(all(feature = "rate-limit", debug_assertions))]
use std::sync::atomic::{AtomicU64, Ordering};

/// What was done for a request that is to be done once. Debug builds alone keep account of it.
///
/// The copy of a request is another one: what was done for the first may be done for it, too.
#[derive(Default)]
pub(crate) struct Marks {
    #[cfg(all(feature = "rate-limit", debug_assertions))]
    places: [AtomicU64; 8],
}

impl Marks {
    /// Returns whether `mark` was set before, and sets it. Where there are more marks than places, the others are not remembered.
    #[cfg(all(feature = "rate-limit", debug_assertions))]
    pub(crate) fn set(&self, mark: u64) -> bool {
        // Zero is an empty place.
        let mark = mark.max(1);
        let taken = |place: &AtomicU64| {
            place.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed)
        };
        self.places
            .iter()
            .map(taken)
            .find(|it| it.is_ok() || *it == Err(mark))
            .is_some_and(|it| it.is_err())
    }
}

impl Clone for Marks {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marks")
    }
}

#[cfg(all(test, feature = "rate-limit", debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_set_once() {
        let marks = Marks::default();
        for mark in 0..8 {
            // Zero and one share a place.
            assert_eq!(marks.set(mark), mark == 1, "{mark}");
            assert!(marks.set(mark));
        }
        assert!(!marks.clone().set(2));
    }

    #[test]
    fn marks_beyond_the_places_are_not_remembered() {
        let marks = Marks::default();
        for mark in 1..=8 {
            assert!(!marks.set(mark));
        }
        assert!(!marks.set(9));
        assert!(!marks.set(9));
        assert!(marks.set(8));
    }
}
