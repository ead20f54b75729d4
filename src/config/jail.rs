//! The section `jail`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::{
    config::{
        error::Faults,
        surroundings::Surroundings,
        value::{AnswerStatus, Period, RefusalStatus},
    },
    event::model::Action,
    from_text::parsed_by,
    ip_set::set::IpSet,
    jail::{ban_time::BanTime, builder::JailBuilder, rule::Rule, trap::TrapPaths},
    security::builder::SecurityBuilder,
};

/// Automatic bans.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct JailConfig {
    /// Whether there is a jail; there is none if nothing is said, and then there may be no rules or traps.
    pub enabled: Option<bool>,
    /// What bans: so many failures within such a time.
    pub rules: Vec<RuleConfig>,
    /// Paths that ban who touches them: `common` for some twenty that scanners ask every server for, and any of one's own.
    pub traps: Vec<String>,
    /// How long a touch of a trap bans; as long as any other failure if nothing is said.
    pub trap_ban_time: Option<Period>,
    /// How long a first ban lasts; ten minutes if nothing is said.
    pub ban_time: Period,
    /// By how much further bans are longer; 1, which does not grow, if nothing is said.
    pub ban_growth: u32,
    /// How much is added to a ban at random, at most.
    pub ban_jitter: Option<Period>,
    /// How long a ban may become; a week if nothing is said.
    pub max_ban_time: Option<Period>,
    /// How long a client is remembered after a ban, where bans grow; a day if nothing is said.
    pub memory: Option<Period>,
    /// Who is never banned, beside loopback and the proxies that `client_ip` names by address.
    pub exempt: IpSet,
    /// The status that banned clients are answered with; 403 if nothing is said.
    pub status: Option<RefusalStatus>,
    /// Whether banned clients are told when the ban ends.
    pub retry_after: bool,
    /// How many bans there may be; 65536 if nothing is said.
    pub max_bans: Option<usize>,
    /// How many failures are counted at a time, about one per client and rule; 16384 if nothing is said.
    pub max_counters: Option<usize>,
    /// Where bans are kept over a restart.
    pub file: Option<PathBuf>,
}

impl Default for JailConfig {
    fn default() -> Self {
        Self {
            enabled: None,
            rules: Vec::new(),
            traps: Vec::new(),
            trap_ban_time: None,
            ban_time: Period::seconds(600),
            ban_growth: 1,
            ban_jitter: None,
            max_ban_time: None,
            memory: None,
            exempt: IpSet::empty(),
            status: None,
            retry_after: false,
            max_bans: None,
            max_counters: None,
            file: None,
        }
    }
}

/// What counts as a failure, and how many are too many.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RuleConfig {
    /// The status that counts, whoever answers with it.
    #[serde(default)]
    pub status: Option<AnswerStatus>,
    /// The refusal of this crate that counts, by the name of its event, as `api_key_scope_missing`.
    #[serde(default)]
    pub action: Option<RuleAction>,
    /// What events and lists call the rule.
    #[serde(default)]
    pub name: Option<String>,
    /// How many failures ban; 5 if nothing is said.
    #[serde(default)]
    pub limit: Option<u8>,
    /// The time within which they must happen; ten minutes if nothing is said.
    #[serde(default)]
    pub within: Option<Period>,
    /// How long the rule bans; as long as the jail says if nothing is said.
    #[serde(default)]
    pub ban_time: Option<Period>,
}

/// The name of an event that refusals of this crate raise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RuleAction(Action);

/// What the crate refuses the request of a client for.
const REFUSALS: &[Action] = &[
    Action::ApiKeyRejected,
    Action::ApiKeyScopeMissing,
    Action::HostMalformed,
    Action::HostNotServed,
    Action::HttpsRedirected,
    Action::HttpsRequired,
    Action::InFlightExceeded,
    Action::IpBlocked,
    Action::IpNotAllowed,
    Action::RateLimitExceeded,
    Action::RateLimitKeyMissing,
];

fn refusals() -> impl Iterator<Item = Action> {
    REFUSALS.iter().copied()
}

impl<'de> Deserialize<'de> for RuleAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed_by(deserializer, "the event of a refusal", |word| {
            let found = refusals().find(|it| it.as_str() == word);
            found.map(Self).ok_or_else(|| {
                let allowed: Vec<_> = refusals().map(Action::as_str).collect();
                format!("unknown; allowed are {}", allowed.join(", "))
            })
        })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RuleAction {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RuleAction".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<_> = refusals().map(Action::as_str).collect();
        schemars::json_schema!({"enum": words})
    }
}

