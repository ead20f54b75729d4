//! The sink that hands events to the application.

use std::{
    fmt,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use crate::{
    event::{
        model::{Action, SecurityEvent},
        sink::EventSink,
    },
    metrics::{
        counter::Counter,
        names::{LABEL_ERROR, SINK_ERRORS_TOTAL},
    },
};

/// Sends events to a thread of the application's.
///
/// It never waits: when the channel is full the event is lost and counted, and the next one that finds room is preceded by a summary
/// ([`Action::EventsSuppressed`], reason `sink_full`). For a channel of another kind, as of an asynchronous runtime, a closure will do:
/// `move |event: &SecurityEvent<'_>| { let _ = sender.send(event.clone().into_owned()); }`.
///
/// # Example
///
/// ```
/// use palisade::event::{Action, ChannelSink, EventSink, SecurityEvent};
///
/// let (sink, events) = ChannelSink::bounded(1);
/// sink.record(&SecurityEvent::new(Action::IpBlocked, "address is blocked"));
/// sink.record(&SecurityEvent::new(Action::IpNotAllowed, "no room for this one"));
/// assert_eq!(events.recv()?.action(), Action::IpBlocked);
/// assert!(events.try_recv().is_err());
/// assert_eq!(sink.lost(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ChannelSink {
    sender: SyncSender<SecurityEvent<'static>>,
    /// Events lost since the last summary.
    unreported: AtomicU64,
    full: Counter,
}

impl ChannelSink {
    /// Creates a sink and the end of its channel at which events arrive; at most `events` wait there, at least 1.
    #[must_use]
    pub fn bounded(events: usize) -> (Self, Receiver<SecurityEvent<'static>>) {
        let (sender, receiver) = sync_channel(events.max(1));
        let sink = Self {
            sender,
            unreported: AtomicU64::new(0),
            full: Counter::new(SINK_ERRORS_TOTAL, &[(LABEL_ERROR, "full")]),
        };
        (sink, receiver)
    }

    /// Returns how many events were lost because the channel was full or closed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.full.value()
    }

    fn report(&self) {
        if self.unreported.load(Ordering::Relaxed) == 0 {
            return;
        }
        let count = self.unreported.swap(0, Ordering::Relaxed);
        let event = SecurityEvent::new(Action::EventsSuppressed, "sink_full").with_count(count);
        if count != 0 && self.sender.try_send(event).is_err() {
            self.unreported.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl EventSink for ChannelSink {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.report();
        if self.sender.try_send(event.clone().into_owned()).is_err() {
            self.full.increment();
            self.unreported.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tick(&self) {
        self.report();
    }

    fn flush(&self) {
        self.report();
    }
}

impl fmt::Debug for ChannelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink")
            .field("lost", &self.full)
            .finish_non_exhaustive()
    }
}
