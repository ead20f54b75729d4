//! What requests are counted under.

use std::fmt;

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error as _};

#[cfg(feature = "secrets")]
use crate::api_key::identity::ApiKeyIdentity;
use crate::{
    config::error::Faults,
    from_text::words,
    rate_limit::key::{MissingKey, RateLimitKey},
};

/// What requests are counted under: one or several of `client_ip`, `global`, `method`, `header:NAME`, `route` (feature `axum`) and
/// `api_key` (feature `secrets`). Several count together: requests are counted as one where all are equal.
#[derive(Clone, Eq, PartialEq)]
pub struct LimitKey(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    #[cfg(feature = "secrets")]
    ApiKey,
    ClientIp,
    Global,
    Header(HeaderName),
    Method,
    #[cfg(feature = "axum")]
    Route,
}

impl Default for LimitKey {
    fn default() -> Self {
        Self(vec![Part::ClientIp])
    }
}

impl fmt::Debug for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl LimitKey {
    /// Returns whether the key is that of the client, which is known only when it has been checked.
    #[cfg_attr(
        not(feature = "secrets"),
        expect(clippy::unused_self, reason = "there are no API keys then")
    )]
    pub(crate) fn is_by_api_key(&self) -> bool {
        #[cfg(feature = "secrets")]
        return self.0.contains(&Part::ApiKey);
        #[cfg(not(feature = "secrets"))]
        false
    }

    pub(crate) fn make(
        &self,
        path: &str,
        ipv6_prefix: Option<u8>,
        missing: MissingKeyKind,
        faults: &mut Faults,
    ) -> RateLimitKey {
        let mut key = RateLimitKey::global();
        for part in &self.0 {
            key = key.and(match part {
                #[cfg(feature = "secrets")]
                Part::ApiKey => RateLimitKey::extension(|it: &ApiKeyIdentity| it.clone()),
                Part::ClientIp => RateLimitKey::client_ip(),
                Part::Global => RateLimitKey::global(),
                Part::Header(name) => RateLimitKey::header(name.clone()),
                Part::Method => RateLimitKey::method(),
                #[cfg(feature = "axum")]
                Part::Route => RateLimitKey::route(),
            });
        }
        if ipv6_prefix.is_some() && !self.0.contains(&Part::ClientIp) {
            faults.add(
                format!("{path}.ipv6_prefix"),
                format_args!("is for {path}.key with \"client_ip\": leave it out"),
            );
        }
        if let Some(length) = ipv6_prefix {
            let prefixed = key.clone().with_ipv6_prefix(length);
            if let Some(prefixed) = faults.take(&format!("{path}.ipv6_prefix"), prefixed) {
                key = prefixed;
            }
        }
        key.when_missing(match missing {
            MissingKeyKind::Refuse => MissingKey::Refuse,
            MissingKeyKind::Share => MissingKey::Share,
            MissingKeyKind::Skip => MissingKey::Skip,
        })
    }
}

/// The words for the parts of a key.
const ALLOWED: &[&str] = &[
    #[cfg(feature = "secrets")]
    "api_key",
    "client_ip",
    "global",
    "header:NAME",
    "method",
    #[cfg(feature = "axum")]
    "route",
];

fn part(word: &str) -> Option<Part> {
    if let Some(name) = word.strip_prefix("header:") {
        return name.parse().ok().map(Part::Header);
    }
    Some(match word {
        #[cfg(feature = "secrets")]
        "api_key" => Part::ApiKey,
        "client_ip" => Part::ClientIp,
        "global" => Part::Global,
        "method" => Part::Method,
        #[cfg(feature = "axum")]
        "route" => Part::Route,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for LimitKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = words(deserializer, "parts of a key")?;
        let allowed = ALLOWED.join(", ");
        if words.is_empty() {
            let error = format_args!("a key has at least one part; expected one of {allowed}");
            return Err(D::Error::custom(error));
        }
        let parts = words.iter().map(|word| {
            part(word).ok_or_else(|| {
                D::Error::custom(format_args!(
                    "unknown part of a key {word:?}; expected one of {allowed}"
                ))
            })
        });
        parts.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for LimitKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LimitKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut words: Vec<_> = ALLOWED
            .iter()
            .copied()
            .filter(|it| !it.contains(':'))
            .collect();
        words.sort_unstable();
        let part = schemars::json_schema!({"anyOf": [{"enum": words}, {"type": "string", "pattern": "^header:"}]});
        schemars::json_schema!({
            "description": "What requests are counted under; several parts count together",
            "anyOf": [part, {"type": "array", "items": part, "minItems": 1}],
        })
    }
}

/// What happens to a request that has not all parts of its key.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissingKeyKind {
    /// It is refused.
    #[default]
    Refuse,
    /// It is counted together with all others that miss the same part.
    Share,
    /// It is not limited.
    Skip,
}
