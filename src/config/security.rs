//! The configuration as a whole.

use serde::Deserialize;

#[cfg(feature = "secrets")]
use crate::config::api_keys::ApiKeysConfig;
#[cfg(feature = "in-flight")]
use crate::config::in_flight::InFlightConfig;
#[cfg(feature = "jail")]
use crate::config::jail::JailConfig;
#[cfg(feature = "rate-limit")]
use crate::config::rate_limit::RateLimitConfig;
use crate::config::{
    client_ip::{ClientIpConfig, SourceKind},
    events::EventsConfig,
    https::HttpsConfig,
    ip_filter::IpFilterConfig,
    metrics::MetricsConfig,
    response_headers::ResponseHeadersConfig,
};

/// The names of all sections, sorted.
pub const SECTIONS: &[&str] = &[
    #[cfg(feature = "secrets")]
    "api_keys",
    "client_ip",
    "events",
    "https",
    #[cfg(feature = "in-flight")]
    "in_flight",
    "ip_filter",
    #[cfg(feature = "jail")]
    "jail",
    "metrics",
    #[cfg(feature = "rate-limit")]
    "rate_limit",
    "response_headers",
];

/// The JSON schema of [`SecurityConfig`] with all features of the crate, for editors and for checks of files before they are used.
pub const SCHEMA: &str = include_str!("schema.json");

/// All that [`SecurityLayer::builder`](crate::SecurityLayer::builder) can be told, as data: whatever reads text into serde's data model reads it.
///
/// An unknown key is an error, for a misspelt protection is no protection. What no text can say (a policy of one's own, a responder, a closure)
/// is added to the builder that [`assemble`](Self::assemble) returns. See the [module](crate::config).
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SecurityConfig {
    /// Who is calling, and whose word is taken for it.
    pub client_ip: ClientIpConfig,
    /// Who may come at all.
    #[serde(default)]
    pub ip_filter: IpFilterConfig,
    /// What happens to plain text, and which hosts are served.
    #[serde(default)]
    pub https: HttpsConfig,
    /// How often a client may come.
    #[cfg(feature = "rate-limit")]
    #[serde(default)]
    pub rate_limit: RateLimitConfig,
    /// How many requests of a client are served at the same time.
    #[cfg(feature = "in-flight")]
    #[serde(default)]
    pub in_flight: Option<InFlightConfig>,
    /// Who has a key.
    #[cfg(feature = "secrets")]
    #[serde(default)]
    pub api_keys: ApiKeysConfig,
    /// Automatic bans.
    #[cfg(feature = "jail")]
    #[serde(default)]
    pub jail: JailConfig,
    /// Header fields on every response.
    #[serde(default)]
    pub response_headers: ResponseHeadersConfig,
    /// What becomes of security events on their way to the sink.
    #[serde(default)]
    pub events: EventsConfig,
    /// What is measured beside the counts.
    #[serde(default)]
    pub metrics: MetricsConfig,
}

impl SecurityConfig {
    /// Creates a configuration that protects from nothing yet, from the one choice that has no safe default.
    #[must_use]
    pub fn new(source: SourceKind) -> Self {
        Self {
            client_ip: ClientIpConfig::new(source),
            ip_filter: IpFilterConfig::default(),
            https: HttpsConfig::default(),
            #[cfg(feature = "rate-limit")]
            rate_limit: RateLimitConfig::default(),
            #[cfg(feature = "in-flight")]
            in_flight: None,
            #[cfg(feature = "secrets")]
            api_keys: ApiKeysConfig::default(),
            #[cfg(feature = "jail")]
            jail: JailConfig::default(),
            response_headers: ResponseHeadersConfig::default(),
            events: EventsConfig::default(),
            metrics: MetricsConfig::default(),
        }
    }
}
