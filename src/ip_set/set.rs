//! The set of addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

use crate::{
    event::model::{Action, SecurityEvent},
    ip_set::{entry::Prefix, error::IpSetError, segments::Segments},
};

/// A set of IP addresses, made of prefixes.
///
/// See the [module](crate::ip_set) for the text of a list, and for what counts as the same address.
#[derive(Clone)]
pub struct IpSet {
    v4: Segments<u32>,
    v6: Segments<u128>,
    host_bits: Box<[HostBitsWarning]>,
    everything: bool,
}

impl IpSet {
    /// Creates a set without any address.
    #[must_use]
    pub fn empty() -> Self {
        Self::from_prefixes([])
    }

    /// Returns whether the set covers an address.
    #[must_use]
    #[inline]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.find_length(addr).is_some()
    }

    /// Returns whether the set covers an address of IPv4.
    #[inline]
    pub(crate) fn contains_ipv4(&self, addr: Ipv4Addr) -> bool {
        self.v4.covers(addr.to_bits())
    }

    /// Returns the most specific entry that covers an address.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::ip_set::IpSet;
    ///
    /// let set: IpSet = "10.0.0.0/8 10.1.0.0/16".parse()?;
    /// assert_eq!(set.find("10.1.2.3".parse()?), Some("10.1.0.0/16".parse()?));
    /// assert_eq!(set.find("10.2.3.4".parse()?), Some("10.0.0.0/8".parse()?));
    /// assert_eq!(set.find("192.0.2.1".parse()?), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn find(&self, addr: IpAddr) -> Option<IpNet> {
        let length = self.find_length(addr)?;
        Some(IpNet::from(Prefix::new(addr.to_canonical(), length)))
    }

    /// Returns whether the set covers no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Returns the entries in order, without those that more specific entries cover completely.
    ///
    /// The entries are put together anew for each call.
    #[must_use]
    pub fn entries(&self) -> Vec<IpNet> {
        let mut prefixes: Vec<Prefix> = self.segments().collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes.into_iter().map(IpNet::from).collect()
    }

    /// Returns the entries that were read as the network around them because they had bits set behind their prefix.
    ///
    /// At most the first 32 are remembered.
    #[must_use]
    pub fn host_bits(&self) -> &[HostBitsWarning] {
        &self.host_bits
    }

    /// Returns how many bytes the set takes on the heap.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.v4.heap_size() + self.v6.heap_size() + size_of_val(&*self.host_bits)
    }

    /// Returns whether the set covers every address of a family.
    pub(crate) fn is_everything(&self) -> bool {
        self.everything
    }

    pub(crate) fn from_prefixes(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let prefixes = prefixes.into_iter();
        let mut v4 = Vec::with_capacity(prefixes.size_hint().0);
        let mut v6 = Vec::new();
        for prefix in prefixes {
            match prefix {
                Prefix::V4(bits, length) => v4.push((bits, length)),
                Prefix::V6(bits, length) => v6.push((bits, length)),
            }
        }
        Self::from_parts(v4, v6, Vec::new())
    }

    pub(crate) fn from_parts(
        v4: Vec<(u32, u8)>,
        v6: Vec<(u128, u8)>,
        host_bits: Vec<HostBitsWarning>,
    ) -> Self {
        let (v4, v6) = (Segments::new(v4), Segments::new(v6));
        Self {
            everything: v4.is_everything() || v6.is_everything(),
            v4,
            v6,
            host_bits: host_bits.into(),
        }
    }

    /// Returns the prefix of every segment: an entry that others interrupt occurs once for each of its parts.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Prefix> + '_ {
        let v4 = self.v4.iter();
        let v4 = v4.map(|(bits, length)| Prefix::new(Ipv4Addr::from_bits(bits).into(), length));
        let v6 = self.v6.iter();
        let v6 = v6.map(|(bits, length)| Prefix::new(Ipv6Addr::from_bits(bits).into(), length));
        v4.chain(v6)
    }

    #[inline]
    fn find_length(&self, addr: IpAddr) -> Option<u8> {
        match addr.to_canonical() {
            IpAddr::V4(addr) => self.v4.find(addr.to_bits()),
            IpAddr::V6(addr) => self.v6.find(addr.to_bits()),
        }
    }
}

/// Sets are equal that cover the same addresses by the same entries.
impl PartialEq for IpSet {
    fn eq(&self, other: &Self) -> bool {
        self.v4 == other.v4 && self.v6 == other.v6
    }
}

impl Eq for IpSet {}

