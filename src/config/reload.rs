//! Another configuration in the place of the one in force.

use std::{fmt, io};

#[cfg(feature = "rate-limit")]
use crate::config::{error::Faults, rate_limit::LiveLimit};
#[cfg(feature = "secrets")]
use crate::{api_key::keys::ApiKeys, secret::loader::SecretLoader};
use crate::{
    config::{
        error::ConfigErrors, files::ListFiles, ip_filter::InlineLists, security::SecurityConfig,
        surroundings::Surroundings,
    },
    event::{
        model::{Action, SecurityEvent},
        sink::{EventSink, NullSink, SharedSink},
    },
    ip_set::{file::IpListFile, watcher::IpListWatcher},
    security::{builder::SecurityBuilder, layer::SecurityLayer},
};

impl SecurityConfig {
    /// Builds the layer in the usual surroundings. Files of lists are read once; what shall be reloaded needs [`assemble`](Self::assemble).
    ///
    /// # Errors
    ///
    /// Says all that is wrong at once, by the path of each key: what contradicts itself, and files and secrets that cannot be read.
    pub fn build(&self) -> Result<SecurityLayer, ConfigErrors> {
        Ok(self.assemble(&Surroundings::new())?.builder.build())
    }

    /// Makes the builder, to which more can be added, and what reloads the configuration later.
    ///
    /// Nothing is started but the thread that `events.tick` asks for, where the surroundings have no sink.
    ///
    /// # Errors
    ///
    /// Fails where [`build`](Self::build) does.
    pub fn assemble(&self, surroundings: &Surroundings) -> Result<Assembled, ConfigErrors> {
        let made = self.make(surroundings, None)?;
        let reloader = Reloader {
            config: self.clone(),
            sink: made.sink,
            lists: made.lists,
            files: made.files,
            watcher: None,
            #[cfg(feature = "rate-limit")]
            limits: made.limits,
            #[cfg(feature = "secrets")]
            keys: made.keys,
            #[cfg(feature = "secrets")]
            secrets: surroundings.secrets.clone(),
        };
        Ok(Assembled {
            builder: made.builder,
            reloader,
        })
    }
}

/// What a configuration makes.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Assembled {
    /// The builder, with all that the configuration says.
    pub builder: SecurityBuilder,
    /// What reloads the configuration, once the layer is built.
    pub reloader: Reloader,
}

/// Puts another configuration in the place of the one in force, as far as that goes without a restart.
///
/// These can be reloaded: the entries of `ip_filter` and their files, the quotas of `rate_limit` and of its tiers, and API keys. All else needs a restart,
/// and [`reload`](Self::reload) says so.
pub struct Reloader {
    config: SecurityConfig,
    sink: SharedSink,
    lists: InlineLists,
    files: Vec<IpListFile>,
    watcher: Option<IpListWatcher>,
    #[cfg(feature = "rate-limit")]
    limits: Vec<LiveLimit>,
    #[cfg(feature = "secrets")]
    keys: Option<ApiKeys>,
    #[cfg(feature = "secrets")]
    secrets: SecretLoader,
}

/// What a reload has done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The paths of the keys whose new values are in force.
    pub changed: Vec<String>,
    /// The sections with changes that need a restart.
    pub restart: Vec<&'static str>,
}

impl Reloader {
    /// Returns the configuration in force.
    #[must_use]
    pub fn config(&self) -> &SecurityConfig {
        &self.config
    }

    /// Returns the API keys, if requests need one.
    #[cfg(feature = "secrets")]
    #[must_use]
    pub fn api_keys(&self) -> Option<&ApiKeys> {
        self.keys.as_ref()
    }

