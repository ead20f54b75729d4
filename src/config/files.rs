//! The files that lists of addresses are read from.

use std::path::Path;

use crate::{
    config::{error::Faults, value::Size},
    event::sink::{NullSink, SharedSink},
    from_text::in_full,
    ip_set::{builder::HostBits, file::IpListFile, list::IpList, set::IpSet},
};

/// The files that lists are read from, to be looked at again.
#[derive(Debug)]
pub(crate) struct ListFiles {
    pub(crate) files: Vec<IpListFile>,
    sink: SharedSink,
    /// Whether files are not opened: those that there are have been, and keep their last good value by themselves.
    pretends: bool,
}

impl ListFiles {
    pub(crate) fn new(sink: SharedSink) -> Self {
        Self {
            files: Vec::new(),
            sink,
            pretends: false,
        }
    }

    /// Opens no file, and has a list all the same.
    pub(crate) fn pretending() -> Self {
        Self {
            pretends: true,
            ..Self::new(SharedSink::new(NullSink))
        }
    }

    /// Opens a file and returns its list.
    pub(crate) fn open(
        &mut self,
        key: &str,
        name: &str,
        path: &Path,
        host_bits: Option<HostBits>,
        max_bytes: Option<Size>,
        faults: &mut Faults,
    ) -> Option<IpList> {
        if self.pretends {
            return Some(IpList::new(name, IpSet::loopback()));
        }
        let max_bytes = max_bytes.map(|Size(bytes)| bytes);
        let file = match IpListFile::open_with(name, path, host_bits, max_bytes) {
            Ok(file) => file,
            Err(error) => {
                faults.add(key, format_args!("{}: {}", path.display(), in_full(&error)));
                return None;
            }
        };
        let file = file.with_sink(self.sink.clone());
        let list = file.list();
        self.files.push(file);
        Some(list)
    }
}
