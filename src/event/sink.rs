//! Who receives events.

use std::{fmt, sync::Arc};

use crate::event::model::SecurityEvent;

/// Receives every [`SecurityEvent`].
///
/// It is called on the request path: it must not block, must not panic, and cannot fail the request.
pub trait EventSink: Send + Sync + 'static {
    /// Takes note of an event.
    fn record(&self, event: &SecurityEvent<'_>);
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
}

impl<T: EventSink> EventSink for Option<T> {
    fn record(&self, event: &SecurityEvent<'_>) {
        if let Some(sink) = self {
            sink.record(event);
        }
    }
}

impl<A: EventSink, B: EventSink> EventSink for (A, B) {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.record(event);
        self.1.record(event);
    }
}

impl<A: EventSink, B: EventSink, C: EventSink> EventSink for (A, B, C) {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.record(event);
        self.1.record(event);
        self.2.record(event);
    }
}

/// Receives events and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl EventSink for NullSink {
    fn record(&self, _: &SecurityEvent<'_>) {}
}

/// A sink that layers share.
///
/// The default is [`TracingSink`](crate::event::TracingSink) with the feature `tracing`, and [`NullSink`] without it.
#[derive(Clone)]
pub struct SharedSink(Arc<dyn EventSink>);

impl SharedSink {
    /// Wraps a sink.
    pub fn new(sink: impl EventSink) -> Self {
        Self(Arc::new(sink))
    }
}

impl EventSink for SharedSink {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.record(event);
    }
}

impl Default for SharedSink {
    fn default() -> Self {
        #[cfg(feature = "tracing")]
        let sink = crate::event::tracing::TracingSink;
        #[cfg(not(feature = "tracing"))]
        let sink = NullSink;
        Self::new(sink)
    }
}

impl fmt::Debug for SharedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSink(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::event::model::Action;

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
    }
}
