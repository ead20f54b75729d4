//! The bounded table of keys in the memory of one process.
//!
//! A key has two buckets of eight places that it may be in; one lock guards the shard that both are in. Nothing is ever swept: a new key takes
//! a place that is empty or whose quotas are all full again, for such a key holds no information. When neither bucket has such a place, the key
//! shares the shard's overflow row. So no live key is evicted, and none is let through for lack of room.

use std::{cell::Cell, cmp::Reverse, fmt, num::NonZeroU32};

use crate::{
    metrics::{
        counter::Counter,
        level::Level,
        names::{KEYS, LABEL_POLICY, OVERFLOWED_TOTAL},
    },
    rate_limit::{
        metered::Metered,
        quota::SECOND,
        set::{MAX_QUOTAS, QuotaSet},
        store::{
            open::{OpenCharge, OpenCharges, Row},
            places::{KeyHash, Places, Seat},
            sync::Lock,
        },
        usage::TableUsage,
    },
};

/// The bounded table.
pub(crate) struct Table {
    shards: Box<[Shard]>,
    /// How many quotas a key has room for.
    width: usize,
    places: usize,
    /// How many places are not empty.
    taken: Level,
    overflowed: Counter,
}

/// Its own cache lines: a lock must not slow its neighbors down.
#[repr(align(128))]
struct Shard(Lock<Rows>);

struct Rows {
    quotas: QuotaSet,
    places: Places,
    overflow: Overflow,
    open: Cell<OpenCharges>,
    /// The last time at which somebody was here.
    latest: u64,
}

/// The rows that keys without a place share. Apart, for what is full by the quotas of the table may not be by those of a tier: were it cut down to the
/// former, the latter would come by what was never given back.
#[derive(Default)]
struct Overflow {
    own: [u64; MAX_QUOTAS],
    tiered: [u64; MAX_QUOTAS],
}

/// What a request costs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cost {
    /// What is left, up to this.
    AtMost(u32),
    /// This or nothing. Zero writes nothing.
    Exactly(u32),
}

/// Where a key's arrival times are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// The table is full: the key shares a row with others.
    Overflow,
    /// The key has a place of its own.
    Own,
    /// The table is full: the key shares a row with others that have tiers.
    TieredOverflow,
}

/// The arrival times of a key, in the order of the quotas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Arrivals(pub(crate) [u64; MAX_QUOTAS]);

/// What a decision found, while the shard is still locked.
pub(crate) struct Found<'a> {
    pub(crate) quotas: &'a QuotaSet,
    pub(crate) before: &'a Arrivals,
    /// The arrival times after the charge; those before where it was refused.
    pub(crate) after: &'a Arrivals,
    pub(crate) cost: u32,
    pub(crate) charged: bool,
    pub(crate) place: Place,
    /// Where a charge is remembered that may be corrected; nothing where it was not made, or not in this table.
    pub(crate) open: Option<&'a Cell<OpenCharges>>,
}

/// The quota that has the least left.
#[derive(Clone, Copy)]
pub(crate) struct Tightest<'a> {
    pub(crate) metered: &'a Metered,
    pub(crate) position: u8,
    pub(crate) remaining: u32,
    /// The nanoseconds until it is full again.
    pub(crate) reset: u64,
}

/// A charge that is to be corrected.
pub(crate) struct Correction<'a> {
    pub(crate) quotas: &'a QuotaSet,
    /// Whether the quotas were those of the table when the charge was made.
    pub(crate) own_quotas: bool,
    pub(crate) open: OpenCharge,
    pub(crate) units: u32,
}

