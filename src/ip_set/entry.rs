//! One entry of a list: a prefix, strictly parsed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ip_set::error::EntryError;

/// A prefix in canonical form: masked, and never IPv4-mapped.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Prefix {
    V4(u32, u8),
    V6(u128, u8),
}

/// What was read from the text of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) prefix: Prefix,
    /// The address as it was written, if it had bits set behind the prefix.
    pub(crate) host_bits: Option<IpAddr>,
}

impl Entry {
    pub(crate) fn parse(text: &str) -> Result<Self, EntryError> {
        let (addr, length) = match text.split_once('/') {
            Some((addr, length)) => (addr, Some(length)),
            None => (text, None),
        };
        // The standard parser refuses what others read as octal, hexadecimal or shortened addresses.
        let addr: IpAddr = addr.parse().map_err(|_| {
            if addr.contains('%') {
                EntryError::Zone
            } else {
                EntryError::Address
            }
        })?;
        let width: u8 = if addr.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(digits) => parse_length(digits, width)?,
            None => width,
        };
        let (addr, length) = unmap(addr, length)?;
        let prefix = Prefix::new(addr, length);
        let host_bits = (prefix.addr() != addr).then_some(addr);
        Ok(Self { prefix, host_bits })
    }
}

impl Prefix {
    /// Masks an address that is canonical already. A length past the address's width counts as the width.
    pub(crate) fn new(addr: IpAddr, length: u8) -> Self {
        match addr {
            IpAddr::V4(addr) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0);
                Self::V4(addr.to_bits() & mask, length)
            }
            IpAddr::V6(addr) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0);
                Self::V6(addr.to_bits() & mask, length)
            }
        }
    }

    pub(crate) fn addr(self) -> IpAddr {
        match self {
            Self::V4(bits, _) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            Self::V6(bits, _) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(addr: IpAddr) -> Self {
        Self::new(addr.to_canonical(), u8::MAX)
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        let (addr, length) = (net.addr(), net.prefix_len());
        // A mapped prefix that is too short to be IPv4 stays IPv6, as `::/0` does.
        let (addr, length) = unmap(addr, length).unwrap_or((addr, length));
        Self::new(addr, length)
    }
}

impl From<Prefix> for IpNet {
    fn from(prefix: Prefix) -> Self {
        // The lengths are in range by construction; the fallback is the smallest network, never a larger one.
        match prefix {
            Prefix::V4(bits, length) => {
                let addr = Ipv4Addr::from_bits(bits);
                Self::V4(Ipv4Net::new(addr, length).unwrap_or_else(|_| addr.into()))
            }
            Prefix::V6(bits, length) => {
                let addr = Ipv6Addr::from_bits(bits);
                Self::V6(Ipv6Net::new(addr, length).unwrap_or_else(|_| addr.into()))
            }
        }
    }
}

fn parse_length(digits: &str, width: u8) -> Result<u8, EntryError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EntryError::LengthDigits);
    }
    if digits.len() != 1 && digits.starts_with('0') {
        return Err(EntryError::LengthZero);
    }
    match digits.parse() {
        Ok(length) if length <= width => Ok(length),
        Ok(_) | Err(_) => Err(EntryError::LengthTooLong),
    }
}

/// Turns an IPv4-mapped prefix into the IPv4 prefix that it means.
fn unmap(addr: IpAddr, length: u8) -> Result<(IpAddr, u8), EntryError> {
    let IpAddr::V6(v6) = addr else {
        return Ok((addr, length));
    };
    match v6.to_ipv4_mapped() {
        Some(v4) => match length.checked_sub(96) {
            Some(length) => Ok((IpAddr::V4(v4), length)),
            None => Err(EntryError::MappedTooShort),
        },
        None => Ok((addr, length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let entry = Entry::parse(text).unwrap();
        assert_eq!(IpNet::from(entry.prefix).to_string(), expected);
        assert_eq!(entry.host_bits, None);
    }

    #[track_caller]
    fn check_refused(text: &str, expected: EntryError) {
        assert_eq!(Entry::parse(text), Err(expected), "{text:?}");
    }

    #[test]
    fn addresses_and_prefixes_are_read() {
        check("192.0.2.1", "192.0.2.1/32");
        check("10.0.0.0/8", "10.0.0.0/8");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:db8::7", "2001:db8::7/128");
        check("2001:DB8::/32", "2001:db8::/32");
        check("::/0", "::/0");
        check("64:ff9b::/96", "64:ff9b::/96");
    }

    #[test]
    fn mapped_prefixes_are_ipv4() {
        check("::ffff:192.0.2.1", "192.0.2.1/32");
        check("::ffff:10.0.0.0/104", "10.0.0.0/8");
        check("::ffff:0:0/96", "0.0.0.0/0");
        check_refused("::ffff:0:0/95", EntryError::MappedTooShort);
        check_refused("::ffff:10.0.0.0/8", EntryError::MappedTooShort);
    }

    /// Case F19.
    #[test]
    fn everything_else_is_refused() {
        check_refused("", EntryError::Address);
        check_refused(" 10.0.0.0/8", EntryError::Address);
        check_refused("10.0.0.0/8 ", EntryError::LengthDigits);
        check_refused("10.0.0.0/", EntryError::LengthDigits);
        check_refused("10.0.0.0/-1", EntryError::LengthDigits);
        check_refused("10.0.0.0/+8", EntryError::LengthDigits);
        check_refused("10.0.0.0/8/8", EntryError::LengthDigits);
        check_refused("10.0.0.0/255.0.255.0", EntryError::LengthDigits);
        check_refused("10.0.0.0/08", EntryError::LengthZero);
        check_refused("10.0.0.0/00", EntryError::LengthZero);
        check_refused("10.0.0.0/33", EntryError::LengthTooLong);
        check_refused("10.0.0.0/999", EntryError::LengthTooLong);
        check_refused("::/129", EntryError::LengthTooLong);
        check_refused("010.0.0.0/8", EntryError::Address);
        check_refused("1e1.0.0.1", EntryError::Address);
        check_refused("0x0a.0.0.1", EntryError::Address);
        check_refused("10.1", EntryError::Address);
        check_refused("167772161", EntryError::Address);
        check_refused("[::1]", EntryError::Address);
        check_refused("10.0.0.1:80", EntryError::Address);
        check_refused("localhost", EntryError::Address);
        check_refused("fe80::1%eth0", EntryError::Zone);
        check_refused("fe80::1%eth0/64", EntryError::Zone);
    }

    /// Case F18.
    #[test]
    fn host_bits_are_masked_and_told() {
        let entry = Entry::parse("10.0.0.1/8").unwrap();
        assert_eq!(IpNet::from(entry.prefix).to_string(), "10.0.0.0/8");
        assert_eq!(entry.host_bits, Some("10.0.0.1".parse().unwrap()));
    }
}
