//! What is banned: one IPv4 address, or one IPv6 network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What failures are counted under and what a ban covers.
///
/// An IPv6 client usually has a /64 to itself and can take a new address of it for every request, so that a single address means nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum BanKey {
    /// An IPv4 client behind a translator: RFC 6052, section 2.1, puts all of them into one /64.
    Translated(u32),
    V4(u32),
    V6(u64),
}

/// The first 96 bits of `64:ff9b::/96`.
const TRANSLATED: u128 = 0x0064_ff9b_u128 << 96;

impl BanKey {
    pub(crate) fn new(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self::V4(addr.to_bits()),
            IpAddr::V6(addr) => {
                let bits = addr.to_bits();
                if bits >> 32 == TRANSLATED >> 32 {
                    Self::Translated(low(bits))
                } else {
                    Self::V6(high(bits))
                }
            }
        }
    }

    /// Returns the key whose network is exactly `net`.
    pub(crate) fn of_net(net: IpNet) -> Option<Self> {
        let key = Self::new(net.addr());
        (key.net() == net).then_some(key)
    }

    pub(crate) fn net(self) -> IpNet {
        match self {
            Self::Translated(bits) => {
                IpNet::V6(Ipv6Addr::from_bits(TRANSLATED | u128::from(bits)).into())
            }
            Self::V4(bits) => IpNet::V4(Ipv4Net::from(Ipv4Addr::from_bits(bits))),
            Self::V6(bits) => {
                let addr = Ipv6Addr::from_bits(u128::from(bits) << 64);
                // The length is constant and valid, so that the other arm is never taken.
                IpNet::V6(Ipv6Net::new(addr, 64).unwrap_or_else(|_| addr.into()))
            }
        }
    }
}

fn high(bits: u128) -> u64 {
    // 64 bits are left: it always fits.
    u64::try_from(bits >> 64).unwrap_or_default()
}

fn low(bits: u128) -> u32 {
    u32::try_from(bits & u128::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, expected: &str) {
        let key = BanKey::new(addr.parse().unwrap());
        let net: IpNet = expected.parse().unwrap();
        assert_eq!(key.net(), net);
        assert_eq!(BanKey::of_net(net), Some(key));
    }

    #[test]
    fn a_ban_covers_what_one_client_has() {
        check("203.0.113.7", "203.0.113.7/32");
        check("::ffff:203.0.113.7", "203.0.113.7/32");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
        check("::1", "::/64");
        check("64:ff9b::203.0.113.7", "64:ff9b::203.0.113.7/128");
        check("64:ff9b:1::203.0.113.7", "64:ff9b:1::/64");
    }

    #[test]
    fn other_networks_are_no_keys() {
        for net in ["203.0.113.0/24", "2001:db8::/48", "2001:db8::1/128"] {
            assert_eq!(BanKey::of_net(net.parse().unwrap()), None, "{net}");
        }
    }
}
