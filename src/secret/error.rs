//! Why a secret could not be loaded.

use std::{error::Error, fmt, io, path::PathBuf, str::Utf8Error, sync::Arc};

/// Why a secret could not be loaded. It names the secret and the places looked at, never a byte of a value.
#[derive(Clone)]
pub struct SecretError(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    place: Option<SecretPlace>,
    fault: Fault,
}

impl SecretError {
    pub(crate) fn new(name: &Arc<str>, place: Option<SecretPlace>, fault: Fault) -> Self {
        Self(Arc::new(Inner {
            name: Arc::clone(name),
            place,
            fault,
        }))
    }

    /// Returns the name of the secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns where the secret was found, if it was found at one place.
    #[must_use]
    pub fn place(&self) -> Option<&SecretPlace> {
        self.0.place.as_ref()
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn kind(&self) -> SecretErrorKind {
        self.0.fault.kind()
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, place, fault } = &*self.0;
        match fault {
            Fault::Conflict => {
                return write!(
                    f,
                    "secret {name} is set twice, by {name} and by {name}_FILE"
                );
            }
            Fault::InvalidName => {
                // A name that is not one may be anything: it is escaped and cut.
                let shown: String = name.chars().take(64).collect();
                return write!(
                    f,
                    "secret name {shown:?} is not made of 1 to 253 letters, digits and any of '.', '_', '-'"
                );
            }
            Fault::Missing(looked) => {
                write!(f, "secret {name} is missing, looked for it in ")?;
                for (index, place) in looked.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{place}")?;
                }
                return Ok(());
            }
            _ => {}
        }
        write!(f, "secret {name}")?;
        if let Some(place) = place {
            write!(f, " from {place}")?;
        }
        match fault {
            Fault::Conflict | Fault::InvalidName | Fault::Missing(_) => Ok(()),
            Fault::ContainsNul => f.write_str(" contains a NUL byte"),
            Fault::Empty => f.write_str(" is empty"),
            Fault::Escapes => f.write_str(" leads out of its directory"),
            Fault::HasBom => f.write_str(" begins with a byte order mark"),
            Fault::Io(error) => write!(f, " cannot be read: {}", error.kind()),
            Fault::LoosePermissions { mode } => {
                write!(f, " has a file mode or owner that is too loose, {mode:04o}")
            }
            Fault::NotAFile => f.write_str(" is not a regular file"),
            Fault::NotUtf8(error) => {
                write!(f, " is not UTF-8 at byte {}", error.valid_up_to())
            }
            Fault::Placeholder => f.write_str(" is a placeholder that was never filled in"),
            Fault::RelativePath => f.write_str(" is given by a path that is not absolute"),
            Fault::TooLarge { max } => write!(f, " is larger than {max} bytes"),
            Fault::Unparsable(expected) => write!(f, " cannot be parsed as {expected}"),
        }
    }
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretError")
            .field("name", &format_args!("{}", self.0.name.escape_debug()))
            .field("place", &self.0.place)
            .field("kind", &self.kind())
            .finish()
    }
}

impl Error for SecretError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.fault {
            Fault::Io(error) => Some(error),
            // It holds positions only; `FromUtf8Error` would hold the bytes.
            Fault::NotUtf8(error) => Some(error),
            _ => None,
        }
    }
}

/// What is wrong with a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// `NAME` and `NAME_FILE` are both set.
    Conflict,
    /// A text secret contains a NUL byte.
    ContainsNul,
    /// The secret is there and has no content.
    Empty,
    /// An entry of a secrets directory leads out of it.
    Escapes,
    /// A text secret begins with a byte order mark.
    HasBom,
    /// The name of the secret, or of its directory entry, is not a name.
    InvalidName,
    /// The file cannot be opened or read.
    Io(io::ErrorKind),
    /// The file can be written by everyone or, under [strict rules](crate::secret::FilePermissions::Strict), is not private enough.
    LoosePermissions,
    /// There is no such secret at any place.
    Missing,
    /// The path is a directory, a FIFO, a socket or a device.
    NotAFile,
    /// A text secret is not UTF-8.
    NotUtf8,
    /// The text is a template that was never filled in, such as `<no value>` or `${NAME}`.
    Placeholder,
    /// `NAME_FILE` or a directory is not an absolute path.
    RelativePath,
    /// The secret is larger than the loader accepts.
    TooLarge,
    /// The text does not parse as the type asked for.
    Unparsable,
}

/// A place where a secret is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecretPlace {
    /// The environment variable of this name.
    Environment(Arc<str>),
    /// This entry of a secrets directory.
    Entry(PathBuf),
    /// The file whose path is in the environment variable of this name.
    ///
    /// The path itself is never shown: what a hurried operator put there may be the secret.
    FileNamedBy(Arc<str>),
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Entry(path) => write!(f, "{}", path.display()),
            Self::FileNamedBy(name) => write!(f, "the file named by {name}"),
        }
    }
}

