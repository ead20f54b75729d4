//! A strict reader of JSON lines.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// JSON whose objects have no key twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Text(String),
    Number(u64),
    Boolean(bool),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(crate) fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Finds a member by its dotted name.
    pub(crate) fn at(&self, name: &str) -> Option<&Self> {
        name.split('.').try_fold(self, |value, name| match value {
            Self::Object(members) => members.get(name),
            _ => None,
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.at(name)? {
            Self::Text(text) => Some(text),
            other => panic!("{name}: {other:?}"),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        let Self::List(list) = self.at(name)? else {
            panic!("{name} is no array");
        };
        let texts = list.iter().map(|it| match it {
            Self::Text(text) => text.as_str(),
            other => panic!("{other:?}"),
        });
        Some(texts.collect())
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("what a line may contain")
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Boolean(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Json::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((key, value)) = object.next_entry::<String, Json>()? {
                    if members.insert(key.clone(), value).is_some() {
                        return Err(serde::de::Error::custom(format!("{key} twice")));
                    }
                }
                Ok(Json::Object(members))
            }
        }

        deserializer.deserialize_any(Values)
    }
}
