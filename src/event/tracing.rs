//! The sink that writes events through `tracing`.

use ::tracing::{Level, enabled, event};

use crate::event::{
    address::EventAddress,
    model::{SecurityEvent, Severity},
    sink::EventSink,
    time::rfc3339,
};

/// Writes every event through `tracing`, with the target `palisade::security` and fields named as in ECS.
///
/// Text that a client chose is recorded as `&str` after it has been sanitized, never with `Display`, which some formatters
/// write out raw. Fields that the event does not have are left out.
///
/// `tracing` has no lists: `event.category` is the first of the event's categories, `event.type` the last of its types, which is the
/// telling one. `EcsLayer` (feature `tracing-subscriber`) and [`EcsLines`](crate::event::EcsLines) write
/// them all.
///
/// It writes whatever it is given: put [`FloodControl`](crate::event::FloodControl) before it, as [the
/// default](crate::event::SharedSink) does.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

/// Targets must be constant where `tracing` declares a callsite, and levels too: hence a macro and not a function.
macro_rules! write_at {
    ($level:expr, $event:expr) => {
        if enabled!(target: "palisade::security", $level) {
            let event = $event;
            let client = event.client().map(|it| it.to_string());
            let client_network = network(event.client_address());
            let peer = event.peer().map(|it| it.to_string());
            let peer_network = network(event.peer_address());
            let owasp = event.owasp();
            let start = event.start().map(rfc3339);
            let end = event.end().map(rfc3339);
            let rule = event.rule().map(|it| it.to_string());
            let fingerprint = event.fingerprint().map(|it| it.to_string());
            // `event!` takes dotted first fields after `target:`, which `warn!` and its siblings refuse.
            event!(
                target: "palisade::security",
                $level,
                event.action = event.action().as_str(),
                event.kind = event.action().ecs_kind(),
                event.category = event.action().ecs_categories().first(),
                event.type = event.ecs_types().last(),
                event.outcome = event.ecs_outcome(),
                event.reason = event.reason(),
                event.sequence = event.sequence(),
                event.count = event.count(),
                event.start = start.as_deref(),
                event.end = end.as_deref(),
                rule.ruleset = event.action().layer(),
                rule.name = event.policy(),
                rule.id = rule.as_deref(),
                rule.version = event.generation(),
                labels.enforced = event.enforced(),
                labels.credential_fingerprint = fingerprint.as_deref(),
                labels.owasp = owasp.as_deref(),
                labels.suppressed = event.suppressed().map(|it| it.as_str()),
                client.ip = client.as_deref(),
                client.address = client_network.as_deref(),
                source.ip = peer.as_deref(),
                source.address = peer_network.as_deref(),
                http.request.method = event.method().as_deref(),
                http.request.id = event.request_id().as_deref(),
                http.response.status_code = event.status().map(|it| it.as_u16()),
                url.path = event.path().as_deref(),
                user_agent.original = event.user_agent().as_deref(),
                "security event"
            );
        }
    };
}

impl EventSink for TracingSink {
    fn record(&self, event: &SecurityEvent<'_>) {
        match event.severity() {
            Severity::Debug => write_at!(Level::DEBUG, event),
            Severity::Info => write_at!(Level::INFO, event),
            Severity::Warn => write_at!(Level::WARN, event),
            Severity::Error => write_at!(Level::ERROR, event),
        }
    }

    fn wants(&self, severity: Severity) -> bool {
        match severity {
            Severity::Debug => enabled!(target: "palisade::security", Level::DEBUG),
            Severity::Info => enabled!(target: "palisade::security", Level::INFO),
            Severity::Warn => enabled!(target: "palisade::security", Level::WARN),
            Severity::Error => enabled!(target: "palisade::security", Level::ERROR),
        }
    }
}

/// Returns what is shown instead of a whole address.
fn network(address: Option<&EventAddress<'_>>) -> Option<String> {
    let shown = |it: &&EventAddress<'_>| !matches!(it, EventAddress::Full(_));
    address.filter(shown).map(ToString::to_string)
}
