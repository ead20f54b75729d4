//! Asking for a secret, in one form or another.

use std::{any::type_name, str::FromStr, sync::Arc, time::Duration};

use secrecy::{SecretBox, SecretSlice, SecretString};

use crate::secret::{
    content::{Origin, SecretContent, accept, scrub_registers, text},
    error::{Fault, SecretError, SecretPlace},
    file::exists,
    loader::SecretLoader,
    notice::SecretNotice,
    pinned::Pinned,
    rotating::RotatingSecret,
    spot::{Spot, file_variable, is_name},
};

impl SecretLoader {
    /// Asks for the secret of this name: 1 to 253 letters, digits and any of `.`, `_`, `-`, which must match exactly.
    pub fn secret(&self, name: &str) -> SecretRequest {
        SecretRequest {
            loader: self.clone(),
            name: Arc::from(name),
            entry: Arc::from(name),
        }
    }
}

/// A secret that is asked for; the last call says in which form.
#[derive(Clone, Debug)]
#[must_use]
pub struct SecretRequest {
    loader: SecretLoader,
    name: Arc<str>,
    entry: Arc<str>,
}

impl SecretRequest {
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
        let (pinned, secret) = self.pin(accept::<S>)?;
        Ok(RotatingSecret::new(pinned, secret, overlap))
    }

    /// Loads the secret, and remembers where it was found.
    pub(crate) fn pin<T>(
        &self,
        accept: impl FnOnce(&[u8], Origin) -> Result<T, Fault>,
    ) -> Result<(Pinned, T), SecretError> {
        let found = self.find(accept)?.map_err(|missing| self.tell(missing))?;
        let (loader, name) = (self.loader.clone(), Arc::clone(&self.name));
        let pinned = Pinned::new(loader, name, found.spot, found.loose);
        Ok((pinned, found.value))
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
            let Some(read) = self.loader.read(&self.name, spot, None).map_err(fail)? else {
                continue;
            };
            let loose = read.loose;
            let value = accept(read.raw.bytes(), read.origin).map_err(fail)?;
            drop(read);
            self.loader.observer().tell(&SecretNotice::Loaded {
                name: &self.name,
                place: &place,
            });
            self.tell_shadowed(spot, &place, spots.get(index + 1..).unwrap_or_default());
            return Ok(Ok(Found {
                spot: spot.clone(),
                loose,
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
        let directories = self.loader.directories();
        spots.extend(directories.map(|path| Spot::Entry(path, Arc::clone(&self.entry))));
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
                self.loader.observer().tell(&SecretNotice::Shadowed {
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
        self.loader.observer().tell(&notice);
        error
    }
}

struct Found<T> {
    spot: Spot,
    loose: Option<u32>,
    value: T,
}
