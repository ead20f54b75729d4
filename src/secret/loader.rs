//! Finds secrets.

use std::{env, ffi::OsString, fmt, path::PathBuf, sync::Arc};

use crate::{
    clock::{Clock, MonotonicClock},
    secret::{
        content::{Origin, Raw},
        error::Fault,
        file::{Containment, open_entry, open_named},
        notice::{Observer, SecretNotice},
        permissions::FilePermissions,
        spot::{Spot, file_variable, path_of},
    },
};

/// The most that any orchestrator delivers as one secret.
const MAX_LEN: usize = 1024 * 1024;

/// Finds secrets in the environment and in files.
///
/// A secret called `NAME` is looked for in this order:
///
/// 1. the file whose absolute path is in the environment variable `NAME_FILE`,
/// 2. the environment variable `NAME`,
/// 3. the entry `NAME` of `$CREDENTIALS_DIRECTORY`, of `/run/secrets`, and of the directories [added](Self::with_directory).
///
/// Only what is absent is looked for further on. A secret that is there but cannot be used is an error; so are `NAME` and `NAME_FILE`
/// together. An empty variable counts as absent.
///
/// # Example
///
/// ```
/// use palisade::secret::{ExposeSecret, SecretErrorKind, SecretLoader};
///
/// let loader = SecretLoader::new()
///     .with_environment(|name| (name == "DB_PASSWORD").then(|| "hunter2".into()));
///
/// let password = loader.secret("DB_PASSWORD").text()?;
/// assert_eq!(password.expose_secret(), "hunter2");
/// assert!(!format!("{password:?}").contains("hunter2"));
///
/// let refused = loader.secret("API_KEY").text().err().ok_or("found")?;
/// assert_eq!(refused.kind(), SecretErrorKind::Missing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SecretLoader {
    environment: Environment,
    directories: Vec<Directory>,
    max_len: usize,
    permissions: FilePermissions,
    observer: Observer,
    clock: Arc<dyn Clock>,
    containment: Containment,
}

impl SecretLoader {
    /// Creates a loader with the places above, a limit of 1 MiB and [lenient permissions](FilePermissions::Lenient).
    #[must_use]
    pub fn new() -> Self {
        Self {
            environment: Environment(None),
            directories: vec![
                Directory::Variable("CREDENTIALS_DIRECTORY"),
                Directory::Path("/run/secrets".into()),
            ],
            max_len: MAX_LEN,
            permissions: FilePermissions::default(),
            observer: Observer::default(),
            clock: Arc::new(MonotonicClock),
            containment: Containment::default(),
        }
    }

    /// Adds a directory, whose entries are secrets, after those already there. It need not exist; a relative path is an error at loading.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directories.push(Directory::Path(directory.into()));
        self
    }

    /// Forgets all directories, the two default ones included.
    #[must_use]
    pub fn without_directories(mut self) -> Self {
        self.directories.clear();
        self
    }

    /// Looks variables up by a closure. The default asks the environment of the process for the one name.
    #[must_use]
    pub fn with_environment(
        mut self,
        lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
    ) -> Self {
        self.environment = Environment(Some(Arc::new(lookup)));
        self
    }

    /// Sets how many raw bytes a secret may have, a newline at the end of a file included. The default is 1 MiB.
    #[must_use]
    pub fn with_max_len(mut self, max_len: usize) -> Self {
        self.max_len = max_len;
        self
    }

    /// Sets how private files must be. The default is [`FilePermissions::Lenient`].
    #[must_use]
    pub fn with_permissions(mut self, permissions: FilePermissions) -> Self {
        self.permissions = permissions;
        self
    }

    /// Tells a closure what is worth telling: what was loaded, shadowed, replaced, or is less private than it should be. The default
    /// tells nobody.
    #[must_use]
    pub fn with_observer(
        mut self,
        observe: impl Fn(&SecretNotice<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Observer::new(observe);
        self
    }

    /// Sets the clock by which [rotating secrets](crate::secret::RotatingSecret) measure their overlap. The default is [`MonotonicClock`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Keeps entries in their directory without help of the kernel, as on systems where it has none to give.
    #[must_use]
    pub fn with_portable_containment(mut self) -> Self {
        self.containment = Containment::Portable;
        self
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the directories to look in, in order.
    pub(crate) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.directories
            .iter()
            .filter_map(|directory| match directory {
                Directory::Path(path) => Some(path.clone()),
                Directory::Variable(name) => {
                    let path = self.environment.lookup(name)?;
                    (!path.is_empty()).then(|| path.into())
                }
            })
    }

    /// Reads what is at one place; nothing if it is absent. That others may read it is told unless `told` is so.
    pub(crate) fn read(
        &self,
        name: &Arc<str>,
        spot: &Spot,
        told: Option<u32>,
    ) -> Result<Option<Read>, Fault> {
        let (mut file, metadata) = match spot {
            Spot::Environment => {
                let Some(raw) = self.variable(name) else {
                    return Ok(None);
                };
                if raw.bytes().len() > self.max_len {
                    return Err(Fault::TooLarge { max: self.max_len });
                }
                return Ok(Some(Read {
                    raw,
                    origin: Origin::Environment,
                    loose: None,
                }));
            }
            Spot::FileNamed => {
                let Some(path) = self.variable(&file_variable(name)) else {
                    return Ok(None);
                };
                open_named(path_of(&path)?)?
            }
            Spot::Entry(directory, entry) => {
                match open_entry(directory, entry, self.containment)? {
                    Some(found) => found,
                    None => return Ok(None),
                }
            }
        };
        let loose = self.permissions.check(&metadata)?;
        let raw = Raw::read(&mut file, metadata.len(), self.max_len)?;
        if let Some(mode) = loose.filter(|_| loose != told) {
            self.observer.tell(&SecretNotice::LoosePermissions {
                name,
                place: &spot.place(name),
                mode,
            });
        }
        Ok(Some(Read {
            raw,
            origin: Origin::File,
            loose,
        }))
    }

    /// Returns the value of a variable; nothing if it is empty, for a line `NAME=` of a Compose file sets no secret.
    pub(crate) fn variable(&self, name: &str) -> Option<Raw> {
        let value = Raw::new(self.environment.lookup(name)?.into_encoded_bytes());
        (!value.bytes().is_empty()).then_some(value)
    }
}

impl Default for SecretLoader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SecretLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretLoader")
            .field("environment", &self.environment)
            .field("directories", &self.directories)
            .field("max_len", &self.max_len)
            .field("permissions", &self.permissions)
            .field("observer", &self.observer)
            .finish_non_exhaustive()
    }
}

/// What was at one place.
pub(crate) struct Read {
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
    /// The mode of a file that is less private than it should be.
    pub(crate) loose: Option<u32>,
}

#[derive(Clone, Debug)]
enum Directory {
    Path(PathBuf),
    Variable(&'static str),
}

#[derive(Clone)]
#[expect(
    clippy::type_complexity,
    reason = "a name for the closure's type would say less than the type"
)]
struct Environment(Option<Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>>);

impl Environment {
    fn lookup(&self, name: &str) -> Option<OsString> {
        match &self.0 {
            Some(lookup) => lookup(name),
            // Never `vars`: it panics if any variable of the process is not UTF-8.
            None => env::var_os(name),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "closure",
            None => "process",
        })
    }
}
