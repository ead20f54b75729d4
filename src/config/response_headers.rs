//! The section `response_headers`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    config::{
        error::Faults,
        value::{FieldName, FieldValue},
    },
    response_headers::ResponseHeaders,
};

/// Header fields on every response.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ResponseHeadersConfig {
    /// The fields to begin with.
    pub preset: HeaderPreset,
    /// Fields for responses that have none of that name.
    pub set: BTreeMap<FieldName, FieldValue>,
    /// Fields for all responses, in the place of all of that name.
    pub set_always: BTreeMap<FieldName, FieldValue>,
    /// Fields of the preset that are left out.
    pub without: Vec<FieldName>,
    /// Fields that are taken off all responses, as `server`.
    pub remove: Vec<FieldName>,
}

/// The fields to begin with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeaderPreset {
    /// What OWASP recommends for APIs.
    Api,
    /// What pages in browsers need.
    Html,
    /// None.
    #[default]
    None,
}

impl ResponseHeadersConfig {
    pub(crate) fn make(&self, faults: &mut Faults) -> ResponseHeaders {
        let mut headers = match self.preset {
            HeaderPreset::Api => ResponseHeaders::api(),
            HeaderPreset::Html => ResponseHeaders::html(),
            HeaderPreset::None => ResponseHeaders::none(),
        };
        for name in &self.without {
            headers = headers.without(name.get());
        }
        for name in &self.remove {
            headers = headers.removing(name.get());
        }
        let taken = |name: &FieldName| self.without.contains(name) || self.remove.contains(name);
        for (name, value) in &self.set {
            if taken(name) || self.set_always.contains_key(name) {
                let key = format!("response_headers.set.{}", name.0);
                faults.add(key, "is said twice about one field: leave all but one out");
            }
            headers = headers.with(name.get(), value.0.clone());
        }
        for (name, value) in &self.set_always {
            if taken(name) {
                let key = format!("response_headers.set_always.{}", name.0);
                faults.add(key, "is said twice about one field: leave all but one out");
            }
            headers = headers.with_override(name.get(), value.0.clone());
        }
        headers
    }
}
