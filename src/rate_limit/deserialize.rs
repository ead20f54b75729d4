//! Quotas in configuration.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{from_text::in_full, rate_limit::quota::Quota};

/// How a quota is written.
const EXPECTED: &str = "a quota as \"50/second burst 100\"";

/// Reads text such as `50/second burst 100`, or a table with `quota`, which is that text, and any of `name` and `overdraft`.
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuotaVisitor)
    }
}

struct QuotaVisitor;

impl<'de> Visitor<'de> for QuotaVisitor {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(|error| {
            let error = in_full(&error);
            E::custom(format_args!("{text:?}: {error}; expected {EXPECTED}"))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
        let named = Named::deserialize(MapAccessDeserializer::new(map))?;
        let mut quota: Quota = self.visit_str::<A::Error>(&named.quota)?;
        if let Some(name) = named.name {
            quota = quota
                .try_with_name(name)
                .map_err(|error| A::Error::custom(format_args!("name: {error}")))?;
        }
        if let Some(units) = named.overdraft {
            quota = quota
                .try_with_overdraft(units)
                .map_err(|error| A::Error::custom(format_args!("overdraft: {error}")))?;
        }
        Ok(quota)
    }
}

/// A quota that has more than a rate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    quota: String,
    name: Option<String>,
    overdraft: Option<u32>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Quota {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quota".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let text = "^\\s*[0-9]+[/-][0-9]*[A-Za-z]+( burst [0-9]+)?\\s*$";
        schemars::json_schema!({
            "description": "How much a client may spend, as \"50/second burst 100\"",
            "anyOf": [
                {"type": "string", "pattern": text},
                {
                    "type": "object",
                    "properties": {
                        "quota": {"type": "string", "pattern": text},
                        "name": {"type": "string", "description": "What header fields and events call it"},
                        "overdraft": {"type": "integer", "minimum": 0, "description": "How far settling may overdraw it"},
                    },
                    "required": ["quota"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
