//! The bans in a file.

use std::{
    error::Error,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[cfg(feature = "redis")]
use crate::jail::ban::Record;
use crate::jail::{ban::Ban, key::BanKey};

/// The first line: what the file is, and the version of its format.
const HEADER: &str = "palisade-bans 1";

/// No file of bans is larger.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// More than the line of a ban has: a network, three times, a count, and the name of a rule.
const LONGEST_LINE: u64 = 256;

/// A ban as it is stored: with wall-clock times alone, for no other clock outlives the process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredBan {
    pub(crate) ban: Ban,
    pub(crate) forget: SystemTime,
}

#[cfg(feature = "redis")]
impl StoredBan {
    /// Returns the ban of a record.
    pub(crate) fn of(record: Record) -> Self {
        let memory = record.forget.saturating_duration_since(record.end);
        let end = record.ban.end;
        Self {
            forget: end.checked_add(memory).unwrap_or(end),
            ban: record.ban,
        }
    }
}

/// A file of bans: text, one line each, between a header and the number of lines.
///
/// ```text
/// palisade-bans 1
/// 203.0.113.7/32 1790000000000 1790000600000 1790000600000 1 status-401
/// end 1
/// ```
///
/// The columns are the client, the start, the end, when it is forgotten (milliseconds since 1970), the how manieth ban it is, and the rule.
#[derive(Debug)]
pub(crate) struct BanFile {
    path: PathBuf,
    /// How much is read: more than all bans there may be take.
    max_bytes: u64,
    /// Held while writing: two writers would share the temporary file.
    writing: Mutex<()>,
}

impl BanFile {
    /// Takes a file of up to so many bans.
    pub(crate) fn new(path: PathBuf, max_bans: usize) -> Self {
        let lines = u64::try_from(max_bans).unwrap_or(u64::MAX);
        Self {
            path,
            max_bytes: MAX_BYTES.max(lines.saturating_mul(LONGEST_LINE)),
            writing: Mutex::new(()),
        }
    }

    /// Reads all bans; a file that is not there has none.
    pub(crate) fn read(&self) -> Result<Vec<StoredBan>, BanFileError> {
        match fs::metadata(&self.path) {
            // Opening a pipe would wait for a writer.
            Ok(metadata) if !metadata.is_file() => {
                return Err(self.error("read", Problem::NotAFile));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Ok(_) | Err(_) => {}
        }
        let mut text = String::new();
        File::open(&self.path)
            .and_then(|file| {
                file.take(self.max_bytes.saturating_add(1))
                    .read_to_string(&mut text)
            })
            .map_err(|error| self.error("read", Problem::Io(error)))?;
        if self.max_bytes < text.len() as u64 {
            return Err(self.error("read", Problem::TooLarge));
        }
        parse(&text).map_err(|line| self.error("read", Problem::Line(line)))
    }

    /// Replaces the file: whoever reads it, or starts after a crash, sees the old one or the new one and nothing between.
    pub(crate) fn write(&self, bans: impl FnOnce() -> Vec<StoredBan>) -> Result<(), BanFileError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&bans())
            .map_err(|error| self.error("written", Problem::Io(error)))
    }

    /// Moves a file that is not to be understood out of the way of the next save, over one that was moved before. Returns where it is.
    pub(crate) fn set_aside(&self, error: &BanFileError) -> Option<PathBuf> {
        if matches!(error.problem, Problem::NotAFile) {
            return None;
        }
        let mut name = self.path.file_name()?.to_os_string();
        name.push(".corrupt");
        let aside = self.path.with_file_name(name);
        fs::rename(&self.path, &aside).ok()?;
        Some(aside)
    }

    fn replace(&self, bans: &[StoredBan]) -> io::Result<()> {
        let name = self
            .path
            .file_name()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut temporary = name.to_os_string();
        temporary.push(format!(".{}.tmp", process::id()));
        // In the same directory, for only within a file system is a rename atomic.
        let temporary = self.path.with_file_name(temporary);
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // One that a crash has left behind.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let result = write_new(&temporary, bans).and_then(|()| fs::rename(&temporary, &self.path));
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result?;
        sync_directory(directory)
    }

    fn error(&self, verb: &'static str, problem: Problem) -> BanFileError {
        BanFileError {
            path: self.path.clone(),
            verb,
            problem,
        }
    }
}

fn write_new(path: &Path, bans: &[StoredBan]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // `create_new` follows no link that somebody may have put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut writer = BufWriter::new(options.open(path)?);
    writeln!(writer, "{HEADER}")?;
    for StoredBan { ban, forget } in bans {
        let (start, end, forget) = (millis(ban.start), millis(ban.end), millis(*forget));
        let (client, count, rule) = (ban.key.net(), ban.count, &ban.rule);
        writeln!(writer, "{client} {start} {end} {forget} {count} {rule}")?;
    }
    writeln!(writer, "end {}", bans.len())?;
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    // The rename itself is durable only then.
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Reads the text of a file, or says which line is wrong.
fn parse(text: &str) -> Result<Vec<StoredBan>, usize> {
    let mut bans = Vec::new();
    let mut lines = text.split('\n').zip(1..);
    match lines.next() {
        Some((HEADER, _)) => {}
        _ => return Err(1),
    }
    for (line, number) in lines.by_ref() {
        if let Some(count) = line.strip_prefix("end ") {
            let is_whole = count == bans.len().to_string();
            let is_last = lines.next() == Some(("", number + 1)) && lines.next().is_none();
            return if is_whole && is_last {
                Ok(bans)
            } else {
                Err(number)
            };
        }
        bans.push(parse_line(line).ok_or(number)?);
    }
    // The last line is missing: the file was cut short.
    Err(bans.len() + 2)
}

fn parse_line(line: &str) -> Option<StoredBan> {
    let mut columns = line.splitn(6, ' ');
    let key = BanKey::of_net(columns.next()?.parse().ok()?)?;
    let start = time(columns.next()?)?;
    let end = time(columns.next()?)?;
    let forget = time(columns.next()?)?;
    let count = columns.next()?.parse().ok()?;
    let rule = columns.next()?;
    let is_name = !rule.is_empty() && rule.len() <= 64 && !rule.chars().any(char::is_control);
    (is_name && start <= end && end <= forget).then(|| StoredBan {
        ban: Ban {
            key,
            rule: rule.into(),
            start,
            end,
            count,
        },
        forget,
    })
}

fn time(millis: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))
}

