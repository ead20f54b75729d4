//! What the sections make together.

#[cfg(feature = "secrets")]
use crate::api_key::keys::ApiKeys;
#[cfg(feature = "rate-limit")]
use crate::config::rate_limit::LiveLimit;
use crate::{
    config::{
        error::{ConfigErrors, Faults},
        files::ListFiles,
        ip_filter::InlineLists,
        security::SecurityConfig,
        surroundings::Surroundings,
    },
    event::sink::SharedSink,
    ip_set::file::IpListFile,
    security::{builder::SecurityBuilder, layer::SecurityLayer},
};

/// What the sections make together.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) builder: SecurityBuilder,
    pub(crate) sink: SharedSink,
    pub(crate) lists: InlineLists,
    pub(crate) files: Vec<IpListFile>,
    #[cfg(feature = "rate-limit")]
    pub(crate) limits: Vec<LiveLimit>,
    #[cfg(feature = "secrets")]
    pub(crate) keys: Option<ApiKeys>,
}

impl SecurityConfig {
    /// Makes what all sections say, or tells all that is wrong. `files` stand in for those that would be opened.
    pub(crate) fn make(
        &self,
        surroundings: &Surroundings,
        files: Option<ListFiles>,
    ) -> Result<Made, ConfigErrors> {
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
        if proxies.is_some() && !self.https.asks_proxies() {
            self.client_ip.refuse_idle_trust(&mut faults);
        }
        let mut builder = SecurityLayer::builder(source).sink(sink.clone());
        if let Some(clock) = &surroundings.clock {
            builder = builder.shared_clock(clock.clone());
        }
        if self.client_ip.remove_untrusted_headers {
            builder = builder.without_untrusted_headers();
        }
        #[cfg(feature = "jail")]
        {
            let client_ip = &self.client_ip;
            let trusted = [&client_ip.trusted_proxies, &client_ip.trusted_peers];
            builder = self
                .jail
                .assemble(builder, trusted, surroundings, &mut faults);
        }
        let (mut builder, lists) = self.ip_filter.assemble(builder, &mut files, &mut faults);
        builder = self.https.assemble(builder, proxies.as_ref(), &mut faults);
        #[cfg(feature = "in-flight")]
        if let Some(in_flight) = &self.in_flight {
            builder = in_flight.assemble(builder, &mut faults);
        }
        #[cfg(feature = "rate-limit")]
        let limits = {
            let (with, limits) = self.rate_limit.assemble(builder, surroundings, &mut faults);
            builder = with;
            limits
        };
        #[cfg(feature = "secrets")]
        let keys = {
            let (secrets, given) = (&surroundings.secrets, surroundings.api_keys.as_ref());
            let (with, keys) = self.api_keys.assemble(builder, secrets, given, &mut faults);
            builder = with;
            keys
        };
        builder = builder.response_headers(self.response_headers.make(&mut faults));
        if self.metrics.check_duration {
            builder = builder.check_duration();
        }
        faults.finish(Made {
            builder,
            sink,
            lists,
            files: files.files,
            #[cfg(feature = "rate-limit")]
            limits,
            #[cfg(feature = "secrets")]
            keys,
        })
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
