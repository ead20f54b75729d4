//! HTTPS settings in configuration.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    from_text::{from_text, in_full, parsed_by},
    https::{exempt::PathPattern, hsts::Hsts},
};

/// Reads a path, as `/health`, or a path and `/*` for everything below it.
impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a path, as \"/health\" or \"/.well-known/*\"")
    }
}

/// Reads a table: `max_age` (a time such as `365d`), and any of `subdomains`, `preload`, `without_hosts` and `localhost`.
impl<'de> Deserialize<'de> for Hsts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = HstsTable::deserialize(deserializer)?;
        let wrong = |key: &str, error: &dyn std::error::Error| {
            D::Error::custom(format_args!("{key}: {}", in_full(error)))
        };
        let mut hsts = Self::new(table.max_age.0);
        if table.subdomains {
            hsts = hsts.with_subdomains();
        }
        if table.preload {
            hsts = hsts.with_preload().map_err(|it| wrong("preload", &it))?;
        }
        for host in &table.without_hosts {
            hsts = hsts
                .without_host(host)
                .map_err(|it| wrong("without_hosts", &it))?;
        }
        if table.localhost {
            hsts = hsts.with_localhost();
        }
        Ok(hsts)
    }
}

/// How `Strict-Transport-Security` is written in configuration.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct HstsTable {
    /// How long browsers remember, as `365d`; `0s` makes them forget.
    max_age: MaxAge,
    /// Whether the names below the host are covered, too.
    #[serde(default)]
    subdomains: bool,
    /// Whether browsers are asked to list the host; it takes months to undo.
    #[serde(default)]
    preload: bool,
    /// Hosts that get no field.
    #[serde(default)]
    without_hosts: Vec<String>,
    /// Whether `localhost` gets the field.
    #[serde(default)]
    localhost: bool,
}

struct MaxAge(std::time::Duration);

impl<'de> Deserialize<'de> for MaxAge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed_by(deserializer, "a time, as \"365d\"", |text| {
            humantime::parse_duration(text)
                .map(Self)
                .map_err(|error| in_full(&error))
        })
    }
}

/// Schemas of what is written as text or as a table.
#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    impl JsonSchema for super::MaxAge {
        fn schema_name() -> Cow<'static, str> {
            "MaxAge".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "description": "A time with its unit, as \"365d\""})
        }
    }

    impl JsonSchema for super::PathPattern {
        fn schema_name() -> Cow<'static, str> {
            "PathPattern".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^/", "description": "A path, or a path and /* for everything below it"})
        }
    }

    impl JsonSchema for super::Hsts {
        fn schema_name() -> Cow<'static, str> {
            "Hsts".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            super::HstsTable::json_schema(generator)
        }
    }
}