impl Table {
    /// Creates a table with room for `keys` keys of `width` quotas each. All of its memory is written to now, so that no request pays for it.
    pub(crate) fn new(keys: usize, width: usize, quotas: &QuotaSet) -> Self {
        let width = width.clamp(1, MAX_QUOTAS);
        let shards = (keys / KEYS_PER_SHARD).next_power_of_two().clamp(1, SHARDS);
        let per_shard = keys.div_ceil(shards);
        // Filled to seven tenths, two buckets hold their keys with next to no exception; the spread between shards comes on top.
        let places = (per_shard * 10).div_ceil(7) + 2 * per_shard.isqrt();
        let shards = (0..shards)
            .map(|_| {
                Shard(Lock::new(Rows {
                    quotas: quotas.clone(),
                    places: Places::new(places, width),
                    overflow: Overflow::default(),
                    open: Cell::default(),
                    latest: 0,
                }))
            })
            .collect::<Box<[_]>>();
        // The first quota stands for the limit, as in events.
        let name = quotas.metered().first().map_or("rate_limit", |it| &it.name);
        let labels = [(LABEL_POLICY, name)];
        Self {
            places: shards.iter().map(|it| it.0.lock().places.len()).sum(),
            shards,
            width,
            taken: Level::new(KEYS, &labels),
            overflowed: Counter::new(OVERFLOWED_TOTAL, &labels),
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Charges the cost to all quotas of a key, or to none. `quotas` stand in for those of the table.
    #[inline]
    pub(crate) fn charge<R>(
        &self,
        key: KeyHash,
        cost: Cost,
        now: u64,
        quotas: Option<&QuotaSet>,
        finish: impl FnOnce(Found<'_>) -> R,
    ) -> R {
        let mut rows = self.shard(key).lock();
        let now = rows.pass(now);
        let (mut before, mut after) = (Arrivals::NONE, Arrivals::NONE);
        // One look is enough for most. It saves a third of the instructions.
        let simply = match (cost, quotas) {
            (Cost::Exactly(cost), None) => {
                rows.charge_simply(key, cost, now, &mut before, &mut after)
            }
            (Cost::Exactly(_), Some(_)) | (Cost::AtMost(_), _) => None,
        };
        let charged = match simply {
            Some(charged) => charged,
            None => rows.charge(key, cost, now, quotas, self, &mut before, &mut after),
        };
        finish(Found {
            quotas: quotas.unwrap_or(&rows.quotas),
            before: &before,
            after: &after,
            cost: charged.cost,
            charged: charged.admitted,
            place: charged.place,
            open: Some(&rows.open),
        })
    }

    /// Answers what [`charge`](Self::charge) would, and writes nothing.
    pub(crate) fn peek<R>(
        &self,
        key: KeyHash,
        cost: u32,
        now: u64,
        quotas: Option<&QuotaSet>,
        finish: impl FnOnce(Found<'_>) -> R,
    ) -> R {
        let rows = self.shard(key).lock();
        let now = rows.time(now);
        let tiered = quotas.is_some();
        let quotas = quotas.unwrap_or(&rows.quotas);
        let seat = rows.places.seat(key, now);
        let overflow = rows.overflow.row(tiered);
        let (before, _) = Arrivals::read(&rows.places, seat, overflow, quotas, now);
        finish(Found {
            quotas,
            before: &before,
            after: &before,
            cost,
            charged: quotas.metered().len() <= self.width && before.admit(quotas, cost, now),
            place: Place::of(seat, tiered),
            open: None,
        })
    }

    /// Charges what has been spent already, whatever is left.
    pub(crate) fn force(&self, key: KeyHash, now: u64, correction: &Correction<'_>) {
        let mut rows = self.shard(key).lock();
        let now = rows.pass(now);
        let Rows {
            quotas: own,
            places,
            overflow,
            open,
            ..
        } = &mut *rows;
        let _ = open.get_mut().close(correction.open);
        if correction.is_outdated(own) || correction.quotas.metered().len() > self.width {
            return;
        }
        let seat = places.seat(key, now);
        let overflow = overflow.row_mut(!correction.own_quotas);
        let (mut arrivals, _) = Arrivals::read(places, seat, overflow, correction.quotas, now);
        for (arrival, metered) in arrivals.0.iter_mut().zip(correction.quotas.metered()) {
            *arrival = metered.meter.force(*arrival, correction.units, now);
        }
        if seat == Seat::None {
            // Another tier may have spent more than this one can have.
            for (arrival, cell) in arrivals.0.iter_mut().zip(overflow.iter()) {
                *arrival = (*arrival).max(*cell);
            }
        }
        let is_new = arrivals.write(places, seat, key, overflow, correction.quotas);
        self.count(seat, is_new);
    }

    /// Gives back units of a charge, as far as they have not come back by themselves.
    pub(crate) fn give_back(&self, key: KeyHash, now: u64, correction: &Correction<'_>) {
        let mut rows = self.shard(key).lock();
        let now = rows.pass(now);
        let Rows {
            quotas: own,
            places,
            overflow,
            open,
            ..
        } = &mut *rows;
        let open = open.get_mut();
        let Some(until) = open.close(correction.open) else {
            return;
        };
        if correction.is_outdated(own) {
            return;
        }
        let cells = match (correction.open.row, places.find(key)) {
            (Row::Key(_), Some(place)) => places.cells_mut(place),
            // A key that has lost its place was full again.
            (Row::Key(_), None) => return,
            (Row::Overflow, _) => &mut overflow.own[..],
            (Row::TieredOverflow, _) => &mut overflow.tiered[..],
        };
        let mut given = [0; MAX_QUOTAS];
        let quotas = correction.quotas.metered().iter();
        let charges = quotas.zip(until).zip(&mut given);
        for (cell, ((metered, until), given)) in cells.iter_mut().zip(charges) {
            // What has come back by the passing of time is not given back again, or it would be credited to a later charge.
            let outstanding = until.saturating_sub(now);
            *given = metered
                .meter
                .interval
                .saturating_mul(correction.units.into())
                .min(outstanding);
            *cell = cell.saturating_sub(*given);
        }
        // While there is something to give back, all that was charged later is outstanding: no more than the largest quota holds.
        if given != [0; MAX_QUOTAS] {
            open.given_back(correction.open, &given);
        }
    }

    /// Forgets that a charge may be corrected.
    pub(crate) fn close(&self, key: KeyHash, open: OpenCharge) {
        let _ = self.shard(key).lock().open.get_mut().close(open);
    }

    /// Returns how many charges may be corrected.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|it| it.0.lock().open.get_mut().len()).sum()
    }

    /// Gives units back to a key, at most until it is full. `quotas` stand in for those of the table.
    pub(crate) fn refund(&self, key: KeyHash, units: u32, now: u64, quotas: Option<&QuotaSet>) {
        let mut rows = self.shard(key).lock();
        let now = rows.pass(now);
        let Rows {
            quotas: own,
            places,
            open,
            ..
        } = &mut *rows;
        let Some(place) = places.find(key) else {
            return;
        };
        let mut given = [0; MAX_QUOTAS];
        let quotas = quotas.unwrap_or(own).metered().iter().zip(&mut given);
        for (cell, (metered, given)) in places.cells_mut(place).iter_mut().zip(quotas) {
            *given = metered.meter.interval.saturating_mul(units.into());
            *cell = metered.meter.clamp(*cell, now).saturating_sub(*given);
        }
        open.get_mut().refunded(Row::Key(key), &given);
    }

    /// Makes a key full again.
    pub(crate) fn reset(&self, key: KeyHash) {
        let mut rows = self.shard(key).lock();
        if rows.places.free(key) {
            self.taken.lower();
        }
        let all = [u64::MAX; MAX_QUOTAS];
        rows.open.get_mut().refunded(Row::Key(key), &all);
    }

    /// Replaces the quotas. What keys have spent is kept, quota by quota in their order.
    pub(crate) fn replace(&self, quotas: &QuotaSet) {
        // The first stays locked until all are done: of two that come at once, one is the later everywhere.
        let mut first = self.shard(KeyHash::new(0)).lock();
        first.quotas = quotas.clone();
        for shard in self.shards.iter().skip(1) {
            shard.0.lock().quotas = quotas.clone();
        }
    }

    pub(crate) fn quotas(&self) -> QuotaSet {
        self.shard(KeyHash::new(0)).lock().quotas.clone()
    }

    pub(crate) fn usage(&self) -> TableUsage {
        TableUsage {
            places: self.places,
            taken: self.taken.value(),
            overflowed: self.overflowed.value(),
        }
    }

    /// Takes note of where a charge has been written.
    fn count(&self, seat: Seat, is_new: bool) {
        if is_new {
            self.taken.raise();
        }
        if seat == Seat::None {
            self.overflowed.increment();
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "there is at least one shard, and a power of two of them"
    )]
    #[inline]
    fn shard(&self, key: KeyHash) -> &Lock<Rows> {
        &self.shards[key.shard_bits() & (self.shards.len() - 1)].0
    }
}

/// What has become of a charge.
struct Charged {
    cost: u32,
    admitted: bool,
    place: Place,
}

impl Rows {
    /// Returns the time of somebody who comes now: whoever read the clock before another that was here first is as late as that one. Else what had
    /// come back would be taken for time that passes twice. A clock that was put back is further behind, and believed.
    #[inline]
    fn time(&self, now: u64) -> u64 {
        if self.latest.saturating_sub(now) < LATE {
            now.max(self.latest)
        } else {
            now
        }
    }

    /// Takes note of the time, and returns it.
    #[inline]
    fn pass(&mut self, now: u64) -> u64 {
        self.latest = self.time(now);
        self.latest
    }

    /// Charges where that takes one look: the key has a place, and no arrival time is out of bounds. Else nothing has happened.
    #[inline]
    fn charge_simply(
        &mut self,
        key: KeyHash,
        cost: u32,
        now: u64,
        before: &mut Arrivals,
        after: &mut Arrivals,
    ) -> Option<Charged> {
        let some = NonZeroU32::new(cost)?;
        let place = self.places.find(key)?;
        let cells = self.places.cells_mut(place);
        let mut admitted = true;
        let arrivals = before.0.iter_mut().zip(&mut after.0);
        for ((cell, metered), (before, after)) in
            cells.iter().zip(self.quotas.metered()).zip(arrivals)
        {
            let meter = &metered.meter;
            if meter.clamp(*cell, now) != *cell {
                return None;
            }
            *before = *cell;
            match meter.charge(*cell, some, now) {
                Some(arrival) => *after = arrival,
                None => admitted = false,
            }
        }
        if admitted {
            for (cell, after) in cells.iter_mut().zip(after.0) {
                *cell = after;
            }
        } else {
            *after = *before;
        }
        Some(Charged {
            cost,
            admitted,
            place: Place::Own,
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "it is the other half of the one function that calls it"
    )]
    #[inline(never)]
    fn charge(
        &mut self,
        key: KeyHash,
        cost: Cost,
        now: u64,
        quotas: Option<&QuotaSet>,
        table: &Table,
        before: &mut Arrivals,
        after: &mut Arrivals,
    ) -> Charged {
        let Self {
            quotas: own,
            places,
            overflow,
            ..
        } = self;
        let tiered = quotas.is_some();
        let quotas = quotas.unwrap_or(own);
        let seat = places.seat(key, now);
        let overflow = overflow.row_mut(tiered);
        let clamped;
        (*before, clamped) = Arrivals::read(places, seat, overflow, quotas, now);
        // Or the wait would start anew with every refusal. In a shared row, another tier may be entitled to the longer one.
        if clamped && !(tiered && seat == Seat::None) {
            let _ = before.write(places, seat, key, overflow, quotas);
        }

        let cost = match cost {
            Cost::AtMost(cost) => before.remaining(quotas, now).min(cost),
            Cost::Exactly(cost) => cost,
        };
        let fits = quotas.metered().len() <= table.width;
        let charged = match NonZeroU32::new(cost) {
            None => fits.then_some(*before),
            Some(cost) if fits => before.charge(quotas, cost, now),
            Some(_) => None,
        };
        if let Some(charged) = &charged
            && cost != 0
        {
            let is_new = charged.write(places, seat, key, overflow, quotas);
            table.count(seat, is_new);
        }
        *after = charged.unwrap_or(*before);
        Charged {
            cost,
            admitted: charged.is_some(),
            place: Place::of(seat, tiered),
        }
    }
}

impl Overflow {
    fn row(&self, tiered: bool) -> &[u64; MAX_QUOTAS] {
        if tiered { &self.tiered } else { &self.own }
    }

    fn row_mut(&mut self, tiered: bool) -> &mut [u64; MAX_QUOTAS] {
        if tiered {
            &mut self.tiered
        } else {
            &mut self.own
        }
    }
}

impl Place {
    fn of(seat: Seat, tiered: bool) -> Self {
        match seat {
            Seat::None if tiered => Self::TieredOverflow,
            Seat::None => Self::Overflow,
            Seat::New(_) | Seat::Old(_) => Self::Own,
        }
    }
}

impl Arrivals {
    pub(crate) const NONE: Self = Self([0; MAX_QUOTAS]);

    /// Reads the arrival times of a key; returns whether any had to be clamped.
    fn read(
        places: &Places,
        seat: Seat,
        overflow: &[u64; MAX_QUOTAS],
        quotas: &QuotaSet,
        now: u64,
    ) -> (Self, bool) {
        let cells = match seat {
            Seat::New(_) => return (Self::NONE, false),
            Seat::None => &overflow[..],
            Seat::Old(place) => places.cells(place),
        };
        let mut arrivals = Self::NONE;
        let mut clamped = false;
        let metered = quotas.metered().iter();
        for ((arrival, cell), metered) in arrivals.0.iter_mut().zip(cells).zip(metered) {
            *arrival = metered.meter.clamp(*cell, now);
            clamped |= *arrival != *cell;
        }
        (arrivals, clamped)
    }

    /// Writes the arrival times of a key; returns whether that took a place which was empty.
    fn write(
        &self,
        places: &mut Places,
        seat: Seat,
        key: KeyHash,
        overflow: &mut [u64; MAX_QUOTAS],
        quotas: &QuotaSet,
    ) -> bool {
        let mut is_new = false;
        let cells = match seat {
            Seat::New(place) => {
                is_new = places.claim(place, key);
                places.cells_mut(place)
            }
            Seat::None => &mut overflow[..],
            Seat::Old(place) => places.cells_mut(place),
        };
        for ((cell, arrival), _) in cells.iter_mut().zip(self.0).zip(quotas.metered()) {
            *cell = arrival;
        }
        is_new
    }

    /// Charges all quotas, or none.
    fn charge(&self, quotas: &QuotaSet, cost: NonZeroU32, now: u64) -> Option<Self> {
        let mut after = *self;
        for (arrival, metered) in after.0.iter_mut().zip(quotas.metered()) {
            *arrival = metered.meter.charge(*arrival, cost, now)?;
        }
        Some(after)
    }

    /// Returns whether all quotas would admit the cost. One that has been overdrawn admits what costs nothing.
    pub(crate) fn admit(&self, quotas: &QuotaSet, cost: u32, now: u64) -> bool {
        let mut all = self.iter(quotas);
        cost == 0 || all.all(|(metered, arrival)| metered.meter.wait(arrival, cost, now) == Some(0))
    }

    /// Returns how much can be spent of all quotas now.
    pub(crate) fn remaining(&self, quotas: &QuotaSet, now: u64) -> u32 {
        self.iter(quotas)
            .map(|(metered, arrival)| metered.meter.remaining(arrival, now))
            .min()
            .unwrap_or(0)
    }

    /// Returns the quota that has the least left; of several, the one that takes longest to fill.
    #[inline]
    pub(crate) fn tightest<'a>(&self, quotas: &'a QuotaSet, now: u64) -> Option<Tightest<'a>> {
        let all = quotas.metered().iter().zip(self.0).zip(0..);
        all.map(|((metered, arrival), position)| Tightest {
            metered,
            position,
            remaining: metered.meter.remaining(arrival, now),
            reset: arrival.saturating_sub(now),
        })
        .reduce(|tightest, other| {
            let key = |it: &Tightest<'_>| (Reverse(it.remaining), it.reset);
            if key(&tightest) < key(&other) {
                other
            } else {
                tightest
            }
        })
    }

    pub(crate) fn iter<'a>(
        &'a self,
        quotas: &'a QuotaSet,
    ) -> impl Iterator<Item = (&'a Metered, u64)> {
        quotas.metered().iter().zip(self.0)
    }
}

impl Found<'_> {
    /// Remembers the charge as one that may be corrected; nothing where it was not made in this table.
    pub(crate) fn keep_open(&self, key: KeyHash) -> Option<OpenCharge> {
        let row = match self.place {
            Place::Overflow => Row::Overflow,
            Place::Own => Row::Key(key),
            Place::TieredOverflow => Row::TieredOverflow,
        };
        let open = self.open.filter(|_| self.charged)?;
        Some(OpenCharges::open(open, row, self.after.0))
    }
}

