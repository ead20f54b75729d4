//! The settings: defaults, then the TOML file, then the environment.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use palisade::rate_limit::Quota;
use serde::{Deserialize, Deserializer, de::Error as _};

/// What every environment variable of the service begins with.
const PREFIX: &str = "API__";

/// All settings. An unknown key is an error: a misspelt protection is no protection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) tls: Tls,
    pub(crate) log: Log,
    pub(crate) client_ip: ClientIp,
    pub(crate) ip_filter: IpFilter,
    pub(crate) https: Https,
    pub(crate) rate_limit: RateLimit,
    pub(crate) redis: Redis,
    pub(crate) api_keys: ApiKeys,
    pub(crate) jail: Jail,
    pub(crate) admin: Admin,
}

/// The listener and its limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// The address to listen on.
    pub(crate) listen: SocketAddr,
    /// How long a client may take to send the head of a request.
    #[serde(with = "humantime_serde")]
    pub(crate) header_read_timeout: Duration,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub(crate) request_timeout: Duration,
    /// How large the body of a request may be.
    pub(crate) body_limit: ByteSize,
    /// How many connections may be open at a time.
    pub(crate) max_connections: usize,
    /// How long requests in flight may take to end once the service is told to stop.
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_grace: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            header_read_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            body_limit: ByteSize::kib(64),
            max_connections: 1024,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: LogLevel::Info,
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// TLS that the service terminates itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate chain, a PEM file. With it the address of `[server]` speaks TLS.
    pub(crate) certificate: Option<PathBuf>,
    /// The key of the certificate, a PEM file.
    pub(crate) key: Option<PathBuf>,
    /// A second address, for plain text, where requests are redirected or refused as `[https]` says.
    pub(crate) plain_listen: Option<SocketAddr>,
    /// How often the files are looked at for a new certificate.
    #[serde(with = "humantime_serde")]
    pub(crate) reload: Duration,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            plain_listen: None,
            reload: Duration::from_secs(10),
        }
    }
}

/// Who is calling, and whom the service believes about that.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientIp {
    pub(crate) source: Source,
    /// The header of the source "header".
    pub(crate) header: Option<String>,
    /// The proxies whose forwarding headers are believed: addresses and networks.
    pub(crate) trusted_proxies: Vec<String>,
}

/// Where the client's address is read from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    Forwarded,
    Header,
    #[default]
    Peer,
    XForwardedFor,
}

/// Who may come at all.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IpFilter {
    pub(crate) allow: Vec<String>,
    pub(crate) allow_file: Option<PathBuf>,
    pub(crate) deny: Vec<String>,
    pub(crate) deny_file: Option<PathBuf>,
    /// How often the files are looked at for a new list.
    #[serde(with = "humantime_serde")]
    pub(crate) reload: Duration,
}

impl Default for IpFilter {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_file: None,
            deny: Vec::new(),
            deny_file: None,
            reload: Duration::from_secs(5),
        }
    }
}

/// What happens to requests over plain text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Https {
    /// Without it: redirected where the service has a certificate and a host, refused where it has a certificate alone, and let pass otherwise.
    pub(crate) mode: Option<HttpsMode>,
    pub(crate) scheme: SchemeFrom,
    /// The host, and port where it is not 443, that `GET` and `HEAD` requests are redirected to. All others are refused.
    pub(crate) redirect_host: Option<String>,
    /// The hosts the service is known by; requests for others are refused. None: any.
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HttpsMode {
    /// Plain text is let pass.
    Off,
    Redirect,
    Reject,
}

/// Where the scheme of a request is read from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SchemeFrom {
    Forwarded,
    #[default]
    Listener,
    XForwardedProto,
}

/// How often a client may come.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// All of them hold at once.
    #[serde(deserialize_with = "parsed_list")]
    pub(crate) quotas: Vec<Quota>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            quotas: vec![Quota::per_second(20).with_burst(40), Quota::per_hour(5_000)],
        }
    }
}

