//! What is wrong with a configuration.

use std::{error::Error, fmt};

use crate::from_text::in_full;

/// One thing that is wrong with a configuration: the path of the key, and what to do about it. Its text is one line and holds no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    path: String,
    message: String,
}

impl ConfigError {
    /// Returns the path of the key, as `rate_limit.limits[0].quotas`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what is wrong, and what is allowed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl Error for ConfigError {}

/// All that is wrong with a configuration: at least one thing. Its text has a line for each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the errors in the order of the sections.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position != 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

/// Gathers what is wrong, so that all of it is told at once.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<ConfigError>);

impl Faults {
    /// Notes that something is wrong with a key.
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl fmt::Display) {
        // Messages of the operating system and of parsers may have several lines.
        let message = message.to_string();
        let message: Vec<_> = message.lines().map(str::trim).collect();
        self.0.push(ConfigError {
            path: path.into(),
            message: message.join(" "),
        });
    }

    /// Returns what was made, or notes why it was not.
    pub(crate) fn take<T, E: Error>(&mut self, path: &str, made: Result<T, E>) -> Option<T> {
        match made {
            Ok(made) => Some(made),
            Err(error) => {
                self.add(path, in_full(&error));
                None
            }
        }
    }

    /// Returns what was made if nothing is wrong.
    pub(crate) fn finish<T>(self, made: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() {
            Ok(made)
        } else {
            Err(ConfigErrors(self.0))
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether something is wrong with keys that begin so.
    pub(crate) fn have(&self, start: &str) -> bool {
        self.0.iter().any(|it| it.path.starts_with(start))
    }
}
