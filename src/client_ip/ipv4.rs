//! Dotted decimals, read from the right: in a forwarding header an address ends where the line or the entry does.

use std::net::Ipv4Addr;

/// Splits the address off that some bytes end in, and returns it with what stands before it.
///
/// It is the longest one that can be there: whoever wants an address alone has to see that nothing of it is left.
#[inline]
pub(crate) fn split_ipv4(bytes: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let (fourth, bytes) = split_octet(bytes)?;
    let (third, bytes) = split_octet(bytes.strip_suffix(b".")?)?;
    let (second, bytes) = split_octet(bytes.strip_suffix(b".")?)?;
    let (first, bytes) = split_octet(bytes.strip_suffix(b".")?)?;
    let bits = (first << 24) | (second << 16) | (third << 8) | fourth;
    Some((Ipv4Addr::from_bits(bits), bytes))
}

/// Parses an address exactly as the standard library does, which takes only text.
#[inline]
pub(crate) fn parse_ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    match split_ipv4(bytes)? {
        (addr, []) => Some(addr),
        _ => None,
    }
}

/// Takes the address off that some bytes begin with, and returns it with what stands behind it.
///
/// It is the longest one that can be there: whoever wants an address alone has to see what follows.
#[inline]
pub(crate) fn take_ipv4(bytes: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let (first, bytes) = take_octet(bytes)?;
    let (second, bytes) = take_octet(bytes.strip_prefix(b".")?)?;
    let (third, bytes) = take_octet(bytes.strip_prefix(b".")?)?;
    let (fourth, bytes) = take_octet(bytes.strip_prefix(b".")?)?;
    let bits = (first << 24) | (second << 16) | (third << 8) | fourth;
    Some((Ipv4Addr::from_bits(bits), bytes))
}

/// Takes a number of up to three digits, without leading zeros.
#[inline]
fn take_octet(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, bytes) = take_digit(bytes)?;
    if first == 0 {
        return Some((0, bytes));
    }
    let Some((second, longer)) = take_digit(bytes) else {
        return Some((first, bytes));
    };
    let (number, bytes) = (first * 10 + second, longer);
    let Some((third, longer)) = take_digit(bytes) else {
        return Some((number, bytes));
    };
    let number = number * 10 + third;
    (number <= 255).then_some((number, longer))
}

#[inline]
fn take_digit(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let digit = first.wrapping_sub(b'0');
    (digit < 10).then_some((u32::from(digit), rest))
}

/// Splits off a number of up to three digits, without leading zeros, which would be octal to others.
#[inline]
fn split_octet(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (ones, bytes) = split_digit(bytes)?;
    let Some((tens, longer)) = split_digit(bytes) else {
        return Some((ones, bytes));
    };
    let (number, bytes) = (tens * 10 + ones, longer);
    let Some((hundreds, longer)) = split_digit(bytes) else {
        return (10 <= number).then_some((number, bytes));
    };
    let number = hundreds * 100 + number;
    (100..=255).contains(&number).then_some((number, longer))
}

#[inline]
fn split_digit(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (last, rest) = bytes.split_last()?;
    let digit = last.wrapping_sub(b'0');
    (digit < 10).then_some((u32::from(digit), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dotted_decimals_are_those_of_the_standard_library(
            text in "[0-9.]{0,16}|([0-9]{1,3}\\.){3}[0-9]{1,3}|([0-9]{1,2}\\.){2,4}[0-9a]{1,2}",
            addr: u32,
        ) {
            prop_assert_eq!(parse_ipv4(text.as_bytes()), text.parse().ok());
            let addr = Ipv4Addr::from_bits(addr);
            prop_assert_eq!(parse_ipv4(addr.to_string().as_bytes()), Some(addr));
        }

        /// One byte that is wrong in an address that was right.
        #[test]
        fn damaged_addresses_are_those_of_the_standard_library(
            addr: u32,
            place: prop::sample::Index,
            byte in 0_u8..128,
        ) {
            let mut text = Ipv4Addr::from_bits(addr).to_string().into_bytes();
            let place = place.index(text.len());
            text[place] = byte;
            let expected = std::str::from_utf8(&text).unwrap().parse().ok();
            prop_assert_eq!(parse_ipv4(&text), expected);
        }

        #[test]
        fn what_stands_before_an_address_is_returned(before in "[^0-9]{0,5}", addr: u32) {
            let addr = Ipv4Addr::from_bits(addr);
            let text = format!("{before}{addr}");
            prop_assert_eq!(split_ipv4(text.as_bytes()), Some((addr, before.as_bytes())));
        }

        #[test]
        fn addresses_are_taken_off_the_front(behind in "[^0-9.]?[^0-9]{0,5}", addr: u32) {
            let addr = Ipv4Addr::from_bits(addr);
            let text = format!("{addr}{behind}");
            prop_assert_eq!(take_ipv4(text.as_bytes()), Some((addr, behind.as_bytes())));
        }

        #[test]
        fn what_is_taken_whole_is_an_address_of_the_standard_library(
            text in "[0-9.]{0,16}|([0-9]{1,3}\\.){3}[0-9]{1,3}|([0-9]{1,2}\\.){2,4}[0-9a]{1,2}",
        ) {
            let whole = match take_ipv4(text.as_bytes()) {
                Some((addr, [])) => Some(addr),
                _ => None,
            };
            prop_assert_eq!(whole, text.parse().ok());
        }
    }

    #[test]
    fn what_stands_beside_the_digits_in_ascii_is_none() {
        let addr = Ipv4Addr::new(1, 2, 3, 4);
        for beside in ["/", ":"] {
            let (behind, before) = (format!("{addr}{beside}"), format!("{beside}{addr}"));
            assert_eq!(
                take_ipv4(behind.as_bytes()),
                Some((addr, beside.as_bytes()))
            );
            assert_eq!(
                split_ipv4(before.as_bytes()),
                Some((addr, beside.as_bytes()))
            );
        }
    }

    /// Every number that an octet could be taken for, with up to four digits.
    #[test]
    fn octets_are_those_of_the_standard_library() {
        for width in 1..=4 {
            for number in 0..10_usize.pow(width) {
                let width = usize::try_from(width).unwrap();
                for text in [
                    format!("{number:0width$}.0.10.200"),
                    format!("0.10.{number:0width$}.200"),
                    format!("0.10.200.{number:0width$}"),
                ] {
                    assert_eq!(parse_ipv4(text.as_bytes()), text.parse().ok(), "{text}");
                }
            }
        }
    }
}
