//! An address as an event shows it.

use std::{borrow::Cow, fmt, net::IpAddr};

/// An address as an event shows it: whole, cut to a network, or replaced.
///
/// `Display` writes `203.0.113.7`, `203.0.113.0/24` or the token, so that whoever reads a line cannot take a network for a client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum EventAddress<'a> {
    /// The whole address.
    Full(IpAddr),
    /// The network that the address is in.
    Network {
        /// The network's first address.
        addr: IpAddr,
        /// The length of the network's prefix.
        prefix: u8,
    },
    /// A word that stands for the address.
    Token(Cow<'a, str>),
}

impl EventAddress<'_> {
    /// Returns the network of `addr` with a prefix of that length, at most the address's own.
    #[must_use]
    pub fn network(addr: IpAddr, prefix: u8) -> Self {
        match addr {
            IpAddr::V4(addr) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self::Network {
                    addr: IpAddr::V4((addr.to_bits() & mask).into()),
                    prefix,
                }
            }
            IpAddr::V6(addr) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self::Network {
                    addr: IpAddr::V6((addr.to_bits() & mask).into()),
                    prefix,
                }
            }
        }
    }

    /// Returns the address or the network's first address; nothing for a token.
    #[must_use]
    pub fn addr(&self) -> Option<IpAddr> {
        match self {
            Self::Full(addr) | Self::Network { addr, .. } => Some(*addr),
            Self::Token(_) => None,
        }
    }

    pub(crate) fn into_owned(self) -> EventAddress<'static> {
        match self {
            Self::Full(addr) => EventAddress::Full(addr),
            Self::Network { addr, prefix } => EventAddress::Network { addr, prefix },
            Self::Token(token) => EventAddress::Token(Cow::Owned(token.into_owned())),
        }
    }
}

impl fmt::Display for EventAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(addr) => addr.fmt(f),
            Self::Network { addr, prefix } => write!(f, "{addr}/{prefix}"),
            Self::Token(token) => f.write_str(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, prefix: u8, expected: &str) {
        let network = EventAddress::network(addr.parse().unwrap(), prefix);
        assert_eq!(network.to_string(), expected);
    }

    #[test]
    fn networks_are_cut_at_the_prefix() {
        check("203.0.113.7", 24, "203.0.113.0/24");
        check("203.0.113.7", 0, "0.0.0.0/0");
        check("203.0.113.7", 32, "203.0.113.7/32");
        check("203.0.113.7", 200, "203.0.113.7/32");
        check("2001:db8:1:2::3", 48, "2001:db8:1::/48");
        check("2001:db8:1:2::3", 0, "::/0");
        check("2001:db8:1:2::3", 255, "2001:db8:1:2::3/128");
    }
}
