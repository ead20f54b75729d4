//! How full a table is.

/// How full the table of a limiter is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TableUsage {
    pub(crate) places: usize,
    pub(crate) taken: usize,
    pub(crate) overflowed: u64,
}

impl TableUsage {
    /// Returns how many places there are; some more than the keys that were asked for.
    #[must_use]
    pub fn places(self) -> usize {
        self.places
    }

    /// Returns how many places have been taken; those of keys whose quotas are full again are reused.
    #[must_use]
    pub fn taken(self) -> usize {
        self.taken
    }

    /// Returns how many charges went to shared rows because there was no place for their keys.
    #[must_use]
    pub fn overflowed(self) -> u64 {
        self.overflowed
    }
}
