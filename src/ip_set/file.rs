//! Lists that are kept in files.

use std::{
    error::Error,
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    clock::{Clock, MonotonicClock},
    event::{
        model::{Action, SecurityEvent},
        sink::{EventSink, SharedSink},
    },
    ip_set::{builder::HostBits, error::IpSetError, list::IpList, set::IpSet},
};

/// A list that is kept in a file and reloaded when the file changes.
///
/// A file that is gone, empty, too large or wrong in a single line never replaces a list that works: the old one stays, and one event says
/// why, with the number of the line. Write the new file beside the old one and rename it over, so that it is never seen half written.
///
/// [`poll`](Self::poll) looks after the file once; [`IpListWatcher`](crate::ip_set::IpListWatcher) does so from time to time.
///
/// # Example
///
/// ```
/// use palisade::ip_set::{IpListFile, Reload};
///
/// # let dir = std::env::temp_dir().join(format!("palisade-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("blocked.txt");
/// std::fs::write(&path, "198.51.100.0/24 # the whole network\n")?;
/// let mut file = IpListFile::open("blocked", &path)?;
/// let blocked = file.list();
/// assert!(blocked.contains("198.51.100.7".parse()?));
///
/// std::fs::write(&path, "198.51.100.0/24\n198.51.100.0/33\n")?;
/// assert_eq!(file.reload(), Reload::Failed);
/// assert!(blocked.contains("198.51.100.7".parse()?));
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IpListFile {
    path: PathBuf,
    list: IpList,
    options: Options,
    sink: SharedSink,
    clock: Arc<dyn Clock>,
    /// What the file was like when it was last read, and whether that can still be told from a later change.
    seen: Option<Stamp>,
    /// The last failure, so that it is told once.
    failure: Option<IpListFileError>,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    host_bits: HostBits,
    max_bytes: u64,
}

/// What looking after a file came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reload {
    /// The file cannot be used; the old list stays.
    Failed,
    /// The list was replaced.
    Replaced,
    /// The list is the same as before.
    Unchanged,
}

impl IpListFile {
    /// Reads a file. Events call the list by its name.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is larger than 64 MiB, has no entries, or has anything in it that is no entry.
    pub fn open(
        name: impl Into<Arc<str>>,
        path: impl Into<PathBuf>,
    ) -> Result<Self, IpListFileError> {
        Self::open_with(name, path, None, None)
    }

    /// Reads a file with settings that are not the defaults.
    pub(crate) fn open_with(
        name: impl Into<Arc<str>>,
        path: impl Into<PathBuf>,
        host_bits: Option<HostBits>,
        max_bytes: Option<u64>,
    ) -> Result<Self, IpListFileError> {
        let path = path.into();
        let options = Options {
            host_bits: host_bits.unwrap_or_default(),
            max_bytes: max_bytes.unwrap_or(MAX_BYTES),
        };
        let clock = Arc::new(MonotonicClock);
        let seen = stamp(&path, clock.system_now());
        let set = read(&path, options)?;
        Ok(Self {
            path,
            list: IpList::new(name, set),
            options,
            sink: SharedSink::default(),
            clock,
            seen,
            failure: None,
        })
    }

    /// Chooses what reloads do with entries that have bits set behind their prefix. The default is [`HostBits::Mask`].
    #[must_use]
    pub fn with_host_bits(mut self, host_bits: HostBits) -> Self {
        self.options.host_bits = host_bits;
        self
    }