impl JailConfig {
    pub(crate) fn assemble(
        &self,
        builder: SecurityBuilder,
        proxies: [&IpSet; 2],
        surroundings: &Surroundings,
        faults: &mut Faults,
    ) -> SecurityBuilder {
        #[cfg(not(feature = "redis"))]
        let _ = surroundings;
        let ban_time = self.ban_time(self.ban_time);
        let mut jail = JailBuilder::new()
            .ban_time(ban_time)
            .exempt(self.exempt.clone());
        for proxies in proxies {
            jail = jail.exempt(proxies.clone());
        }
        for (key, period) in [
            ("ban_time", Some(self.ban_time)),
            ("trap_ban_time", self.trap_ban_time),
            ("max_ban_time", self.max_ban_time),
        ] {
            if period.is_some_and(|it| it.0.is_zero()) {
                faults.add(format!("jail.{key}"), "must be longer than \"0s\"");
            }
        }
        if self.max_ban_time.is_some_and(|max| max.0 < self.ban_time.0) {
            faults.add(
                "jail.max_ban_time",
                "is shorter than jail.ban_time: raise it",
            );
        }
        if self.ban_growth == 0 {
            faults.add("jail.ban_growth", "must be at least 1, which does not grow");
        }
        for (key, max) in [
            ("max_bans", self.max_bans),
            ("max_counters", self.max_counters),
        ] {
            if max == Some(0) {
                faults.add(format!("jail.{key}"), "must be at least 1");
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(rule) = self.rule(rule, &format!("jail.rules[{index}]"), faults) {
                jail = jail.rule(rule);
            }
        }
        jail = jail.traps(self.traps(faults));
        if let Some(status) = self.status {
            jail = jail.status(status.0);
        }
        if self.retry_after {
            jail = jail.retry_after();
        }
        if let Some(max) = self.max_bans {
            jail = jail.max_bans(max);
        }
        if let Some(max) = self.max_counters {
            jail = jail.max_counters(max);
        }
        if let Some(file) = &self.file {
            jail = jail.file(file);
        }
        #[cfg(feature = "redis")]
        if let Some(shared) = &surroundings.store {
            jail = jail.shared(&shared.store);
        }
        if self.enabled.is_none() && !(self.rules.is_empty() && self.traps.is_empty()) {
            let message = "is needed by rules and traps: true, or false to ban nobody";
            faults.add("jail.enabled", message);
        }
        if self.enabled == Some(true) {
            builder.jail(jail)
        } else {
            builder
        }
    }

    fn ban_time(&self, first: Period) -> BanTime {
        let mut ban_time = BanTime::new(first.0).with_growth(self.ban_growth);
        if let Some(Period(jitter)) = self.ban_jitter {
            ban_time = ban_time.with_jitter(jitter);
        }
        if let Some(Period(max)) = self.max_ban_time {
            ban_time = ban_time.with_max(max);
        }
        if let Some(Period(memory)) = self.memory {
            ban_time = ban_time.with_memory(memory);
        }
        ban_time
    }

    fn rule(&self, config: &RuleConfig, path: &str, faults: &mut Faults) -> Option<Rule> {
        let mut rule = match (config.status, config.action) {
            (Some(status), None) => Rule::status(status.0),
            (None, Some(action)) => Rule::action(action.0),
            (None, None) | (Some(_), Some(_)) => {
                faults.add(
                    path,
                    "must say what counts, by exactly one of status or action",
                );
                return None;
            }
        };
        if let Some(name) = &config.name {
            rule = faults.take(&format!("{path}.name"), rule.with_name(name))?;
        }
        if let Some(limit) = config.limit {
            if limit == 0 {
                faults.add(format!("{path}.limit"), "must be from 1 to 255");
            }
            rule = rule.with_limit(limit);
        }
        if let Some(Period(within)) = config.within {
            if within.as_secs() == 0 {
                faults.add(format!("{path}.within"), "must be at least \"1s\"");
            }
            rule = rule.within(within);
        }
        if let Some(first) = config.ban_time {
            if first.0.is_zero() {
                faults.add(format!("{path}.ban_time"), "must be longer than \"0s\"");
            }
            rule = rule.with_ban_time(self.ban_time(first));
        }
        Some(rule)
    }

    fn traps(&self, faults: &mut Faults) -> TrapPaths {
        let mut traps = if self.traps.iter().any(|it| it == "common") {
            TrapPaths::common()
        } else {
            TrapPaths::new()
        };
        for (index, path) in self.traps.iter().enumerate() {
            if path == "common" {
                continue;
            }
            let key = format!("jail.traps[{index}]");
            match traps.clone().with_path(path) {
                Ok(with) => traps = with,
                Err(error) => faults.add(
                    key,
                    format_args!(
                        "{path:?}: {error}; expected \"common\", or a path as \"/old-admin/\""
                    ),
                ),
            }
        }
        if let Some(first) = self.trap_ban_time {
            traps = traps.with_ban_time(self.ban_time(first));
        }
        traps
    }
}
