//! The section `rate_limit`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Deserialize;

#[cfg(feature = "secrets")]
use crate::api_key::identity::ApiKeyIdentity;
use crate::{
    config::{
        error::Faults,
        key::{LimitKey, MissingKeyKind},
        surroundings::Surroundings,
        value::{FieldName, FieldValue, Period, RefusalStatus, RequestMethod},
    },
    https::exempt::PathPattern,
    ip_set::set::IpSet,
    policy::{dry_run::DryRun, head::RequestHead},
    rate_limit::{
        builder::RateLimitBuilder,
        policy::RateLimit,
        quota::Quota,
        set::QuotaSet,
        settings::{LegacyReset, StandardFields},
    },
    security::builder::SecurityBuilder,
};

/// How often a client may come.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// Quotas per client address, all of which hold at once. They can be reloaded, as long as they do not become more.
    pub quotas: Vec<Quota>,
    /// Further limits, with settings of their own.
    pub limits: Vec<LimitConfig>,
}

/// A limit with settings of its own.
///
/// Its quotas and those of its tiers can be reloaded, as long as they do not become more than there is room for.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "keys of a file, each with a name"
)]
pub struct LimitConfig {
    /// Quotas, all of which hold at once.
    pub quotas: Vec<Quota>,
    /// What requests are counted under.
    #[serde(default)]
    pub key: LimitKey,
    /// The length of the IPv6 prefix that counts as one client, 32 to 128; 56 if nothing is said.
    #[serde(default)]
    pub ipv6_prefix: Option<u8>,
    /// What happens to a request that has not all parts of the key.
    #[serde(default)]
    pub missing_key: MissingKeyKind,
    /// What a request costs; 1 if nothing is said.
    #[serde(default)]
    pub cost: Option<u32>,
    /// What requests for some paths cost; the first entry that takes a request counts.
    #[serde(default)]
    pub costs: Vec<CostConfig>,
    /// Other quotas for some requests; the first entry that takes a request counts.
    #[serde(default)]
    pub tiers: Vec<TierConfig>,
    /// Addresses that are not limited.
    #[serde(default)]
    pub exempt: IpSet,
    /// Paths that are not limited.
    #[serde(default)]
    pub exempt_paths: Vec<PathPattern>,
    /// Paths that are limited, in whatever disguise; empty: all.
    #[serde(default)]
    pub only_paths: Vec<PathPattern>,
    /// Which requests stay counted.
    #[serde(default)]
    pub count: CountKind,
    /// Whether a handler settles the real cost.
    #[serde(default)]
    pub settle_in_handler: bool,
    /// The standard fields on responses; none if nothing is said.
    #[serde(default)]
    pub fields: Option<FieldsKind>,
    /// Whether responses that redirect carry the fields, too.
    #[serde(default)]
    pub fields_on_redirects: bool,
    /// Whether scripts of other origins may read the fields.
    #[serde(default)]
    pub exposed_fields: bool,
    /// Whether the standard fields say what the request was counted under, as a hash.
    #[serde(default)]
    pub partition_key: bool,
    /// The older fields `X-RateLimit-*` on responses, and what the reset says; none if nothing is said.
    #[serde(default)]
    pub legacy_fields: Option<LegacyKind>,
    /// Whether refusals carry `Retry-After`; they do if nothing is said.
    #[serde(default)]
    pub retry_after: Option<bool>,
    /// How long refused clients are told to stay away at least.
    #[serde(default)]
    pub retry_after_at_least: Option<Period>,
    /// How much is added to that at random, at most.
    #[serde(default)]
    pub retry_jitter: Option<Period>,
    /// The status of refusals; 429 if nothing is said.
    #[serde(default)]
    pub status: Option<RefusalStatus>,
    /// The percentage of a capacity past which an event warns; none if nothing is said.
    #[serde(default)]
    pub near_limit: Option<u8>,
    /// For how many keys there is room; 100,000 if nothing is said.
    #[serde(default)]
    pub max_keys: Option<usize>,
    /// For how many quotas per key there is room; as many as there are if nothing is said.
    #[serde(default)]
    pub width: Option<usize>,
    /// Whether the limit only observes.
    #[serde(default)]
    pub dry_run: bool,
}