/// The store in which instances share limits and bans. The password and the key of the hash are the secrets `REDIS_PASSWORD` and
/// `REDIS_HASH_KEY`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redis {
    /// The address. None: each instance counts by itself.
    pub(crate) url: Option<String>,
    /// The user of the store's ACL.
    pub(crate) username: Option<String>,
    /// How long a decision may take.
    #[serde(with = "humantime_serde")]
    pub(crate) deadline: Duration,
    /// What becomes of requests while the store is away.
    pub(crate) on_failure: OnFailure,
    /// By how many instances quotas are divided then.
    pub(crate) expected_instances: u32,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnFailure {
    /// They pass, uncounted.
    Allow,
    /// They are refused with 503.
    Deny,
    /// Each instance counts by itself, with its share of the quotas.
    Fallback,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            deadline: Duration::from_millis(50),
            on_failure: OnFailure::Fallback,
            expected_instances: 2,
        }
    }
}

/// Who has a key. The keys themselves are the secret `API_KEYS`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKeys {
    /// Whether requests need one.
    pub(crate) required: bool,
    /// How often the secret is looked at for new keys.
    #[serde(with = "humantime_serde")]
    pub(crate) reload: Duration,
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self {
            required: true,
            reload: Duration::from_secs(10),
        }
    }
}

/// Automatic bans.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Jail {
    pub(crate) enabled: bool,
    /// How long a first ban lasts; further ones take longer.
    #[serde(with = "humantime_serde")]
    pub(crate) ban_time: Duration,
    /// Addresses that are never banned, beside loopback and the trusted proxies.
    pub(crate) exempt: Vec<String>,
    /// Where bans are kept over a restart.
    pub(crate) file: Option<PathBuf>,
}

impl Default for Jail {
    fn default() -> Self {
        Self {
            enabled: true,
            ban_time: Duration::from_secs(600),
            exempt: Vec::new(),
            file: None,
        }
    }
}

/// The listener for metrics and administration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// The address to listen on. None: no such listener.
    pub(crate) listen: Option<SocketAddr>,
    /// Who may come there.
    pub(crate) allow: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: None,
            allow: vec!["127.0.0.0/8".into(), "::1".into()],
        }
    }
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// One line that names the place, the setting and what is allowed.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, String> {
        Self::load_with(
            file,
            std::env::vars_os().filter_map(|(name, value)| {
                // Other variables need not be UTF-8 and are none of ours.
                let name = name.into_string().ok()?;
                Some((name, value.into_string().ok()))
            }),
        )
    }

    fn load_with(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, Option<String>)>,
    ) -> Result<Self, String> {
        let mut place = String::from("default settings");
        let mut table = toml::Table::new();
        if let Some(path) = file {
            place = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{place}: cannot be read: {error}"))?;
            // The file alone first, so that its errors name its lines.
            table = toml::from_str(&text).map_err(|error| in_one_line(&place, &error))?;
            Self::from_table(table.clone()).map_err(|error| format!("{place}: {error}"))?;
        }
        for (name, value) in environment {
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let value = value.ok_or_else(|| format!("{name}: is not UTF-8"))?;
            set(&mut table, &path.to_ascii_lowercase(), &value)
                .map_err(|error| format!("{name}: {error}"))?;
            place = format!("{place} and environment variable {name}");
        }
        let config = Self::from_table(table).map_err(|error| format!("{place}: {error}"))?;
        config
            .check()
            .map_err(|error| format!("{place}: {error}"))?;
        Ok(config)
    }

    fn from_table(table: toml::Table) -> Result<Self, String> {
        serde_path_to_error::deserialize(table).map_err(|error| {
            let path = error.path().to_string();
            let message = error.inner().to_string();
            let message = message.lines().collect::<Vec<_>>().join(" ");
            match path.as_str() {
                "." => message,
                path => format!("{path}: {message}"),
            }
        })
    }

    /// Refuses values that a type alone cannot refuse.
    fn check(&self) -> Result<(), String> {
        let server = &self.server;
        for (name, value) in [
            ("server.header_read_timeout", server.header_read_timeout),
            ("server.request_timeout", server.request_timeout),
            ("tls.reload", self.tls.reload),
            ("ip_filter.reload", self.ip_filter.reload),
            ("api_keys.reload", self.api_keys.reload),
            ("jail.ban_time", self.jail.ban_time),
        ] {
            if value.is_zero() {
                return Err(format!("{name}: must be longer than 0s"));
            }
        }
        if server.max_connections == 0 {
            return Err("server.max_connections: must be at least 1".into());
        }
        if self.rate_limit.quotas.is_empty() {
            return Err("rate_limit.quotas: must name at least one quota, as \"20/second\"".into());
        }
        Ok(())
    }
}

