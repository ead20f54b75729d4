//! All protections from text.

mod ability;
mod build;
mod faults;
mod loaders;
mod reload;
#[cfg(feature = "schema")]
mod schema;

use palisade::config::SecurityConfig;

/// Reads TOML as a user's loader does, and says what is wrong with the path of the key.
fn parse(toml: &str) -> Result<SecurityConfig, String> {
    let toml = toml::Deserializer::parse(toml).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(toml).map_err(|error| {
        let message = error.inner().message().to_owned();
        format!("{}: {message}", error.path())
    })
}

/// The smallest configuration, and more.
fn with(more: &str) -> String {
    format!("[client_ip]\nsource = \"peer\"\n{more}")
}
