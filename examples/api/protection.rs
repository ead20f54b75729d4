//! What protects the service, made from the settings.

use std::{
    fmt::Display,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderName, StatusCode};
use palisade::{
    SecurityLayer,
    api_key::{ApiKeyPolicy, ApiKeys, KeyFormat, NewApiKey},
    client_ip::{ClientIpSource, SchemeSource, TrustedProxies},
    event::{EventSink, FloodControl, SharedSink, TracingSink},
    host::AllowedHosts,
    https::{Hsts, Https, RedirectTarget},
    ip_filter::{IpAllowlist, IpDenylist},
    ip_set::{IpList, IpListFile, IpListWatcher, IpSet},
    jail::{BanTime, Jail, JailBuilder, Rule, TrapPaths},
    response_headers::ResponseHeaders,
    secret::{ExposeSecret as _, SecretErrorKind, SecretLoader, SecretNotice},
    security::{SecurityBuilder, secret_events},
};

use crate::{
    admin,
    config::{Config, HttpsMode, SchemeFrom, Source},
    tls::Tls,
};

/// What the secret that holds the API keys is called.
const KEYS: &str = "API_KEYS";

/// How often summaries of events that are due are looked for.
const TICK: Duration = Duration::from_secs(1);

/// The layer, what can be reloaded, and a line about each part.
#[derive(Debug)]
pub(crate) struct Protection {
    pub(crate) layer: SecurityLayer,
    pub(crate) keys: Option<ApiKeys>,
    pub(crate) lists: Option<IpListWatcher>,
    pub(crate) tls: Option<Tls>,
    pub(crate) summary: Vec<String>,
    /// The key that was made because there is none, for the lines to try.
    pub(crate) made_key: Option<NewApiKey>,
}

/// Builds the protection. Events go through flood control to the log and to `feed`.
///
/// # Errors
///
/// One line that names the setting and what is allowed.
pub(crate) fn build(config: &Config, feed: impl EventSink) -> Result<Protection, String> {
    let proxies = trusted_proxies(config)?;
    let tls = tls(config)?;
    // The ticker makes the last summary of an attack come in time, although no further event calls for it.
    let sink = SharedSink::new(FloodControl::new((TracingSink, feed)))
        .with_ticker(TICK)
        .map_err(|error| format!("no thread for security events: {error}"))?;
    let mut parts = Parts {
        sink: sink.clone(),
        files: Vec::new(),
        summary: Vec::new(),
    };
    let mut builder = SecurityLayer::builder(source(config, proxies.as_ref())?)
        .without_untrusted_headers()
        .response_headers(ResponseHeaders::api())
        .check_duration()
        .sink(sink.clone());
    parts.tell(match (config.client_ip.source, &proxies) {
        (Source::Peer, _) => {
            "client address: the peer of the connection; forwarding headers are ignored".into()
        }
        (source, _) => format!(
            "client address: {source:?}, believed from {} alone",
            config.client_ip.trusted_proxies.join(", ")
        ),
    });
    builder = parts.jail(builder, config)?;
    builder = parts.lists(builder, config)?;
    builder = parts.https(builder, config, proxies.as_ref(), tls.is_some())?;
    for quota in &config.rate_limit.quotas {
        builder = builder.rate_limit(quota.clone());
    }
    let quotas: Vec<_> = config
        .rate_limit
        .quotas
        .iter()
        .map(ToString::to_string)
        .collect();
    parts.tell(format!("rate limit per client: {}", quotas.join(" and ")));
    let (keys, made_key) = keys(config, sink)?;
    if let Some(keys) = &keys {
        parts.tell(format!("API keys: {} valid", keys.count()));
        builder = builder.api_keys(ApiKeyPolicy::new(keys.clone()));
    } else {
        parts.tell("API keys: none needed".into());
    }
    let server = &config.server;
    parts.tell(format!(
        "request: head within {:?}, whole within {:?}, body up to {}",
        server.header_read_timeout, server.request_timeout, server.body_limit
    ));
    parts.tell(format!(
        "connections: up to {} at a time",
        server.max_connections
    ));
    let lists = parts.watch(config)?;
    Ok(Protection {
        layer: builder.build(),
        keys,
        lists,
        tls,
        summary: parts.summary,
        made_key,
    })
}

