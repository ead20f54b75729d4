//! What a policy knows about a decision beside the request, for the event alone.

use ipnet::IpNet;

use crate::event::{fingerprint::Fingerprint, model::SecurityEvent};

/// What a policy knows about a decision beside the request, for the event alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// The credential that the event is about.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The generation of the list that decided.
    pub(crate) generation: Option<u64>,
    /// The entry of the list that decided.
    pub(crate) rule: Option<IpNet>,
}

impl Evidence {
    /// Adds what is known to an event.
    pub(crate) fn apply(self, mut event: SecurityEvent<'_>) -> SecurityEvent<'_> {
        if let Some(fingerprint) = self.fingerprint {
            event = event.with_fingerprint(fingerprint);
        }
        if let Some(generation) = self.generation {
            event = event.with_generation(generation);
        }
        if let Some(rule) = self.rule {
            event = event.with_rule(rule);
        }
        event
    }
}
