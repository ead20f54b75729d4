//! What of the charges that may still be corrected has not come back yet.
//!
//! The charges of a row come back one after the other by the passing of time. What is given back of one lets all that were made after it come back so
//! much earlier: were they remembered as they were made, that time would be given back once more with them, and credited to a later charge.

use std::{cell::Cell, collections::BTreeMap};

use crate::rate_limit::{set::MAX_QUOTAS, store::places::KeyHash};

/// The charges of one shard that may still be corrected: as many as there are reservations.
#[derive(Debug, Default)]
pub(crate) struct OpenCharges {
    /// When each will have come back, by row and in the order in which they were made.
    until: BTreeMap<OpenCharge, [u64; MAX_QUOTAS]>,
    /// How many there have been.
    count: u64,
}

/// The name of a charge that may still be corrected.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct OpenCharge {
    pub(crate) row: Row,
    number: u64,
}

/// Where a charge has been made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Row {
    Key(KeyHash),
    Overflow,
    TieredOverflow,
}

impl OpenCharges {
    /// Remembers the charge that has just been made to a row.
    pub(crate) fn open(open: &Cell<Self>, row: Row, until: [u64; MAX_QUOTAS]) -> OpenCharge {
        let mut charges = open.take();
        let number = charges.count;
        let charge = OpenCharge { row, number };
        charges.count = number.wrapping_add(1);
        charges.until.insert(charge, until);
        open.set(charges);
        charge
    }

    /// Forgets a charge; returns when it would have come back.
    pub(crate) fn close(&mut self, charge: OpenCharge) -> Option<[u64; MAX_QUOTAS]> {
        self.until.remove(&charge)
    }

    /// Takes note that so much was given back of a charge: what was made after it comes back earlier.
    pub(crate) fn given_back(&mut self, charge: OpenCharge, given: &[u64; MAX_QUOTAS]) {
        let to = OpenCharge {
            number: u64::MAX,
            ..charge
        };
        for (_, until) in self.until.range_mut(charge..=to) {
            for (until, given) in until.iter_mut().zip(given) {
                *until = until.saturating_sub(*given);
            }
        }
    }

    /// Takes note that so much was given back of what comes back first.
    pub(crate) fn refunded(&mut self, row: Row, given: &[u64; MAX_QUOTAS]) {
        self.given_back(OpenCharge { row, number: 0 }, given);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.until.len()
    }
}
