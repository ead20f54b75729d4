//! Loading many secrets with one complete error.

use crate::secret::error::{SecretError, SecretErrors};

/// Gathers secrets that were loaded one by one, so that a service which lacks three says so at once and not at three starts.
///
/// It takes a tuple of up to eight results, or a `Vec` of them.
///
/// # Errors
///
/// Fails with all errors if there is any.
///
/// # Example
///
/// ```
/// use palisade::secret::{ExposeSecret, SecretLoader, load_all};
///
/// let loader = SecretLoader::new()
///     .without_directories()
///     .with_environment(|name| matches!(name, "PASSWORD" | "SEED").then(|| "42".into()));
///
/// let (password, seed) = load_all((
///     loader.secret("PASSWORD").text(),
///     loader.secret("SEED").parse::<u64>(),
/// ))?;
/// assert_eq!((password.expose_secret(), seed), ("42", 42));
///
/// let refused = load_all((loader.secret("A").text(), loader.secret("SEED").text(), loader.secret("B").bytes()));
/// let message = refused.err().ok_or("loaded")?.to_string();
/// assert!(message.starts_with("2 secrets cannot be loaded: secret A is missing"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_all<R: SecretResults>(results: R) -> Result<R::Loaded, SecretErrors> {
    let mut errors = Vec::new();
    match results.gather(&mut errors) {
        Some(loaded) if errors.is_empty() => Ok(loaded),
        _ => Err(SecretErrors::new(errors)),
    }
}

/// Results of loading secrets: a tuple or a `Vec`. No others can be added.
pub trait SecretResults: Gather {}

impl<R: Gather> SecretResults for R {}

use self::sealed::Gather;

mod sealed {
    use super::SecretError;

    #[expect(unnameable_types, reason = "nobody outside can implement it")]
    pub trait Gather {
        /// All values, in the shape of the results.
        type Loaded;

        /// Takes the results apart; returns nothing if one of them is an error.
        fn gather(self, errors: &mut Vec<SecretError>) -> Option<Self::Loaded>;
    }
}

impl<T> Gather for Vec<Result<T, SecretError>> {
    type Loaded = Vec<T>;

    fn gather(self, errors: &mut Vec<SecretError>) -> Option<Self::Loaded> {
        let mut loaded = Vec::with_capacity(self.len());
        for result in self {
            loaded.extend(value(result, errors));
        }
        Some(loaded)
    }
}

fn value<T>(result: Result<T, SecretError>, errors: &mut Vec<SecretError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

macro_rules! impl_for_tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name),*> Gather for ($(Result<$name, SecretError>,)*) {
            type Loaded = ($($name,)*);

            fn gather(self, errors: &mut Vec<SecretError>) -> Option<Self::Loaded> {
                // All are taken apart before the first `?`, so that no error is lost.
                let values = ($(value(self.$index, errors),)*);
                Some(($(values.$index?,)*))
            }
        }
    };
}

impl_for_tuple!(A 0);
impl_for_tuple!(A 0, B 1);
impl_for_tuple!(A 0, B 1, C 2);
impl_for_tuple!(A 0, B 1, C 2, D 3);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
impl_for_tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
