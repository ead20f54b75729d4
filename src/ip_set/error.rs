//! Why a list was refused.

use std::{error::Error, fmt};

/// Why the text of a list was refused: what is wrong, and where.
///
/// It tells the place and not the text, because a list that was mistaken for another file may hold anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpSetError {
    kind: EntryError,
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    line: usize,
    entry: usize,
}

impl IpSetError {
    pub(crate) fn new(kind: EntryError) -> Self {
        Self { kind, place: None }
    }

    pub(crate) fn at(kind: EntryError, line: usize, entry: usize) -> Self {
        let place = Some(Place { line, entry });
        Self { kind, place }
    }

    /// Returns the line of the entry that was refused, counted from 1, where there were lines.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.map(|place| place.line)
    }

    /// Returns whether there was nothing wrong but that the list has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kind == EntryError::NoEntries
    }
}

impl fmt::Display for IpSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, entry }) = self.place {
            write!(f, "line {line}, entry {entry}: ")?;
        }
        f.write_str(match self.kind {
            EntryError::Address => "not an IP address",
            EntryError::HostBits => "address has bits set behind its prefix",
            EntryError::LengthDigits => "prefix length is not a decimal number",
            EntryError::LengthTooLong => "prefix is longer than the address",
            EntryError::LengthZero => "prefix length has a leading zero",
            EntryError::MappedTooShort => "IPv4-mapped prefix is shorter than 96 bits",
            EntryError::NoEntries => "list has no entries",
            EntryError::NotUtf8 => "list is not UTF-8 text",
            EntryError::Zone => "address has a zone",
        })
    }
}

impl Error for IpSetError {}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EntryError {
    Address,
    HostBits,
    LengthDigits,
    LengthTooLong,
    LengthZero,
    MappedTooShort,
    NoEntries,
    NotUtf8,
    Zone,
}
