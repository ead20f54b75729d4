//! Configuration in any text: nothing panics, and what is refused is told in words. Nothing is built, for that would open the files that it names.

use palisade::config::SecurityConfig;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let toml = toml::from_str::<SecurityConfig>(text).map_err(|error| error.to_string());
    let json = serde_json::from_str::<SecurityConfig>(text).map_err(|error| error.to_string());
    for result in [toml, json] {
        match result {
            // Without a source of the client's address nothing is configuration.
            Ok(config) => {
                assert!(text.contains("client_ip"), "{text}");
                assert!(!format!("{config:?}").is_empty());
            }
            Err(error) => assert!(!error.is_empty()),
        }
    }
}
