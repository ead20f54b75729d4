//! Opens files of secrets: nothing but regular files, and nothing outside their directory.

use std::{
    fs::{self, File, Metadata},
    io,
    path::Path,
};

use crate::secret::error::Fault;

/// Who keeps a directory entry inside its directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Containment {
    /// The kernel, where it can.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux can"))]
    Kernel,
    /// Checks before and after opening.
    Portable,
}

impl Default for Containment {
    fn default() -> Self {
        #[cfg(target_os = "linux")]
        let best = Self::Kernel;
        #[cfg(not(target_os = "linux"))]
        let best = Self::Portable;
        best
    }
}

/// Opens the file that an operator named. Links are followed: the path is the operator's own.
pub(crate) fn open_named(path: &Path) -> Result<(File, Metadata), Fault> {
    if !path.is_absolute() {
        return Err(Fault::RelativePath);
    }
    // Opening a device may have effects, so that it is not opened to find out; the check that counts is on the open handle.
    if !fs::metadata(path).map_err(Fault::Io)?.is_file() {
        return Err(Fault::NotAFile);
    }
    regular(platform::open(path, platform::Links::Follow)?)
}

/// Opens an entry of a secrets directory; nothing if there is no such entry, or no such directory.
pub(crate) fn open_entry(
    directory: &Path,
    entry: &str,
    containment: Containment,
) -> Result<Option<(File, Metadata)>, Fault> {
    if !directory.is_absolute() {
        return Err(Fault::RelativePath);
    }
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(Fault::Io(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::Io(error)),
    }
    let file = match containment {
        #[cfg(target_os = "linux")]
        Containment::Kernel => match platform::open_beneath(directory, entry) {
            platform::Beneath::Opened(file) => Ok(file),
            platform::Beneath::Failed(fault) => Err(fault),
            platform::Beneath::Unsupported => open_checked(directory, entry),
        },
        _ => open_checked(directory, entry),
    };
    match file {
        Ok(file) => regular(file).map(Some),
        // A link that leads nowhere is there, and bad: only what is absent may be looked for elsewhere.
        Err(Fault::Io(error))
            if error.kind() == io::ErrorKind::NotFound && !exists(directory, entry) =>
        {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Returns whether a directory has an entry of that name, whatever it is.
pub(crate) fn exists(directory: &Path, entry: &str) -> bool {
    directory.join(entry).symlink_metadata().is_ok()
}

fn regular(file: File) -> Result<(File, Metadata), Fault> {
    let metadata = file.metadata().map_err(Fault::Io)?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(Fault::NotAFile)
    }
}

/// Opens an entry where the kernel cannot keep it inside: the links are resolved first, and the file that was opened must still be
/// the one they led to.
fn open_checked(directory: &Path, entry: &str) -> Result<File, Fault> {
    let directory = directory.canonicalize().map_err(Fault::Io)?;
    let path = directory.join(entry).canonicalize().map_err(Fault::Io)?;
    if !path.starts_with(&directory) || path == directory {
        return Err(Fault::Escapes);
    }
    if !fs::symlink_metadata(&path).map_err(Fault::Io)?.is_file() {
        return Err(Fault::NotAFile);
    }
    let file = platform::open(&path, platform::Links::Refuse)?;
    let still = path.canonicalize().map_err(Fault::Io)?;
    let metadata = fs::symlink_metadata(&path).map_err(Fault::Io)?;
    if still != path || !platform::is_same(&file.metadata().map_err(Fault::Io)?, &metadata) {
        return Err(Fault::Escapes);
    }
    Ok(file)
}

#[cfg(unix)]
mod platform {
    use std::{
        fs::{File, Metadata},
        io,
        os::unix::fs::MetadataExt as _,
        path::Path,
    };

    use rustix::{
        fs::{Mode, OFlags},
        io::Errno,
    };

    use crate::secret::error::Fault;

    #[derive(Clone, Copy)]
    pub(super) enum Links {
        Follow,
        Refuse,
    }

    /// A FIFO would block whoever opens it until somebody writes; a terminal could become ours.
    fn flags() -> OFlags {
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
    }

    pub(super) fn open(path: &Path, links: Links) -> Result<File, Fault> {
        let flags = match links {
            Links::Follow => flags(),
            Links::Refuse => flags() | OFlags::NOFOLLOW,
        };
        rustix::fs::open(path, flags, Mode::empty())
            .map(File::from)
            .map_err(fault)
    }

    pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }

    fn fault(errno: Errno) -> Fault {
        match errno {
            Errno::XDEV => Fault::Escapes,
            // Sockets and devices that are not there.
            Errno::NXIO | Errno::NODEV => Fault::NotAFile,
            errno => Fault::Io(io::Error::from(errno)),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) enum Beneath {
        Failed(Fault),
        Opened(File),
        Unsupported,
    }

    #[cfg(target_os = "linux")]
    pub(super) fn open_beneath(directory: &Path, entry: &str) -> Beneath {
        use rustix::fs::ResolveFlags;

        let handle = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(directory, handle, Mode::empty()) {
            Ok(directory) => directory,
            Err(errno) => return Beneath::Failed(fault(errno)),
        };
        let mut attempts = 8;
        loop {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&directory, entry, flags(), Mode::empty(), resolve) {
                Ok(file) => return Beneath::Opened(File::from(file)),
                // The kernel cannot tell while directories are being renamed, as when a volume is updated.
                Err(Errno::AGAIN | Errno::INTR) if attempts > 0 => attempts -= 1,
                // Old kernels, and sandboxes that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return Beneath::Unsupported,
                Err(errno) => return Beneath::Failed(fault(errno)),
            }
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{
        fs::{File, Metadata},
        path::Path,
    };

    use crate::secret::error::Fault;

    #[derive(Clone, Copy)]
    pub(super) enum Links {
        Follow,
        Refuse,
    }

    pub(super) fn open(path: &Path, _: Links) -> Result<File, Fault> {
        File::open(path).map_err(Fault::Io)
    }

    pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
        a.len() == b.len() && a.modified().ok() == b.modified().ok()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{io::Read as _, os::unix::fs::symlink};

    use super::*;

    #[track_caller]
    fn check(directory: &Path, entry: &str, expected: &str) {
        for containment in [Containment::Kernel, Containment::Portable] {
            let found = match open_entry(directory, entry, containment) {
                Ok(Some((mut file, _))) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).unwrap();
                    text
                }
                Ok(None) => String::from("absent"),
                Err(fault) => format!("{fault:?}"),
            };
            assert!(
                found.starts_with(expected),
                "{entry} by {containment:?}: {found} is not {expected}"
            );
        }
    }

    #[test]
    fn an_entry_stays_in_its_directory_whoever_sees_to_it() {
        let root = tempfile::tempdir().unwrap();
        let secrets = root.path().join("secrets");
        fs::create_dir_all(secrets.join("..2026_1")).unwrap();
        fs::write(root.path().join("outside"), "outside").unwrap();
        fs::write(secrets.join("plain"), "plain").unwrap();
        fs::write(secrets.join("..2026_1/volume"), "volume").unwrap();
        symlink("..2026_1", secrets.join("..data")).unwrap();
        symlink("..data/volume", secrets.join("volume")).unwrap();
        symlink("/etc/hostname", secrets.join("absolute")).unwrap();
        symlink("../outside", secrets.join("parent")).unwrap();
        symlink(root.path().join("outside"), secrets.join("sibling")).unwrap();
        symlink("loop", secrets.join("loop")).unwrap();
        symlink("..gone/x", secrets.join("dangling")).unwrap();
        fs::create_dir(secrets.join("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(secrets.join("socket")).unwrap();

        check(&secrets, "plain", "plain");
        check(&secrets, "volume", "volume");
        check(&secrets, "absolute", "Escapes");
        check(&secrets, "parent", "Escapes");
        check(&secrets, "sibling", "Escapes");
        check(&secrets, "loop", "Io");
        check(&secrets, "dangling", "Io");
        check(&secrets, "directory", "NotAFile");
        check(&secrets, "socket", "NotAFile");
        check(&secrets, "nothing", "absent");
        check(&root.path().join("nowhere"), "plain", "absent");
        check(&root.path().join("outside"), "plain", "Io");
        check(&secrets.join("loop"), "plain", "Io");
        check(Path::new("relative"), "plain", "RelativePath");
    }
}
