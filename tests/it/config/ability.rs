//! All that the builders can do is reached from text, or there is a reason why not: the lists below are compared with the code and the schema.

use std::{collections::BTreeSet, fs, path::Path};

use palisade::config::SCHEMA;
use serde_json::Value;

/// How an ability is reached.
enum Reach {
    /// By the key with this path, where `[]` stands for each entry of a list.
    Key(&'static str),
    /// Not from text.
    Code(&'static str),
}

use Reach::{Code, Key};

const CLOSURE: Reach = Code("a closure is code");
const CLOCK: Reach = Code("clocks are for tests: Surroundings::with_clock");
const SINK: Reach = Code("sinks are code: Surroundings::with_sink");
const STORE: Reach = Code("a store has secrets: Surroundings::with_store");
const START: Reach = Code("makes the thing itself");
const READ: Reach = Code("changes nothing");

const ABILITIES: &[(&str, &[(&str, Reach)])] = &[
    (
        "security/builder.rs",
        &[
            ("allow", Key("ip_filter.allow")),
            ("api_keys", Key("api_keys.required")),
            ("build", START),
            ("builder", Key("client_ip.source")),
            ("check_duration", Key("metrics.check_duration")),
            ("clock", CLOCK),
            ("deny", Key("ip_filter.deny")),
            ("hosts", Key("https.hosts")),
            ("https", Key("https.mode")),
            ("jail", Key("jail.enabled")),
            ("limit", Key("rate_limit.limits")),
            ("peer", CLOSURE),
            (
                "policy",
                Code("policies of one's own are code: Assembled::builder"),
            ),
            ("rate_limit", Key("rate_limit.quotas")),
            ("responder", Code("responders are code: Assembled::builder")),
            ("response_headers", Key("response_headers.preset")),
            ("scheme", Key("https.scheme")),
            ("shared_rate_limit", STORE),
            ("sink", SINK),
            (
                "without_untrusted_headers",
                Key("client_ip.remove_untrusted_headers"),
            ),
        ],
    ),
    (
        "client_ip/proxies.rs",
        &[
            (
                "dangerous_trust_everyone",
                Key("client_ip.dangerous_trust_everyone"),
            ),
            ("from_list", Key("client_ip.trusted_proxies_file")),
            ("hops", Key("client_ip.trusted_hops")),
            ("new", Key("client_ip.trusted_proxies")),
            ("none", Key("client_ip.trusted_proxies")),
            ("trusts", READ),
            ("with_max_bytes", Key("client_ip.max_bytes")),
            ("with_max_entries", Key("client_ip.max_entries")),
            ("with_peers", Key("client_ip.trusted_peers")),
            ("with_unix_sockets", Key("client_ip.trust_unix_sockets")),
        ],
    ),
    (
        "ip_filter/allowlist.rs",
        &[
            ("new", Key("ip_filter.lists[].kind")),
            (
                "with_proxies_behind_proxies",
                Key("ip_filter.lists[].proxies_behind_proxies"),
            ),
            ("with_status", Key("ip_filter.lists[].status")),
            ("with_subject", Key("ip_filter.lists[].subject")),
            ("with_unix_sockets", Key("ip_filter.lists[].unix_sockets")),
        ],
    ),
    (
        "ip_filter/denylist.rs",
        &[
            ("new", Key("ip_filter.lists[].kind")),
            ("with_status", Key("ip_filter.lists[].status")),
            ("with_subject", Key("ip_filter.lists[].subject")),
            ("with_unix_sockets", Key("ip_filter.lists[].unix_sockets")),
            (
                "with_unknown_clients",
                Key("ip_filter.lists[].unknown_clients"),
            ),
        ],
    ),
    (
        "ip_set/file.rs",
        &[
            ("failure", READ),
            ("line", READ),
            ("list", READ),
            ("open", Key("ip_filter.lists[].file")),
            ("path", READ),
            ("poll", Key("ip_filter.reload")),
            ("reload", Code("Reloader::reload_files")),
            ("with_clock", CLOCK),
            ("with_host_bits", Key("ip_filter.lists[].host_bits")),
            ("with_max_bytes", Key("ip_filter.lists[].max_bytes")),
            ("with_sink", SINK),
        ],
    ),
    (
        "host/allowed.rs",
        &[
            ("contains", READ),
            ("new", Key("https.hosts")),
            ("with_forwarded_host", Key("https.forwarded_host")),
            ("with_peer", CLOSURE),
        ],
    ),
    (
        "https/policy.rs",
        &[
            ("new", START),
            ("redirect_to", Key("https.redirect_host")),
            ("reject", Key("https.mode")),
            ("scheme_source", READ),
            ("split_hsts", Code("the facade does")),
            ("with_credential_header", Key("https.credential_headers")),
            ("with_exempt_path", Key("https.exempt_paths")),
            (
                "with_fingerprint_key",
                Code("a key is a secret: Assembled::builder"),
            ),
            ("with_hsts", Key("https.hsts")),
            ("with_peer", CLOSURE),
            (
                "with_redirect_for_browsers_only",
                Key("https.redirect_browsers_only"),
            ),
            ("with_redirected_methods", Key("https.redirected_methods")),
            ("with_scheme_from_context", Code("the facade does")),
            ("with_temporary_redirect", Key("https.temporary_redirect")),
        ],
    ),
    (
        "https/hsts.rs",
        &[
            ("new", Key("https.hsts.max_age")),
            ("off", Key("https.hsts.max_age")),
            ("one_year", Key("https.hsts.max_age")),
            ("two_years", Key("https.hsts.max_age")),
            ("value", READ),
            ("with_localhost", Key("https.hsts.localhost")),
            ("with_preload", Key("https.hsts.preload")),
            ("with_subdomains", Key("https.hsts.subdomains")),
            ("without_host", Key("https.hsts.without_hosts")),
        ],
    ),
    (
        "https/target.rs",
        &[
            (
                "dangerous_requested_host",
                Key("https.dangerous_redirect_to_requested_host"),
            ),
            ("with_port", Key("https.redirect_host")),
        ],
    ),
    (
        "rate_limit/builder.rs",
        &[
            ("build", START),
            ("builder", START),
            ("clock", CLOCK),
            ("cost", Key("rate_limit.limits[].cost")),
            ("cost_by", Key("rate_limit.limits[].costs[].cost")),
            ("count_failures_only", Key("rate_limit.limits[].count")),
            ("count_successes_only", Key("rate_limit.limits[].count")),
            ("exempt", Key("rate_limit.limits[].exempt_paths")),
            ("exposed_fields", Key("rate_limit.limits[].exposed_fields")),
            (
                "fields_on_redirects",
                Key("rate_limit.limits[].fields_on_redirects"),
            ),
            ("on_store_failure", STORE),
            ("partition_key", Key("rate_limit.limits[].partition_key")),
            ("remembered_refusals", STORE),
            ("shared", STORE),
            ("exempt_addresses", Key("rate_limit.limits[].exempt")),
            ("key", Key("rate_limit.limits[].key")),
            ("legacy_fields", Key("rate_limit.limits[].legacy_fields")),
            ("max_keys", Key("rate_limit.limits[].max_keys")),
            ("near_limit", Key("rate_limit.limits[].near_limit")),
            ("new", START),
            (
                "retry_after_at_least",
                Key("rate_limit.limits[].retry_after_at_least"),
            ),
            ("retry_jitter", Key("rate_limit.limits[].retry_jitter")),
            ("settle_by", CLOSURE),
            (
                "settle_in_handler",
                Key("rate_limit.limits[].settle_in_handler"),
            ),
            ("standard_fields", Key("rate_limit.limits[].fields")),
            ("status", Key("rate_limit.limits[].status")),
            ("tiers", Key("rate_limit.limits[].tiers[].quotas")),
            ("uncount_if", CLOSURE),
            ("uncount_refused", Key("rate_limit.limits[].count")),
            ("width", Key("rate_limit.limits[].width")),
            (
                "without_retry_after",
                Key("rate_limit.limits[].retry_after"),
            ),
        ],
    ),
    (
        "in_flight/policy.rs",
        &[
            ("keys_in_flight", READ),
            ("new", Key("in_flight.limit")),
            ("with_key", Key("in_flight.key")),
            ("with_max_keys", Key("in_flight.max_keys")),
            ("with_overload", Key("in_flight.overload")),
        ],
    ),
    (
        "policy/dry_run.rs",
        &[("new", Key("rate_limit.limits[].dry_run"))],
    ),
    (
        "jail/builder.rs",
        &[
            ("ban_time", Key("jail.ban_time")),
            ("build", START),
            ("builder", Key("jail.enabled")),
            ("clock", CLOCK),
            ("exempt", Key("jail.exempt")),
            ("file", Key("jail.file")),
            ("max_bans", Key("jail.max_bans")),
            ("max_counters", Key("jail.max_counters")),
            ("random", CLOSURE),
            ("retry_after", Key("jail.retry_after")),
            ("rule", Key("jail.rules")),
            ("shared", STORE),
            ("sink", SINK),
            ("status", Key("jail.status")),
            ("traps", Key("jail.traps")),
        ],
    ),
    (
        "jail/rule.rs",
        &[
            ("action", Key("jail.rules[].action")),
            ("name", READ),
            ("status", Key("jail.rules[].status")),
            ("when", CLOSURE),
            ("with_ban_time", Key("jail.rules[].ban_time")),
            ("with_limit", Key("jail.rules[].limit")),
            ("with_name", Key("jail.rules[].name")),
            ("with_reset", CLOSURE),
            ("within", Key("jail.rules[].within")),
        ],
    ),
    (
        "jail/ban_time.rs",
        &[
            ("new", Key("jail.ban_time")),
            ("with_growth", Key("jail.ban_growth")),
            ("with_jitter", Key("jail.ban_jitter")),
            ("with_max", Key("jail.max_ban_time")),
            ("with_memory", Key("jail.memory")),
        ],
    ),
    (
        "jail/trap.rs",
        &[
            ("common", Key("jail.traps")),
            ("is_touched_by", READ),
            ("new", START),
            ("with_ban_time", Key("jail.trap_ban_time")),
            ("with_path", Key("jail.traps")),
        ],
    ),
    (
        "api_key/policy.rs",
        &[
            ("new", START),
            ("with_header", Key("api_keys.header")),
            ("with_header_only", Key("api_keys.bearer")),
            ("with_name", Key("api_keys.name")),
            ("with_realm", Key("api_keys.realm")),
            ("with_scope", Key("api_keys.scope")),
        ],
    ),
    (
        "response_headers.rs",
        &[
            ("api", Key("response_headers.preset")),
            ("html", Key("response_headers.preset")),
            ("new", START),
            ("none", Key("response_headers.preset")),
            ("removing", Key("response_headers.remove")),
            ("with", Key("response_headers.set")),
            ("with_override", Key("response_headers.set_always")),
            ("without", Key("response_headers.without")),
        ],
    ),
    (
        "event/flood.rs",
        &[
            ("new", Key("events.flood_control")),
            ("suppressed", READ),
            ("with_budget", Key("events.per_second")),
            ("with_capacity", Key("events.capacity")),
            ("with_clock", CLOCK),
            ("with_window", Key("events.window")),
        ],
    ),
    (
        "event/privacy.rs",
        &[
            ("new", Key("events.privacy")),
            ("truncated", Key("events.truncate_ipv4")),
        ],
    ),
];

/// The public methods of a file.
fn methods(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = fs::read_to_string(path).unwrap();
    let found = text.lines().filter_map(|line| {
        let line = line.strip_prefix("    pub ")?;
        let line = line.strip_prefix("const ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?;
        name.split(['(', '<']).next().map(str::to_owned)
    });
    found.collect()
}

#[test]
fn every_ability_of_the_builders_is_accounted_for() {
    for (file, abilities) in ABILITIES {
        let listed: BTreeSet<_> = abilities.iter().map(|it| it.0.to_owned()).collect();
        assert_eq!(methods(file), listed, "{file}");
    }
}

#[test]
fn every_key_that_is_said_to_reach_an_ability_is_in_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for (file, abilities) in ABILITIES {
        for (method, reach) in *abilities {
            match reach {
                Key(path) => assert!(is_key(&schema, path), "{file} {method}: no key {path}"),
                Code(why) => assert!(!why.is_empty()),
            }
        }
    }
    assert!(!is_key(&schema, "rate_limit.limits[].nothing"));
}

/// Returns whether the schema has a key of that path.
fn is_key(schema: &Value, path: &str) -> bool {
    let mut found = vec![schema];
    for word in path.split('.') {
        let (key, is_list) = match word.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (word, false),
        };
        found = found
            .iter()
            .flat_map(|it| alternatives(schema, it))
            .collect();
        found = found
            .iter()
            .filter_map(|it| it.get("properties")?.get(key))
            .collect();
        if is_list {
            found = found
                .iter()
                .flat_map(|it| alternatives(schema, it))
                .collect();
            found = found.iter().filter_map(|it| it.get("items")).collect();
        }
    }
    !found.is_empty()
}

/// Follows references, and spreads what may be one of several.
fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#'));
        return target.map_or_else(Vec::new, |it| alternatives(root, it));
    }
    let any = schema.get("anyOf").and_then(Value::as_array);
    any.map_or_else(
        || vec![schema],
        |any| any.iter().flat_map(|it| alternatives(root, it)).collect(),
    )
}