/// Puts one environment variable into the table: `server__listen` is `listen` of `[server]`.
fn set(table: &mut toml::Table, path: &str, value: &str) -> Result<(), String> {
    let Some((section, key)) = path.split_once("__") else {
        return Err(format!(
            "has the form {PREFIX}SECTION__KEY, as {PREFIX}SERVER__LISTEN"
        ));
    };
    let section = table
        .entry(section)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let Some(section) = section.as_table_mut() else {
        return Err("names something that is no section".into());
    };
    // Numbers, booleans and lists are written as in TOML; whatever is none of them is a string.
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    section.insert(key.to_owned(), parsed);
    Ok(())
}

fn in_one_line(place: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    format!("{place}: {message}")
}

/// Reads a list of values that are written as strings.
fn parsed_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: Display>,
{
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file.as_bytes()).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
        Config::load_with(Some(path.path()), environment)
    }

    #[track_caller]
    fn check_error(file: &str, environment: &[(&str, &str)], parts: &[&str]) {
        let error = load(file, environment).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
        for part in parts {
            assert!(error.contains(part), "{error:?} does not contain {part:?}");
        }
    }

    #[test]
    fn defaults_are_valid() {
        let config = Config::load_with(None, std::iter::empty()).unwrap();
        assert!(config.server.listen.ip().is_loopback());
        assert_eq!(config.rate_limit.quotas.len(), 2);
    }

    #[test]
    fn the_documented_file_holds_the_defaults() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/palisade.toml");
        let documented = Config::load_with(Some(Path::new(file)), std::iter::empty()).unwrap();
        assert_eq!(
            format!("{documented:?}"),
            format!("{:?}", Config::default())
        );

        // What is commented out is spelt right as well.
        let text = std::fs::read_to_string(file).unwrap();
        let uncommented: Vec<_> = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.split(' ').nth(1) == Some("=") => setting,
                _ => line,
            })
            .collect();
        load(&uncommented.join("\n"), &[]).unwrap();
    }

    #[test]
    fn the_environment_wins() {
        let config = load(
            "[server]\nlisten = \"127.0.0.1:1\"\nmax_connections = 7",
            &[
                ("API__SERVER__LISTEN", "[::1]:2"),
                ("API__RATE_LIMIT__QUOTAS", "[\"1/s\"]"),
                ("OTHER", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.listen.to_string(), "[::1]:2");
        assert_eq!(config.server.max_connections, 7);
        assert_eq!(config.rate_limit.quotas.len(), 1);
    }

    #[test]
    fn mistakes_name_the_key_and_what_is_allowed() {
        check_error(
            "[server]\nlisten_on = 1",
            &[],
            &["server", "listen_on", "`listen`"],
        );
        check_error("[sever]", &[], &["sever", "`server`"]);
        check_error("[server", &[], &["unclosed"]);
        check_error(
            "[server]\nlisten = \"nowhere\"",
            &[],
            &["server.listen", "socket address"],
        );
        check_error(
            "[server]\nbody_limit = true",
            &[],
            &["server.body_limit", "true"],
        );
        check_error(
            "[server]\nrequest_timeout = \"soon\"",
            &[],
            &["server.request_timeout"],
        );
        check_error(
            "[server]\nrequest_timeout = \"0s\"",
            &[],
            &["server.request_timeout", "0s"],
        );
        check_error(
            "[server]\nmax_connections = 0",
            &[],
            &["server.max_connections", "at least 1"],
        );
        check_error(
            "[log]\nformat = \"xml\"",
            &[],
            &["log.format", "xml", "`json`"],
        );
        check_error(
            "[rate_limit]\nquotas = [\"0/s\"]",
            &[],
            &["rate_limit.quotas", "0/s"],
        );
        check_error(
            "[rate_limit]\nquotas = []",
            &[],
            &["rate_limit.quotas", "at least one"],
        );
        check_error(
            "",
            &[("API__SERVER__LISTEN", "x")],
            &["API__SERVER__LISTEN", "server.listen"],
        );
        check_error("", &[("API__NONSENSE", "x")], &["API__NONSENSE", "SECTION"]);
    }
}