#[derive(Debug)]
struct Parts {
    sink: SharedSink,
    files: Vec<IpListFile>,
    summary: Vec<String>,
}

impl Parts {
    fn tell(&mut self, line: String) {
        self.summary.push(line);
    }

    fn jail(
        &mut self,
        builder: SecurityBuilder,
        config: &Config,
    ) -> Result<SecurityBuilder, String> {
        if !config.jail.enabled {
            self.tell("automatic bans: off".into());
            return Ok(builder);
        }
        self.tell(format!(
            "automatic bans: {:?} for guessing keys, probing paths or touching traps",
            config.jail.ban_time
        ));
        let mut exempt = config.jail.exempt.clone();
        exempt.extend(config.client_ip.trusted_proxies.iter().cloned());
        let exempt = if exempt.is_empty() {
            IpSet::empty()
        } else {
            set("jail.exempt", &exempt)?
        };
        Ok(builder.jail(jail(config, exempt)))
    }

    fn lists(
        &mut self,
        mut builder: SecurityBuilder,
        config: &Config,
    ) -> Result<SecurityBuilder, String> {
        let filter = &config.ip_filter;
        if !filter.deny.is_empty() {
            self.tell(format!("denied: {}", filter.deny.join(", ")));
            builder = builder.deny(IpDenylist::new(IpList::new(
                "denied",
                set("ip_filter.deny", &filter.deny)?,
            )));
        }
        if let Some(path) = &filter.deny_file {
            self.tell(format!("denied: whom {} lists", path.display()));
            let file = self.file("ip_filter.deny_file", "denied_file", path)?;
            builder = builder.deny(IpDenylist::new(file));
        }
        if !filter.allow.is_empty() {
            self.tell(format!("allowed: {} alone", filter.allow.join(", ")));
            let allow = IpAllowlist::new(IpList::new(
                "allowed",
                set("ip_filter.allow", &filter.allow)?,
            ));
            builder = builder.allow(allow.map_err(|error| format!("ip_filter.allow: {error}"))?);
        }
        if let Some(path) = &filter.allow_file {
            self.tell(format!("allowed: whom {} lists, alone", path.display()));
            let file = self.file("ip_filter.allow_file", "allowed_file", path)?;
            let allow = IpAllowlist::new(file);
            builder =
                builder.allow(allow.map_err(|error| format!("ip_filter.allow_file: {error}"))?);
        }
        Ok(builder)
    }

    fn file(&mut self, setting: &str, name: &str, path: &Path) -> Result<IpList, String> {
        let file = IpListFile::open(name, path)
            .map_err(|error| format!("{setting}: {}: {error}", path.display()))?
            .with_sink(self.sink.clone());
        let list = file.list();
        self.files.push(file);
        Ok(list)
    }

    fn watch(&mut self, config: &Config) -> Result<Option<IpListWatcher>, String> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let files = std::mem::take(&mut self.files);
        IpListWatcher::spawn(files, config.ip_filter.reload)
            .map(Some)
            .map_err(|error| format!("ip_filter: the files cannot be looked after: {error}"))
    }

    fn https(
        &mut self,
        mut builder: SecurityBuilder,
        config: &Config,
        proxies: Option<&TrustedProxies>,
        has_tls: bool,
    ) -> Result<SecurityBuilder, String> {
        let settings = &config.https;
        let scheme = match (settings.scheme, proxies) {
            (SchemeFrom::Listener, _) => SchemeSource::Listener,
            (SchemeFrom::Forwarded, Some(proxies)) => SchemeSource::Forwarded(proxies.clone()),
            (SchemeFrom::XForwardedProto, Some(proxies)) => {
                SchemeSource::XForwardedProto(proxies.clone())
            }
            (_, None) => {
                return Err(
                    "https.scheme: needs client_ip.trusted_proxies, whose word it takes".into(),
                );
            }
        };
        if !settings.hosts.is_empty() {
            let hosts = AllowedHosts::new(&settings.hosts)
                .map_err(|error| format!("https.hosts: {error}"))?;
            self.tell(format!("hosts: {}", settings.hosts.join(", ")));
            builder = builder.hosts(hosts);
        }
        let mode = settings
            .mode
            .unwrap_or(match (has_tls, &settings.redirect_host) {
                (true, Some(_)) => HttpsMode::Redirect,
                (true, None) => HttpsMode::Reject,
                (false, _) => HttpsMode::Off,
            });
        let https = match mode {
            HttpsMode::Off => {
                self.tell("plain text: let pass".into());
                return Ok(builder.scheme(scheme));
            }
            HttpsMode::Redirect => {
                let host = settings.redirect_host.as_deref().ok_or(
                    "https.redirect_host: is needed by https.mode = \"redirect\", as \"api.example.com\"",
                )?;
                self.tell(format!(
                    "plain text: GET and HEAD are redirected to {host}, the rest is refused"
                ));
                Https::redirect_to(scheme, redirect_target(host)?)
            }
            HttpsMode::Reject => {
                self.tell("plain text: refused".into());
                Https::reject(scheme)
            }
        };
        Ok(builder.https(https.with_hsts(Hsts::one_year())))
    }
}

