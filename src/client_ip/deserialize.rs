//! Trusted proxies in configuration.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{client_ip::proxies::TrustedProxies, from_text::in_full, ip_set::set::IpSet};

/// Reads what an [`IpSet`] is read from; the empty set and one with every address of a family are refused.
impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(IpSet::deserialize(deserializer)?)
            .map_err(|error| D::Error::custom(in_full(&error)))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for TrustedProxies {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TrustedProxies".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        IpSet::json_schema(generator)
    }
}
