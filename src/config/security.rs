//! The configuration as a whole.

use serde::Deserialize;

#[cfg(feature = "secrets")]
use crate::config::api_keys::ApiKeysConfig;
#[cfg(feature = "in-flight")]
use crate::config::in_flight::InFlightConfig;
#[cfg(feature = "jail")]
use crate::config::jail::JailConfig;
#[cfg(feature = "rate-limit")]
use crate::config::rate_limit::RateLimitConfig;
use crate::{
    config::{
        client_ip::{ClientIpConfig, SourceKind},
        error::{ConfigErrors, Faults},
        events::EventsConfig,
        files::ListFiles,
        https::HttpsConfig,
        ip_filter::IpFilterConfig,
        metrics::MetricsConfig,
        reload::Reloader,
        response_headers::ResponseHeadersConfig,
        surroundings::Surroundings,
    },
    event::sink::SharedSink,
    security::{builder::SecurityBuilder, layer::SecurityLayer},
};

/// The names of all sections, sorted.
pub const SECTIONS: &[&str] = &[
    #[cfg(feature = "secrets")]
    "api_keys",
    "client_ip",
    "events",
    "https",
    #[cfg(feature = "in-flight")]
    "in_flight",
    "ip_filter",
    #[cfg(feature = "jail")]
    "jail",
    "metrics",
    #[cfg(feature = "rate-limit")]
    "rate_limit",
    "response_headers",
];

/// The JSON schema of [`SecurityConfig`] with all features of the crate, for editors and for checks of files before they are used.
pub const SCHEMA: &str = include_str!("schema.json");

/// All that [`SecurityLayer::builder`] can be told, as data: whatever reads text into serde's data model reads it.
///
/// An unknown key is an error, for a misspelt protection is no protection. What no text can say (a policy of one's own, a responder, a closure)
/// is added to the builder that [`assemble`](Self::assemble) returns. See the [module](crate::config).
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SecurityConfig {
    /// Who is calling, and whose word is taken for it.
    pub client_ip: ClientIpConfig,
    /// Who may come at all.
    #[serde(default)]
    pub ip_filter: IpFilterConfig,
    /// What happens to plain text, and which hosts are served.
    #[serde(default)]
    pub https: HttpsConfig,
    /// How often a client may come.
    #[cfg(feature = "rate-limit")]
    #[serde(default)]
    pub rate_limit: RateLimitConfig,
    /// How many requests of a client are served at the same time.
    #[cfg(feature = "in-flight")]
    #[serde(default)]
    pub in_flight: Option<InFlightConfig>,
    /// Who has a key.
    #[cfg(feature = "secrets")]
    #[serde(default)]
    pub api_keys: ApiKeysConfig,
    /// Automatic bans.
    #[cfg(feature = "jail")]
    #[serde(default)]
    pub jail: JailConfig,
    /// Header fields on every response.
    #[serde(default)]
    pub response_headers: ResponseHeadersConfig,
    /// What becomes of security events on their way to the sink.
    #[serde(default)]
    pub events: EventsConfig,
    /// What is measured beside the counts.
    #[serde(default)]
    pub metrics: MetricsConfig,
}

impl SecurityConfig {
    /// Creates a configuration that protects from nothing yet, from the one choice that has no safe default.
    #[must_use]
    pub fn new(source: SourceKind) -> Self {
        Self {
            client_ip: ClientIpConfig::new(source),
            ip_filter: IpFilterConfig::default(),
            https: HttpsConfig::default(),
            #[cfg(feature = "rate-limit")]
            rate_limit: RateLimitConfig::default(),
            #[cfg(feature = "in-flight")]
            in_flight: None,
            #[cfg(feature = "secrets")]
            api_keys: ApiKeysConfig::default(),
            #[cfg(feature = "jail")]
            jail: JailConfig::default(),
            response_headers: ResponseHeadersConfig::default(),
            events: EventsConfig::default(),
            metrics: MetricsConfig::default(),
        }
    }

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
    /// Nothing is started: no thread, no task.
    ///
    /// # Errors
    ///
    /// Fails where [`build`](Self::build) does.
    pub fn assemble(&self, surroundings: &Surroundings) -> Result<Assembled, ConfigErrors> {
        self.assemble_with(surroundings, None)
    }

    pub(crate) fn assemble_with(
        &self,
        surroundings: &Surroundings,
        files: Option<ListFiles>,
    ) -> Result<Assembled, ConfigErrors> {
        let mut faults = Faults::default();
        self.events.check(&mut faults);
        let sink = match &surroundings.sink {
            Some(sink) => sink.clone(),
            // What is wrong with the section has been noted.
            None if !faults.is_empty() => SharedSink::default(),
            None => self.default_sink(&mut faults),
        };
        let mut files = files.unwrap_or_else(|| ListFiles::new(sink.clone()));
        let proxies = self.client_ip.proxies(&mut files, &mut faults);
        let source = self.client_ip.source(proxies.as_ref(), &mut faults);
        let mut builder = SecurityLayer::builder(source).sink(sink.clone());
        if let Some(clock) = &surroundings.clock {
            builder = builder.shared_clock(clock.clone());
        }
        if self.client_ip.remove_untrusted_headers {
            builder = builder.without_untrusted_headers();
        }
        #[cfg(feature = "jail")]
        {
            let trusted = &self.client_ip.trusted_proxies;
            builder = self.jail.assemble(builder, trusted, &mut faults);
        }
        let (mut builder, lists) = self.ip_filter.assemble(builder, &mut files, &mut faults);
        builder = self.https.assemble(builder, proxies.as_ref(), &mut faults);
        #[cfg(feature = "in-flight")]
        if let Some(in_flight) = &self.in_flight {
            builder = in_flight.assemble(builder, &mut faults);
        }
        #[cfg(feature = "rate-limit")]
        let (mut builder, limits) =
            self.rate_limit
                .assemble(builder, surroundings.clock.as_ref(), &mut faults);
        #[cfg(feature = "secrets")]
        let (mut builder, keys) = self.api_keys.assemble(
            builder,
            &surroundings.secrets,
            surroundings.api_keys.as_ref(),
            &mut faults,
        );
        builder = builder.response_headers(self.response_headers.make(&mut faults));
        if self.metrics.check_duration {
            builder = builder.check_duration();
        }
        let reloader = Reloader {
            config: self.clone(),
            sink,
            lists,
            files: files.files,
            watcher: None,
            #[cfg(feature = "rate-limit")]
            limits,
            #[cfg(feature = "secrets")]
            keys,
        };
        faults.finish(Assembled { builder, reloader })
    }

    fn default_sink(&self, faults: &mut Faults) -> SharedSink {
        #[cfg(feature = "tracing")]
        let sink = self.events.sink(crate::event::tracing::TracingSink);
        #[cfg(not(feature = "tracing"))]
        let sink = self.events.sink(crate::event::sink::NullSink);
        match sink {
            Ok(sink) => sink,
            Err(errors) => {
                for error in errors.iter() {
                    faults.add(error.path(), error.message());
                }
                SharedSink::default()
            }
        }
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