/// What some requests cost.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CostConfig {
    /// The path, or everything below one with `/*` at its end. A disguise, as percent-encoding, makes no request cheaper.
    pub path: PathPattern,
    /// The methods; empty: all.
    #[serde(default)]
    pub methods: Vec<RequestMethod>,
    /// What such a request costs; 0 charges nothing.
    pub cost: u32,
}

/// Other quotas for some requests: those of a key with a scope, of an id, or with a header field.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TierConfig {
    /// The scope that the API key has.
    #[cfg(feature = "secrets")]
    #[serde(default)]
    pub scope: Option<String>,
    /// The id of the API key.
    #[cfg(feature = "secrets")]
    #[serde(default)]
    pub api_key: Option<String>,
    /// A header field that something further out has verified.
    #[serde(default)]
    pub header: Option<FieldName>,
    /// The value of that field.
    #[serde(default)]
    pub value: Option<FieldValue>,
    /// The quotas of such requests.
    pub quotas: Vec<Quota>,
}

/// Which requests stay counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CountKind {
    /// All of them.
    #[default]
    All,
    /// Those that fail, with a status of 400 or above.
    Failures,
    /// Those that no gate further in refuses.
    NotRefused,
    /// Those that succeed, with a status below 400.
    Successes,
}

/// Which standard fields responses carry.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FieldsKind {
    /// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11.
    Draft11,
}

/// What `X-RateLimit-Reset` says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LegacyKind {
    /// Seconds from now.
    Delta,
    /// Seconds since 1970.
    Epoch,
}

/// A limit whose quotas can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct LiveLimit {
    pub(crate) limit: RateLimit,
    pub(crate) width: usize,
    tiers: Option<Arc<ArcSwap<Vec<QuotaSet>>>>,
}

/// The quotas of a limit and of its tiers, ready to take the place of others.
#[derive(Debug)]
pub(crate) struct NewQuotas {
    quotas: QuotaSet,
    tiers: Vec<QuotaSet>,
}

impl LiveLimit {
    /// Replaces the quotas, which fit.
    pub(crate) fn replace(&self, new: NewQuotas) {
        // That they fit was checked against the same width.
        #[cfg(feature = "redis")]
        if let Some(shared) = self.limit.shared() {
            let _ = shared.replace_quotas(new.quotas.clone());
        }
        let _ = self.limit.limiter().replace_quotas(new.quotas);
        if let Some(tiers) = &self.tiers {
            tiers.store(Arc::new(new.tiers));
        }
    }
}

impl RateLimitConfig {
    /// Returns the limits with the path of each: that of the plain quotas first.
    fn all(&self) -> Vec<(String, LimitConfig)> {
        let plain = (!self.quotas.is_empty()).then(|| {
            (
                "rate_limit".to_owned(),
                LimitConfig::new(self.quotas.clone()),
            )
        });
        let limits = self.limits.iter().enumerate();
        let limits =
            limits.map(|(index, limit)| (format!("rate_limit.limits[{index}]"), limit.clone()));
        plain.into_iter().chain(limits).collect()
    }

    /// Returns the section without what can be reloaded.
    pub(crate) fn fixed(&self) -> Self {
        let mut fixed = self.clone();
        // Whether there are any cannot change.
        fixed.quotas.truncate(1);
        let stand_in = Quota::per_day(1);
        for quota in &mut fixed.quotas {
            *quota = stand_in.clone();
        }
        for limit in &mut fixed.limits {
            limit.quotas.clear();
            for tier in &mut limit.tiers {
                tier.quotas.clear();
            }
        }
        fixed
    }

