//! How single values are written.

use std::{fmt, time::Duration};

use bytesize::ByteSize;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Deserializer};

use crate::from_text::{from_text, in_full, parsed_by};

/// A time in words, as `15m` or `1h 30m`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period(pub Duration);

impl Period {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Writes what it is read from.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a time with its unit, as \"500ms\", \"15m\" or \"1h 30m\"";
        parsed_by(deserializer, expected, |text| {
            humantime::parse_duration(text)
                .map(Self)
                .map_err(|error| in_full(&error))
        })
    }
}

/// A number of bytes in words, as `8 KiB`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size(pub u64);

/// Writes what it is read from.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Exact, which the rounded text of other writers is not.
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let fits = |shift: &u32| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        match units.iter().find(|(_, shift)| fits(shift)) {
            Some((unit, shift)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a size with its unit, as \"512 B\", \"8 KiB\" or \"1 MiB\"";
        parsed_by(deserializer, expected, |text| {
            text.parse::<ByteSize>().map(|it| Self(it.as_u64()))
        })
    }
}

/// The status of a refusal: 400 to 599.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefusalStatus(pub(crate) StatusCode);

impl RefusalStatus {
    /// Returns the status.
    #[must_use]
    pub fn get(self) -> StatusCode {
        self.0
    }
}

impl<'de> Deserialize<'de> for RefusalStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        match StatusCode::from_u16(number) {
            Ok(status) if (400..600).contains(&number) => Ok(Self(status)),
            _ => Err(serde::de::Error::custom(format_args!(
                "{number} does not refuse; expected a status from 400 to 599"
            ))),
        }
    }
}

/// The status of an answer: 100 to 599.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnswerStatus(pub(crate) StatusCode);

impl<'de> Deserialize<'de> for AnswerStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        match StatusCode::from_u16(number) {
            Ok(status) if number < 600 => Ok(Self(status)),
            _ => Err(serde::de::Error::custom(format_args!(
                "{number} is no status; expected 100 to 599"
            ))),
        }
    }
}

/// The name of a header field.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FieldName(pub(crate) String);

impl FieldName {
    /// Returns the name.
    #[must_use]
    pub fn get(&self) -> HeaderName {
        // It was checked when it was read.
        HeaderName::try_from(&self.0).unwrap_or(http::header::AUTHORIZATION)
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "the name of a header field, as \"x-real-ip\"";
        from_text::<HeaderName, _>(deserializer, expected).map(|it| Self(it.as_str().to_owned()))
    }
}

/// The value of a header field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldValue(pub(crate) HeaderValue);

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "the value of a header field").map(Self)
    }
}

/// The method of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestMethod(pub(crate) Method);

impl<'de> Deserialize<'de> for RequestMethod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a method, as \"GET\"").map(Self)
    }
}

/// The name of a secret, never its value. It is shown nowhere but where it is asked for, for somebody may have written the secret itself.
#[cfg(feature = "secrets")]
#[derive(Clone, Eq, PartialEq)]
pub struct SecretName(pub(crate) String);

#[cfg(feature = "secrets")]
impl SecretName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "secrets")]
impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretName(..)")
    }
}

#[cfg(feature = "secrets")]
impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl serde::de::Visitor<'_> for NameVisitor {
            type Value = SecretName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a secret, as \"API_KEYS\"")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<SecretName, E> {
                let is_name = !name.is_empty()
                    && name.len() <= 64
                    && name
                        .bytes()
                        .all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_');
                if is_name {
                    return Ok(SecretName(name.to_owned()));
                }
                // What was written is not repeated: it may be the secret.
                Err(E::custom(
                    "this is not the name of a secret; expected up to 64 of A-Z, 0-9 and _, as \"API_KEYS\": \
                     the secret itself belongs into a file or the environment",
                ))
            }
        }

        // The error for another type would repeat the value as well.
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Schemas of values that are written as text.
#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    macro_rules! schema {
        ($type:ident, $schema:tt) => {
            impl JsonSchema for super::$type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        };
    }

    schema!(Period, {"type": "string", "description": "A time with its unit, as \"500ms\", \"15m\" or \"1h 30m\""});
    schema!(Size, {"type": "string", "description": "A size with its unit, as \"512 B\", \"8 KiB\" or \"1 MiB\""});
    schema!(RefusalStatus, {"type": "integer", "minimum": 400, "maximum": 599});
    schema!(AnswerStatus, {"type": "integer", "minimum": 100, "maximum": 599});
    schema!(FieldName, {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"});
    schema!(FieldValue, {"type": "string"});
    schema!(RequestMethod, {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"});
    #[cfg(feature = "secrets")]
    schema!(SecretName, {"type": "string", "pattern": "^[A-Z0-9_]{1,64}$", "description": "The name of a secret, never its value"});
}
