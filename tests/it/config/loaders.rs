//! Whatever reads text into serde's data model reads the configuration.

use palisade::config::SecurityConfig;

use super::parse;

/// One configuration in TOML.
const TOML: &str = r#"
[client_ip]
source = "x_forwarded_for"
trusted_proxies = ["10.0.0.2", "loopback"]
max_bytes = "4 KiB"

[ip_filter]
deny = ["198.51.100.0/24"]

[rate_limit]
quotas = ["50/second burst 100", {quota = "5000/hour", name = "hour"}]

[[rate_limit.limits]]
quotas = ["5/minute"]
key = ["client_ip", "method"]
only_paths = ["/login"]
count = "failures"

[jail]
enabled = true
ban_time = "15m"
rules = [{status = 401, limit = 10, within = "10m"}]

[https]
mode = "reject"

[https.hsts]
max_age = "365d"
"#;

/// The same in JSON.
const JSON: &str = r#"{
    "client_ip": {"source": "x_forwarded_for", "trusted_proxies": ["10.0.0.2", "loopback"], "max_bytes": "4 KiB"},
    "ip_filter": {"deny": "198.51.100.0/24"},
    "rate_limit": {
        "quotas": ["50/second burst 100", {"quota": "5000/hour", "name": "hour"}],
        "limits": [{"quotas": ["5/minute"], "key": "client_ip, method", "only_paths": ["/login"], "count": "failures"}]
    },
    "jail": {"enabled": true, "ban_time": "15m", "rules": [{"status": 401, "limit": 10, "within": "10m"}]},
    "https": {"mode": "reject", "hsts": {"max_age": "365d"}}
}"#;

/// The same in YAML.
const YAML: &str = r"
client_ip:
  source: x_forwarded_for
  trusted_proxies: [10.0.0.2, loopback]
  max_bytes: 4 KiB
ip_filter:
  deny:
    - 198.51.100.0/24
rate_limit:
  quotas:
    - 50/second burst 100
    - quota: 5000/hour
      name: hour
  limits:
    - quotas: [5/minute]
      key: [client_ip, method]
      only_paths: [/login]
      count: failures
jail:
  enabled: true
  ban_time: 15m
  rules:
    - {status: 401, limit: 10, within: 10m}
https:
  mode: reject
  hsts: {max_age: 365d}
";

#[test]
fn toml_json_and_yaml_say_the_same() {
    let expected = parse(TOML).unwrap();
    let json: SecurityConfig = serde_json::from_str(JSON).unwrap();
    assert_eq!(json, expected);
    let yaml: SecurityConfig = serde_norway::from_str(YAML).unwrap();
    assert_eq!(yaml, expected);
    assert!(expected.build().is_ok());
}

#[test]
fn json_and_yaml_name_the_path_as_well() {
    let mut json = serde_json::Deserializer::from_str(
        r#"{"client_ip": {"source": "peer"}, "rate_limit": {"quotas": ["x"]}}"#,
    );
    let error = serde_path_to_error::deserialize::<_, SecurityConfig>(&mut json).unwrap_err();
    assert_eq!(error.path().to_string(), "rate_limit.quotas[0]");
    let yaml =
        serde_norway::Deserializer::from_str("client_ip: {source: peer}\njail: {ban_tim: 1m}");
    let error = serde_path_to_error::deserialize::<_, SecurityConfig>(yaml).unwrap_err();
    assert!(error.to_string().contains("ban_tim"), "{error}");
    assert!(
        error.path().to_string().starts_with("jail"),
        "{}",
        error.path()
    );
}

#[test]
fn the_environment_goes_over_a_file() {
    let environment = [
        ("APP__CLIENT_IP__TRUSTED_PROXIES", "10.0.0.3, 10.0.0.4"),
        ("APP__JAIL__BAN_TIME", "1h"),
        ("APP__JAIL__ENABLED", "false"),
        ("APP__IP_FILTER__DENY", "203.0.113.0/24,private"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let overlay = config::Environment::with_prefix("APP")
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true)
        .source(Some(environment.into_iter().collect()));
    let loaded = config::Config::builder()
        .add_source(config::File::from_str(TOML, config::FileFormat::Toml))
        .add_source(overlay)
        .build()
        .unwrap();
    let loaded: SecurityConfig = loaded.try_deserialize().unwrap();

    let mut expected = parse(TOML).unwrap();
    expected.client_ip.trusted_proxies = "10.0.0.3, 10.0.0.4".parse().unwrap();
    expected.jail.ban_time.0 = std::time::Duration::from_secs(3600);
    expected.jail.enabled = Some(false);
    let other = parse(
        "[client_ip]\nsource = \"peer\"\n[ip_filter]\ndeny = [\"private\", \"203.0.113.0/24\"]",
    );
    expected.ip_filter.deny = other.unwrap().ip_filter.deny;
    assert_eq!(loaded, expected);
}

#[test]
fn what_is_not_said_is_the_default() {
    use palisade::config::SourceKind;
    let smallest = parse("[client_ip]\nsource = \"peer\"").unwrap();
    assert_eq!(smallest, SecurityConfig::new(SourceKind::Peer));
    // A section that is there and says nothing changes nothing.
    let sections = palisade::config::SECTIONS
        .iter()
        .filter(|it| !["client_ip", "in_flight"].contains(it));
    let sections: Vec<_> = sections.map(|section| format!("[{section}]")).collect();
    let sections = sections.join("\n");
    let empty = parse(&format!("[client_ip]\nsource = \"peer\"\n{sections}")).unwrap();
    assert_eq!(empty, smallest);
}

#[test]
fn the_list_of_sections_is_complete() {
    let error = parse("[client_ip]\nsource = \"peer\"\n[nothing]").unwrap_err();
    let (_, known) = error.split_once("expected one of ").unwrap();
    let mut known: Vec<_> = known.split(", ").map(|it| it.trim_matches('`')).collect();
    known.sort_unstable();
    assert_eq!(known, palisade::config::SECTIONS);
}

#[test]
fn times_and_sizes_are_written_as_they_are_read() {
    use palisade::config::{Period, Size};
    use std::time::Duration;
    for (text, period) in [
        ("15m", Duration::from_secs(900)),
        ("1h 30m", Duration::from_secs(5400)),
        ("500ms", Duration::from_millis(500)),
    ] {
        let read: Period = serde_json::from_value(text.into()).unwrap();
        assert_eq!(read.0, period);
        assert_eq!(read.to_string(), text);
    }
    for (text, size) in [
        ("512 B", 512),
        ("8 KiB", 8192),
        ("1 MiB", 1 << 20),
        ("1 MB", 1_000_000),
    ] {
        let read: Size = serde_json::from_value(text.into()).unwrap();
        assert_eq!(read.0, size, "{text}");
        let again: Size = serde_json::from_value(read.to_string().into()).unwrap();
        assert_eq!(again, read, "{read}");
    }
}
