//! The section `metrics`.

use serde::Deserialize;

/// What is measured beside the counts, which are always kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Whether it is measured how long checks take, which reads the clock twice per request.
    pub check_duration: bool,
}
