//! The gate as a tower layer and service.

use std::{
    any::type_name,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    clock::{Clock, MonotonicClock},
    enforce::{
        counts::{Counters, PolicyCounts},
        future::{Carried, ResponseFuture, State, Waiting},
        gate::{Gate, Progress},
    },
    event::sink::{EventSink, SharedSink},
    metrics::{
        duration::{DurationCounts, Durations},
        names::CHECK_DURATION_SECONDS,
    },
    policy::{admission::Admission, decision::LaterDecision, rejection::Rejection, set::PolicySet},
    respond::{ProblemJson, Respond},
};

/// Enforces policies on every request.
///
/// `P` is a [`PolicySet`], `R` the [responder](Respond) that makes the response to a refused request.
pub struct EnforceLayer<P: ?Sized, R = ProblemJson> {
    gate: Arc<Gate<P, R>>,
}

impl<P: PolicySet> EnforceLayer<P> {
    /// Creates a layer that answers refused requests with problem documents, records events in the [default
    /// sink](SharedSink::default) and reads the monotonic clock.
    pub fn new(policies: P) -> Self {
        Self::shared(Arc::new(policies))
    }
}

impl<P: PolicySet + ?Sized> EnforceLayer<P> {
    /// Creates a layer from policies that are shared with others.
    #[must_use]
    pub fn shared(policies: Arc<P>) -> Self {
        Self {
            gate: Arc::new(Gate {
                respond: ProblemJson,
                sink: SharedSink::default(),
                clock: Arc::new(MonotonicClock),
                counters: Arc::new(Counters::new(&*policies)),
                durations: None,
                policies,
            }),
        }
    }
}

impl<P: ?Sized, R: Clone> EnforceLayer<P, R> {
    /// Sets who receives the security events. The default is [`SharedSink::default`].
    #[must_use]
    pub fn with_sink(self, sink: impl EventSink) -> Self {
        self.with_shared_sink(SharedSink::new(sink))
    }

    /// Sets who receives the security events, shared with other layers.
    #[must_use]
    pub fn with_shared_sink(self, sink: SharedSink) -> Self {
        self.changed(|gate| gate.sink = sink)
    }

    /// Sets the clock. The default is [`MonotonicClock`].
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with_shared_clock(Arc::new(clock))
    }

    /// Sets the clock, shared with other layers.
    #[must_use]
    pub fn with_shared_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.changed(|gate| gate.clock = clock)
    }

    /// Measures how long the policies take to decide, waiting for other machines included. It is off by default, because it reads the
    /// clock twice per request.
    #[must_use]
    pub fn with_check_duration(self) -> Self {
        let durations = Arc::new(Durations::new(CHECK_DURATION_SECONDS));
        self.changed(|gate| gate.durations = Some(durations))
    }

    fn changed(&self, change: impl FnOnce(&mut Gate<P, R>)) -> Self {
        let mut gate = self.gate.with_responder(self.gate.respond.clone());
        change(&mut gate);
        Self {
            gate: Arc::new(gate),
        }
    }

    /// Sets how refusals look. The default is [`ProblemJson`].
    #[must_use]
    pub fn with_responder<R2>(self, respond: R2) -> EnforceLayer<P, R2> {
        EnforceLayer {
            gate: Arc::new(self.gate.with_responder(respond)),
        }
    }
}

impl<P: ?Sized, R> EnforceLayer<P, R> {
    /// Returns how often each policy has decided what, in the order in which they are checked. The counts are exact, whatever became of
    /// the events.
    #[must_use]
    pub fn counts(&self) -> Vec<PolicyCounts> {
        self.gate.counters.counts()
    }

    /// Returns how long checks have taken so far; nothing unless [`with_check_duration`](Self::with_check_duration) was called.
    #[must_use]
    pub fn check_durations(&self) -> Option<DurationCounts> {
        self.gate.durations.as_ref().map(|it| it.counts())
    }
}

impl<P: ?Sized, R> EnforceLayer<P, R> {
    pub(crate) fn policies(&self) -> &P {
        &self.gate.policies
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.gate.clock
    }
}

impl<P: ?Sized, R> Clone for EnforceLayer<P, R> {
    fn clone(&self) -> Self {
        Self {
            gate: Arc::clone(&self.gate),
        }
    }
}

impl<P: ?Sized, R> fmt::Debug for EnforceLayer<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_gate(f, "EnforceLayer", &self.gate)
    }
}

impl<S, P: ?Sized, R> Layer<S> for EnforceLayer<P, R> {
    type Service = Enforce<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.gate.counters.tell_unenforced(&self.gate.sink);
        Enforce {
            inner,
            gate: Arc::clone(&self.gate),
        }
    }
}

/// The service of [`EnforceLayer`]: lets a request through to the inner service, or answers it.
pub struct Enforce<S, P: ?Sized, R = ProblemJson> {
    inner: S,
    gate: Arc<Gate<P, R>>,
}

impl<S: Clone, P: ?Sized, R> Clone for Enforce<S, P, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            gate: Arc::clone(&self.gate),
        }
    }
}

impl<S, P: ?Sized, R> fmt::Debug for Enforce<S, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_gate(f, "Enforce", &self.gate)
    }
}

impl<S, P, R, ReqBody, ResBody> Service<Request<ReqBody>> for Enforce<S, P, R>
where
    // `Clone` because a decision that takes time must keep the readied inner service and leave another in its place.
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    P: PolicySet + ?Sized,
    R: Respond<ResBody>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S, P, R, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let mut admission = Admission::new();
        let began = self.gate.begin();
        match self.gate.check_from(0, &mut request, &mut admission) {
            Progress::Admitted => {
                self.gate.end(began);
                self.gate.admit(&request, &mut admission);
                let carried = Carried::of(admission);
                let future = self.inner.call(request);
                ResponseFuture {
                    state: State::Calling { future, carried },
                }
            }
            Progress::Refused(rejection) => {
                self.gate.end(began);
                self.refuse(request, admission, rejection)
            }
            Progress::Waiting { step, later } => self.wait(request, admission, step, later, began),
        }
    }
}

// Apart, and not made part of `call`: that made the path of admitted requests longer.
impl<S, P, R> Enforce<S, P, R>
where
    P: PolicySet + ?Sized,
{
    #[inline(never)]
    fn refuse<ReqBody, ResBody>(
        &self,
        request: Request<ReqBody>,
        admission: Admission,
        rejection: Rejection,
    ) -> ResponseFuture<S, P, R, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
        R: Respond<ResBody>,
    {
        let (parts, _) = request.into_parts();
        ResponseFuture::refused(self.gate.refuse(parts, admission, rejection))
    }

    #[inline(never)]
    fn wait<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        admission: Admission,
        step: usize,
        later: LaterDecision,
        began: Option<Instant>,
    ) -> ResponseFuture<S, P, R, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>> + Clone,
    {
        // The readied instance is the one to be called: the clone, which is not ready, stays behind.
        let clone = self.inner.clone();
        ResponseFuture::waiting(Waiting {
            inner: mem::replace(&mut self.inner, clone),
            gate: Arc::clone(&self.gate),
            request,
            admission,
            step,
            later,
            began,
        })
    }
}

fn debug_gate<P: ?Sized, R>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    gate: &Gate<P, R>,
) -> fmt::Result {
    f.debug_struct(name)
        .field("policies", &format_args!("{}", type_name::<P>()))
        .field("respond", &format_args!("{}", type_name::<R>()))
        .field("clock", &gate.clock)
        .finish_non_exhaustive()
}