    /// Makes the quotas that take the place of those of the limits that there are.
    pub(crate) fn new_quotas(&self, live: &[LiveLimit], faults: &mut Faults) -> Vec<NewQuotas> {
        let mut new = Vec::new();
        for ((path, limit), live) in self.all().iter().zip(live) {
            let Some((quotas, tiers)) = limit.sets(path, faults) else {
                continue;
            };
            let room = live.width;
            let mut fits = |key: String, quotas: &QuotaSet| {
                if room < quotas.len() {
                    faults.add(
                        key,
                        format_args!(
                            "{} quotas where there is room for {room} per key: restart for more",
                            quotas.len()
                        ),
                    );
                }
            };
            fits(format!("{path}.quotas"), &quotas);
            for (index, tier) in tiers.iter().enumerate() {
                fits(format!("{path}.tiers[{index}].quotas"), tier);
            }
            new.push(NewQuotas { quotas, tiers });
        }
        new
    }

    pub(crate) fn assemble(
        &self,
        mut builder: SecurityBuilder,
        surroundings: &Surroundings,
        faults: &mut Faults,
    ) -> (SecurityBuilder, Vec<LiveLimit>) {
        let mut live = Vec::new();
        for (path, limit) in self.all() {
            let Some(made) = limit.make(&path, surroundings, faults) else {
                continue;
            };
            live.push(made.clone());
            builder = match (limit.needs_identity(), limit.dry_run) {
                (false, false) => builder.limit(made.limit),
                (false, true) => builder.limit(DryRun::new(made.limit)),
                (true, false) => builder.policy(made.limit),
                (true, true) => builder.policy(DryRun::new(made.limit)),
            };
        }
        (builder, live)
    }
}

impl LimitConfig {
    /// Creates a limit with the defaults of all other keys.
    #[must_use]
    pub fn new(quotas: Vec<Quota>) -> Self {
        Self {
            quotas,
            key: LimitKey::default(),
            ipv6_prefix: None,
            missing_key: MissingKeyKind::default(),
            cost: None,
            costs: Vec::new(),
            tiers: Vec::new(),
            exempt: IpSet::empty(),
            exempt_paths: Vec::new(),
            only_paths: Vec::new(),
            count: CountKind::default(),
            settle_in_handler: false,
            fields: None,
            fields_on_redirects: false,
            exposed_fields: false,
            partition_key: false,
            legacy_fields: None,
            retry_after: None,
            retry_after_at_least: None,
            retry_jitter: None,
            status: None,
            near_limit: None,
            max_keys: None,
            width: None,
            dry_run: false,
        }
    }

    /// Returns whether the limit can only be decided when the API key is known.
    fn needs_identity(&self) -> bool {
        #[cfg(feature = "secrets")]
        let by_tier = self
            .tiers
            .iter()
            .any(|it| it.scope.is_some() || it.api_key.is_some());
        #[cfg(not(feature = "secrets"))]
        let by_tier = false;
        by_tier || self.key.is_by_api_key()
    }

    /// Makes the sets of the limit and of its tiers.
    fn sets(&self, path: &str, faults: &mut Faults) -> Option<(QuotaSet, Vec<QuotaSet>)> {
        let quotas = QuotaSet::new(self.quotas.iter().cloned());
        let quotas = faults.take(&format!("{path}.quotas"), quotas);
        let mut tiers = Vec::new();
        for (index, tier) in self.tiers.iter().enumerate() {
            let set = QuotaSet::new(tier.quotas.iter().cloned());
            tiers.extend(faults.take(&format!("{path}.tiers[{index}].quotas"), set));
        }
        (tiers.len() == self.tiers.len()).then_some(())?;
        Some((quotas?, tiers))
    }

