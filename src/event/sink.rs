//! Who receives events.

use std::{
    any::Any,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use crate::{
    event::{
        model::{Action, SecurityEvent, Severity},
        schema::{ACTIONS, SLOTS, slot_name},
    },
    metrics::{
        counter::Counter,
        names::{
            AUTH_TOTAL, CLIENT_IP_TOTAL, EVENTS_TOTAL, LABEL_ACTION, LABEL_ERROR, LABEL_RESULT,
            SINK_ERRORS_TOTAL,
        },
    },
};

/// Receives every [`SecurityEvent`].
///
/// It is called on the request path: it must not block, must not panic, and cannot fail the request.
pub trait EventSink: Send + Sync + 'static {
    /// Takes note of an event.
    fn record(&self, event: &SecurityEvent<'_>);

    /// Returns whether the sink does anything with events of that urgency. The default is `true`.
    ///
    /// Flood control spends none of its budget on what nobody reads.
    fn wants(&self, severity: Severity) -> bool {
        let _ = severity;
        true
    }

    /// Hands on what has been held back and is due: summaries of windows that have ended. Does nothing by default.
    ///
    /// A sink that holds something back looks for what is due at every event as well; a timer of the application's that calls this makes
    /// the last summary of an attack come in time.
    fn tick(&self) {}

    /// Hands on whatever is held back, due or not: what an application calls before it ends. Does nothing by default.
    ///
    /// It may wait for a moment, and does not belong on a request's path.
    fn flush(&self) {}
}

impl<F> EventSink for F
where
    F: Fn(&SecurityEvent<'_>) + Send + Sync + 'static,
{
    fn record(&self, event: &SecurityEvent<'_>) {
        self(event);
    }
}

impl<T: EventSink + ?Sized> EventSink for Arc<T> {
    fn record(&self, event: &SecurityEvent<'_>) {
        T::record(self, event);
    }

    fn wants(&self, severity: Severity) -> bool {
        T::wants(self, severity)
    }

    fn tick(&self) {
        T::tick(self);
    }

    fn flush(&self) {
        T::flush(self);
    }
}

impl<T: EventSink> EventSink for Option<T> {
    fn record(&self, event: &SecurityEvent<'_>) {
        if let Some(sink) = self {
            sink.record(event);
        }
    }

    fn wants(&self, severity: Severity) -> bool {
        self.as_ref().is_some_and(|it| it.wants(severity))
    }

    fn tick(&self) {
        if let Some(sink) = self {
            sink.tick();
        }
    }

    fn flush(&self) {
        if let Some(sink) = self {
            sink.flush();
        }
    }
}

macro_rules! impl_for_tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: EventSink),*> EventSink for ($($name,)*) {
            fn record(&self, event: &SecurityEvent<'_>) {
                $(self.$index.record(event);)*
            }

            fn wants(&self, severity: Severity) -> bool {
                $(self.$index.wants(severity))||*
            }

            fn tick(&self) {
                $(self.$index.tick();)*
            }

            fn flush(&self) {
                $(self.$index.flush();)*
            }
        }
    };
}

impl_for_tuple!(A 0, B 1);
impl_for_tuple!(A 0, B 1, C 2);
impl_for_tuple!(A 0, B 1, C 2, D 3);

/// Receives events and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl EventSink for NullSink {
    fn record(&self, _: &SecurityEvent<'_>) {}

    fn wants(&self, _: Severity) -> bool {
        false
    }
}

/// A sink that layers share, and that counts what passes through it.
///
/// It keeps a sink that panics from failing a request: the panic is caught where panics unwind, counted, and the event is lost. (The
/// process's panic hook still reports each one, which in a flood is a flood of its own: a sink should not panic.)
///
/// The default is [`TracingSink`](crate::event::TracingSink) behind [`FloodControl`](crate::event::FloodControl) with the feature
/// `tracing`, and [`NullSink`] without it. Every call of `default` makes a sink with a budget of its own: layers that shall share one
/// are given clones of one sink.
#[derive(Clone)]
pub struct SharedSink(Arc<Shared<dyn EventSink>>);

