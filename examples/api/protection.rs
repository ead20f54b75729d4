//! What protects the service: palisade's own configuration, and what only this service knows beside it.

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use palisade::{
    SecurityLayer,
    api_key::{ApiKeys, KeyFormat, NewApiKey},
    config::{ClientIpConfig, HttpsMode, Reloader, SecurityConfig, SourceKind, Surroundings},
    event::{EventSink, SharedSink, TracingSink},
    ip_set::IpSet,
    secret::{ExposeSecret as _, SecretErrorKind, SecretLoader, SecretNotice},
    security::secret_events,
    shared_store::{OnStoreFailure, RedisStore},
};

use crate::{
    admin,
    config::{Config, OnFailure},
    tls::Tls,
};

/// The layer, what can be reloaded, and a line about each part.
#[derive(Debug)]
pub(crate) struct Protection {
    pub(crate) layer: SecurityLayer,
    pub(crate) keys: Option<ApiKeys>,
    pub(crate) tls: Option<Tls>,
    pub(crate) summary: Vec<String>,
    /// The key that was made because there is none, for the lines to try.
    pub(crate) made_key: Option<NewApiKey>,
    /// Where events go, those of other listeners too.
    pub(crate) sink: SharedSink,
    /// The settings that the service was started with.
    started: Config,
    reloader: Mutex<Reloader>,
}

/// Builds the protection that serves. Events go to the log and to `feed`, as `[events]` says.
///
/// # Errors
///
/// A line for each fault, which names the setting and what is allowed.
pub(crate) fn build(config: &Config, feed: impl EventSink) -> Result<Protection, String> {
    let events = &config.security.events;
    let sink = events
        .sink((TracingSink, feed))
        .map_err(|errors| errors.to_string())?;
    let protection = assemble(config, sink)?;
    let watching = protection.lock().watch();
    watching.map_err(|error| format!("ip_filter: the files cannot be looked after: {error}"))?;
    Ok(protection)
}

/// Builds the protection and starts nothing. Events go to `sink`.
///
/// # Errors
///
/// A line for each fault, which names the setting and what is allowed.
pub(crate) fn assemble(config: &Config, sink: SharedSink) -> Result<Protection, String> {
    let tls = tls(config)?;
    let security = completed(&config.security, tls.is_some());
    let mut surroundings = Surroundings::new().with_sink(sink.clone());
    if let Some(store) = store(config, &sink)? {
        let on_failure = match config.redis.on_failure {
            OnFailure::Allow => OnStoreFailure::Allow,
            OnFailure::Deny => OnStoreFailure::Deny,
            OnFailure::Fallback => OnStoreFailure::Fallback,
        };
        surroundings = surroundings.with_store(&store, "api", on_failure);
    }
    let mut made_key = None;
    if security.api_keys.required == Some(true) {
        let (keys, made) = keys(config, &security, sink.clone())?;
        surroundings = surroundings.with_api_keys(keys);
        made_key = made;
    }
    let assembled = security
        .assemble(&surroundings)
        .map_err(|errors| errors.to_string())?;
    Ok(Protection {
        layer: assembled.builder.build(),
        keys: assembled.reloader.api_keys().cloned(),
        tls,
        summary: summary(config, &security),
        made_key,
        sink,
        started: config.clone(),
        reloader: Mutex::new(assembled.reloader),
    })
}

/// Fills in what follows from whether the service has a certificate.
fn completed(security: &SecurityConfig, has_tls: bool) -> SecurityConfig {
    let mut security = security.clone();
    let mode = match (has_tls, &security.https.redirect_host) {
        (true, Some(_)) => HttpsMode::Redirect,
        (true, None) => HttpsMode::Reject,
        (false, _) => HttpsMode::Off,
    };
    security.https.mode.get_or_insert(mode);
    security
}

