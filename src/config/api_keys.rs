//! The section `api_keys`.

use serde::Deserialize;

use crate::{
    api_key::{keys::ApiKeys, parse::KeyFormat, policy::ApiKeyPolicy},
    config::{
        error::Faults,
        value::{FieldName, Period, SecretName},
    },
    secret::loader::SecretLoader,
    security::builder::SecurityBuilder,
};

/// Who has a key. The keys themselves are a secret, which is named here and loaded from elsewhere.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiKeysConfig {
    /// Whether requests need a key. They do not if nothing is said; where another key of this section is, this one has to be.
    pub required: Option<bool>,
    /// The name of the secret that holds the keys; `API_KEYS` if nothing is said.
    pub secret: SecretName,
    /// How the secret holds them; as JSON if nothing is said.
    pub format: FormatKind,
    /// A header field that keys are taken from, as `x-api-key`.
    pub header: Option<FieldName>,
    /// Whether keys are taken from `Authorization: Bearer`; they are if nothing is said.
    pub bearer: bool,
    /// The scope that every key must have; none if nothing is said. It is for keys that are required.
    pub scope: Option<String>,
    /// What the keys are for, as clients are told; `api` if nothing is said.
    pub realm: Option<String>,
    /// The name of the policy in events; `api_key` if nothing is said.
    pub name: Option<String>,
    /// How often the secret is looked at for new keys; every ten seconds if nothing is said.
    pub reload: Period,
}

impl Default for ApiKeysConfig {
    fn default() -> Self {
        Self {
            required: None,
            secret: SecretName("API_KEYS".to_owned()),
            format: FormatKind::default(),
            header: None,
            bearer: true,
            scope: None,
            realm: None,
            name: None,
            reload: Period::seconds(10),
        }
    }
}

/// How a secret holds API keys.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FormatKind {
    /// A JSON object of ids.
    #[default]
    Json,
    /// A key, or its digest, per line.
    Lines,
    /// A TOML table of ids.
    Toml,
}

impl FormatKind {
    /// Returns the format.
    #[must_use]
    pub fn get(self) -> KeyFormat {
        match self {
            Self::Json => KeyFormat::Json,
            Self::Lines => KeyFormat::Lines,
            Self::Toml => KeyFormat::Toml,
        }
    }
}

impl ApiKeysConfig {
    pub(crate) fn assemble(
        &self,
        builder: SecurityBuilder,
        loader: &SecretLoader,
        given: Option<&ApiKeys>,
        faults: &mut Faults,
    ) -> (SecurityBuilder, Option<ApiKeys>) {
        if self.reload.0.is_zero() {
            faults.add("api_keys.reload", "must be longer than \"0s\"");
        }
        if !self.bearer && self.header.is_none() {
            let message = "must name the field that keys come in, where api_keys.bearer = false";
            faults.add("api_keys.header", message);
        }
        if self.required.is_none() && *self != Self::default() {
            let message =
                "is needed by the other keys: true, or false to let in whoever has no key";
            faults.add("api_keys.required", message);
        }
        if self.required == Some(false) && self.scope.is_some() {
            faults.add("api_keys.scope", "needs api_keys.required = true");
        }
        if self.required != Some(true) {
            return (builder, None);
        }
        let keys = given.cloned().or_else(|| {
            let request = loader.secret(self.secret.as_str());
            let keys = ApiKeys::load(&request, self.format.get());
            faults.take("api_keys.secret", keys)
        });
        let Some(keys) = keys else {
            return (builder, None);
        };
        let mut policy = ApiKeyPolicy::new(keys.clone());
        if let Some(header) = &self.header {
            policy = if self.bearer {
                policy.with_header(header.get())
            } else {
                policy.with_header_only(header.get())
            };
        }
        if let Some(name) = &self.name {
            policy = policy.with_name(name.as_str());
        }
        if let Some(scope) = &self.scope
            && let Some(scoped) = faults.take("api_keys.scope", policy.clone().with_scope(scope))
        {
            policy = scoped;
        }
        if let Some(realm) = &self.realm
            && let Some(named) = faults.take("api_keys.realm", policy.clone().with_realm(realm))
        {
            policy = named;
        }
        (builder.api_keys(policy), Some(keys))
    }
}
