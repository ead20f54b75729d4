//! Sets of IP addresses, given as prefixes: strict to parse, quick to ask, small to hold, and instantly dropped.
//!
//! [`IpSet`] is what allow lists, deny lists and lists of trusted proxies are made of. Asked about an address it names the most
//! specific entry that covers it, so that an event can say which line of a list was to blame.
//!
//! # What counts as the same address
//!
//! An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, what a dual-stack listener reports) *is* the IPv4 address, on both sides: in the
//! list and in the question. Nothing else crosses the families: `0.0.0.0/0` covers no IPv6 address, `::/0` no IPv4 address (say
//! [`IpSet::any`] for both), and NAT64 addresses (`64:ff9b::/96`) are IPv6.
//!
//! # The text of a list
//!
//! Entries are addresses (`192.0.2.1`) or prefixes (`192.0.2.0/24`), separated by commas, white space or line ends. From `#` or `;` to
//! the end of the line is a comment; blank lines mean nothing. Everything else is refused with its line number: leading zeros
//! (`010.0.0.0/8`, `10.0.0.0/08`), signs, netmasks, zones (`fe80::1%eth0`), prefixes that are longer than the address, and IPv4-mapped
//! prefixes shorter than `/96`. A text without any entry is refused as well.
//!
//! An entry with bits set behind its prefix (`10.0.0.1/8`) is read as the network it lies in and remembered as a
//! [warning](IpSet::host_bits), or refused, by choice ([`IpSetBuilder::with_host_bits`]).
//!
//! # Example
//!
//! ```
//! use palisade::ip_set::IpSet;
//!
//! let set: IpSet = "10.0.0.0/8, 2001:db8::/32 # the office".parse()?;
//! assert!(set.contains("10.1.2.3".parse()?));
//! assert!(set.contains("::ffff:10.1.2.3".parse()?));
//! assert!(!set.contains("192.0.2.1".parse()?));
//!
//! let error = "10.0.0.0/8\n10.0.0.0/08".parse::<IpSet>().unwrap_err();
//! assert_eq!(error.to_string(), "line 2, entry 1: prefix length has a leading zero");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bits;
pub(crate) mod builder;
#[cfg(feature = "serde")]
pub(crate) mod deserialize;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod file;
mod jump;
pub(crate) mod list;
pub(crate) mod presets;
mod segments;
pub(crate) mod set;
pub(crate) mod watcher;

pub use self::{
    builder::{HostBits, IpSetBuilder},
    error::IpSetError,
    file::{IpListFile, IpListFileError, Reload},
    list::IpList,
    set::{HostBitsWarning, IpSet},
    watcher::IpListWatcher,
};
