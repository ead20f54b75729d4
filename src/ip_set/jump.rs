//! An index into many sorted numbers, for a search that begins where it nearly ends.

use crate::ip_set::bits::Bits;

/// Tells where to search among sorted numbers.
///
/// The span of the numbers is cut into equal slices, and for each slice it is noted which number is the first in it. Where the numbers stand
/// crowded, as IPv6 prefixes do in the few blocks that have been given out, a slice is cut into slices of its own.
#[derive(Clone, Debug)]
pub(crate) struct Jump<T> {
    /// The first is the root.
    cuts: Box<[Cut<T>]>,
    /// For each slice of each cut the first number in it or behind it, or, with [`DEEPER`], the cut that it is cut by.
    slices: Box<[u32]>,
}

/// Numbers that are next to each other, and how they are cut.
#[derive(Clone, Copy, Debug)]
struct Cut<T> {
    base: T,
    shift: u32,
    /// The numbers: from this on, and before this.
    low: u32,
    high: u32,
    /// The slices: from this on, and how many. Behind them stands `high`.
    first: u32,
    count: u32,
}

/// Marks a slice that is cut again.
const DEEPER: u32 = 1 << 31;

/// A slice of more numbers than this is cut again.
const CROWD: usize = 16;

/// Past this depth, crowds are left to the search.
const MAX_DEPTH: u32 = 6;

impl<T: Bits> Jump<T> {
    /// Makes an index, unless the numbers are too many to be indexed.
    pub(crate) fn new(numbers: &[T]) -> Option<Self> {
        // The slices and the numbers are counted in 31 bits; of each there are fewer than that.
        if DEEPER as usize / 8 <= numbers.len() {
            return None;
        }
        let mut builder = Builder {
            numbers,
            cuts: Vec::new(),
            slices: Vec::with_capacity(numbers.len() / 2),
        };
        builder.cut(0, numbers.len(), 0)?;
        Some(Self {
            cuts: builder.cuts.into_boxed_slice(),
            slices: builder.slices.into_boxed_slice(),
        })
    }

    /// Returns a range of numbers so that all before it are at most `number` and all behind it are greater.
    #[inline]
    pub(crate) fn range(&self, number: T) -> Option<(usize, usize)> {
        let mut cut = self.cuts.first()?;
        loop {
            if number < cut.base {
                return Some((cut.low as usize, cut.low as usize));
            }
            let slice = number.minus(cut.base).shifted(cut.shift);
            if cut.count as usize <= slice {
                return Some((cut.high as usize, cut.high as usize));
            }
            let slice = cut.first as usize + slice;
            let low = *self.slices.get(slice)?;
            if low & DEEPER == 0 {
                let next = *self.slices.get(slice + 1)?;
                let high = match next & DEEPER {
                    0 => next,
                    _ => self.cuts.get((next & !DEEPER) as usize)?.low,
                };
                return Some((low as usize, high as usize));
            }
            cut = self.cuts.get((low & !DEEPER) as usize)?;
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        size_of_val(&*self.cuts) + size_of_val(&*self.slices)
    }
}

struct Builder<'a, T> {
    numbers: &'a [T],
    cuts: Vec<Cut<T>>,
    slices: Vec<u32>,
}

impl<T: Bits> Builder<'_, T> {
    /// Cuts the numbers from `low` on and before `high`, and returns which cut it is.
    fn cut(&mut self, low: usize, high: usize, depth: u32) -> Option<u32> {
        let numbers = self.numbers.get(low..high)?;
        let (&base, &last) = (numbers.first()?, numbers.last()?);
        // A quarter to half as many slices as numbers: the index stays a small part of the whole.
        let bits = numbers.len().checked_ilog2()?.saturating_sub(1);
        let shift = last.minus(base).bit_length().saturating_sub(bits);
        let count = last.minus(base).shifted(shift) + 1;
        let first = self.slices.len();
        let cut = u32::try_from(self.cuts.len()).ok()?;
        self.cuts.push(Cut {
            base,
            shift,
            low: u32::try_from(low).ok()?,
            high: u32::try_from(high).ok()?,
            first: u32::try_from(first).ok()?,
            count: u32::try_from(count).ok()?,
        });
        self.slices
            .resize(first + count + 1, u32::try_from(high).ok()?);
        let mut begin = 0;
        while begin < numbers.len() {
            let slice = numbers.get(begin)?.minus(base).shifted(shift);
            let inside = |number: &T| number.minus(base).shifted(shift) == slice;
            let length = numbers
                .get(begin..)?
                .iter()
                .take_while(|it| inside(it))
                .count();
            let crowded = CROWD < length && depth < MAX_DEPTH && shift != 0;
            let mark = if crowded {
                DEEPER | self.cut(low + begin, low + begin + length, depth + 1)?
            } else {
                u32::try_from(low + begin).ok()?
            };
            *self.slices.get_mut(first + slice)? = mark;
            begin += length;
        }
        self.fill(first, count)?;
        Some(cut)
    }

    /// Lets slices without a number of their own point to the next number.
    fn fill(&mut self, first: usize, count: usize) -> Option<()> {
        let end = *self.slices.get(first + count)?;
        let mut next = end;
        for slice in (first..first + count).rev() {
            let mark = *self.slices.get(slice)?;
            if mark == end {
                *self.slices.get_mut(slice)? = next;
            } else {
                next = match mark & DEEPER {
                    0 => mark,
                    _ => self.cuts.get((mark & !DEEPER) as usize)?.low,
                };
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[u128], asked: impl IntoIterator<Item = u128>) {
        let jump = Jump::new(numbers).unwrap();
        for number in asked {
            let (low, high) = jump.range(number).unwrap();
            assert!(low <= high);
            let found = low + numbers[low..high].partition_point(|it| *it <= number);
            assert_eq!(
                found,
                numbers.partition_point(|it| *it <= number),
                "{number}"
            );
        }
    }

    fn around(numbers: &[u128]) -> Vec<u128> {
        let near = |number: &u128| [number.saturating_sub(1), *number, number.saturating_add(1)];
        let ends = [0, u128::MAX];
        numbers.iter().flat_map(near).chain(ends).collect()
    }

    #[test]
    fn nothing_is_looked_for_in_the_wrong_place() {
        let even: Vec<u128> = (0..1_000).map(|n| 1_000_000 + n * 77).collect();
        check(&even, around(&even));
        let crowds: Vec<u128> = (0..5_000)
            .map(|n| (n % 5) << 120 | (n / 5 % 10) << 64 | n)
            .collect();
        let crowds = {
            let mut it = crowds;
            it.sort_unstable();
            it
        };
        check(&crowds, around(&crowds));
        let powers: Vec<u128> = (0..128).map(|n| 1 << n).collect();
        check(&powers, around(&powers));
        let dense: Vec<u128> = (0..3_000).collect();
        check(&dense, around(&dense));
        let top: Vec<u128> = (0..500).map(|n| u128::MAX - 499 + n).collect();
        check(&top, around(&top));
        check(&[7], [0, 6, 7, 8, u128::MAX]);
        check(&[7, 9], [0, 6, 7, 8, 9, 10, u128::MAX]);
    }
}
