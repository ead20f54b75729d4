//! Events as lines of JSON in the Elastic Common Schema.

use std::{borrow::Cow, time::SystemTime};

use crate::event::{
    address::EventAddress,
    json::Object,
    lines::LineFormat,
    model::{SecurityEvent, Severity},
    time::rfc3339,
};

/// The version of the schema that the lines follow.
const VERSION: &str = "9.0.0";

/// What the lines name as their logger, and the target of events in `tracing`.
pub(crate) const TARGET: &str = "palisade::security";

/// Writes events as JSON lines of the Elastic Common Schema (ECS) 9.
///
/// Objects are nested, `event.category` and `event.type` are arrays, no key occurs twice, times are RFC 3339 in UTC. Beside the fields
/// of ECS there are `event.count` in summaries and these labels: `labels.credential_fingerprint`, `labels.enforced` (`false` in dry run), `labels.owasp` (the name in
/// the OWASP logging vocabulary with its arguments) and `labels.suppressed` (the action that a summary counts).
///
/// A cut address stands in `client.ip` with its network in `client.address`; a token stands in `client.address` alone.
///
/// # Example
///
/// ```
/// use std::time::SystemTime;
/// use palisade::event::{Action, EcsLines, LineFormat, SecurityEvent};
///
/// let mut line = String::new();
/// let event = SecurityEvent::new(Action::IpBlocked, "address is blocked").with_client([203, 0, 113, 7].into());
/// EcsLines::new().with_service_name("orders").write(&event, SystemTime::UNIX_EPOCH, &mut line);
/// assert!(line.starts_with(r#"{"@timestamp":"1970-01-01T00:00:00.000Z","#));
/// assert!(line.contains(r#""category":["web","network"],"type":["access","denied"],"outcome":"success""#));
/// assert!(line.contains(r#""client":{"ip":"203.0.113.7"}"#));
/// ```
#[derive(Clone, Debug, Default)]
pub struct EcsLines {
    service: Option<Box<str>>,
}

impl EcsLines {
    /// Creates the format.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the service, as in ECS `service.name`.
    #[must_use]
    pub fn with_service_name(mut self, name: impl Into<Box<str>>) -> Self {
        self.service = Some(name.into());
        self
    }

    pub(crate) fn write_record(&self, record: &Record<'_>, line: &mut String) {
        Object::write(line, |line| {
            line.text("@timestamp", Some(rfc3339(record.time)));
            line.object("log", |log| {
                log.text("level", Some(record.severity.as_str()));
                log.text("logger", Some(TARGET));
            });
            line.text("message", record.reason.as_deref());
            line.object("ecs", |ecs| ecs.text("version", Some(VERSION)));
            line.object("event", |event| record.write_event(event));
            line.object("rule", |rule| {
                rule.text("id", record.rule.as_deref());
                rule.text("name", record.policy.as_deref());
                rule.text("ruleset", record.layer.as_deref());
                rule.text("version", record.generation.map(|it| it.to_string()));
            });
            line.object("client", |client| record.client.write(client));
            line.object("source", |source| record.peer.write(source));
            line.object("http", |http| {
                http.object("request", |request| {
                    request.text("method", record.method.as_deref());
                    request.text("id", record.request_id.as_deref());
                });
                http.object("response", |response| {
                    response.number("status_code", record.status);
                });
            });
            line.object("url", |url| url.text("path", record.path.as_deref()));
            line.object("user_agent", |agent| {
                agent.text("original", record.user_agent.as_deref());
            });
            line.object("service", |service| {
                service.text("name", self.service.as_deref());
            });
            line.object("labels", |labels| {
                labels.text("credential_fingerprint", record.fingerprint.as_deref());
                labels.boolean("enforced", record.enforced);
                labels.text("owasp", record.owasp.as_deref());
                labels.text("suppressed", record.suppressed.as_deref());
            });
        });
    }
}

impl LineFormat for EcsLines {
    fn write(&self, event: &SecurityEvent<'_>, time: SystemTime, line: &mut String) {
        self.write_record(&Record::of(event, time), line);
    }
}