struct Shared<S: ?Sized> {
    counts: [Counter; SLOTS],
    results: Results,
    panics: Counter,
    sink: S,
}

impl SharedSink {
    /// Wraps a sink; one that is shared already is not wrapped again, so that nothing is counted twice.
    pub fn new(sink: impl EventSink) -> Self {
        if let Some(shared) = (&sink as &dyn Any).downcast_ref::<Self>() {
            return shared.clone();
        }
        Self(Arc::new(Shared {
            counts: std::array::from_fn(|slot| {
                Counter::new(EVENTS_TOTAL, &[(LABEL_ACTION, slot_name(slot))])
            }),
            results: Results::new(),
            panics: Counter::new(SINK_ERRORS_TOTAL, &[(LABEL_ERROR, "panic")]),
            sink,
        }))
    }

    /// Returns how often each action has been raised; the last one stands for all custom actions.
    #[must_use]
    pub fn counts(&self) -> Vec<(Action, u64)> {
        let actions = ACTIONS.iter().copied().chain([Action::Custom("custom")]);
        actions
            .zip(self.0.counts.iter().map(Counter::value))
            .collect()
    }

    /// Returns how often the sink has panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.value()
    }

    /// Starts a thread that [ticks](EventSink::tick) the sink again and again until all clones of it are gone, so that the last summary
    /// of an attack comes in time although no further event calls for it.
    ///
    /// An application that has a timer already may call `tick` itself. More often than every 10 ms it is not done.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system that has no thread left.
    pub fn with_ticker(self, every: Duration) -> io::Result<Self> {
        let sink = Arc::downgrade(&self.0);
        let every = every.max(SHORTEST_TICK);
        thread::Builder::new()
            .name("palisade-ticker".to_owned())
            .spawn(move || {
                loop {
                    thread::park_timeout(every);
                    let Some(sink) = sink.upgrade() else {
                        return;
                    };
                    Self(sink).tick();
                }
            })?;
        Ok(self)
    }

    /// Counts an event, and makes it only where the sink wants it: what nobody reads costs no more than a counter.
    pub(crate) fn record_with<'a>(
        &self,
        action: Action,
        event: impl FnOnce() -> SecurityEvent<'a>,
    ) {
        if let Some(counter) = self.0.counts.get(action.slot()) {
            counter.increment();
        }
        self.0.results.count(action);
        self.guard(|| {
            if self.0.sink.wants(action.severity()) {
                self.0.sink.record(&event());
            }
        });
    }

    fn guard(&self, call: impl FnOnce()) {
        // A sink whose state a panic has left broken can do no more harm than not to record.
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            self.0.panics.increment();
        }
    }
}

impl EventSink for SharedSink {
    fn record(&self, event: &SecurityEvent<'_>) {
        if let Some(counter) = self.0.counts.get(event.action().slot()) {
            counter.increment();
        }
        self.0.results.count(event.action());
        self.guard(|| self.0.sink.record(event));
    }

    fn wants(&self, severity: Severity) -> bool {
        self.0.sink.wants(severity)
    }

    fn tick(&self) {
        self.guard(|| self.0.sink.tick());
    }

    fn flush(&self) {
        self.guard(|| self.0.sink.flush());
    }
}

/// A thread that ticks without a pause would take a whole core.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// Actions that are counted once more, under names of their own.
struct Results {
    auth_failure: Counter,
    auth_previous: Counter,
    auth_scope_missing: Counter,
    client_malformed: Counter,
    client_unknown: Counter,
    client_untrusted: Counter,
}

