//! The settings: those of `palisade.toml`, then the file, then the environment.
//!
//! What protects the service is palisade's own [`SecurityConfig`]; here are the settings of the server beside it, and the loader.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use palisade::{
    config::{SECTIONS, SecurityConfig},
    ip_set::IpSet,
};
use serde::{Deserialize, de::DeserializeOwned};

/// What every environment variable of the service begins with.
const PREFIX: &str = "API__";

/// Every setting with its default.
const DEFAULTS: &str = include_str!("palisade.toml");

/// The sections of the server, beside those of the protection.
const OWN: &[&str] = &["admin", "log", "redis", "server", "tls"];

/// All settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) tls: Tls,
    pub(crate) log: Log,
    pub(crate) redis: Redis,
    pub(crate) admin: Admin,
    pub(crate) security: SecurityConfig,
}

/// The settings of the server. An unknown key is an error: a misspelt protection is no protection.
#[derive(Deserialize)]
struct Own {
    server: Server,
    tls: Tls,
    log: Log,
    redis: Redis,
    admin: Admin,
}

/// The listener and its limits.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
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
    /// How many of them one client may have, unless it is a trusted proxy.
    pub(crate) max_connections_per_client: usize,
    /// How long requests in flight may take to end once the service is told to stop.
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_grace: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
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

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// TLS that the service terminates itself.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate chain, a PEM file. With it the address of `[server]` speaks TLS.
    #[serde(default)]
    pub(crate) certificate: Option<PathBuf>,
    /// The key of the certificate, a PEM file.
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
    /// A second address, for plain text, where requests are redirected or refused as `[https]` says.
    #[serde(default)]
    pub(crate) plain_listen: Option<SocketAddr>,
    /// How often the files are looked at for a new certificate.
    #[serde(with = "humantime_serde")]
    pub(crate) reload: Duration,
}

/// The store in which instances share limits and bans. The password and the key of the hash are the secrets `REDIS_PASSWORD` and
/// `REDIS_HASH_KEY`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redis {
    /// The address. None: each instance counts by itself.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// The user of the store's ACL.
    #[serde(default)]
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

/// The listener for metrics and administration.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// The address to listen on. None: no such listener.
    #[serde(default)]
    pub(crate) listen: Option<SocketAddr>,
    /// Who may come there.
    pub(crate) allow: IpSet,
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
        let mut table: toml::Table =
            toml::from_str(DEFAULTS).map_err(|error| in_one_line("palisade.toml", &error))?;
        if let Some(path) = file {
            place = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{place}: cannot be read: {error}"))?;
            let over = toml::from_str(&text).map_err(|error| in_one_line(&place, &error))?;
            merge(&mut table, over);
            // Without the environment first, so that it is not blamed.
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

    fn from_table(mut table: toml::Table) -> Result<Self, String> {
        let known = |name: &str| OWN.contains(&name) || SECTIONS.contains(&name);
        if let Some(unknown) = table.keys().find(|it| !known(it)) {
            let mut known: Vec<_> = OWN.iter().chain(SECTIONS).collect();
            known.sort_unstable();
            let known: Vec<_> = known.iter().map(|it| format!("`{it}`")).collect();
            let known = known.join(", ");
            return Err(format!(
                "unknown section `{unknown}`, expected one of {known}"
            ));
        }
        let own = OWN
            .iter()
            .filter_map(|it| table.remove_entry(*it))
            .collect();
        let Own {
            server,
            tls,
            log,
            redis,
            admin,
        } = read(own)?;
        Ok(Self {
            server,
            tls,
            log,
            redis,
            admin,
            security: read(table)?,
        })
    }

    /// Refuses values of the server that a type alone cannot refuse.
    fn check(&self) -> Result<(), String> {
        let server = &self.server;
        for (name, value) in [
            ("server.header_read_timeout", server.header_read_timeout),
            ("server.request_timeout", server.request_timeout),
            ("tls.reload", self.tls.reload),
        ] {
            if value.is_zero() {
                return Err(format!("{name}: must be longer than 0s"));
            }
        }
        for (name, value) in [
            ("server.max_connections", server.max_connections),
            (
                "server.max_connections_per_client",
                server.max_connections_per_client,
            ),
        ] {
            if value == 0 {
                return Err(format!("{name}: must be at least 1"));
            }
        }
        if self.tls.plain_listen.is_some() && server.max_connections < 2 {
            // Each listener holds room for the connection that it waits for.
            return Err("server.max_connections: must be at least 2 with tls.plain_listen".into());
        }
        if self.admin.listen.is_some() && self.admin.allow.is_empty() {
            return Err(
                "admin.allow: must name who may come to admin.listen, as [\"loopback\"]".into(),
            );
        }
        Ok(())
    }

    /// Returns the sections of the server that differ: what they say takes a restart.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let sections = [
            ("admin", self.admin != other.admin),
            ("log", self.log != other.log),
            ("redis", self.redis != other.redis),
            ("server", self.server != other.server),
            ("tls", self.tls != other.tls),
        ];
        let differing = sections.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(name, _)| name).collect()
    }
}