impl Correction<'_> {
    /// Returns whether other quotas have taken the place of those that were charged: their arrival times mean something else.
    fn is_outdated(&self, own: &QuotaSet) -> bool {
        self.own_quotas && !self.quotas.is(own)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("shards", &self.shards.len())
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

/// Below this, a table has one shard.
const KEYS_PER_SHARD: usize = 1024;
/// By how much a thread may be late.
const LATE: u64 = SECOND;
/// The most shards, and so the most overflow rows.
pub(crate) const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::quota::Quota;

    fn table() -> Table {
        let quotas = [
            Quota::per_second(10).with_burst(4),
            Quota::per_minute(60).with_burst(9),
        ];
        let quotas = QuotaSet::new(quotas).unwrap();
        Table::new(4, 2, &quotas)
    }

    fn general(table: &Table, key: u64, cost: u32, now: u64) -> bool {
        let key = KeyHash::new(key);
        let (mut before, mut after) = (Arrivals::NONE, Arrivals::NONE);
        let mut rows = table.shard(key).lock();
        let cost = Cost::Exactly(cost);
        rows.charge(key, cost, now, None, table, &mut before, &mut after)
            .admitted
    }

    fn simply(table: &Table, key: u64, cost: u32, now: u64) -> Option<bool> {
        let key = KeyHash::new(key);
        let (mut before, mut after) = (Arrivals::NONE, Arrivals::NONE);
        let mut rows = table.shard(key).lock();
        rows.charge_simply(key, cost, now, &mut before, &mut after)
            .map(|it| it.admitted)
    }

    #[test]
    fn the_short_way_decides_as_the_general_one() {
        let (short, long) = (table(), table());
        let mut random = 1_u64;
        let mut now = 0;
        let mut simple = 0;
        for _ in 0..20_000 {
            // The constants of a common linear congruential generator.
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            now += random >> 37;
            // More keys than places, so that some share a row.
            let key = (random >> 20) % 24;
            let cost = u32::try_from((random >> 10) % 6).unwrap();
            let expected = general(&long, key, cost, now);
            let found = simply(&short, key, cost, now);
            simple += u32::from(found.is_some());
            let found = found.unwrap_or_else(|| general(&short, key, cost, now));
            assert_eq!(found, expected);
        }
        assert!(simple > 1000, "{simple}");
        assert_eq!(short.usage(), long.usage());
    }

    /// Charges a key without a place by the quotas of a tier.
    fn tiered(table: &Table, key: KeyHash, now: u64, tier: &QuotaSet) -> Option<OpenCharge> {
        let cost = Cost::Exactly(1);
        table.charge(key, cost, now, Some(tier), |found| {
            assert_eq!(found.place, Place::TieredOverflow);
            found.keep_open(key)
        })
    }

    /// A full table, and a key that has no place in it.
    fn full(own: &QuotaSet) -> (Table, KeyHash) {
        let table = Table::new(1, 1, own);
        let long = QuotaSet::from(Quota::per_day(1));
        let is_left_out = |key: &KeyHash| {
            let place = table.peek(*key, 1, 0, Some(&long), |found| found.place);
            if place == Place::Own {
                table.charge(*key, Cost::Exactly(1), 0, Some(&long), |_| {});
            }
            place == Place::TieredOverflow
        };
        let key = (0..10_000).map(KeyHash::new).find(is_left_out).unwrap();
        (table, key)
    }

    #[test]
    fn what_is_refused_gives_nothing_back_of_a_shared_row() {
        let own = QuotaSet::from(Quota::per_minute(1));
        let tier = QuotaSet::from(Quota::per_hour(10));
        let (table, key) = full(&own);
        let mut admitted = 0;
        for minute in 0..30 {
            let now = minute * 60 * SECOND;
            for _ in 0..2 {
                table.charge(key, Cost::Exactly(1), now, None, |found| {
                    assert_eq!(found.place, Place::Overflow);
                });
            }
            while tiered(&table, key, now, &tier).is_some() {
                admitted += 1;
            }
        }
        // Ten at once, and one every six minutes.
        assert_eq!(admitted, 14);
    }

    #[test]
    fn what_one_tier_owes_another_has_spent_already() {
        let own = QuotaSet::from(Quota::per_minute(1));
        let (small, large) = (Quota::per_minute(1), Quota::per_hour(10));
        let (small, large) = (QuotaSet::from(small), QuotaSet::from(large));
        let (table, key) = full(&own);
        let open = tiered(&table, key, 0, &small).unwrap();
        let mut admitted = 0;
        while tiered(&table, key, 0, &large).is_some() {
            admitted += 1;
        }
        assert!(admitted > 0);
        let correction = Correction {
            quotas: &small,
            own_quotas: false,
            open,
            units: 1,
        };
        table.force(key, 0, &correction);
        assert!(tiered(&table, key, 0, &large).is_none());
    }

    #[test]
    fn a_key_without_a_place_is_looked_at_where_it_is_charged() {
        let own = QuotaSet::from(Quota::per_day(1).with_burst(5));
        let tier = QuotaSet::from(Quota::per_day(1).with_burst(9));
        let (table, key) = full(&own);
        for spent in 0..3 {
            table.charge(key, Cost::Exactly(1), 0, None, |_| {});
            tiered(&table, key, 0, &tier);
            for (quotas, capacity) in [(None, 5), (Some(&tier), 9)] {
                let left = table.peek(key, 1, 0, quotas, |found| {
                    found.before.remaining(found.quotas, 0)
                });
                assert_eq!(left, capacity - 1 - spent);
            }
        }
    }

    #[test]
    fn what_a_key_without_a_place_owes_is_owed_where_it_was_charged() {
        let own = QuotaSet::from(Quota::per_day(1).with_burst(5));
        let tier = QuotaSet::from(Quota::per_day(1).with_burst(9));
        let (table, key) = full(&own);
        let open = table.charge(key, Cost::Exactly(1), 0, None, |found| found.keep_open(key));
        let correction = Correction {
            quotas: &own,
            own_quotas: true,
            open: open.unwrap(),
            units: 3,
        };
        table.force(key, 0, &correction);
        let left = |quotas| {
            table.peek(key, 1, 0, quotas, |found| {
                found.before.remaining(found.quotas, 0)
            })
        };
        assert_eq!((left(None), left(Some(&tier))), (1, 9));
    }
}
