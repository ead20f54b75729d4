//! The flat structure under a set: sorted segments, each marked with the prefix that covers it.

use crate::ip_set::{bits::Bits, jump::Jump};

/// Prefixes of one address family, flattened.
///
/// Every place where the most specific covering prefix changes to another one starts a segment, of which only the start and the
/// length of that prefix are kept. Neither ends nor gaps need a place: the segment before an address tells its prefix, and the
/// address is covered exactly if it agrees with the segment's start in that prefix. (Were a more specific prefix to begin in between,
/// or a less specific one to take over, another segment would start there.) So merging nothing costs less than merged ranges do,
/// and the entry that matched is never lost.
#[derive(Clone, Debug)]
pub(crate) struct Segments<T> {
    starts: Box<[T]>,
    lengths: Box<[u8]>,
    jump: Option<Jump<T>>,
}

/// From this many segments on, the jump index pays.
const JUMP_FROM: usize = 128;

/// Up to this many segments, looking at each costs no more than searching.
const FEW: usize = 4;

impl<T: Bits> Segments<T> {
    pub(crate) fn new(prefixes: Vec<(T, u8)>) -> Self {
        // A prefix sorts before those that lie in it. Packed, the most of them sort faster.
        let mut prefixes: Vec<T::Packed> = prefixes.into_iter().map(T::pack).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut flat = Flat::with_capacity(prefixes.len());
        for prefix in prefixes {
            let (start, length) = T::unpack(prefix);
            flat.open(start, length);
        }
        flat.close();
        let (starts, lengths) = (
            flat.starts.into_boxed_slice(),
            flat.lengths.into_boxed_slice(),
        );
        let jump = (JUMP_FROM <= starts.len())
            .then(|| Jump::new(&starts))
            .flatten();
        Self {
            starts,
            lengths,
            jump,
        }
    }

    /// Returns the length of the most specific prefix that covers an address.
    #[inline]
    pub(crate) fn find(&self, addr: T) -> Option<u8> {
        let (low, high) = match &self.jump {
            None => (0, self.starts.len()),
            Some(jump) => jump.range(addr)?,
        };
        let within = self.starts.get(low..high)?;
        let before = low + within.partition_point(|start| *start <= addr);
        let segment = before.checked_sub(1)?;
        let (start, length) = (*self.starts.get(segment)?, *self.lengths.get(segment)?);
        addr.agrees(start, length).then_some(length)
    }

    /// Returns whether any prefix covers an address.
    #[inline]
    pub(crate) fn covers(&self, addr: T) -> bool {
        if FEW < self.starts.len() {
            return self.find(addr).is_some();
        }
        // An address that agrees with a segment lies in the prefix of it, even if another segment tells a more specific one.
        let mut segments = self.starts.iter().zip(&self.lengths);
        segments.any(|(start, length)| addr.agrees(*start, *length))
    }

    /// Returns an address and the prefix length of every segment. A prefix occurs once for each of its segments.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (T, u8)> + '_ {
        self.starts
            .iter()
            .copied()
            .zip(self.lengths.iter().copied())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Returns whether every address of the family is covered.
    pub(crate) fn is_everything(&self) -> bool {
        let mut expected = Some(T::ZERO);
        let mut segments = self.iter().peekable();
        while let Some((start, length)) = segments.next() {
            if Some(start) != expected {
                return false;
            }
            let next = segments.peek().map(|next| next.0);
            let end = start.last_of(length).next();
            expected = match (next, end) {
                // The segment ends where the next one starts, unless its prefix ends before that.
                (Some(next), Some(end)) => Some(next.min(end)),
                (Some(next), None) => Some(next),
                (None, end) => end,
            };
        }
        !self.is_empty() && expected.is_none()
    }

    /// Returns the bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        size_of_val(&*self.starts)
            + size_of_val(&*self.lengths)
            + self.jump.as_ref().map_or(0, Jump::heap_size)
    }
}

impl<T: PartialEq> PartialEq for Segments<T> {
    fn eq(&self, other: &Self) -> bool {
        // The jump index follows from the rest.
        self.starts == other.starts && self.lengths == other.lengths
    }
}

/// The segments while they are made, out of prefixes in order.
struct Flat<T> {
    starts: Vec<T>,
    lengths: Vec<u8>,
    /// The prefixes that cover the current place, the most specific last: the last address and the length of each.
    open: Vec<(T, u8)>,
}

impl<T: Bits> Flat<T> {
    fn with_capacity(prefixes: usize) -> Self {
        Self {
            starts: Vec::with_capacity(prefixes),
            lengths: Vec::with_capacity(prefixes),
            open: Vec::new(),
        }
    }

