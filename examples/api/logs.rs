//! Where log lines and security events go: one JSON object or one line of text each, on standard output.
//!
//! The objects follow the Elastic Common Schema: security events as palisade writes them, what else the service says in the same fields.

use std::{
    fmt,
    io::{IsTerminal as _, stdout},
};

use palisade::event::{EcsLayer, EcsLines};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::filter_fn,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        layer,
        time::{FormatTime as _, SystemTime},
    },
    prelude::*,
    registry::{LookupSpan, Registry},
};

use crate::config::{Log, LogFormat, LogLevel};

/// As ECS `service.name`.
const SERVICE: &str = "palisade-example-api";

/// Starts logging.
pub(crate) fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let json = match log.format {
        LogFormat::Auto => !stdout().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let registry = Registry::default().with(level);
    if json {
        let events = EcsLayer::new(EcsLines::new().with_service_name(SERVICE), stdout);
        let others = layer()
            .with_writer(stdout)
            .event_format(Lines)
            .with_filter(filter_fn(|it| it.target() != "palisade::security"));
        registry.with(events).with(others).init();
    } else {
        registry.with(layer().with_writer(stdout)).init();
    }
}

/// Writes what is no security event as a line of ECS. Fields that ECS does not know are labels.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut line = Map::new();
        let mut put = |key: &str, value: String| {
            line.insert(key.into(), Value::String(value));
        };
        put("@timestamp", time);
        put("log.level", metadata.level().as_str().to_lowercase());
        put("log.logger", metadata.target().into());
        put("ecs.version", "9.0.0".into());
        put("service.name", SERVICE.into());
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let key = match field.name() {
            "error" => "error.message".to_owned(),
            "message" => "message".to_owned(),
            other => format!("labels.{other}"),
        };
        self.0.insert(key, Value::String(value.to_owned()));
    }
}