/// Reads a value, and says what is wrong by the path of the key.
fn read<T: DeserializeOwned>(table: toml::Table) -> Result<T, String> {
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

/// Lays one table over another. Lists are replaced as a whole.
fn merge(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(table)), toml::Value::Table(over)) => merge(table, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Puts one environment variable into the table: `server__listen` is `listen` of `[server]`.
fn set(table: &mut toml::Table, path: &str, value: &str) -> Result<(), String> {
    let Some((sections, key)) = path.rsplit_once("__") else {
        return Err(format!(
            "has the form {PREFIX}SECTION__KEY, as {PREFIX}SERVER__LISTEN"
        ));
    };
    let mut table = table;
    for section in sections.split("__") {
        let section = table
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = section
            .as_table_mut()
            .ok_or("names something that is no section")?;
    }
    // Numbers, booleans and lists are written as in TOML; whatever is none of them is a string.
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    table.insert(key.to_owned(), parsed);
    Ok(())
}

fn in_one_line(place: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    format!("{place}: {message}")
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
        assert_eq!(config.security.rate_limit.quotas.len(), 2);
    }

    /// The settings that are commented out, each in its section.
    fn commented_out() -> Vec<String> {
        let mut section = "";
        let mut settings = Vec::new();
        for line in DEFAULTS.lines() {
            let comment = line.strip_prefix("# ");
            let text = comment.unwrap_or(line);
            if text.starts_with('[') && text.ends_with(']') {
                section = text;
            } else if comment.is_some() && text.split(' ').nth(1) == Some("=") {
                settings.push(format!("{section}\n{text}"));
            }
        }
        settings
    }

    #[test]
    fn what_is_commented_out_in_the_documented_file_is_spelt_right() {
        let settings = commented_out();
        assert!(settings.len() > 20, "{}", settings.len());
        for setting in settings {
            // What else the section needs.
            let setting = match setting.strip_prefix("[in_flight]\n") {
                Some(key) if !key.starts_with("limit") => format!("[in_flight]\nlimit = 1\n{key}"),
                _ => setting,
            };
            if let Err(error) = load(&setting, &[]) {
                panic!("{setting}: {error}");
            }
        }
    }

    #[test]
    fn every_key_of_the_schema_is_in_the_documented_file() {
        let schema: serde_json::Value = serde_json::from_str(palisade::config::SCHEMA).unwrap();
        let mut keys = Vec::new();
        collect(&schema, &mut keys);
        assert!(keys.len() > 100, "{}", keys.len());
        for key in keys {
            let is_there = [format!("{key} = "), format!("[{key}]")];
            let is_there = is_there.iter().any(|it| DEFAULTS.contains(it.as_str()));
            assert!(is_there, "palisade.toml says nothing of {key}");
        }
    }

    fn collect(schema: &serde_json::Value, keys: &mut Vec<String>) {
        match schema {
            serde_json::Value::Array(items) => items.iter().for_each(|it| collect(it, keys)),
            serde_json::Value::Object(members) => {
                if let Some(properties) = members.get("properties").and_then(|it| it.as_object()) {
                    keys.extend(properties.keys().cloned());
                }
                members.values().for_each(|it| collect(it, keys));
            }
            _ => {}
        }
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
        assert_eq!(config.security.rate_limit.quotas.len(), 1);
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
            "[server]\nmax_connections = 1\n[tls]\nplain_listen = \"127.0.0.1:1\"",
            &[],
            &["server.max_connections", "at least 2"],
        );
        check_error(
            "[admin]\nlisten = \"127.0.0.1:1\"\nallow = []",
            &[],
            &["admin.allow", "loopback"],
        );
        check_error(
            "[server]\nmax_connections_per_client = 0",
            &[],
            &["server.max_connections_per_client", "at least 1"],
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
            "[jail]\nban_tim = \"1m\"",
            &[],
            &["jail", "ban_tim", "`ban_time`"],
        );
        check_error(
            "",
            &[("API__SERVER__LISTEN", "x")],
            &["API__SERVER__LISTEN", "server.listen"],
        );
        check_error("", &[("API__NONSENSE", "x")], &["API__NONSENSE", "SECTION"]);
    }
}