/// Times before 1970 are written as 1970.
fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

/// The file of bans could not be read or written.
#[derive(Debug)]
pub struct BanFileError {
    path: PathBuf,
    verb: &'static str,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Line(usize),
    NotAFile,
    TooLarge,
}

impl fmt::Display for BanFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, verb) = (self.path.display(), self.verb);
        write!(f, "the file of bans {path} cannot be {verb}: ")?;
        match &self.problem {
            Problem::Io(error) => write!(f, "{error}"),
            Problem::Line(line) => write!(f, "line {line} is malformed"),
            Problem::NotAFile => f.write_str("it is not a file"),
            Problem::TooLarge => f.write_str("it is too large"),
        }
    }
}

impl Error for BanFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "203.0.113.7/32 1000 2000 3000 1 status-401";

    #[track_caller]
    fn check(text: &str, expected: Result<usize, usize>) {
        assert_eq!(parse(text).map(|it| it.len()), expected, "{text:?}");
    }

    #[test]
    fn whole_files_are_read() {
        check("palisade-bans 1\nend 0\n", Ok(0));
        check(&format!("palisade-bans 1\n{LINE}\nend 1\n"), Ok(1));
        check(
            "palisade-bans 1\n2001:db8::/64 1 2 2 4294967295 a b c\nend 1\n",
            Ok(1),
        );
    }

    #[test]
    fn bad_files_are_refused_as_a_whole() {
        check("", Err(1));
        check("palisade-bans 2\nend 0\n", Err(1));
        check("palisade-bans 1\n", Err(2));
        check("palisade-bans 1\nend 0", Err(2));
        check("palisade-bans 1\nend 1\n", Err(2));
        check("palisade-bans 1\nend 0\n\n", Err(2));
        check(&format!("palisade-bans 1\n{LINE}\n"), Err(3));
        check(&format!("palisade-bans 1\n{LINE}\n{LINE}\nend 1\n"), Err(4));
        for line in [
            "",
            "203.0.113.7 1000 2000 3000 1 x",
            "203.0.113.0/24 1000 2000 3000 1 x",
            "2001:db8::1/128 1000 2000 3000 1 x",
            "203.0.113.7/32 2000 1000 3000 1 x",
            "203.0.113.7/32 1000 2000 1000 1 x",
            "203.0.113.7/32 1000 2000 3000 -1 x",
            "203.0.113.7/32 1000 2000 3000 1 ",
            "203.0.113.7/32 1000 2000 3000 1",
            "203.0.113.7/32 1000 2000 99999999999999999999 1 x",
            "203.0.113.7/32 1000 2000 3000 1 x\r",
        ] {
            check(&format!("palisade-bans 1\n{line}\nend 1\n"), Err(2));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(palisade-bans 1\n)?(.{0,40}\n?){0,4}(end [0-4]\n)?") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(bits in proptest::collection::vec(any::<u64>(), 0..20)) {
            let directory = tempfile::tempdir().unwrap();
            let file = BanFile::new(directory.path().join("bans"), 1);
            let at = |millis: u64| UNIX_EPOCH + Duration::from_millis(millis);
            let bans: Vec<_> = bits
                .into_iter()
                .map(|bits| StoredBan {
                    ban: Ban {
                        key: BanKey::V6(bits),
                        rule: "a rule".into(),
                        start: at(bits >> 30),
                        end: at(bits >> 29),
                        count: 7,
                    },
                    forget: at(bits >> 28),
                })
                .collect();
            file.write(|| bans.clone()).unwrap();
            prop_assert_eq!(file.read().unwrap(), bans);
        }
    }

    #[test]
    fn what_was_written_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bans");
        // As long as a line can be.
        let end = UNIX_EPOCH + Duration::from_millis(u64::MAX >> 12);
        let net = "ffff:ffff:ffff:ffff::/64".parse().unwrap();
        let ban = Ban {
            key: BanKey::of_net(net).unwrap(),
            rule: "r".repeat(64).into(),
            start: end,
            end,
            count: u32::MAX,
        };
        let file = BanFile::new(path.clone(), 1);
        let stored = StoredBan { ban, forget: end };
        file.write(|| {
            // Nobody else writes between the bans being looked at and the file being written.
            assert!(file.writing.try_lock().is_err());
            vec![stored]
        })
        .unwrap();
        assert_eq!(file.read().unwrap().len(), 1);
        let length = fs::metadata(&path).unwrap().len();
        assert!(length < LONGEST_LINE, "{length}");
        let many = BanFile::new(path, 10_000_000);
        assert!(10_000_000 * length <= many.max_bytes);
        assert_eq!(file.max_bytes, MAX_BYTES);
    }
}
