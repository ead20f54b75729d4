//! The files that lists of addresses are read from.

use std::path::Path;

use crate::{
    config::{error::Faults, value::Size},
    event::sink::{NullSink, SharedSink},
    from_text::in_full,
    ip_set::{
        builder::HostBits,
        file::{IpListFile, Reload},
        list::IpList,
        set::IpSet,
    },
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
        let mut fault = |error: &dyn std::error::Error| {
            faults.add(key, format_args!("{}: {}", path.display(), in_full(error)));
        };
        let mut file = match IpListFile::open(name, path) {
            Ok(file) => file,
            Err(error) => {
                fault(&error);
                return None;
            }
        };
        if let Some(host_bits) = host_bits {
            file = file.with_host_bits(host_bits);
        }
        if let Some(Size(max_bytes)) = max_bytes {
            file = file.with_max_bytes(max_bytes);
        }
        if host_bits.is_some() || max_bytes.is_some() {
            // It was opened without these settings. What is wrong is told here, and by no event.
            file = file.with_sink(SharedSink::new(NullSink));
            if file.reload() == Reload::Failed
                && let Some(error) = file.failure()
            {
                fault(error);
                return None;
            }
        }
        let file = file.with_sink(self.sink.clone());
        let list = file.list();
        self.files.push(file);
        Some(list)
    }
}