    fn make(
        &self,
        path: &str,
        surroundings: &Surroundings,
        faults: &mut Faults,
    ) -> Option<LiveLimit> {
        for (index, tier) in self.tiers.iter().enumerate() {
            tier.check(&format!("{path}.tiers[{index}]"), faults);
        }
        let key = self
            .key
            .make(path, self.ipv6_prefix, self.missing_key, faults);
        if self.retry_after == Some(false) {
            for (name, is_set) in [
                ("retry_after_at_least", self.retry_after_at_least.is_some()),
                ("retry_jitter", self.retry_jitter.is_some()),
            ] {
                if is_set {
                    faults.add(
                        format!("{path}.{name}"),
                        format_args!(
                            "contradicts {path}.retry_after = false: leave one of them out"
                        ),
                    );
                }
            }
        }
        self.check_fields(path, faults);
        let (quotas, sets) = self.sets(path, faults)?;
        let widest = sets.iter().chain([&quotas]).map(QuotaSet::len).max();
        let widest = widest.unwrap_or(1);
        let width = self.width.unwrap_or(widest);
        if width < widest {
            faults.add(
                format!("{path}.width"),
                format_args!("{width} is less than the {widest} quotas that there are: raise it, or leave it out"),
            );
            return None;
        }
        self.check_costs(path, &quotas, &sets, faults);

        let mut builder = RateLimit::builder(quotas).key(key).width(width);
        if let Some(clock) = &surroundings.clock {
            builder = builder.shared_clock(Arc::clone(clock));
        }
        #[cfg(feature = "redis")]
        if let Some(shared) = &surroundings.store {
            builder = builder
                .shared(&shared.store, name_in_store(&shared.name, path))
                .on_store_failure(shared.on_failure);
        }
        builder = self.add_costs(builder);
        let tiers = (!sets.is_empty()).then(|| Arc::new(ArcSwap::from_pointee(sets)));
        if let Some(live) = &tiers {
            let (live, rules) = (Arc::clone(live), self.tiers.clone());
            builder = builder.tiers(move |head| {
                let position = rules.iter().position(|it| it.takes(head))?;
                live.load().get(position).cloned()
            });
        }
        if !self.exempt.is_empty() {
            builder = builder.exempt_addresses(self.exempt.clone());
        }
        if !self.exempt_paths.is_empty() {
            let paths = self.exempt_paths.clone();
            builder = builder.exempt(move |head| takes(&paths, head));
        }
        if !self.only_paths.is_empty() {
            let paths = self.only_paths.clone();
            builder = builder.exempt(move |head| {
                // What is not on the list is let off: whatever may be on it is not.
                !paths.iter().any(|it| it.may_match(head.uri().path()))
            });
        }
        builder = self.add_answers(builder);
        if let Some(percent) = self.near_limit {
            if !(1..=100).contains(&percent) {
                faults.add(format!("{path}.near_limit"), "must be from 1 to 100");
                return None;
            }
            builder = builder.near_limit(percent);
        }
        if let Some(max_keys) = self.max_keys {
            builder = builder.max_keys(max_keys);
        }
        // What is left to be refused is about the size of the table.
        let limit = faults.take(&format!("{path}.max_keys"), builder.build())?;
        Some(LiveLimit {
            limit,
            width,
            tiers,
        })
    }

    /// Refuses what is of no use without fields: whoever wrote it expects them.
    fn check_fields(&self, path: &str, faults: &mut Faults) {
        let has_standard = self.fields.is_some();
        let has_any = has_standard || self.legacy_fields.is_some();
        for (key, is_set, has_use) in [
            ("fields_on_redirects", self.fields_on_redirects, has_any),
            ("exposed_fields", self.exposed_fields, has_any),
            ("partition_key", self.partition_key, has_standard),
        ] {
            if is_set && !has_use {
                faults.add(
                    format!("{path}.{key}"),
                    format_args!("needs {path}.fields = \"draft11\""),
                );
            }
        }
    }

    /// Refuses a cost that no client could ever pay.
    fn check_costs(&self, path: &str, quotas: &QuotaSet, tiers: &[QuotaSet], faults: &mut Faults) {
        let sets = tiers.iter().chain([quotas]);
        let capacity = sets.map(QuotaSet::max_cost).max().unwrap_or(0);
        let costs = self.costs.iter().enumerate();
        let costs = costs.map(|(index, it)| (format!("{path}.costs[{index}].cost"), it.cost));
        let own = self.cost.map(|cost| (format!("{path}.cost"), cost));
        for (key, cost) in own.into_iter().chain(costs) {
            if capacity < cost {
                faults.add(
                    key,
                    format_args!("{cost} is above the capacity {capacity} and would never be admitted: lower it, or raise the burst of the quotas"),
                );
            }
        }
    }

