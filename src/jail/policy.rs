//! The jail as a policy.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};

use crate::{
    client_ip::context::ClientIp,
    event::model::Action,
    jail::{
        bans::Found,
        handle::JailHandle,
        key::BanKey,
        state::{Cause, State, Verdict},
        tallies::{Skipped, TRAP},
    },
    policy::{
        admission::Admission,
        decision::{Check, Decision},
        head::RequestHead,
        label::PolicyLabel,
        notice::Notice,
        peek::Peek,
        receipt::{Outcome, Receipt, Until},
        rejection::Rejection,
        set::Policy,
    },
};

/// Refuses clients that are banned, and bans those whose requests end badly too often: a [`Policy`].
///
/// Clones share all state. [`JailLayer`](crate::jail::JailLayer) makes a layer of it.
#[derive(Clone)]
pub struct Jail {
    state: Arc<State>,
}

impl Jail {
    /// Returns a handle to list, make and lift bans.
    #[must_use]
    pub fn handle(&self) -> JailHandle {
        JailHandle::new(Arc::clone(&self.state))
    }

    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    fn refuse(&self, action: Action, left: Option<Duration>) -> Rejection {
        let rejection = Rejection::new(action, self.state.status, "the client is banned");
        match left {
            Some(left) if self.state.tells_end => rejection.with_retry_after(left),
            _ => rejection,
        }
    }

    /// Decides about a request for a trap path, by a client that is not banned.
    fn trapped(&self, request: &RequestHead<'_>, client: ClientIp) -> Check {
        let state = &*self.state;
        let rule: Arc<str> = TRAP.into();
        let Some(addr) = client.addr() else {
            state.tallies.note_skipped(Skipped::Unknown);
            return Check::reject(spared(state.status).with_policy(rule));
        };
        if state.is_exempt(client) {
            state.tallies.note_skipped(Skipped::Exempt);
            let notice = Notice::new(
                Action::BanSkipped,
                "a trap path was touched, but the client is exempt",
            );
            let admission = Admission::new().with_notice(notice.with_policy(rule));
            return Decision::Admit(admission).into();
        }
        if is_sent_by_foreign_page(request.headers()) {
            state.tallies.note_skipped(Skipped::ForeignPage);
            return Check::reject(spared(state.status).with_policy(rule));
        }
        let cause = Cause {
            by_hand: false,
            rule: &rule,
            reason: "a trap path was touched",
            ban_time: state.traps.ban_time().unwrap_or(state.ban_time),
            enforced: request.is_enforced(),
            request: Some(request),
        };
        match state.ban(BanKey::new(addr), request.now(), &cause) {
            Verdict::Already => {
                state.tallies.note_denied();
                Check::reject(
                    self.refuse(Action::BannedClientDenied, None)
                        .with_policy(rule),
                )
            }
            // The event of the ban says it all.
            Verdict::Banned(ban) => {
                let length = ban.end.duration_since(ban.start).ok();
                let rejection = self.refuse(Action::ClientBanned, length);
                Check::reject(rejection.with_policy(rule).unrecorded())
            }
            Verdict::Full => Check::reject(
                self.refuse(Action::BanSkipped, None)
                    .with_policy(rule)
                    .unrecorded(),
            ),
        }
    }
}

impl Policy for Jail {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        let state = &*self.state;
        #[cfg(feature = "redis")]
        crate::jail::shared::sync::ensure(&self.state);
        let Some(context) = request.client() else {
            let notice = Notice::new(
                Action::ClientUnknown,
                "the jail sees no client: apply ClientIpLayer outside this layer",
            );
            return Decision::Admit(Admission::new().with_notice(notice)).into();
        };
        let client = context.client();
        if let Some(addr) = client.addr() {
            match state.bans.find(BanKey::new(addr), || request.now()) {
                // An exempt client may have a banned neighbor in its network.
                Found::Active(ban, left) if !state.is_exempt(client) => {
                    state.tallies.note_denied();
                    let rejection = self.refuse(Action::BannedClientDenied, Some(left));
                    return Check::reject(rejection.with_policy(ban.rule));
                }
                Found::JustOver(record) => state.tell_expired(&[record]),
                Found::Active(..) | Found::Nothing => {}
            }
        }
        if state.traps.is_touched_by(request.uri().path()) {
            return self.trapped(request, client);
        }
        if state.rules.is_empty() || client.addr().is_none() {
            return Check::admit();
        }
        let receipt = JailReceipt {
            state: Arc::clone(&self.state),
            client,
            enforced: request.is_enforced(),
        };
        Decision::Admit(Admission::new().with_receipt(Until::Head, receipt)).into()
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        let state = &*self.state;
        let Some(context) = request.client() else {
            return Some(Peek::admit("no client was resolved"));
        };
        let client = context.client();
        let exempt = state.is_exempt(client);
        if let Some(addr) = client.addr()
            && let Some((ban, left)) = state.bans.peek(BanKey::new(addr), request.now())
            && !exempt
        {
            let rejection = self.refuse(Action::BannedClientDenied, Some(left));
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            let reason = format!("banned by {} for another {left}", ban.rule);
            return Some(Peek::reject(rejection.with_policy(ban.rule)).with_reason(reason));
        }
        if state.traps.is_touched_by(request.uri().path()) {
            let rule: Arc<str> = TRAP.into();
            if client.addr().is_none() || (!exempt && is_sent_by_foreign_page(request.headers())) {
                return Some(Peek::reject(spared(state.status).with_policy(rule)));
            }
            if exempt {
                return Some(Peek::admit("a trap path, but the client is exempt"));
            }
            let rejection = self.refuse(Action::ClientBanned, None).with_policy(rule);
            let reason = "a trap path: the request would ban the client";
            return Some(Peek::reject(rejection).with_reason(reason));
        }
        Some(Peek::admit("not banned"))
    }

    fn label(&self) -> PolicyLabel {
        PolicyLabel::new("jail", "jail").unwrap_or_else(|_| PolicyLabel::of_type::<Self>())
    }
}

impl fmt::Debug for Jail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jail")
            .field("rules", &self.state.rules)
            .field("active", &self.state.bans.active())
            .finish_non_exhaustive()
    }
}

/// Learns how a request ended.
struct JailReceipt {
    state: Arc<State>,
    client: ClientIp,
    enforced: bool,
}

impl Receipt for JailReceipt {
    fn settle(self: Box<Self>, outcome: Outcome<'_>) {
        for (index, rule) in self.state.rules.iter().enumerate() {
            if rule.counts(&outcome) {
                self.state.note(self.client, index, rule, self.enforced);
            } else if rule.resets(&outcome) {
                self.state.forget(self.client, index);
            }
        }
    }
}

/// Refuses a request for a trap path without a ban, for it is not certain whose will it was.
fn spared(status: StatusCode) -> Rejection {
    Rejection::new(Action::BanSkipped, status, "this path is not served")
}

/// Returns whether a page of another origin made a browser send the request.
///
/// A page could otherwise get all its visitors banned here with an image. Whoever sends the field himself is refused like a banned client,
/// and gains nothing.
fn is_sent_by_foreign_page(headers: &HeaderMap) -> bool {
    // Fetch Metadata, section 2.3: `none` is a person at the address bar. Scripts cannot set the field.
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "none" && site != "same-origin")
}
