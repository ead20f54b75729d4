//! Sets of addresses in configuration.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    from_text::{in_full, words},
    ip_set::set::IpSet,
};

/// The words for the sets that every address plan knows.
const PRESETS: &[&str] = &[
    "any",
    "any_ipv4",
    "any_ipv6",
    "carrier_shared",
    "documentation",
    "link_local",
    "loopback",
    "multicast",
    "private",
];

fn preset(word: &str) -> Option<IpSet> {
    Some(match word {
        "any" => IpSet::any(),
        "any_ipv4" => IpSet::any_ipv4(),
        "any_ipv6" => IpSet::any_ipv6(),
        "carrier_shared" => IpSet::carrier_shared(),
        "documentation" => IpSet::documentation(),
        "link_local" => IpSet::link_local(),
        "loopback" => IpSet::loopback(),
        "multicast" => IpSet::multicast(),
        "private" => IpSet::private(),
        _ => return None,
    })
}

/// Reads a list of addresses, networks and words such as `private`, or one text with commas between them. An empty list is the empty set.
///
/// The words are `any`, `any_ipv4`, `any_ipv6`, `carrier_shared`, `documentation`, `link_local`, `loopback`, `multicast` and `private`.
impl<'de> Deserialize<'de> for IpSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = Self::builder();
        for word in words(deserializer, "addresses and networks")? {
            set = match preset(&word) {
                Some(preset) => set.set(&preset),
                None => set.entry(&word).map_err(|error| {
                    let error = in_full(&error);
                    let words = PRESETS.join(", ");
                    D::Error::custom(format_args!(
                        "{word:?}: {error}; expected an address, a network as \"10.0.0.0/8\", or one of {words}"
                    ))
                })?,
            };
        }
        Ok(set.build())
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for IpSet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IpSet".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Addresses, networks as \"10.0.0.0/8\", and the words any, any_ipv4, any_ipv6, carrier_shared, documentation, link_local, loopback, multicast, private; as a list, or as one text with commas",
            "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}],
        })
    }
}
