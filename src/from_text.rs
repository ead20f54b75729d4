//! Values of configuration that are written as text.

use std::{error::Error, fmt, marker::PhantomData, str::FromStr};

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// Reads a value from text; `expected` says how it is written.
pub(crate) fn from_text<'de, T, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err: Error>,
    D: Deserializer<'de>,
{
    parsed_by(deserializer, expected, |text| {
        text.parse().map_err(|error: T::Err| in_full(&error))
    })
}

/// Reads a value from text with a function that says what is wrong.
pub(crate) fn parsed_by<'de, T, D>(
    deserializer: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(TextVisitor {
        expected,
        parse,
        value: PhantomData,
    })
}

/// Reads a list of words, or one text with commas between them, as an environment variable holds it.
pub(crate) fn words<'de, D>(
    deserializer: D,
    expected: &'static str,
) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(WordsVisitor { expected })
}

/// Returns what an error says, and what lies behind it.
pub(crate) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

struct TextVisitor<T, F> {
    expected: &'static str,
    parse: F,
    value: PhantomData<T>,
}

impl<T, F> Visitor<'_> for TextVisitor<T, F>
where
    F: FnOnce(&str) -> Result<T, String>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|error| {
            E::custom(format_args!(
                "{text:?}: {error}; expected {}",
                self.expected
            ))
        })
    }
}

struct WordsVisitor {
    expected: &'static str,
}

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a list of {0}, or text with {0} and commas between them",
            self.expected
        )
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
        let words = text.split(',').map(str::trim);
        Ok(words
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element::<String>()? {
            if word.contains(',') {
                let error = format_args!("{word:?}: one entry has a comma in it: write two");
                return Err(A::Error::custom(error));
            }
            words.push(word);
        }
        Ok(words)
    }
}