    /// Sets how large the file may become, in bytes. The default is 64 MiB, which is what the file may have when it is opened.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.options.max_bytes = max_bytes;
        self
    }

    /// Sets who receives the events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(mut self, sink: SharedSink) -> Self {
        self.sink = sink;
        self
    }

    /// Sets the clock that tells how long ago the file was written. The default is [`MonotonicClock`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns a handle on the list.
    #[must_use]
    pub fn list(&self) -> IpList {
        self.list.clone()
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns why the file cannot be used, while it cannot.
    #[must_use]
    pub fn failure(&self) -> Option<&IpListFileError> {
        self.failure.as_ref()
    }

    /// Reads the file again if it seems to have changed. Blocks for as long as that takes.
    pub fn poll(&mut self) -> Reload {
        self.warn();
        let stamp = stamp(&self.path, self.clock.system_now());
        match (stamp, &self.failure) {
            (Some(stamp), None) if self.seen == Some(stamp) => Reload::Unchanged,
            (Some(stamp), Some(_)) if self.seen == Some(stamp) => Reload::Failed,
            _ => self.reload(),
        }
    }

    /// Reads the file again, as on a signal. Blocks for as long as that takes.
    pub fn reload(&mut self) -> Reload {
        // Before the file is read: should it change meanwhile, the next poll sees a difference.
        self.seen = stamp(&self.path, self.clock.system_now());
        match read(&self.path, self.options) {
            Ok(set) => {
                self.failure = None;
                if self.list.load().set == set {
                    return Reload::Unchanged;
                }
                self.list.replace(set);
                self.record(Action::IpListReloaded, "the list was reloaded");
                self.warn();
                Reload::Replaced
            }
            Err(error) => {
                let last = self.failure.replace(error);
                if let Some(error) = &self.failure
                    && last.is_none_or(|last| last.differs(error))
                {
                    let reason = match error.source() {
                        Some(source) => format!("the old list stays: {error}: {source}"),
                        None => format!("the old list stays: {error}"),
                    };
                    self.record(Action::IpListReloadFailed, &reason);
                }
                Reload::Failed
            }
        }
    }

    fn warn(&self) {
        if let Some(first) = self.list.take_host_bits() {
            self.sink.record(&first.event(self.list.name()));
        }
    }

    fn record(&self, action: Action, reason: &str) {
        let event = SecurityEvent::new(action, reason).with_policy(&**self.list.name());
        self.sink.record(&event);
    }
}

/// A million entries take 18 MiB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    length: u64,
    modified: SystemTime,
    inode: u64,
}

/// Returns nothing where a later change could go unseen: file systems keep time in steps, and a file that was written a moment ago can
/// be written again within the same one.
fn stamp(path: &Path, now: SystemTime) -> Option<Stamp> {
    const STEP: Duration = Duration::from_secs(2);
    let metadata = fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?;
    let settled = now.duration_since(modified).is_ok_and(|age| STEP <= age);
    settled.then(|| Stamp {
        length: metadata.len(),
        modified,
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn read(path: &Path, options: Options) -> Result<IpSet, IpListFileError> {
    // Before it is opened, which waits if it is a pipe.
    if !fs::metadata(path).map_err(ErrorKind::Io)?.is_file() {
        return Err(ErrorKind::NotAFile.into());
    }
    let file = File::open(path).map_err(ErrorKind::Io)?;
    let mut content = Vec::new();
    file.take(options.max_bytes.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(ErrorKind::Io)?;
    if u64::try_from(content.len()).is_ok_and(|length| options.max_bytes < length) {
        return Err(ErrorKind::TooLarge.into());
    }
    let builder = IpSet::builder().with_host_bits(options.host_bits);
    let builder = builder.list_bytes(&content).map_err(ErrorKind::List)?;
    Ok(builder.build())
}

/// Why a list cannot be read from its file.
#[derive(Debug)]
pub struct IpListFileError {
    kind: ErrorKind,
}

#[derive(Debug)]
enum ErrorKind {
    Io(io::Error),
    List(IpSetError),
    NotAFile,
    TooLarge,
}

impl IpListFileError {
    /// Returns the line that is wrong, counted from 1, if it is a line.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match &self.kind {
            ErrorKind::List(error) => error.line(),
            ErrorKind::Io(_) | ErrorKind::NotAFile | ErrorKind::TooLarge => None,
        }
    }

    fn differs(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (ErrorKind::Io(one), ErrorKind::Io(other)) => one.kind() != other.kind(),
            (ErrorKind::List(one), ErrorKind::List(other)) => one != other,
            (one, other) => mem::discriminant(one) != mem::discriminant(other),
        }
    }
}

impl fmt::Display for IpListFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Io(_) => "file cannot be read",
            ErrorKind::List(_) => "file is no list of addresses",
            ErrorKind::NotAFile => "path is no regular file",
            ErrorKind::TooLarge => "file is too large",
        })
    }
}

impl Error for IpListFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ErrorKind::Io(error) => Some(error),
            ErrorKind::List(error) => Some(error),
            ErrorKind::NotAFile | ErrorKind::TooLarge => None,
        }
    }
}

impl From<ErrorKind> for IpListFileError {
    fn from(kind: ErrorKind) -> Self {
        Self { kind }
    }
}