/// What a line says.
pub(crate) struct Record<'a> {
    pub(crate) time: SystemTime,
    pub(crate) severity: Severity,
    pub(crate) action: Cow<'a, str>,
    pub(crate) kind: &'static str,
    pub(crate) categories: &'static [&'static str],
    pub(crate) types: &'static [&'static str],
    pub(crate) outcome: Option<&'static str>,
    pub(crate) reason: Option<Cow<'a, str>>,
    pub(crate) sequence: Option<u64>,
    pub(crate) count: Option<u64>,
    pub(crate) start: Option<Cow<'a, str>>,
    pub(crate) end: Option<Cow<'a, str>>,
    pub(crate) rule: Option<Cow<'a, str>>,
    pub(crate) generation: Option<u64>,
    pub(crate) policy: Option<Cow<'a, str>>,
    pub(crate) layer: Option<Cow<'a, str>>,
    pub(crate) client: Endpoint<'a>,
    pub(crate) peer: Endpoint<'a>,
    pub(crate) method: Option<Cow<'a, str>>,
    pub(crate) request_id: Option<Cow<'a, str>>,
    pub(crate) status: Option<u64>,
    pub(crate) path: Option<Cow<'a, str>>,
    pub(crate) user_agent: Option<Cow<'a, str>>,
    pub(crate) fingerprint: Option<Cow<'a, str>>,
    pub(crate) enforced: Option<bool>,
    pub(crate) owasp: Option<Cow<'a, str>>,
    pub(crate) suppressed: Option<Cow<'a, str>>,
}

impl<'a> Record<'a> {
    fn of(event: &'a SecurityEvent<'_>, time: SystemTime) -> Self {
        Self {
            time,
            severity: event.severity(),
            action: event.action().as_str().into(),
            kind: event.action().ecs_kind(),
            categories: event.action().ecs_categories(),
            types: event.ecs_types(),
            outcome: event.ecs_outcome(),
            reason: Some(event.reason().into()),
            sequence: Some(event.sequence()),
            count: event.count(),
            start: event.start().map(|it| rfc3339(it).into()),
            end: event.end().map(|it| rfc3339(it).into()),
            rule: event.rule().map(|it| it.to_string().into()),
            generation: event.generation(),
            policy: event.policy().map(Cow::Borrowed),
            layer: Some(event.action().layer().into()),
            client: Endpoint::of(event.client_address()),
            peer: Endpoint::of(event.peer_address()),
            method: event.method(),
            request_id: event.request_id(),
            status: event.status().map(|it| u64::from(it.as_u16())),
            path: event.path(),
            user_agent: event.user_agent(),
            fingerprint: event.fingerprint().map(|it| it.to_string().into()),
            enforced: Some(event.enforced()),
            owasp: event.owasp().map(Cow::Owned),
            suppressed: event.suppressed().map(|it| it.as_str().into()),
        }
    }

    fn write_event(&self, event: &mut Object<'_>) {
        event.text("kind", Some(self.kind));
        event.texts("category", self.categories);
        event.texts("type", self.types);
        event.text("outcome", self.outcome);
        event.text("action", Some(&self.action));
        event.text("reason", self.reason.as_deref());
        event.text("dataset", Some("palisade.security"));
        event.number("severity", Some(u64::from(self.severity.syslog())));
        event.number("sequence", self.sequence);
        event.number("count", self.count);
        event.text("start", self.start.as_deref());
        event.text("end", self.end.as_deref());
    }
}

/// One end of the connection.
#[derive(Default)]
pub(crate) struct Endpoint<'a> {
    pub(crate) ip: Option<Cow<'a, str>>,
    pub(crate) address: Option<Cow<'a, str>>,
}

impl Endpoint<'_> {
    pub(crate) fn of(address: Option<&EventAddress<'_>>) -> Self {
        let Some(address) = address else {
            return Self::default();
        };
        Self {
            ip: address.addr().map(|it| it.to_string().into()),
            address: (!matches!(address, EventAddress::Full(_)))
                .then(|| address.to_string().into()),
        }
    }

    fn write(&self, object: &mut Object<'_>) {
        object.text("ip", self.ip.as_deref());
        object.text("address", self.address.as_deref());
    }
}