    fn open(&mut self, start: T, length: u8) {
        while self.open.last().is_some_and(|open| open.0 < start) {
            self.close_one();
        }
        self.begin(start, length);
        self.open.push((start.last_of(length), length));
    }

    fn close(&mut self) {
        while !self.open.is_empty() {
            self.close_one();
        }
    }

    /// Closes the most specific open prefix; the one around it goes on behind it, if it is longer.
    fn close_one(&mut self) {
        let Some((last, _)) = self.open.pop() else {
            return;
        };
        let around = self.open.last().filter(|around| last < around.0);
        if let (Some(&(_, length)), Some(next)) = (around, last.next()) {
            self.begin(next, length);
        }
    }

    /// Begins a segment, in place of one that began here and is empty.
    fn begin(&mut self, start: T, length: u8) {
        match self.starts.last().zip(self.lengths.last_mut()) {
            Some((last, old)) if *last == start => *old = length,
            Some(_) | None => {
                self.starts.push(start);
                self.lengths.push(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefixes: &[(u32, u8)], expected: &[(u32, u8)]) {
        let segments = Segments::new(prefixes.to_vec());
        assert_eq!(segments.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn prefixes_are_flattened() {
        check(&[], &[]);
        check(&[(0, 0)], &[(0, 0)]);
        check(&[(0x0a00_0000, 8)], &[(0x0a00_0000, 8)]);
        // A hole in the middle, at the start, at the end.
        check(
            &[(0x0a00_0000, 8), (0x0a01_0000, 16)],
            &[(0x0a00_0000, 8), (0x0a01_0000, 16), (0x0a02_0000, 8)],
        );
        check(
            &[(0x0a00_0000, 8), (0x0a00_0000, 16)],
            &[(0x0a00_0000, 16), (0x0a01_0000, 8)],
        );
        check(
            &[(0x0a00_0000, 8), (0x0aff_0000, 16)],
            &[(0x0a00_0000, 8), (0x0aff_0000, 16)],
        );
        // Two that share their end.
        check(
            &[(0, 0), (u32::MAX - 1, 31), (u32::MAX, 32)],
            &[(0, 0), (u32::MAX - 1, 31), (u32::MAX, 32)],
        );
        // Neighbors leave nothing of the one around them.
        check(&[(0, 0), (0, 1), (1 << 31, 1)], &[(0, 1), (1 << 31, 1)]);
        check(&[(7, 32), (7, 32)], &[(7, 32)]);
    }

    #[track_caller]
    fn check_everything(prefixes: &[(u32, u8)], expected: bool) {
        assert_eq!(Segments::new(prefixes.to_vec()).is_everything(), expected);
    }

    #[test]
    fn a_set_of_everything_is_known() {
        check_everything(&[], false);
        check_everything(&[(0, 0)], true);
        check_everything(&[(0, 0), (0x0a00_0000, 8)], true);
        check_everything(&[(0, 1), (1 << 31, 1)], true);
        check_everything(&[(0, 1), (1 << 31, 2)], false);
        check_everything(&[(1 << 31, 1)], false);
        check_everything(&[(0, 1), ((1 << 31) + 1, 32)], false);
        check_everything(&[(0, 1), (1 << 31, 1), (1 << 31, 2), (u32::MAX, 32)], true);
    }

    #[test]
    fn a_few_segments_cover_what_they_find() {
        for prefixes in [
            &[][..],
            &[(0, 0)],
            &[(8, 29)],
            &[(8, 29), (10, 32)],
            &[(0, 28), (4, 31), (u32::MAX, 32)],
        ] {
            let segments = Segments::new(prefixes.to_vec());
            for addr in (0..20).chain([u32::MAX - 1, u32::MAX]) {
                let found = segments.find(addr).is_some();
                assert_eq!(segments.covers(addr), found, "{prefixes:?} {addr}");
            }
        }
    }

    #[test]
    fn the_jump_index_changes_no_answer() {
        let mut number = 1_u32;
        let prefixes: Vec<(u32, u8)> = (0..5_000_u32)
            .map(|n| {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let length = u8::try_from(8 + n % 25).unwrap();
                (number >> (32 - length) << (32 - length), length)
            })
            .collect();
        let with = Segments::new(prefixes);
        let mut without = with.clone();
        assert!(without.jump.take().is_some());
        for (start, length) in without.iter() {
            for addr in [
                start.wrapping_sub(1),
                start,
                start.last_of(length).wrapping_add(1),
            ] {
                assert_eq!(with.find(addr), without.find(addr), "{addr:#x}");
                assert_eq!(with.covers(addr), with.find(addr).is_some(), "{addr:#x}");
            }
        }
    }
}
