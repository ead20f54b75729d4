//! The future of a request at the gate.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    enforce::{
        gate::{Gate, Progress},
        track_body::BodyReceipts,
    },
    policy::{
        admission::Admission,
        decision::LaterDecision,
        fields::ResponseFields,
        receipt::{Outcome, Receipts},
        set::PolicySet,
    },
    respond::Respond,
};

pin_project! {
    /// The future of [`Enforce`](crate::enforce::Enforce).
    ///
    /// It allocates nothing of its own unless a decision takes time.
    pub struct ResponseFuture<S, P: ?Sized, R, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        pub(crate) state: State<S, P, R, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProjection]
    pub(crate) enum State<S, P: ?Sized, R, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        Calling {
            #[pin]
            future: S::Future,
            carried: Option<Carried>,
        },
        Refused {
            response: Option<Response<ResBody>>,
        },
        Waiting {
            waiting: Option<Box<Waiting<S, P, R, ReqBody>>>,
        },
    }
}

/// What policies have left for the response. Nothing of it is written, moved or dropped where they have left nothing.
pub(crate) struct Carried {
    fields: ResponseFields,
    receipts: Receipts,
}

/// A request whose decision takes time.
pub(crate) struct Waiting<S, P: ?Sized, R, ReqBody> {
    pub(crate) inner: S,
    pub(crate) gate: Arc<Gate<P, R>>,
    pub(crate) request: Request<ReqBody>,
    pub(crate) admission: Admission,
    pub(crate) step: usize,
    pub(crate) later: LaterDecision,
    pub(crate) began: Option<Instant>,
}

impl<S, P: ?Sized, R, ReqBody, ResBody> ResponseFuture<S, P, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(crate) fn refused(response: Response<ResBody>) -> Self {
        let response = Some(response);
        let state = State::Refused { response };
        Self { state }
    }

    pub(crate) fn waiting(waiting: Waiting<S, P, R, ReqBody>) -> Self {
        let waiting = Some(Box::new(waiting));
        let state = State::Waiting { waiting };
        Self { state }
    }
}

impl Carried {
    /// Returns what is left of an admission whose notices have been taken out.
    #[inline]
    pub(crate) fn of(mut admission: Admission) -> Option<Self> {
        if admission.is_empty() {
            // There is nothing to drop, which the compiler cannot see.
            mem::forget(admission);
            return None;
        }
        Some(Self {
            receipts: admission.take_receipts(),
            fields: admission.fields,
        })
    }
}

impl<S, P, R, ReqBody, ResBody> Future for ResponseFuture<S, P, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    P: PolicySet + ?Sized,
    R: Respond<ResBody>,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let State::Waiting { .. } = *state {
            ready!(state.as_mut().poll_decisions(cx));
        }
        // A response is large. Where nothing is to be done, it is not moved at all; otherwise it is changed in place.
        match state.as_mut().project() {
            StateProjection::Calling {
                future,
                carried: None,
            } => future.poll(cx),
            StateProjection::Calling {
                future,
                carried: Some(Carried { fields, receipts }),
            } => {
                let mut polled = future.poll(cx);
                if let Poll::Ready(Ok(response)) = &mut polled {
                    let status = response.status();
                    mem::take(fields).apply(status, response.headers_mut());
                }
                if receipts.is_empty() || polled.is_pending() {
                    return polled;
                }
                polled.map(|result| settle(result, mem::take(receipts)))
            }
            StateProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled again after it was ready, which `Future` leaves undefined.
                None => Poll::Pending,
            },
            // Only such a state is left that has been polled again after it was ready.
            StateProjection::Waiting { .. } => Poll::Pending,
        }
    }
}

impl<S, P, R, ReqBody, ResBody> State<S, P, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    P: PolicySet + ?Sized,
    R: Respond<ResBody>,
{
    /// Waits for decisions that take time until none is left.
    #[inline(never)]
    fn poll_decisions(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let StateProjection::Waiting { waiting } = self.as_mut().project() {
            let Some(request) = waiting else {
                break;
            };
            let decision = ready!(Pin::new(&mut request.later).poll(cx));
            if let Some(request) = waiting.take() {
                self.set(go_on(*request, decision));
            }
        }
        Poll::Ready(())
    }
}

/// Checks the remaining policies once the decision that took time is known.
fn go_on<S, P, R, ReqBody, ResBody>(
    waiting: Waiting<S, P, R, ReqBody>,
    decision: crate::policy::decision::Decision,
) -> State<S, P, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    P: PolicySet + ?Sized,
    R: Respond<ResBody>,
{
    let Waiting {
        mut inner,
        gate,
        mut request,
        mut admission,
        step,
        later: _,
        began,
    } = waiting;
    match gate.resume(step, decision, &mut request, &mut admission) {
        Progress::Admitted => {
            gate.end(began);
            gate.admit(&request, &mut admission);
            let carried = Carried::of(admission);
            State::Calling {
                future: inner.call(request),
                carried,
            }
        }
        Progress::Refused(rejection) => {
            gate.end(began);
            let (parts, _) = request.into_parts();
            State::Refused {
                response: Some(gate.refuse(parts, admission, rejection)),
            }
        }
        Progress::Waiting { step, later } => State::Waiting {
            waiting: Some(Box::new(Waiting {
                inner,
                gate,
                request,
                admission,
                step,
                later,
                began,
            })),
        },
    }
}

/// Settles the receipts.
fn settle<ResBody, E>(
    result: Result<Response<ResBody>, E>,
    receipts: Receipts,
) -> Result<Response<ResBody>, E> {
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            receipts.settle(Outcome::Failed);
            return Err(error);
        }
    };
    let (mut head, body) = response.into_parts();
    let rest = receipts.settle_head(Outcome::Answered(&head));
    if !rest.is_empty() {
        BodyReceipts::leave(rest, &mut head.extensions);
    }
    Ok(Response::from_parts(head, body))
}

impl<S, P: ?Sized, R, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, P, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } => "Calling",
            State::Refused { .. } => "Refused",
            State::Waiting { .. } => "Waiting",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
