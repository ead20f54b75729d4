//! The layer for `tracing_subscriber` that writes events as lines of JSON in the Elastic Common Schema.

use std::{borrow::Cow, fmt, io::Write as _, sync::Arc, time::SystemTime};

use ::tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::MakeWriter,
    layer::{Context, Layer},
};

use crate::{
    clock::{Clock, MonotonicClock},
    event::{
        ecs::{EcsLines, Endpoint, Record, TARGET},
        model::{Action, Severity},
    },
    metrics::{
        counter::Counter,
        names::{LABEL_ERROR, SINK_ERRORS_TOTAL},
    },
};

/// Writes the security events that come through `tracing` as ECS 9 JSON lines, as [`EcsLines`] does.
///
/// It looks at events of the target `palisade::security` only, and leaves everything else to the other layers of the subscriber. Lines
/// are written at once; a writer that may block belongs behind one that does not, or use [`LineSink`](crate::event::LineSink), which
/// needs no subscriber. Errors of the writer are counted.
///
/// # Example
///
/// ```
/// use palisade::event::{EcsLayer, EcsLines};
/// use tracing_subscriber::prelude::*;
///
/// let subscriber = tracing_subscriber::registry()
///     .with(EcsLayer::new(EcsLines::new().with_service_name("orders"), std::io::stdout));
/// # drop(subscriber);
/// ```
pub struct EcsLayer<W> {
    lines: EcsLines,
    writer: W,
    clock: Arc<dyn Clock>,
    failed: Counter,
}

impl<W> EcsLayer<W> {
    /// Creates a layer that writes to what `writer` makes.
    pub fn new(lines: EcsLines, writer: W) -> Self {
        Self {
            lines,
            writer,
            clock: Arc::new(MonotonicClock),
            failed: Counter::new(SINK_ERRORS_TOTAL, &[(LABEL_ERROR, "write")]),
        }
    }

    /// Sets the clock that lines take their time from. The default is the operating system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl<S, W> Layer<S> for EcsLayer<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = String::with_capacity(512);
        let record = fields.into_record(*metadata.level(), self.clock.system_now());
        self.lines.write_record(&record, &mut line);
        line.push('\n');
        let mut writer = self.writer.make_writer_for(metadata);
        if writer.write_all(line.as_bytes()).is_err() {
            self.failed.increment();
        }
    }
}

impl<W> fmt::Debug for EcsLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcsLayer")
            .field("lines", &self.lines)
            .field("clock", &self.clock)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The fields that [`TracingSink`](crate::event::TracingSink) records. A field that is given twice counts once.
#[derive(Default)]
struct Fields {
    texts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, u64)>,
    enforced: Option<bool>,
}

impl Fields {
    fn text(&mut self, name: &str) -> Option<Cow<'static, str>> {
        let place = self.texts.iter().position(|(it, _)| *it == name)?;
        Some(Cow::Owned(self.texts.swap_remove(place).1))
    }

    fn number(&self, name: &str) -> Option<u64> {
        let (_, number) = self.numbers.iter().find(|(it, _)| *it == name)?;
        Some(*number)
    }

    fn into_record(mut self, level: Level, time: SystemTime) -> Record<'static> {
        let action = self.text("event.action").unwrap_or_default();
        // The lists that `tracing` cannot carry follow from the action.
        let known = Action::known(&action).unwrap_or(Action::Custom(""));
        let enforced = self.enforced.unwrap_or(true);
        Record {
            time,
            severity: match level {
                Level::ERROR => Severity::Error,
                Level::WARN => Severity::Warn,
                Level::INFO => Severity::Info,
                _ => Severity::Debug,
            },
            kind: known.ecs_kind(),
            categories: known.ecs_categories(),
            types: known.types_where(enforced),
            outcome: known.ecs_outcome().filter(|_| enforced),
            action,
            reason: self.text("event.reason"),
            sequence: self.number("event.sequence"),
            count: self.number("event.count"),
            start: self.text("event.start"),
            end: self.text("event.end"),
            rule: self.text("rule.id"),
            generation: self.number("rule.version"),
            policy: self.text("rule.name"),
            layer: self.text("rule.ruleset"),
            client: Endpoint {
                ip: self.text("client.ip"),
                address: self.text("client.address"),
            },
            peer: Endpoint {
                ip: self.text("source.ip"),
                address: self.text("source.address"),
            },
            method: self.text("http.request.method"),
            request_id: self.text("http.request.id"),
            status: self.number("http.response.status_code"),
            path: self.text("url.path"),
            user_agent: self.text("user_agent.original"),
            fingerprint: self.text("labels.credential_fingerprint"),
            enforced: self.enforced,
            owasp: self.text("labels.owasp"),
            suppressed: self.text("labels.suppressed"),
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "labels.enforced" {
            self.enforced = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {
        // Only the constant message is recorded so.
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.texts.push((field.name(), value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.push((field.name(), value));
    }
}
