//! Well-known sets.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::ip_set::{entry::Prefix, set::IpSet};

impl IpSet {
    /// Creates the set of every address: `0.0.0.0/0` and `::/0`.
    #[must_use]
    pub fn any() -> Self {
        of(&[([0, 0, 0, 0], 0)], &[([0; 8], 0)])
    }

    /// Creates the set of every IPv4 address: `0.0.0.0/0`.
    #[must_use]
    pub fn any_ipv4() -> Self {
        of(&[([0, 0, 0, 0], 0)], &[])
    }

    /// Creates the set of every IPv6 address: `::/0`.
    #[must_use]
    pub fn any_ipv6() -> Self {
        of(&[], &[([0; 8], 0)])
    }

    /// Creates the set of the loopback addresses: `127.0.0.0/8` and `::1`.
    #[must_use]
    pub fn loopback() -> Self {
        of(&[([127, 0, 0, 0], 8)], &[([0, 0, 0, 0, 0, 0, 0, 1], 128)])
    }

    /// Creates the set of the link-local addresses: `169.254.0.0/16` and `fe80::/10`.
    ///
    /// Cloud providers serve instance metadata and credentials at addresses out of the first.
    #[must_use]
    pub fn link_local() -> Self {
        // RFC 3927, section 2.1; RFC 4291, section 2.5.6.
        of(
            &[([169, 254, 0, 0], 16)],
            &[([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)],
        )
    }

    /// Creates the set of the private networks: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` and `fc00::/7`.
    ///
    /// As *trusted proxies* these are too many: every machine of a private network could write its own address. List the proxies.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::ip_set::IpSet;
    ///
    /// assert!(IpSet::private().contains("192.168.1.7".parse()?));
    /// assert!(IpSet::private().contains("fd12:3456::7".parse()?));
    /// assert!(!IpSet::private().contains("100.64.0.1".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn private() -> Self {
        // RFC 1918, section 3; RFC 4193, section 3.1.
        of(
            &[
                ([10, 0, 0, 0], 8),
                ([172, 16, 0, 0], 12),
                ([192, 168, 0, 0], 16),
            ],
            &[([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7)],
        )
    }

    /// Creates the set of the addresses that carriers share among customers: `100.64.0.0/10`.
    #[must_use]
    pub fn carrier_shared() -> Self {
        // RFC 6598, section 7.
        of(&[([100, 64, 0, 0], 10)], &[])
    }

    /// Creates the set of the multicast addresses: `224.0.0.0/4` and `ff00::/8`.
    #[must_use]
    pub fn multicast() -> Self {
        // RFC 5771, section 3; RFC 4291, section 2.7.
        of(
            &[([224, 0, 0, 0], 4)],
            &[([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)],
        )
    }

    /// Creates the set of the addresses that stand in documentation: `192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24`,
    /// `2001:db8::/32` and `3fff::/20`.
    #[must_use]
    pub fn documentation() -> Self {
        // RFC 5737, section 3; RFC 3849, section 2; RFC 9637, section 3.
        of(
            &[
                ([192, 0, 2, 0], 24),
                ([198, 51, 100, 0], 24),
                ([203, 0, 113, 0], 24),
            ],
            &[
                ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
                ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
            ],
        )
    }
}

fn of(v4: &[([u8; 4], u8)], v6: &[([u16; 8], u8)]) -> IpSet {
    let v4 = v4.iter();
    let v4 = v4.map(|&(bytes, length)| Prefix::new(Ipv4Addr::from(bytes).into(), length));
    let v6 = v6.iter();
    let v6 = v6.map(|&(groups, length)| Prefix::new(Ipv6Addr::from(groups).into(), length));
    IpSet::from_prefixes(v4.chain(v6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set: &IpSet, expected: &str) {
        let expected: IpSet = expected.parse().unwrap();
        assert_eq!(set.entries(), expected.entries());
    }

    #[test]
    fn presets_are_as_documented() {
        check(&IpSet::any(), "0.0.0.0/0 ::/0");
        check(&IpSet::any_ipv4(), "0.0.0.0/0");
        check(&IpSet::any_ipv6(), "::/0");
        check(&IpSet::loopback(), "127.0.0.0/8 ::1");
        check(&IpSet::link_local(), "169.254.0.0/16 fe80::/10");
        check(
            &IpSet::private(),
            "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7",
        );
        check(&IpSet::carrier_shared(), "100.64.0.0/10");
        check(&IpSet::multicast(), "224.0.0.0/4 ff00::/8");
        check(
            &IpSet::documentation(),
            "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        );
    }
}
