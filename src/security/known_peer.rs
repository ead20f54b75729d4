//! Refuses requests whose connection the server does not tell about.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::StatusCode;

use crate::{
    client_ip::{
        context::{ClientContext, ClientIp},
        unknown::UnknownReason,
    },
    event::model::Action,
    policy::{
        decision::Check, head::RequestHead, label::PolicyLabel, notice::Notice, peek::Peek,
        rejection::Rejection, set::Policy,
    },
};

/// How often the operator is told at most.
const WINDOW: Duration = Duration::from_secs(60);

/// Refuses with 500 where no peer is known: without one nothing else can be decided rightly.
#[derive(Debug, Default)]
pub(crate) struct KnownPeer {
    /// When the operator was last told. Locked only where the service is wired wrongly.
    told: Mutex<Option<Instant>>,
}

impl Policy for KnownPeer {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("client_ip", "known_peer")
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        match advice(request) {
            Some(advice) => self.refuse(request, advice),
            None => Check::admit(),
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        Some(match advice(request) {
            Some(advice) => Peek::reject(rejection()).with_reason(advice),
            None => Peek::admit("the server hands over the peer of the connection"),
        })
    }
}

/// Returns what the operator has to do, if anything.
fn advice(request: &RequestHead<'_>) -> Option<&'static str> {
    match request.client().map(ClientContext::client) {
        None => Some("no client address was resolved: apply ClientIpLayer outside this layer"),
        Some(ClientIp::Unknown(unknown)) if unknown.reason() == UnknownReason::MissingPeer => Some(
            "the server hands over no peer address: \
             serve with into_make_service_with_connect_info::<SocketAddr>(), \
             or insert a palisade::client_ip::PeerAddr into the request's extensions",
        ),
        Some(_) => None,
    }
}

fn rejection() -> Rejection {
    // The advice is the operator's; the client learns nothing about the wiring.
    Rejection::new(
        Action::ClientUnknown,
        StatusCode::INTERNAL_SERVER_ERROR,
        "the service is misconfigured",
    )
    .unrecorded()
}

impl KnownPeer {
    fn refuse(&self, request: &RequestHead<'_>, advice: &'static str) -> Check {
        let rejection = rejection();
        if self.is_due(request.now()) {
            let notice = Notice::new(Action::ClientUnknown, advice);
            return Check::reject(rejection.with_notice(notice));
        }
        Check::reject(rejection)
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| WINDOW <= now.saturating_duration_since(told));
        if due {
            *told = Some(now);
        }
        due
    }
}
