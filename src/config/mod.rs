//! All protections from a configuration file: [`SecurityConfig`] is the facade as data.
//!
//! It derives [`Deserialize`](serde::Deserialize), so that TOML, JSON, YAML and overlays from the environment work with whatever loader an application has.
//! An unknown key is an error, and so is a value that says nothing sound; the loader's error names the allowed ones. What only shows when
//! keys are put together is told by [`SecurityConfig::build`], all of it at once, by the path of each key ([`ConfigErrors`]). For the paths of the first kind wrap the
//! loader's deserializer in the crate `serde_path_to_error`.
//!
//! # How values are written
//!
//! | value | as |
//! |---|---|
//! | quota | `"50/second burst 100"`, or `{quota = "50/second burst 100", name = "pages", overdraft = 10}` |
//! | time | `"500ms"`, `"15m"`, `"1h 30m"` |
//! | size | `"512 B"`, `"8 KiB"`, `"1 MiB"` |
//! | addresses | `["10.0.0.0/8", "private"]`, or `"10.0.0.0/8, private"` as an environment variable holds them |
//! | path | `"/health"`, or `"/.well-known/*"` for all below |
//! | secret | never. A secret is named, and comes from a [`SecretLoader`](crate::secret::SecretLoader) |
//!
//! # Example
//!
//! A whole file. What is left out is not done, as with the builder; only `client_ip.source` has no default.
//!
//! ```
//! # #[cfg(all(feature = "in-flight", feature = "jail", feature = "rate-limit", feature = "secrets"))]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::{convert::Infallible, net::SocketAddr};
//! # use http::{Request, Response};
//! # use palisade::{client_ip::PeerAddr, config::SecurityConfig};
//! # use tower::{ServiceBuilder, ServiceExt, service_fn};
//! let file = r#"
//!     [client_ip]
//!     source = "x_forwarded_for"               # or "peer", "forwarded", "header"
//!     trusted_proxies = ["10.0.0.2"]
//!     remove_untrusted_headers = true
//!
//!     [ip_filter]
//!     deny = ["198.51.100.0/24"]
//!
//!     [https]
//!     mode = "reject"                          # or "redirect" with redirect_host
//!     scheme = "x_forwarded_proto"
//!     exempt_paths = ["/health"]
//!     hsts = {max_age = "365d"}
//!
//!     [rate_limit]
//!     quotas = ["50/second burst 100", "10000/hour"]
//!
//!     [[rate_limit.limits]]                    # guessing passwords
//!     quotas = ["5/minute"]
//!     only_paths = ["/login"]
//!     count = "failures"
//!     fields = "draft11"
//!
//!     [in_flight]
//!     limit = 20
//!
//!     [jail]
//!     enabled = true
//!     ban_time = "15m"
//!     rules = [{status = 401, limit = 10, within = "10m"}]
//!     traps = ["common"]
//!
//!     [response_headers]
//!     preset = "api"
//!
//!     [events]
//!     privacy = "truncated"
//! "#;
//! let config: SecurityConfig = toml::from_str(file)?;
//! let service = ServiceBuilder::new()
//!     .layer(config.build()?)
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
//!
//! let request = |client: &str| {
//!     let peer: SocketAddr = ([10, 0, 0, 2], 50_000).into();
//!     Request::builder()
//!         .extension(PeerAddr::from(peer))
//!         .header("x-forwarded-for", client)
//!         .header("x-forwarded-proto", "https")
//!         .body(())
//! };
//! assert_eq!(service.clone().oneshot(request("203.0.113.7")?).await?.status(), 200);
//! assert_eq!(service.oneshot(request("198.51.100.66")?).await?.status(), 403);
//!
//! // A misspelt key, and a contradiction.
//! assert!(toml::from_str::<SecurityConfig>("client_ip = {source = \"peer\", trusted_proxy = []}").is_err());
//! let config: SecurityConfig = toml::from_str("client_ip = {source = \"x_forwarded_for\"}")?;
//! let errors = config.build().err().ok_or("built")?;
//! assert!(errors.to_string().starts_with("client_ip.trusted_proxies: must name the proxies"));
//! # Ok(()) }
//! # #[cfg(not(all(feature = "in-flight", feature = "jail", feature = "rate-limit", feature = "secrets")))]
//! # fn main() {}
//! ```
//!
//! # More than a file can say
//!
//! [`SecurityConfig::assemble`] returns the [builder](crate::security::SecurityBuilder), to which policies of one's own, a responder or a closure can be
//! added, and a [`Reloader`], which puts another configuration in the place of the one in force: all of it, or nothing. [`Surroundings`] say where events go
//! and where secrets come from. [`SecurityLayer::explain`](crate::SecurityLayer::explain) tells what a request would meet.
//!
//! Requests [in flight](crate::in_flight) count to the end of their bodies where a [`TrackBodyLayer`](crate::enforce::TrackBodyLayer) stands outside of the
//! layer, which no configuration can put there.
//!
//! # Schema
//!
//! [`SCHEMA`] is the JSON schema, for editors and for checks; with the feature `schema` the types implement `schemars::JsonSchema`, so that an
//! application's own configuration may have one with this inside.

#[cfg(feature = "secrets")]
pub(crate) mod api_keys;
pub(crate) mod assemble;
pub(crate) mod client_ip;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod https;
#[cfg(feature = "in-flight")]
pub(crate) mod in_flight;
pub(crate) mod ip_filter;
#[cfg(feature = "jail")]
pub(crate) mod jail;
#[cfg(feature = "rate-limit")]
pub(crate) mod key;
pub(crate) mod metrics;
#[cfg(feature = "rate-limit")]
pub(crate) mod rate_limit;
pub(crate) mod reload;
pub(crate) mod response_headers;
pub(crate) mod security;
pub(crate) mod surroundings;
pub(crate) mod value;

#[cfg(feature = "in-flight")]
pub use self::in_flight::{InFlightConfig, OverloadKind};
#[cfg(feature = "jail")]
pub use self::jail::{JailConfig, RuleAction, RuleConfig};
#[cfg(feature = "secrets")]
pub use self::{
    api_keys::{ApiKeysConfig, FormatKind},
    value::SecretName,
};
pub use self::{
    client_ip::{ClientIpConfig, SchemeKind, SourceKind},
    error::{ConfigError, ConfigErrors},
    events::{EventsConfig, PrivacyKind},
    https::{HttpsConfig, HttpsMode},
    ip_filter::{HostBitsKind, IpFilterConfig, IpListConfig, ListKind, SubjectKind, UnknownKind},
    metrics::MetricsConfig,
    reload::{Assembled, Reloaded, Reloader},
    response_headers::{HeaderPreset, ResponseHeadersConfig},
    security::{SCHEMA, SECTIONS, SecurityConfig},
    surroundings::Surroundings,
    value::{AnswerStatus, FieldName, FieldValue, Period, RefusalStatus, RequestMethod, Size},
};
#[cfg(feature = "rate-limit")]
pub use self::{
    key::{LimitKey, MissingKeyKind},
    rate_limit::{
        CostConfig, CountKind, FieldsKind, LegacyKind, LimitConfig, RateLimitConfig, TierConfig,
    },
};