fn redirect_target(host: &str) -> Result<RedirectTarget, String> {
    let wrong = |error: &dyn Display| format!("https.redirect_host: {host:?}: {error}");
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (
            name,
            Some(port.parse::<u16>().map_err(|error| wrong(&error))?),
        ),
        _ => (host, None),
    };
    let target: RedirectTarget = name.parse().map_err(|error| wrong(&error))?;
    Ok(match port {
        Some(port) => target.with_port(port),
        None => target,
    })
}

fn jail(config: &Config, exempt: IpSet) -> JailBuilder {
    let minute = Duration::from_secs(60);
    let builder = Jail::builder()
        .rule(
            Rule::status(StatusCode::UNAUTHORIZED)
                .with_limit(10)
                .within(10 * minute),
        )
        .rule(
            Rule::status(StatusCode::NOT_FOUND)
                .with_limit(60)
                .within(minute),
        )
        .traps(TrapPaths::common())
        .ban_time(BanTime::new(config.jail.ban_time))
        .exempt(exempt);
    match &config.jail.file {
        Some(path) => builder.file(path),
        None => builder,
    }
}

fn source(config: &Config, proxies: Option<&TrustedProxies>) -> Result<ClientIpSource, String> {
    let settings = &config.client_ip;
    let proxies = || {
        proxies.cloned().ok_or(
            "client_ip.trusted_proxies: must name the proxies whose headers are believed, as [\"10.0.0.2\"]",
        )
    };
    Ok(match settings.source {
        Source::Forwarded => ClientIpSource::Forwarded(proxies()?),
        Source::Header => {
            let name = settings
                .header
                .as_deref()
                .ok_or("client_ip.header: is needed by client_ip.source = \"header\"")?;
            let name = HeaderName::try_from(name)
                .map_err(|error| format!("client_ip.header: {name:?}: {error}"))?;
            ClientIpSource::Header(name, proxies()?)
        }
        Source::Peer => ClientIpSource::Peer,
        Source::XForwardedFor => ClientIpSource::XForwardedFor(proxies()?),
    })
}

fn trusted_proxies(config: &Config) -> Result<Option<TrustedProxies>, String> {
    let names = &config.client_ip.trusted_proxies;
    if names.is_empty() {
        return Ok(None);
    }
    let wrong = |error: &dyn Display| format!("client_ip.trusted_proxies: {error}");
    let addresses = set("client_ip.trusted_proxies", names)?;
    TrustedProxies::new(addresses)
        .map(Some)
        .map_err(|error| wrong(&error))
}

pub(crate) fn set(setting: &str, entries: &[String]) -> Result<IpSet, String> {
    entries
        .join(",")
        .parse()
        .map_err(|error| format!("{setting}: {error}"))
}

fn tls(config: &Config) -> Result<Option<Tls>, String> {
    match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => Tls::load(certificate, key)
            .map(Some)
            .map_err(|error| format!("tls: {error}")),
        (None, None) if config.tls.plain_listen.is_none() => Ok(None),
        (None, _) => Err("tls.certificate: is needed beside the other settings of [tls]".into()),
        (Some(_), None) => Err("tls.key: is needed beside tls.certificate".into()),
    }
}

