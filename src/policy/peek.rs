//! What a policy would decide, found out without a trace.

use std::borrow::Cow;

use crate::policy::{admission::Admission, decision::Decision, rejection::Rejection};

/// What a policy would decide about a request, found out without touching any state, and why.
///
/// # Example
///
/// ```
/// use http::{Request, StatusCode};
/// use palisade::{
///     event::Action,
///     policy::{Check, Decision, Peek, Policy, PolicySet, Rejection, RequestHead},
/// };
///
/// struct Maintenance;
///
/// impl Policy for Maintenance {
///     fn check(&self, request: &RequestHead<'_>) -> Check {
///         match self.peek(request) {
///             Some(peek) => peek.into_decision().into(),
///             None => Check::admit(),
///         }
///     }
///
///     fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
///         if request.uri().path() == "/health" {
///             return Some(Peek::admit("health checks pass"));
///         }
///         let rejection = Rejection::new(Action::Custom("maintenance"), StatusCode::SERVICE_UNAVAILABLE, "under maintenance");
///         Some(Peek::reject(rejection))
///     }
/// }
///
/// let (parts, ()) = Request::get("/health").body(())?.into_parts();
/// let admitted = Maintenance.peek(&RequestHead::new(&parts));
/// assert!(admitted.is_some_and(|it| it.reason() == "health checks pass"));
///
/// let (parts, ()) = Request::get("/orders").body(())?.into_parts();
/// let refused = Maintenance.peek(&RequestHead::new(&parts));
/// assert!(refused.is_some_and(|it| matches!(it.into_decision(), Decision::Reject(_))));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Peek {
    decision: Decision,
    reason: Cow<'static, str>,
}

impl Peek {
    /// Says that the request would pass, and why.
    pub fn admit(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::admit_with(Admission::new(), reason)
    }

    /// Says that the request would pass with something to carry along, such as an identity that policies further in read.
    pub fn admit_with(admission: Admission, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            decision: Decision::Admit(admission),
            reason: reason.into(),
        }
    }

    /// Says that the request would be refused; the reason is that of the rejection.
    pub fn reject(rejection: Rejection) -> Self {
        Self {
            reason: rejection.reason().into(),
            decision: Decision::Reject(rejection),
        }
    }

    /// Replaces the reason, which only operators see.
    pub fn with_reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns the decision, taking it out.
    pub fn into_decision(self) -> Decision {
        self.decision
    }
}