    /// Starts a thread that reads files of lists again when they have changed, as often as `ip_filter.reload` says, until this is dropped.
    ///
    /// Does nothing where there are no files.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system that has no thread left.
    pub fn watch(&mut self) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let files = std::mem::take(&mut self.files);
        self.watcher = Some(IpListWatcher::spawn(files, self.config.ip_filter.reload.0)?);
        Ok(())
    }

    /// Puts another configuration in force, all of it or nothing, and raises one event, whichever it is.
    ///
    /// Files of lists are read again by it, and API keys are loaded again; each keeps its last good value, and has its own event.
    ///
    /// # Errors
    ///
    /// Fails where [`SecurityConfig::build`] does, and where there are more quotas than there is room for. All old values stay in force.
    pub fn reload(&mut self, config: SecurityConfig) -> Result<Reloaded, ConfigErrors> {
        match self.replace(config) {
            Ok(reloaded) => {
                let event = SecurityEvent::new(Action::ConfigReloaded, reloaded.to_string());
                self.sink.record(&event);
                self.reload_files();
                Ok(reloaded)
            }
            Err(errors) => {
                let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                self.keep(&all.join("; "));
                Err(errors)
            }
        }
    }

    /// Raises the event of a configuration that could not even be read; `reason` is one line without secrets. All old values stay in force.
    pub fn keep(&self, reason: &str) {
        self.sink
            .record(&SecurityEvent::new(Action::ConfigReloadFailed, reason));
    }

    /// Reads files of lists and API keys again, and leaves the configuration as it is.
    pub fn reload_files(&mut self) {
        match &self.watcher {
            Some(watcher) => watcher.reload(),
            None => {
                for file in &mut self.files {
                    file.reload();
                }
            }
        }
        #[cfg(feature = "secrets")]
        if let Some(keys) = &self.keys {
            // The loader's observer is told of failures, and the old keys stay.
            let _ = keys.reload();
        }
    }

    fn replace(&mut self, config: SecurityConfig) -> Result<Reloaded, ConfigErrors> {
        self.validate(&config)?;
        let restart = self.restart(&config);
        #[cfg(feature = "rate-limit")]
        let new_quotas = {
            let mut faults = Faults::default();
            // Where limits have come, gone or changed, the restart will see to all of them.
            let new = if restart.contains(&"rate_limit") {
                Vec::new()
            } else {
                config.rate_limit.new_quotas(&self.limits, &mut faults)
            };
            faults.finish(new)?
        };
        // From here on nothing fails.
        let mut changed = Vec::new();
        if !restart.contains(&"ip_filter") {
            for ((path, set), (_, list)) in config.ip_filter.inline().into_iter().zip(&self.lists) {
                if list.to_set() != set {
                    list.replace(set);
                    changed.push(path);
                }
            }
            self.config.ip_filter = config.ip_filter;
        }
        #[cfg(feature = "rate-limit")]
        if !restart.contains(&"rate_limit") {
            if self.config.rate_limit != config.rate_limit {
                for (limit, new) in self.limits.iter().zip(new_quotas) {
                    limit.replace(new);
                }
                changed.push("rate_limit".to_owned());
            }
            self.config.rate_limit = config.rate_limit;
        }
        Ok(Reloaded { changed, restart })
    }

    /// Builds the configuration to no purpose but to see that it can be built.
    #[cfg_attr(
        not(feature = "secrets"),
        expect(clippy::unused_self, reason = "there are no keys to be known")
    )]
    fn validate(&self, config: &SecurityConfig) -> Result<(), ConfigErrors> {
        let surroundings = Surroundings::new().with_sink(NullSink);
        #[cfg(feature = "secrets")]
        let surroundings = match &self.keys {
            // The secret is read once, by the keys themselves.
            Some(keys) => surroundings.with_api_keys(keys.clone()),
            None => surroundings.with_secrets(self.secrets.clone()),
        };
        let files = Some(ListFiles::pretending());
        config.make(&surroundings, files).map(drop)
    }

    /// Returns the sections that have changed in what cannot be reloaded.
    fn restart(&self, new: &SecurityConfig) -> Vec<&'static str> {
        let old = &self.config;
        let sections = [
            #[cfg(feature = "secrets")]
            ("api_keys", old.api_keys != new.api_keys),
            ("client_ip", old.client_ip != new.client_ip),
            ("events", old.events != new.events),
            ("https", old.https != new.https),
            #[cfg(feature = "in-flight")]
            ("in_flight", old.in_flight != new.in_flight),
            ("ip_filter", old.ip_filter.fixed() != new.ip_filter.fixed()),
            #[cfg(feature = "jail")]
            ("jail", old.jail != new.jail),
            ("metrics", old.metrics != new.metrics),
            #[cfg(feature = "rate-limit")]
            (
                "rate_limit",
                old.rate_limit.fixed() != new.rate_limit.fixed(),
            ),
            (
                "response_headers",
                old.response_headers != new.response_headers,
            ),
        ];
        let changed = sections.iter().filter(|it| it.1);
        changed.map(|it| it.0).collect()
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changed.is_empty() {
            f.write_str("nothing has changed")?;
        } else {
            write!(f, "changed: {}", self.changed.join(", "))?;
        }
        if !self.restart.is_empty() {
            write!(f, "; takes a restart: {}", self.restart.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("config", &self.config)
            .field("watcher", &self.watcher)
            .finish_non_exhaustive()
    }
}