impl Default for IpSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for IpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let shown = self.segments().take(SHOWN).map(IpNet::from);
        let rest = self.segments().skip(SHOWN).count();
        let mut list = f.debug_list();
        list.entries(shown.map(|net| net.to_string()));
        if rest != 0 {
            list.entry(&format_args!("{rest} more"));
        }
        list.finish()
    }
}

impl FromStr for IpSet {
    type Err = IpSetError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        Ok(Self::builder().list(list)?.build())
    }
}

impl From<IpAddr> for IpSet {
    fn from(addr: IpAddr) -> Self {
        Self::from_prefixes([addr.into()])
    }
}

impl From<IpNet> for IpSet {
    fn from(net: IpNet) -> Self {
        Self::from_prefixes([net.into()])
    }
}

impl FromIterator<IpAddr> for IpSet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addrs: I) -> Self {
        Self::from_prefixes(addrs.into_iter().map(Prefix::from))
    }
}

impl FromIterator<IpNet> for IpSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        Self::from_prefixes(nets.into_iter().map(Prefix::from))
    }
}

/// An entry that was read as the network around it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostBitsWarning {
    line: usize,
    written: IpAddr,
    net: IpNet,
}

impl HostBitsWarning {
    pub(crate) fn new(line: usize, written: IpAddr, net: IpNet) -> Self {
        Self { line, written, net }
    }

    /// Returns the event that tells of the entry of a list.
    pub(crate) fn event(self, list: &str) -> SecurityEvent<'_> {
        let reason = format!("bits are set behind a prefix: {self}");
        SecurityEvent::new(Action::IpListEntryMasked, reason).with_policy(list)
    }

    /// Returns the line of the entry, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the address as it was written.
    #[must_use]
    pub fn written(&self) -> IpAddr {
        self.written
    }

    /// Returns the network that it was read as.
    #[must_use]
    pub fn net(&self) -> IpNet {
        self.net
    }
}

impl fmt::Display for HostBitsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, written, net } = self;
        write!(f, "line {line}: {written} was read as {net}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, addr: &str, expected: Option<&str>) {
        let set: IpSet = list.parse().unwrap();
        let addr = addr.parse().unwrap();
        assert_eq!(set.find(addr), expected.map(|net| net.parse().unwrap()));
        assert_eq!(set.contains(addr), expected.is_some());
        if let IpAddr::V4(addr) = addr {
            assert_eq!(set.contains_ipv4(addr), expected.is_some());
        }
    }

    #[test]
    fn the_most_specific_entry_is_named() {
        check("10.0.0.0/8, 10.1.2.3", "10.1.2.3", Some("10.1.2.3/32"));
        check("10.0.0.0/8, 10.1.2.3", "10.1.2.4", Some("10.0.0.0/8"));
        check("10.0.0.0/8, 10.1.2.3", "11.0.0.0", None);
        check("10.0.0.0/8", "9.255.255.255", None);
        check("203.0.113.0/24", "203.0.113.255", Some("203.0.113.0/24"));
    }

    /// Cases F09, F10, F11, F12, F13, F14, F17.
    #[test]
    fn families_are_apart_and_mapped_addresses_are_ipv4() {
        check("127.0.0.1", "::ffff:127.0.0.1", Some("127.0.0.1/32"));
        check("::ffff:10.0.0.0/104", "10.9.9.9", Some("10.0.0.0/8"));
        check("0.0.0.0/0", "2001:db8::1", None);
        check("::/0", "203.0.113.7", None);
        check("::/0", "::ffff:203.0.113.7", None);
        check("::/80", "::ffff:255.255.255.255", None);
        check("::1", "127.0.0.1", None);
        check("::1", "::1", Some("::1/128"));
        check("64:ff9b::/96", "64:ff9b::1.2.3.4", Some("64:ff9b::/96"));
        check("1.2.3.4", "64:ff9b::1.2.3.4", None);
        check("0.0.0.0/0, ::/0", "255.255.255.255", Some("0.0.0.0/0"));
        check("0.0.0.0/0, ::/0", "0.0.0.0", Some("0.0.0.0/0"));
        check("0.0.0.0/0, ::/0", "::", Some("::/0"));
    }

    #[test]
    fn entries_come_back() {
        let text = "10.0.0.0/8, 10.0.0.0/16, 10.255.0.0/16, 192.0.2.1, 2001:db8::/32";
        let set: IpSet = text.parse().unwrap();
        let again: IpSet = set.entries().into_iter().collect();
        assert_eq!(set.entries(), again.entries());
        assert_eq!(
            format!("{set:?}"),
            r#"["10.0.0.0/16", "10.0.0.0/8", "10.255.0.0/16", "192.0.2.1/32", "2001:db8::/32"]"#
        );
    }
}
