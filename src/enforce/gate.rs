//! Runs the policies of a layer and carries out their decisions.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{RETRY_AFTER, USER_AGENT},
    request::Parts,
};

use crate::{
    client_ip::peer::PeerAddr,
    clock::Clock,
    enforce::counts::Counters,
    event::{
        model::{Action, SecurityEvent},
        sink::{EventSink, SharedSink},
    },
    metrics::duration::Durations,
    policy::{
        admission::Admission,
        decision::{Check, Decision, LaterDecision},
        fields::insert_if_absent,
        head::RequestHead,
        notice::Notice,
        receipt::Outcome,
        rejection::Rejection,
        set::PolicySet,
    },
    respond::Respond,
};

/// What all services of a layer share.
pub(crate) struct Gate<P: ?Sized, R> {
    pub(crate) respond: R,
    pub(crate) sink: SharedSink,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policies: Arc<P>,
    pub(crate) counters: Arc<Counters>,
    /// Measures how long checks take; opt-in, because it reads the clock twice.
    pub(crate) durations: Option<Arc<Durations>>,
}

/// How far a request has come.
pub(crate) enum Progress {
    Admitted,
    Refused(Rejection),
    /// The policy at `step` decides later.
    Waiting {
        step: usize,
        later: LaterDecision,
    },
}

impl<P: ?Sized, R> Gate<P, R> {
    /// Returns the same gate, with another responder.
    pub(crate) fn with_responder<R2>(&self, respond: R2) -> Gate<P, R2> {
        Gate {
            respond,
            sink: self.sink.clone(),
            clock: Arc::clone(&self.clock),
            policies: Arc::clone(&self.policies),
            counters: Arc::clone(&self.counters),
            durations: self.durations.clone(),
        }
    }
}

impl<P: PolicySet + ?Sized, R> Gate<P, R> {
    /// Checks the policies from position `step` on, and gathers in `admission` what they hand out.
    #[inline]
    pub(crate) fn check_from<B>(
        &self,
        mut step: usize,
        request: &mut Request<B>,
        admission: &mut Admission,
    ) -> Progress {
        let steps = self.policies.steps();
        let mut now = None;
        loop {
            let head = RequestHead::at(request, &*self.clock, now);
            let found = loop {
                if step >= steps {
                    return Progress::Admitted;
                }
                let mut check = self.policies.check_step(step, &head);
                // By reference: decisions are large, and moving each costs more than most policies.
                let later = match &mut check {
                    Check::Ready(Decision::Admit(later)) => later,
                    Check::Later(_) | Check::Ready(Decision::Reject(_)) => {
                        return self.stop(step, check);
                    }
                };
                self.counters.admitted(step, later);
                step += 1;
                if later.is_empty() {
                    // There is nothing to drop, which the compiler cannot see.
                    mem::forget(check);
                    continue;
                }
                let extensions = admission.merge(later);
                // What it carried has been taken out.
                mem::forget(check);
                if !extensions.is_empty() {
                    break extensions;
                }
            };
            // Policies further in may read what this one has found out.
            now = head.time_read();
            request.extensions_mut().extend(found);
        }
    }

    /// Ends the checks with a decision that does not admit.
    fn stop(&self, step: usize, check: Check) -> Progress {
        match check {
            Check::Later(later) => Progress::Waiting { step, later },
            Check::Ready(Decision::Admit(_)) => Progress::Admitted,
            Check::Ready(Decision::Reject(rejection)) => {
                self.counters.refused(step, &rejection);
                Progress::Refused(rejection)
            }
        }
    }

    /// Goes on after the policy at `step` has decided.
    pub(crate) fn resume<B>(
        &self,
        step: usize,
        decision: Decision,
        request: &mut Request<B>,
        admission: &mut Admission,
    ) -> Progress {
        match decision {
            Decision::Admit(mut later) => {
                self.counters.admitted(step, &later);
                request.extensions_mut().extend(admission.merge(&mut later));
                self.check_from(step + 1, request, admission)
            }
            Decision::Reject(rejection) => {
                self.counters.refused(step, &rejection);
                Progress::Refused(rejection)
            }
        }
    }

    /// Reads when a check begins, if its duration is asked for.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.durations.as_ref().map(|_| self.clock.now())
    }

    /// Records how long the check took that has begun then.
    #[inline]
    pub(crate) fn end(&self, began: Option<Instant>) {
        if let (Some(durations), Some(began)) = (&self.durations, began) {
            durations.record(self.clock.now().saturating_duration_since(began));
        }
    }

    /// Records the events of an admitted request.
    #[inline]
    pub(crate) fn admit<B>(&self, request: &Request<B>, admission: &mut Admission) {
        if admission.has_rest() {
            let head = || RequestHead::at(request, &*self.clock, None);
            self.notify(head, admission.take_notices());
        }
    }

    fn notify<'a>(&self, request: impl Fn() -> RequestHead<'a>, notices: Vec<Notice>) {
        for notice in notices {
            let request = request();
            let event = SecurityEvent::new(notice.action(), notice.reason());
            let event = notice.evidence().apply(event);
            let event = about(event, notice.policy().map(|it| &**it), &request);
            let event = if notice.enforced() {
                event
            } else {
                event.observed()
            };
            self.sink.record(&event);
        }
    }
}

