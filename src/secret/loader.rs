//! Finds secrets.

#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
use std::{
    any::type_name,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use secrecy::{SecretBox, SecretSlice, SecretString};

use crate::{
    clock::{Clock, MonotonicClock},
    secret::{
        content::{Origin, Raw, SecretContent, accept, scrub_registers, text},
        error::{Fault, SecretError, SecretPlace},
        file::{Containment, exists, open_entry, open_named},
        notice::{Observer, SecretNotice},
        permissions::FilePermissions,
        rotating::RotatingSecret,
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

    /// Sets the clock by which [rotating secrets](RotatingSecret) measure their overlap. The default is [`MonotonicClock`].
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

    /// Asks for the secret of this name: 1 to 253 letters, digits and any of `.`, `_`, `-`, which must match exactly.
    pub fn secret(&self, name: &str) -> SecretRequest<'_> {
        SecretRequest {
            loader: self,
            name: Arc::from(name),
            entry: Arc::from(name),
        }
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Reads what is at one place; nothing if it is absent.
    pub(crate) fn read(
        &self,
        name: &Arc<str>,
        spot: &Spot,
    ) -> Result<Option<(Raw, Origin)>, Fault> {
        let (mut file, metadata) = match spot {
            Spot::Environment => {
                let Some(raw) = self.variable(name) else {
                    return Ok(None);
                };
                if raw.bytes().len() > self.max_len {
                    return Err(Fault::TooLarge { max: self.max_len });
                }
                return Ok(Some((raw, Origin::Environment)));
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
        if let Some(mode) = loose {
            self.observer.tell(&SecretNotice::LoosePermissions {
                name,
                place: &spot.place(name),
                mode,
            });
        }
        Ok(Some((raw, Origin::File)))
    }

    /// Returns the value of a variable; nothing if it is empty, for a line `NAME=` of a Compose file sets no secret.
    fn variable(&self, name: &str) -> Option<Raw> {
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

/// A secret that is asked for; the last call says in which form.
#[derive(Clone, Debug)]
#[must_use]
pub struct SecretRequest<'a> {
    loader: &'a SecretLoader,
    name: Arc<str>,
    entry: Arc<str>,
}

impl SecretRequest<'_> {
    /// Sets what the secret is called in directories. The default is its name, in the same case.
    pub fn entry(mut self, entry: &str) -> Self {
        self.entry = Arc::from(entry);
        self
    }

    /// Loads text: UTF-8 without a NUL or a byte order mark. Exactly one newline at the end of a file is cut off.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used.
    pub fn text(&self) -> Result<SecretString, SecretError> {
        self.required()
    }

    /// Loads text, or nothing if the secret is absent.
    ///
    /// # Errors
    ///
    /// Fails if the secret is there but cannot be used.
    pub fn optional_text(&self) -> Result<Option<SecretString>, SecretError> {
        self.optional()
    }

    /// Loads text, or returns `default` if the secret is absent.
    ///
    /// # Errors
    ///
    /// Fails if the secret is there but cannot be used.
    pub fn text_or(&self, default: SecretString) -> Result<SecretString, SecretError> {
        Ok(self.optional()?.unwrap_or(default))
    }

    /// Loads bytes, which are taken as they are.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used.
    pub fn bytes(&self) -> Result<SecretSlice<u8>, SecretError> {
        self.required()
    }

    /// Loads bytes, or nothing if the secret is absent.
    ///
    /// # Errors
    ///
    /// Fails if the secret is there but cannot be used.
    pub fn optional_bytes(&self) -> Result<Option<SecretSlice<u8>>, SecretError> {
        self.optional()
    }

    /// Loads text and parses it. What the parser says is not kept: it may quote the text.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent, cannot be used, or does not parse.
    ///
    /// # Example
    ///
    /// ```
    /// use palisade::secret::{SecretErrorKind, SecretLoader};
    ///
    /// let loader = SecretLoader::new().with_environment(|name| match name {
    ///     "SEED" => Some("42".into()),
    ///     "SALT" => Some("pepper".into()),
    ///     _ => None,
    /// });
    /// assert_eq!(loader.secret("SEED").parse::<u64>()?, 42);
    /// let refused = loader.secret("SALT").parse::<u64>().err().ok_or("parsed")?;
    /// assert_eq!(refused.kind(), SecretErrorKind::Unparsable);
    /// assert_eq!(refused.to_string(), "secret SALT from environment variable SALT cannot be parsed as u64");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse<T: FromStr>(&self) -> Result<T, SecretError> {
        self.parse_with(T::from_str)
    }

    /// Loads text and parses it with a function, which borrows the only copy there is.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent, cannot be used, or does not parse.
    pub fn parse_with<T, E>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, SecretError> {
        match self.optional_parse_with(parse)? {
            Ok(value) => Ok(value),
            Err(missing) => Err(self.tell(missing)),
        }
    }

    /// Loads text and parses it, or returns nothing if the secret is absent.
    ///
    /// # Errors
    ///
    /// Fails if the secret is there but cannot be used or does not parse.
    pub fn optional_parse<T: FromStr>(&self) -> Result<Option<T>, SecretError> {
        self.optional_parse_with(T::from_str).map(Result::ok)
    }

    /// Loads text that may be replaced while the service runs; for `overlap` after that, the value before is valid as well.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used.
    pub fn rotating(&self, overlap: Duration) -> Result<RotatingSecret, SecretError> {
        self.rotate(overlap)
    }

    /// Loads bytes that may be replaced while the service runs; for `overlap` after that, the value before is valid as well.
    ///
    /// # Errors
    ///
    /// Fails if the secret is absent or cannot be used.
    pub fn rotating_bytes(&self, overlap: Duration) -> Result<RotatingSecret<[u8]>, SecretError> {
        self.rotate(overlap)
    }

    fn rotate<S: SecretContent + ?Sized>(
        &self,
        overlap: Duration,
    ) -> Result<RotatingSecret<S>, SecretError> {
        let found = self
            .find(accept::<S>)?
            .map_err(|missing| self.tell(missing))?;
        Ok(RotatingSecret::new(
            self.loader.clone(),
            Arc::clone(&self.name),
            found.spot,
            found.value,
            overlap,
        ))
    }

    fn required<S: SecretContent + ?Sized>(&self) -> Result<SecretBox<S>, SecretError> {
        let found = self.find(accept::<S>)?;
        found
            .map(|found| found.value)
            .map_err(|missing| self.tell(missing))
    }

    fn optional<S: SecretContent + ?Sized>(&self) -> Result<Option<SecretBox<S>>, SecretError> {
        Ok(self.find(accept::<S>)?.ok().map(|found| found.value))
    }

    fn optional_parse_with<T, E>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Result<T, SecretError>, SecretError> {
        let found = self.find(|raw, origin| {
            let text = text(raw, origin)?;
            let value = parse(text).map_err(|_| Fault::Unparsable(type_name::<T>()));
            scrub_registers(text.len());
            value
        })?;
        Ok(found.map(|found| found.value))
    }

    /// Looks at one place after the other. The inner error says that the secret is absent, the outer one that it is bad.
    fn find<T>(
        &self,
        accept: impl FnOnce(&[u8], Origin) -> Result<T, Fault>,
    ) -> Result<Result<Found<T>, SecretError>, SecretError> {
        let spots = self.spots().map_err(|fault| self.fail(None, fault))?;
        for (index, spot) in spots.iter().enumerate() {
            let place = spot.place(&self.name);
            let fail = |fault| self.fail(Some(place.clone()), fault);
            let Some((raw, origin)) = self.loader.read(&self.name, spot).map_err(fail)? else {
                continue;
            };
            let value = accept(raw.bytes(), origin).map_err(fail)?;
            drop(raw);
            self.loader.observer.tell(&SecretNotice::Loaded {
                name: &self.name,
                place: &place,
            });
            self.tell_shadowed(spot, &place, spots.get(index + 1..).unwrap_or_default());
            return Ok(Ok(Found {
                spot: spot.clone(),
                value,
            }));
        }
        let looked = spots.iter().map(|spot| spot.place(&self.name)).collect();
        Ok(Err(SecretError::new(
            &self.name,
            None,
            Fault::Missing(looked),
        )))
    }

    /// Returns the places to look at, in order.
    fn spots(&self) -> Result<Vec<Spot>, Fault> {
        if !is_name(&self.name) || !is_name(&self.entry) {
            return Err(Fault::InvalidName);
        }
        let is_set = |name: &str| self.loader.variable(name).is_some();
        if is_set(&file_variable(&self.name)) && is_set(&self.name) {
            return Err(Fault::Conflict);
        }
        let mut spots = vec![Spot::FileNamed, Spot::Environment];
        for directory in &self.loader.directories {
            let path = match directory {
                Directory::Path(path) => path.clone(),
                Directory::Variable(name) => match self.loader.environment.lookup(name) {
                    Some(path) if !path.is_empty() => path.into(),
                    _ => continue,
                },
            };
            spots.push(Spot::Entry(path, Arc::clone(&self.entry)));
        }
        Ok(spots)
    }

    fn tell_shadowed(&self, used: &Spot, place: &SecretPlace, rest: &[Spot]) {
        // `NAME_FILE` usually names the very entry of the directory.
        if matches!(used, Spot::FileNamed) {
            return;
        }
        for spot in rest {
            if let Spot::Entry(directory, entry) = spot
                && exists(directory, entry)
            {
                self.loader.observer.tell(&SecretNotice::Shadowed {
                    name: &self.name,
                    used: place,
                    ignored: &spot.place(&self.name),
                });
            }
        }
    }

    fn fail(&self, place: Option<SecretPlace>, fault: Fault) -> SecretError {
        self.tell(SecretError::new(&self.name, place, fault))
    }

    fn tell(&self, error: SecretError) -> SecretError {
        let notice = SecretNotice::LoadFailed { error: &error };
        self.loader.observer.tell(&notice);
        error
    }
}

struct Found<T> {
    spot: Spot,
    value: T,
}

/// One place to look at for a secret.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    Entry(PathBuf, Arc<str>),
    Environment,
    FileNamed,
}

impl Spot {
    pub(crate) fn place(&self, name: &Arc<str>) -> SecretPlace {
        match self {
            Self::Entry(directory, entry) => SecretPlace::Entry(directory.join(&**entry)),
            Self::Environment => SecretPlace::Environment(Arc::clone(name)),
            Self::FileNamed => SecretPlace::FileNamedBy(file_variable(name).into()),
        }
    }
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

fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// Reads a path where it lies, so that no copy of it is left: a hurried operator may have put the secret itself there.
fn path_of(raw: &Raw) -> Result<&Path, Fault> {
    #[cfg(unix)]
    let path = Ok(<OsStr as OsStrExt>::from_bytes(raw.bytes()));
    #[cfg(not(unix))]
    let path = str::from_utf8(raw.bytes())
        .map(OsStr::new)
        .map_err(Fault::NotUtf8);
    path.map(Path::new)
}

/// Kubernetes reserves names that begin with two dots, and a single dot is the directory.
fn is_name(name: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    matches!(name.len(), 1..=253)
        && name.bytes().all(is_allowed)
        && name != "."
        && !name.starts_with("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: bool) {
        assert_eq!(is_name(name), expected, "{name:?}");
    }

    #[test]
    fn names_cannot_lead_anywhere() {
        check("db-pass_1.v2", true);
        check(&"a".repeat(253), true);
        check(&"a".repeat(254), false);
        check(".hidden", true);
        for name in [
            "", ".", "..", "..data", "a/b", "a\\b", "a\0", "/a", "a b", "ä", "a=",
        ] {
            check(name, false);
        }
    }
}