/// Several secrets that could not be loaded, as [`load_all`](crate::secret::load_all) gathers them.
#[derive(Clone, Debug)]
pub struct SecretErrors(Vec<SecretError>);

impl SecretErrors {
    pub(crate) fn new(errors: Vec<SecretError>) -> Self {
        Self(errors)
    }

    /// Returns the errors, in the order of the secrets.
    pub fn iter(&self) -> impl Iterator<Item = &SecretError> {
        self.0.iter()
    }
}

impl fmt::Display for SecretErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [error] => return error.fmt(f),
            errors => write!(f, "{} secrets cannot be loaded", errors.len())?,
        }
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl Error for SecretErrors {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.first().and_then(Error::source)
    }
}

/// What is wrong, with what may be told about it.
#[derive(Debug)]
pub(crate) enum Fault {
    Conflict,
    ContainsNul,
    Empty,
    Escapes,
    HasBom,
    InvalidName,
    Io(io::Error),
    LoosePermissions { mode: u32 },
    Missing(Vec<SecretPlace>),
    NotAFile,
    NotUtf8(Utf8Error),
    Placeholder,
    RelativePath,
    TooLarge { max: usize },
    Unparsable(&'static str),
}

impl Fault {
    fn kind(&self) -> SecretErrorKind {
        match self {
            Self::Conflict => SecretErrorKind::Conflict,
            Self::ContainsNul => SecretErrorKind::ContainsNul,
            Self::Empty => SecretErrorKind::Empty,
            Self::Escapes => SecretErrorKind::Escapes,
            Self::HasBom => SecretErrorKind::HasBom,
            Self::InvalidName => SecretErrorKind::InvalidName,
            Self::Io(error) => SecretErrorKind::Io(error.kind()),
            Self::LoosePermissions { .. } => SecretErrorKind::LoosePermissions,
            Self::Missing(_) => SecretErrorKind::Missing,
            Self::NotAFile => SecretErrorKind::NotAFile,
            Self::NotUtf8(_) => SecretErrorKind::NotUtf8,
            Self::Placeholder => SecretErrorKind::Placeholder,
            Self::RelativePath => SecretErrorKind::RelativePath,
            Self::TooLarge { .. } => SecretErrorKind::TooLarge,
            Self::Unparsable(_) => SecretErrorKind::Unparsable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, place: Option<SecretPlace>, fault: Fault) -> SecretError {
        SecretError::new(&name.into(), place, fault)
    }

    fn not_utf8() -> Fault {
        Fault::NotUtf8(
            String::from_utf8(vec![b'a', 0xff])
                .unwrap_err()
                .utf8_error(),
        )
    }

    #[test]
    fn errors_say_what_is_wrong_where() {
        let file = SecretPlace::FileNamedBy("KEY_FILE".into());
        let found = error("KEY", Some(file.clone()), not_utf8());
        assert_eq!(found.place(), Some(&file));
        assert_eq!(
            found.to_string(),
            "secret KEY from the file named by KEY_FILE is not UTF-8 at byte 1"
        );

        let places = vec![file, SecretPlace::Environment("KEY".into())];
        let found = error("KEY", None, Fault::Missing(places));
        assert_eq!(found.place(), None);
        assert_eq!(
            found.to_string(),
            "secret KEY is missing, looked for it in the file named by KEY_FILE, environment variable KEY"
        );

        let found = error("KEY", None, Fault::Conflict).to_string();
        assert_eq!(found, "secret KEY is set twice, by KEY and by KEY_FILE");
    }

    #[test]
    fn what_is_no_name_is_escaped_and_cut() {
        let found = error(&"a\n".repeat(50), None, Fault::InvalidName).to_string();
        let shown = format!("secret name \"{}\" is not made of", "a\\n".repeat(32));
        assert!(found.starts_with(&shown), "{found}");
    }

    #[test]
    fn the_cause_is_kept_where_it_holds_no_secret() {
        let io = || Fault::Io(io::ErrorKind::NotFound.into());
        let is_kept = |fault| error("KEY", None, fault).source().is_some();
        assert!(is_kept(io()) && is_kept(not_utf8()) && !is_kept(Fault::Empty));
        let several = |faults: [Fault; 2]| {
            let errors = faults.map(|fault| error("KEY", None, fault));
            SecretErrors::new(errors.to_vec())
        };
        assert!(several([io(), Fault::Empty]).source().is_some());
        assert!(several([Fault::Empty, io()]).source().is_none());
    }

    #[test]
    fn several_errors_are_told_one_after_the_other() {
        let [one, other] = ["ONE", "OTHER"].map(|name| error(name, None, Fault::Empty));
        let both = SecretErrors::new(vec![one.clone(), other]);
        assert_eq!(
            both.to_string(),
            "2 secrets cannot be loaded: secret ONE is empty; secret OTHER is empty"
        );
        let alone = SecretErrors::new(vec![one]);
        assert_eq!(alone.to_string(), "secret ONE is empty");
    }
}
