//! Addresses as numbers, so that both families share their code.

/// An address as a number.
pub(crate) trait Bits: Copy + Ord {
    /// An address and the length of a prefix, in an order by the first and then the second.
    type Packed: Copy + Ord;

    /// The lowest address.
    const ZERO: Self;

    /// Returns whether two addresses share their first `length` bits.
    fn agrees(self, other: Self, length: u8) -> bool;

    /// Returns the number of bits that it takes to write the number.
    fn bit_length(self) -> u32;

    /// Returns the last address of the prefix of length `length` that holds this one.
    fn last_of(self, length: u8) -> Self;

    /// Returns the difference, or zero.
    fn minus(self, other: Self) -> Self;

    /// Returns the next address, if this is not the highest.
    fn next(self) -> Option<Self>;

    /// Puts an address and a length together.
    fn pack(prefix: (Self, u8)) -> Self::Packed;

    /// Shifts to the right.
    fn shifted(self, shift: u32) -> usize;

    /// Takes an address and a length apart.
    fn unpack(packed: Self::Packed) -> (Self, u8);
}

macro_rules! bits {
    ($number:ty, $packed:ty, $pack:expr, $unpack:expr) => {
        impl Bits for $number {
            type Packed = $packed;
            const ZERO: Self = 0;

            #[inline]
            fn agrees(self, other: Self, length: u8) -> bool {
                // A shift by the whole width, which is what length 0 needs, is none that the processor knows.
                (self ^ other)
                    .checked_shr(Self::BITS - u32::from(length))
                    .unwrap_or(0)
                    == 0
            }

            fn bit_length(self) -> u32 {
                Self::BITS - self.leading_zeros()
            }

            fn last_of(self, length: u8) -> Self {
                self | Self::MAX.checked_shr(u32::from(length)).unwrap_or(0)
            }

            #[inline]
            fn minus(self, other: Self) -> Self {
                self.saturating_sub(other)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn pack(prefix: (Self, u8)) -> Self::Packed {
                $pack(prefix)
            }

            #[inline]
            fn shifted(self, shift: u32) -> usize {
                let number = self.checked_shr(shift).unwrap_or(0);
                usize::try_from(number).unwrap_or(usize::MAX)
            }

            fn unpack(packed: Self::Packed) -> (Self, u8) {
                $unpack(packed)
            }
        }
    };
}

bits!(u32, u64, pack, unpack);
bits!(u128, (u128, u8), |prefix| prefix, |packed| packed);

fn pack((start, length): (u32, u8)) -> u64 {
    (u64::from(start) << 8) | u64::from(length)
}

fn unpack(packed: u64) -> (u32, u8) {
    let [_, _, _, first, second, third, fourth, length] = packed.to_be_bytes();
    (u32::from_be_bytes([first, second, third, fourth]), length)
}