impl<P: PolicySet + ?Sized, R> Gate<P, R> {
    /// Makes the response to a refused request, and settles what policies further out have handed out.
    pub(crate) fn refuse<B>(
        &self,
        mut parts: Parts,
        mut admission: Admission,
        mut rejection: Rejection,
    ) -> Response<B>
    where
        R: Respond<B>,
    {
        let head = || RequestHead::with_clock(&parts, &*self.clock);
        if admission.has_rest() {
            self.notify(head, admission.take_notices());
        }
        if rejection.has_notices() {
            self.notify(head, rejection.take_notices());
        }
        // Before the event, which tells the status that the client gets to see.
        let mut response = self.respond.respond(&rejection, &parts);
        if rejection.is_recorded() {
            self.sink.record_with(rejection.action(), || {
                let event = SecurityEvent::new(rejection.action(), rejection.reason())
                    .with_status(response.status());
                let event = rejection.evidence().apply(event);
                about(event, rejection.policy().map(|it| &**it), &head())
            });
        }
        let fields = mem::take(&mut admission.fields);
        let receipts = admission.take_receipts();
        if !receipts.is_empty() {
            receipts.settle(Outcome::Refused(&rejection));
        }
        if response.extensions().is_empty() {
            // Nobody looks at those of the request any more, and their table can be had for nothing: a new one cost 500 of 1900 instructions.
            parts.extensions.clear();
            *response.extensions_mut() = parts.extensions;
        }
        response.extensions_mut().insert(Refusal {
            action: rejection.action(),
            status: rejection.status(),
        });
        let status = response.status();
        let headers = response.headers_mut();
        if let Some(delay) = rejection.retry_after() {
            insert_if_absent(headers, &RETRY_AFTER, retry_after(delay));
        }
        let own = rejection.take_fields();
        if !fields.is_empty() {
            // The policy that refuses is the innermost of those that were asked.
            own.put_singles(status, headers);
        }
        fields.apply(status, headers);
        own.apply(status, headers);
        response
    }
}

/// Says on a response that it is a refusal of this crate: an extension for logging layers further out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    action: Action,
    status: StatusCode,
}

impl Refusal {
    /// Returns what happened.
    #[must_use]
    pub fn action(self) -> Action {
        self.action
    }

    /// Returns the status that was decided on; a gRPC response carries another one.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.status
    }
}

/// Adds to an event what a request says.
pub(crate) fn about<'a>(
    mut event: SecurityEvent<'a>,
    policy: Option<&'a str>,
    request: &RequestHead<'a>,
) -> SecurityEvent<'a> {
    // The path alone: a query may hold credentials.
    event = event
        .with_method(request.method())
        .with_path(request.uri().path());
    if let Some(policy) = policy {
        event = event.with_policy(policy);
    }
    if let Some(agent) = request.headers().get(USER_AGENT) {
        event = event.with_user_agent(agent);
    }
    if let Some(id) = request.headers().get(&X_REQUEST_ID) {
        event = event.with_request_id(id);
    }
    if let Some(context) = request.client() {
        if let Some(client) = context.client().addr() {
            event = event.with_client(client);
        }
        if let Some(peer) = context.peer().and_then(PeerAddr::ip) {
            event = event.with_peer(peer);
        }
    }
    event
}

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Writes a delay as whole seconds, rounded up and at least 1: a client that obeys must not come too early.
fn retry_after(delay: Duration) -> HeaderValue {
    // RFC 9110, section 10.2.3: delay-seconds is a non-negative decimal integer.
    let seconds = delay
        .as_secs()
        .saturating_add(u64::from(delay.subsec_nanos() != 0));
    // Digits are always a value. By way of text: `HeaderValue::from` takes 360 instructions for what this does in 90.
    HeaderValue::from_str(itoa::Buffer::new().format(seconds.max(1)))
        .unwrap_or(HeaderValue::from_static("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(delay: Duration, expected: &str) {
        assert_eq!(retry_after(delay), expected);
    }

    #[test]
    fn retry_after_is_rounded_up() {
        check(Duration::ZERO, "1");
        check(Duration::from_nanos(1), "1");
        check(Duration::from_millis(900), "1");
        check(Duration::from_secs(1), "1");
        check(Duration::from_millis(1900), "2");
        check(Duration::from_secs(60), "60");
    }
}