impl Results {
    fn new() -> Self {
        let auth = |result| Counter::new(AUTH_TOTAL, &[(LABEL_RESULT, result)]);
        let client = |result| Counter::new(CLIENT_IP_TOTAL, &[(LABEL_RESULT, result)]);
        Self {
            auth_failure: auth("failure"),
            auth_previous: auth("previous"),
            auth_scope_missing: auth("scope_missing"),
            client_malformed: client("malformed"),
            client_unknown: client("unknown"),
            client_untrusted: client("untrusted_header"),
        }
    }

    fn count(&self, action: Action) {
        match action {
            Action::ApiKeyAcceptedPrevious => self.auth_previous.increment(),
            Action::ApiKeyRejected => self.auth_failure.increment(),
            Action::ApiKeyScopeMissing => self.auth_scope_missing.increment(),
            Action::ClientUnknown => self.client_unknown.increment(),
            Action::ForwardedHeaderMalformed => self.client_malformed.increment(),
            Action::ForwardedHeaderUntrusted => self.client_untrusted.increment(),
            _ => {}
        }
    }
}

impl fmt::Debug for SharedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSink")
            .field("panics", &self.0.panics)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::event::model::Action;

    fn count(shared: &SharedSink, action: Action) -> u64 {
        let counts = shared.counts();
        counts.iter().find(|(it, _)| *it == action).unwrap().1
    }

    #[test]
    fn every_sink_of_a_tuple_receives_the_event() {
        let count = Arc::new(AtomicU64::new(0));
        let sink = || {
            let count = Arc::clone(&count);
            move |event: &SecurityEvent<'_>| {
                assert_eq!(event.action(), Action::IpBlocked);
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let shared = SharedSink::new((sink(), (Arc::new(sink()), Some(sink())), NullSink));
        shared.record(&SecurityEvent::new(Action::IpBlocked, ""));
        assert_eq!(count.load(Ordering::SeqCst), 3);
        assert_eq!(shared.panics(), 0);
    }

    #[test]
    fn a_shared_sink_counts_each_event_once() {
        let shared = SharedSink::new(SharedSink::new(NullSink));
        let same = SharedSink::new(shared.clone());
        same.record(&SecurityEvent::new(Action::IpBlocked, ""));
        same.record(&SecurityEvent::new(Action::Custom("own"), ""));
        assert_eq!(count(&shared, Action::IpBlocked), 1);
        assert_eq!(count(&shared, Action::Custom("custom")), 1);
        assert_eq!(count(&shared, Action::IpNotAllowed), 0);
    }

    /// Tells when it is ticked.
    struct Ticked(std::sync::mpsc::Sender<()>);

    impl EventSink for Ticked {
        fn record(&self, _: &SecurityEvent<'_>) {}

        fn tick(&self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn a_ticker_ticks_until_the_sink_is_gone() {
        let (sender, ticks) = std::sync::mpsc::channel();
        let sink = SharedSink::new(Ticked(sender));
        let sink = sink.with_ticker(Duration::from_millis(1)).unwrap();
        assert_eq!(ticks.iter().take(3).count(), 3);
        drop(sink);
        // The thread lets go of the sink, and thus of the channel's other end.
        assert!(ticks.iter().count() < 1000);
    }

    #[test]
    fn sinks_tell_what_they_want() {
        let closure = || |_: &SecurityEvent<'_>| {};
        assert!(closure().wants(Severity::Debug));
        assert!(!(NullSink, None::<SharedSink>).wants(Severity::Error));
        assert!(SharedSink::new((NullSink, Some(Arc::new(closure())))).wants(Severity::Debug));
    }

    // J06
    #[test]
    fn a_panic_of_a_sink_is_caught_and_counted() {
        let shared = SharedSink::new(|_: &SecurityEvent<'_>| panic!("broken sink"));
        shared.record(&SecurityEvent::new(Action::IpBlocked, ""));
        shared.record(&SecurityEvent::new(Action::IpBlocked, ""));
        assert_eq!(shared.panics(), 2);
        assert_eq!(count(&shared, Action::IpBlocked), 2);
    }
}