impl Protection {
    fn lock(&self) -> std::sync::MutexGuard<'_, Reloader> {
        self.reloader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whose word is taken for the client's address.
fn believed(client_ip: &ClientIpConfig) -> String {
    if client_ip.dangerous_trust_everyone {
        return "everybody, so that any client writes its own".into();
    }
    let named = if let Some(hops) = client_ip.trusted_hops {
        let peers = (!client_ip.trusted_peers.is_empty()).then(|| shown(&client_ip.trusted_peers));
        Some(format!(
            "the last {hops} of those who passed it on, by way of {}",
            peers.unwrap_or_else(|| "anybody".into())
        ))
    } else if let Some(file) = &client_ip.trusted_proxies_file {
        Some(format!("whom {} lists", file.display()))
    } else {
        (!client_ip.trusted_proxies.is_empty()).then(|| shown(&client_ip.trusted_proxies))
    };
    let sockets = client_ip.trust_unix_sockets.then(|| "Unix sockets".into());
    let all: Vec<String> = named.into_iter().chain(sockets).collect();
    format!("{} alone", all.join(" and "))
}

/// Says what protects the service, a line for each part.
fn summary(config: &Config, security: &SecurityConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let client_ip = &security.client_ip;
    lines.push(if client_ip.source == SourceKind::Peer {
        "client address: the peer of the connection; forwarding headers are ignored".into()
    } else {
        format!(
            "client address: {:?}, believed from {}",
            client_ip.source,
            believed(client_ip)
        )
    });
    lines.push(if security.jail.enabled == Some(true) {
        let time = security.jail.ban_time;
        format!("automatic bans: {time} for guessing keys, probing paths or touching traps")
    } else {
        "automatic bans: off".into()
    });
    let filter = &security.ip_filter;
    let file = |path: &Path| format!("whom {} lists", path.display());
    let denied = (!filter.deny.is_empty()).then(|| shown(&filter.deny));
    let denied = denied
        .into_iter()
        .chain(filter.deny_file.as_deref().map(file));
    lines.extend(denied.map(|it| format!("denied: {it}")));
    let allowed = (!filter.allow.is_empty()).then(|| shown(&filter.allow));
    let allowed = allowed
        .into_iter()
        .chain(filter.allow_file.as_deref().map(file));
    lines.extend(allowed.map(|it| format!("allowed: {it}, alone")));
    if !security.https.hosts.is_empty() {
        lines.push(format!("hosts: {}", security.https.hosts.join(", ")));
    }
    lines.push(match (security.https.mode, &security.https.redirect_host) {
        (Some(HttpsMode::Redirect), Some(host)) => {
            format!("plain text: GET and HEAD are redirected to {host}, the rest is refused")
        }
        (Some(HttpsMode::Redirect), None) => "plain text: GET and HEAD are redirected".into(),
        (Some(HttpsMode::Reject), _) => "plain text: refused".into(),
        _ => "plain text: let pass".into(),
    });
    let quotas: Vec<_> = security
        .rate_limit
        .quotas
        .iter()
        .map(ToString::to_string)
        .collect();
    lines.push(if quotas.is_empty() {
        "rate limit per client: none".into()
    } else {
        format!("rate limit per client: {}", quotas.join(" and "))
    });
    if !security.rate_limit.limits.is_empty() {
        lines.push(format!(
            "further rate limits: {}",
            security.rate_limit.limits.len()
        ));
    }
    if let Some(in_flight) = &security.in_flight {
        lines.push(format!(
            "requests at the same time: {} per client",
            in_flight.limit
        ));
    }
    if config.redis.url.is_some() {
        lines.push(format!(
            "shared with other instances: limits and bans; while the store is away: {:?}",
            config.redis.on_failure
        ));
    }
    lines.push(if security.api_keys.required == Some(true) {
        "API keys: needed".into()
    } else {
        "API keys: none needed".into()
    });
    let server = &config.server;
    lines.push(format!(
        "request: head within {:?}, whole within {:?}, body up to {}",
        server.header_read_timeout, server.request_timeout, server.body_limit
    ));
    lines.push(format!(
        "connections: up to {} at a time, {} per client",
        server.max_connections, server.max_connections_per_client
    ));
    lines
}

/// Shows the first few entries of a set.
fn shown(set: &IpSet) -> String {
    const MOST: usize = 8;
    let entries = set.entries();
    let mut shown: Vec<_> = entries.iter().take(MOST).map(ToString::to_string).collect();
    if MOST < entries.len() {
        shown.push(format!("{} more", entries.len() - MOST));
    }
    shown.join(", ")
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

/// Makes the store that instances share. It is connected to when it is needed; one that is away is no error.
fn store(config: &Config, sink: &SharedSink) -> Result<Option<RedisStore>, String> {
    let redis = &config.redis;
    let Some(url) = &redis.url else {
        return Ok(None);
    };
    let loader = SecretLoader::new().with_observer(secret_events(sink.clone()));
    let hash_key = loader
        .secret("REDIS_HASH_KEY")
        .entry("redis_hash_key")
        .text()
        .map_err(|error| format!("redis.url: {error}; make one with `openssl rand -hex 32`"))?;
    let mut builder = RedisStore::builder(url, hash_key)
        .deadline(redis.deadline)
        .expected_instances(redis.expected_instances)
        .sink(sink.clone());
    if let Some(username) = &redis.username {
        builder = builder.username(username);
    }
    let password = loader.secret("REDIS_PASSWORD").entry("redis_password");
    if let Some(password) = password
        .optional_text()
        .map_err(|error| error.to_string())?
    {
        builder = builder.password(password);
    }
    let store = builder.build().map_err(|error| format!("redis: {error}"))?;
    Ok(Some(store))
}

/// Loads the API keys; makes one where there is none and nobody but this machine can come.
fn keys(
    config: &Config,
    security: &SecurityConfig,
    sink: SharedSink,
) -> Result<(ApiKeys, Option<NewApiKey>), String> {
    let settings = &security.api_keys;
    let request = SecretLoader::new()
        .with_observer(observer(sink))
        .secret(settings.secret.as_str());
    match ApiKeys::load(&request, settings.format.get()) {
        Ok(keys) => Ok((keys, None)),
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
            Ok((keys, Some(made)))
        }
        Err(error) => Err(format!("api_keys.secret: {error}")),
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

/// Reads again what can be read again, as on SIGHUP: the settings, all of them or none, and then files, keys and the certificate, each of
/// which keeps its last good value.
pub(crate) fn reload(protection: &Protection, file: Option<&Path>) {
    let mut reloader = protection.lock();
    match Config::load(file) {
        Ok(config) => {
            let security = completed(&config.security, protection.tls.is_some());
            match reloader.reload(security) {
                Ok(changes) => {
                    tracing::info!("the settings were read again: {changes}");
                    let differing = protection.started.differing(&config);
                    if !differing.is_empty() {
                        let sections = differing.join(", ");
                        tracing::warn!(
                            "the settings of the server itself have changed, which takes a restart: {sections}"
                        );
                    }
                }
                Err(errors) => {
                    reloader.reload_files();
                    for error in errors.iter() {
                        tracing::error!(%error, "the settings cannot be used, the old ones stay");
                    }
                }
            }
        }
        Err(error) => {
            reloader.keep(&error);
            reloader.reload_files();
            tracing::error!(%error, "the settings cannot be read, the old ones stay");
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
    use std::{
        fs,
        sync::{Arc, Mutex},
    };

    use palisade::event::{Action, SecurityEvent};

    use super::*;

    #[test]
    fn keys_whose_file_is_gone_are_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("API_KEYS");
        let actions = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&actions);
        let sink = move |event: &SecurityEvent<'_>| told.lock().unwrap().push(event.action());
        let request = SecretLoader::new()
            .without_directories()
            .with_directory(directory.path())
            .with_environment(|_| None)
            .with_observer(observer(SharedSink::new(sink)))
            .secret("API_KEYS");
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
