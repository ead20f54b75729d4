//! Putting a set together.

use std::str;

use ipnet::IpNet;

use crate::ip_set::{
    entry::{Entry, Prefix},
    error::{EntryError, IpSetError},
    set::{HostBitsWarning, IpSet},
};

/// A set that is being put together out of texts, networks and other sets.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct IpSetBuilder {
    host_bits: HostBits,
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
    warnings: Vec<HostBitsWarning>,
}

/// What to do with an entry that has bits set behind its prefix, as `10.0.0.1/8` has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum HostBits {
    /// Read it as the network it lies in, and remember a [warning](IpSet::host_bits).
    #[default]
    Mask,
    /// Refuse it.
    Refuse,
}

impl IpSet {
    /// Starts a set that is put together out of texts, networks and other sets.
    pub fn builder() -> IpSetBuilder {
        IpSetBuilder::default()
    }
}

impl IpSetBuilder {
    /// Chooses what to do with entries that have bits set behind their prefix. The default is [`HostBits::Mask`].
    pub fn with_host_bits(mut self, host_bits: HostBits) -> Self {
        self.host_bits = host_bits;
        self
    }

    /// Adds exactly one entry: an address or a prefix, without anything around it.
    ///
    /// # Errors
    ///
    /// Fails if the text is no entry.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::ip_set::IpSet;
    ///
    /// let set = IpSet::builder().entry("10.0.0.0/8")?.build();
    /// assert!(set.contains("10.1.2.3".parse()?));
    /// assert!(IpSet::builder().entry(" 10.0.0.0/8").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn entry(mut self, entry: &str) -> Result<Self, IpSetError> {
        self.push_entry(entry, 1).map_err(IpSetError::new)?;
        Ok(self)
    }

    /// Adds the entries of a list; see the [module](crate::ip_set) for its text.
    ///
    /// # Errors
    ///
    /// Fails if anything in the list is no entry, or if it has none.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::ip_set::IpSet;
    ///
    /// let set = IpSet::builder().list("10.0.0.0/8\n\n# the office\n192.0.2.1, 192.0.2.2")?.build();
    /// assert!(set.contains("192.0.2.2".parse()?));
    /// assert!(IpSet::builder().list("# nothing").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(mut self, list: &str) -> Result<Self, IpSetError> {
        let mut entries = 0_usize;
        for (number, line) in (1..).zip(list.lines()) {
            let content = line.split(['#', ';']).next().unwrap_or_default();
            let separated = content.split(|c: char| c == ',' || c.is_ascii_whitespace());
            for (place, entry) in (1..).zip(separated.filter(|entry| !entry.is_empty())) {
                self.push_entry(entry, number)
                    .map_err(|kind| IpSetError::at(kind, number, place))?;
                entries += 1;
            }
        }
        match entries {
            0 => Err(IpSetError::new(EntryError::NoEntries)),
            _ => Ok(self),
        }
    }

    /// Adds the entries of a list as it was read from a file.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not UTF-8, and where [`list`](Self::list) does.
    pub fn list_bytes(self, list: &[u8]) -> Result<Self, IpSetError> {
        let list = str::from_utf8(list).map_err(|_| IpSetError::new(EntryError::NotUtf8))?;
        self.list(list)
    }

    /// Adds a network.
    pub fn net(mut self, net: IpNet) -> Self {
        self.push(net.into());
        self
    }

    /// Adds the entries of another set.
    pub fn set(mut self, set: &IpSet) -> Self {
        for prefix in set.segments() {
            self.push(prefix);
        }
        self
    }

    /// Creates the set.
    #[must_use]
    pub fn build(self) -> IpSet {
        IpSet::from_parts(self.v4, self.v6, self.warnings)
    }

    fn push_entry(&mut self, entry: &str, line: usize) -> Result<(), EntryError> {
        let Entry { prefix, host_bits } = Entry::parse(entry)?;
        if let Some(written) = host_bits {
            if self.host_bits == HostBits::Refuse {
                return Err(EntryError::HostBits);
            }
            if self.warnings.len() < MAX_WARNINGS {
                let warning = HostBitsWarning::new(line, written, prefix.into());
                self.warnings.push(warning);
            }
        }
        self.push(prefix);
        Ok(())
    }

    fn push(&mut self, prefix: Prefix) {
        match prefix {
            Prefix::V4(bits, length) => self.v4.push((bits, length)),
            Prefix::V6(bits, length) => self.v6.push((bits, length)),
        }
    }
}

/// A list of a million careless entries must not hold a million warnings.
const MAX_WARNINGS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expected: &[&str]) {
        let set: IpSet = list.parse().unwrap();
        let entries: Vec<_> = set.entries().iter().map(IpNet::to_string).collect();
        assert_eq!(entries, expected);
    }

    #[track_caller]
    fn check_refused(list: &str, expected: &str) {
        let error = list.parse::<IpSet>().unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn lists_are_read() {
        check("10.0.0.0/8", &["10.0.0.0/8"]);
        check(" 10.0.0.0/8 ", &["10.0.0.0/8"]);
        check("10.0.0.0/8,::1", &["10.0.0.0/8", "::1/128"]);
        check(
            "# head\r\n\r\n192.0.2.1 ; SBL1\r\n192.0.2.2#two\r\n",
            &["192.0.2.1/32", "192.0.2.2/32"],
        );
        check("192.0.2.1\t,, 192.0.2.1,", &["192.0.2.1/32"]);
    }

    #[test]
    fn refusals_name_the_place() {
        check_refused("", "list has no entries");
        check_refused("\n # nothing\n", "list has no entries");
        check_refused(
            "10.0.0.0/33",
            "line 1, entry 1: prefix is longer than the address",
        );
        check_refused("\n\n::1, 10.0.0.300", "line 3, entry 2: not an IP address");
        check_refused("10.0.0.0 /8", "line 1, entry 2: not an IP address");
        check_refused("fe80::1%eth0/64", "line 1, entry 1: address has a zone");
        check_refused(
            "::ffff:0:0/95",
            "line 1, entry 1: IPv4-mapped prefix is shorter than 96 bits",
        );
        check_refused(
            "10.0.0.0/x",
            "line 1, entry 1: prefix length is not a decimal number",
        );
        let error = IpSet::builder().list_bytes(b"10.0.0.1\xff").unwrap_err();
        assert_eq!(error.to_string(), "list is not UTF-8 text");
    }

    /// Case F18.
    #[test]
    fn host_bits_are_warned_of_or_refused() {
        let set: IpSet = "10.0.0.0/8\n10.0.0.1/8".parse().unwrap();
        let warnings: Vec<_> = set.host_bits().iter().map(ToString::to_string).collect();
        assert_eq!(warnings, ["line 2: 10.0.0.1 was read as 10.0.0.0/8"]);
        let parts = |it: &HostBitsWarning| (it.line(), it.written(), it.net());
        let (written, net) = ("10.0.0.1".parse(), "10.0.0.0/8".parse());
        let expected = (2, written.unwrap(), net.unwrap());
        assert_eq!(set.host_bits().first().map(parts), Some(expected));

        let refuse = IpSet::builder().with_host_bits(HostBits::Refuse);
        let error = refuse.list("10.0.0.0/8\n10.0.0.1/8").unwrap_err();
        assert_eq!(error.line(), Some(2));

        let many = "10.0.0.1/8\n".repeat(100).parse::<IpSet>().unwrap();
        assert_eq!(many.host_bits().len(), MAX_WARNINGS);
    }
}
