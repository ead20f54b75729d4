//! The decision about a request, now or later.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::policy::{admission::Admission, rejection::Rejection};

/// The decision about a request.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// The request may pass.
    Admit(Admission),
    /// The request is refused.
    Reject(Rejection),
}

impl Decision {
    /// Lets the request pass with nothing to carry along.
    pub fn admit() -> Self {
        Self::Admit(Admission::new())
    }

    /// Raises a further event, whatever is decided.
    #[cfg(all(feature = "rate-limit", debug_assertions))]
    pub(crate) fn with_notice(self, notice: crate::policy::notice::Notice) -> Self {
        match self {
            Self::Admit(admission) => admission.with_notice(notice).into(),
            Self::Reject(rejection) => rejection.with_notice(notice).into(),
        }
    }
}

impl From<Admission> for Decision {
    fn from(admission: Admission) -> Self {
        Self::Admit(admission)
    }
}

impl From<Rejection> for Decision {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

/// What a policy answers: a decision, or the promise of one.
#[derive(Debug)]
#[must_use]
pub enum Check {
    /// The decision will be known later, as when the state is on another machine.
    Later(LaterDecision),
    /// The decision is known.
    Ready(Decision),
}

impl Check {
    /// Lets the request pass with nothing to carry along.
    pub fn admit() -> Self {
        Self::Ready(Decision::admit())
    }

    /// Refuses the request.
    pub fn reject(rejection: Rejection) -> Self {
        Self::Ready(Decision::Reject(rejection))
    }

    /// Decides when `future` is ready. It is dropped where the client goes away first.
    pub fn later(future: impl Future<Output = Decision> + Send + 'static) -> Self {
        Self::Later(LaterDecision(Box::pin(future)))
    }

    /// Changes the decision, whenever it is known.
    pub(crate) fn map(self, change: impl FnOnce(Decision) -> Decision + Send + 'static) -> Self {
        match self {
            Self::Later(later) => Self::later(async move { change(later.await) }),
            Self::Ready(decision) => Self::Ready(change(decision)),
        }
    }
}

impl From<Decision> for Check {
    fn from(decision: Decision) -> Self {
        Self::Ready(decision)
    }
}

/// A decision that takes time: a future.
pub struct LaterDecision(Pin<Box<dyn Future<Output = Decision> + Send>>);

impl Future for LaterDecision {
    type Output = Decision;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for LaterDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LaterDecision(..)")
    }
}