    /// Adds what is about responses.
    fn add_answers(&self, mut builder: RateLimitBuilder) -> RateLimitBuilder {
        builder = match self.count {
            CountKind::All => builder,
            CountKind::Failures => builder.count_failures_only(),
            CountKind::NotRefused => builder.uncount_refused(),
            CountKind::Successes => builder.count_successes_only(),
        };
        if self.settle_in_handler {
            builder = builder.settle_in_handler();
        }
        if let Some(FieldsKind::Draft11) = self.fields {
            builder = builder.standard_fields(StandardFields::Draft11);
        }
        if self.fields_on_redirects {
            builder = builder.fields_on_redirects();
        }
        if self.exposed_fields {
            builder = builder.exposed_fields();
        }
        if self.partition_key {
            builder = builder.partition_key();
        }
        builder = match self.legacy_fields {
            None => builder,
            Some(LegacyKind::Delta) => builder.legacy_fields(LegacyReset::Delta),
            Some(LegacyKind::Epoch) => builder.legacy_fields(LegacyReset::Epoch),
        };
        if self.retry_after == Some(false) {
            builder = builder.without_retry_after();
        }
        if let Some(Period(at_least)) = self.retry_after_at_least {
            builder = builder.retry_after_at_least(at_least);
        }
        if let Some(Period(jitter)) = self.retry_jitter {
            builder = builder.retry_jitter(jitter);
        }
        if let Some(status) = self.status {
            builder = builder.status(status.0);
        }
        builder
    }

    fn add_costs(&self, builder: RateLimitBuilder) -> RateLimitBuilder {
        if self.costs.is_empty() {
            return match self.cost {
                Some(cost) => builder.cost(cost),
                None => builder,
            };
        }
        let (costs, otherwise) = (self.costs.clone(), self.cost.unwrap_or(1));
        builder.cost_by(move |head| {
            let found = costs.iter().find(|it| it.takes(head, otherwise));
            found.map_or(otherwise, |it| it.cost)
        })
    }
}

impl CostConfig {
    /// Returns whether the entry tells what a request costs that would cost so much otherwise. A disguise makes nothing cheaper.
    fn takes(&self, head: &RequestHead<'_>, otherwise: u32) -> bool {
        let path = head.uri().path();
        let is_path = if otherwise < self.cost {
            self.path.may_match(path)
        } else {
            self.path.matches(path)
        };
        is_path && (self.methods.is_empty() || self.methods.iter().any(|it| it.0 == head.method()))
    }
}

impl TierConfig {
    fn check(&self, path: &str, faults: &mut Faults) {
        let conditions = usize::from(self.header.is_some());
        #[cfg(feature = "secrets")]
        let conditions =
            conditions + usize::from(self.scope.is_some()) + usize::from(self.api_key.is_some());
        if conditions != 1 {
            let allowed = if cfg!(feature = "secrets") {
                "scope, api_key or header"
            } else {
                "header"
            };
            faults.add(
                path,
                format_args!("must say whose it is, by exactly one of {allowed}"),
            );
        }
        if self.header.is_some() != self.value.is_some() {
            faults.add(path, "header and value belong together: name both");
        }
    }

    fn takes(&self, head: &RequestHead<'_>) -> bool {
        #[cfg(feature = "secrets")]
        {
            let identity = head.extensions().get::<ApiKeyIdentity>();
            if let Some(scope) = &self.scope {
                return identity.is_some_and(|it| it.has_scope(scope));
            }
            if let Some(id) = &self.api_key {
                return identity.is_some_and(|it| it.id() == id);
            }
        }
        let (Some(header), Some(value)) = (&self.header, &self.value) else {
            return false;
        };
        head.headers().get_all(&header.0).iter().eq([&value.0])
    }
}

/// Returns the name of a limit in a shared store: that of `rate_limit.limits[2]` is the common one and `.2`.
#[cfg(feature = "redis")]
fn name_in_store(common: &str, path: &str) -> String {
    let index: String = path.chars().filter(char::is_ascii_digit).collect();
    if index.is_empty() {
        return common.to_owned();
    }
    format!("{common}.{index}")
}

fn takes(paths: &[PathPattern], head: &RequestHead<'_>) -> bool {
    paths.iter().any(|it| it.matches(head.uri().path()))
}