/// Loads the API keys; makes one where there is none and nobody but this machine can come.
fn keys(config: &Config, sink: SharedSink) -> Result<(Option<ApiKeys>, Option<NewApiKey>), String> {
    if !config.api_keys.required {
        return Ok((None, None));
    }
    let request = SecretLoader::new()
        .with_observer(observer(sink))
        .secret(KEYS);
    match ApiKeys::load(&request, KeyFormat::Json) {
        Ok(keys) => Ok((Some(keys), None)),
        Err(error) if error.kind() == SecretErrorKind::Missing => {
            if !is_local(config.server.listen.ip()) {
                return Err(format!(
                    "api_keys.required: {error}; make a key with `api new-key`, or say api_keys.required = false"
                ));
            }
            let made = NewApiKey::generate("api").map_err(|error| format!("api_keys: {error}"))?;
            // Whoever starts the service on this machine may administrate it.
            let text = format!(
                r#"{{"development": {{"keys": ["{}"], "scopes": ["{}"]}}}}"#,
                made.digest().to_text(),
                admin::SCOPE,
            );
            let keys = ApiKeys::parse(&text, KeyFormat::Json)
                .map_err(|error| format!("api_keys: {error}"))?;
            Ok((Some(keys), Some(made)))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Tells of the keys; that there are none only where there have been some, as when their file is gone.
fn observer(sink: SharedSink) -> impl Fn(&SecretNotice<'_>) + Send + Sync + 'static {
    let tell = secret_events(sink);
    let loaded = AtomicBool::new(false);
    move |notice| match notice {
        // Whether a secret that there is not is an error is decided by whoever loads it.
        SecretNotice::LoadFailed { error }
            if error.kind() == SecretErrorKind::Missing && !loaded.load(Ordering::Relaxed) => {}
        notice => {
            if matches!(notice, SecretNotice::Loaded { .. }) {
                loaded.store(true, Ordering::Relaxed);
            }
            tell(notice);
        }
    }
}

fn is_local(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Shows the key that was made: once, on standard error, and to whoever started the service.
pub(crate) fn show(key: &NewApiKey) -> String {
    key.key().expose_secret().to_owned()
}

/// Reads again what can be read again, as on SIGHUP.
pub(crate) fn reload(protection: &Arc<Protection>) {
    if let Some(lists) = &protection.lists {
        lists.reload();
    }
    if let Some(keys) = &protection.keys {
        match keys.reload() {
            Ok(outcome) => tracing::info!(?outcome, "API keys were read again"),
            Err(error) => {
                tracing::error!(%error, "API keys cannot be read again, the old ones stay");
            }
        }
    }
    if let Some(tls) = &protection.tls {
        match tls.reload() {
            Ok(changed) => tracing::info!(changed, "the TLS certificate was read again"),
            Err(error) => {
                tracing::error!(%error, "the TLS certificate cannot be exchanged, the old one stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use palisade::event::{Action, SecurityEvent};

    use super::*;

    #[test]
    fn keys_whose_file_is_gone_are_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(KEYS);
        let actions = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&actions);
        let sink = move |event: &SecurityEvent<'_>| told.lock().unwrap().push(event.action());
        let request = SecretLoader::new()
            .without_directories()
            .with_directory(directory.path())
            .with_environment(|_| None)
            .with_observer(observer(SharedSink::new(sink)))
            .secret(KEYS);
        assert!(ApiKeys::load(&request, KeyFormat::Json).is_err());
        assert_eq!(*actions.lock().unwrap(), []);

        fs::write(&path, "{\"client\": \"0123456789abcdef\"}").unwrap();
        let keys = ApiKeys::load(&request, KeyFormat::Json).unwrap();
        actions.lock().unwrap().clear();
        fs::remove_file(&path).unwrap();
        assert!(keys.reload().is_err());
        assert_eq!(*actions.lock().unwrap(), [Action::SecretLoadFailed]);
    }
}
