//! Keeps events from flooding whoever reads them.

use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::{DashMap, Entry};

use crate::{
    clock::{Clock, MonotonicClock},
    event::{
        address::EventAddress,
        budget::Budget,
        model::{Action, SecurityEvent, Severity},
        repeats::Repeats,
        schema::{Class, SLOTS},
        sink::EventSink,
        totals::{Span, Suppressed, Totals},
    },
};

/// How many entries that are due one event looks after, so that no request pays for all.
const SWEEP: usize = 16;

/// Records the first occurrence of an event at once and counts the rest.
///
/// Per policy, client and action the first event within a window is recorded; repeats are counted, and a summary
/// ([`Action::EventsSuppressed`]) says how many there were once the window has ended. IPv6 clients of one /64 count as one. Over all
/// clients there is a budget: what goes beyond it is counted by action and summed up once per window.
///
/// [Alerts](Action::is_alert) are never held back, but for a last resort of 1000 per second after a burst of 2000. Counters
/// ([`SharedSink::counts`](crate::event::SharedSink::counts)) stand before flood control and stay exact.
///
/// What is recorded costs a request more than what is counted. The default budget keeps that to fewer than one request in a hundred,
/// even in the first second of a flood of 20 000 addresses per second.
///
/// Memory is bounded: the table holds at most its capacity, and only what was recorded enters it. The oldest entry leaves a full
/// table, and its count is summed up then.
///
/// A summary that is due is recorded with the next event, or by [`EventSink::tick`], which a timer
/// ([`SharedSink::with_ticker`](crate::event::SharedSink::with_ticker)) may call; [`EventSink::flush`]
/// records all that was counted so far. Dropping the flood control flushes it.
///
/// fail2ban counts lines: a sink that writes for it needs every occurrence and thus a window of zero, which leaves the budget alone.
///
/// # Example
///
/// ```
/// use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, time::Duration};
/// use palisade::{
///     clock::ManualClock,
///     event::{Action, EventSink, FloodControl, SecurityEvent},
/// };
///
/// let lines = Arc::new(AtomicU64::new(0));
/// let counted = Arc::clone(&lines);
/// let clock = ManualClock::new();
/// let sink = FloodControl::new(move |_: &SecurityEvent<'_>| { counted.fetch_add(1, Ordering::Relaxed); })
///     .with_window(Duration::from_secs(60))
///     .with_clock(clock.clone());
///
/// for _ in 0..1000 {
///     let event = SecurityEvent::new(Action::RateLimitExceeded, "quota exceeded");
///     sink.record(&event.with_policy("api").with_client([203, 0, 113, 7].into()));
/// }
/// assert_eq!(lines.load(Ordering::Relaxed), 1);
/// assert_eq!(sink.suppressed(), 999);
///
/// clock.advance(Duration::from_secs(60));
/// sink.tick(); // the summary
/// assert_eq!(lines.load(Ordering::Relaxed), 2);
/// ```
pub struct FloodControl<S: EventSink> {
    sink: S,
    clock: Arc<dyn Clock>,
    /// All times below are nanoseconds since this one.
    start: Instant,
    window: u64,
    capacity: usize,
    budget: Budget,
    last_resort: Budget,
    hasher: RandomState,
    table: DashMap<u64, Repeats>,
    len: AtomicUsize,
    /// What leaves the table when, in order: all windows are equally long. No lock of the table is taken while this one is held.
    queue: Mutex<VecDeque<(u64, u64)>>,
    /// When the next sweep has something to do.
    next_sweep: AtomicU64,
    totals: Totals,
    suppressed: [Suppressed; SLOTS],
}

impl<S: EventSink> FloodControl<S> {
    /// Puts flood control before a sink.
    pub fn new(sink: S) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
        Self {
            sink,
            start: clock.now(),
            clock,
            window: nanos(Duration::from_secs(60)),
            capacity: 8192,
            budget: Budget::new(100, 20),
            last_resort: Budget::new(1000, 2000),
            hasher: RandomState::new(),
            table: DashMap::new(),
            len: AtomicUsize::new(0),
            queue: Mutex::new(VecDeque::new()),
            next_sweep: AtomicU64::new(u64::MAX),
            totals: Totals::new(),
            suppressed: std::array::from_fn(Suppressed::new),
        }
    }

    /// Sets the time within which an event of the same policy, client and action is a repeat. The default is a minute; zero turns
    /// summaries per client off and leaves the budget.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = nanos(window);
        self
    }

    /// Sets how many events per second are recorded over all clients, after a burst; both are at least 1. The default is 100 after a
    /// burst of 20.
    #[must_use]
    pub fn with_budget(mut self, per_second: u32, burst: u32) -> Self {
        self.budget = Budget::new(per_second, burst);
        self
    }

    /// Sets how many events the table remembers, at least 1. The default is 8192.
    #[must_use]
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// Sets the clock. The default is [`MonotonicClock`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self.start = self.clock.now();
        self
    }

    /// Returns how many events have been counted instead of recorded.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.iter().map(Suppressed::sum).sum()
    }

    fn now(&self) -> u64 {
        nanos(self.clock.now().saturating_duration_since(self.start))
    }

    /// Records the event unless it has occurred within the window.
    fn record_first(&self, event: &SecurityEvent<'_>, budget: &Budget, now: u64) {
        if self.window == 0 {
            return self.record_within(event, budget, now);
        }
        let key = self.key(event);
        if let Some(repeats) = self.table.get(&key)
            && repeats.repeat(now)
        {
            drop(repeats);
            return self.repeated(event);
        }
        let ended = match self.table.entry(key) {
            // Another thread was faster.
            Entry::Occupied(entry) if entry.get().repeat(now) => {
                drop(entry);
                return self.repeated(event);
            }
            entry => {
                if !budget.take(now) {
                    drop(entry);
                    return self.flooded(event, now);
                }
                let repeats = Repeats::new(event, now, self.window, self.clock.system_now());
                match entry {
                    Entry::Occupied(mut entry) => Some(entry.insert(repeats)),
                    Entry::Vacant(entry) => {
                        entry.insert(repeats);
                        self.len.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                }
            }
        };
        let evicted = self.enqueue(now.saturating_add(self.window), key);
        for repeats in ended.into_iter().chain(evicted) {
            self.summarize(&repeats, now);
        }
        self.sink.record(event);
    }

    fn record_within(&self, event: &SecurityEvent<'_>, budget: &Budget, now: u64) {
        if budget.take(now) {
            self.sink.record(event);
        } else {
            self.flooded(event, now);
        }
    }

    fn repeated(&self, event: &SecurityEvent<'_>) {
        if let Some(suppressed) = self.suppressed.get(event.action().slot()) {
            suppressed.repeat.increment();
        }
    }

    fn flooded(&self, event: &SecurityEvent<'_>, now: u64) {
        let slot = event.action().slot();
        if let Some(suppressed) = self.suppressed.get(slot) {
            suppressed.flood.increment();
        }
        self.count(slot, 1, now, now);
    }

    fn count(&self, slot: usize, count: u64, first: u64, now: u64) {
        if self.totals.add(slot, count, first, now) {
            // The first since the last summary.
            let window = match self.window {
                0 => nanos(Duration::from_secs(60)),
                window => window,
            };
            self.totals.set_due(now.saturating_add(window));
        }
    }

    /// Files a new entry of the table under the end of its window, and makes room.
    fn enqueue(&self, ends: u64, key: u64) -> Option<Repeats> {
        let mut queue = self.queue();
        queue.push_back((ends, key));
        if queue.len() == 1 {
            self.next_sweep.store(ends, Ordering::Relaxed);
        }
        drop(queue);
        while self.capacity < self.len.load(Ordering::Relaxed) {
            let (ends, key) = self.queue().pop_front()?;
            if let Some(repeats) = self.remove(key, ends) {
                return Some(repeats);
            }
        }
        None
    }

    fn remove(&self, key: u64, ends: u64) -> Option<Repeats> {
        // A later window of the same key has an end of its own.
        let (_, repeats) = self.table.remove_if(&key, |_, it| it.ends == ends)?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(repeats)
    }

    /// Sums up windows that have ended, at most so many.
    fn sweep(&self, now: u64, limit: usize) {
        if self.next_sweep.load(Ordering::Relaxed) <= now {
            for _ in 0..limit {
                let Some((ends, key)) = self.pop_ended(now) else {
                    break;
                };
                if let Some(repeats) = self.remove(key, ends) {
                    self.summarize(&repeats, now);
                }
            }
        }
        if self.totals.take_due(now) {
            self.summarize_totals(now);
        }
    }

    fn pop_ended(&self, now: u64) -> Option<(u64, u64)> {
        let mut queue = self.queue();
        let ended = match queue.front() {
            Some((ends, _)) if *ends <= now => queue.pop_front(),
            _ => None,
        };
        let next = queue.front().map_or(u64::MAX, |(ends, _)| *ends);
        self.next_sweep.store(next, Ordering::Relaxed);
        ended
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        // Nothing that could panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how often an event was repeated, if the budget allows; otherwise its count goes into the total of its action.
    fn summarize(&self, repeats: &Repeats, now: u64) {
        let count = repeats.count.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let last = repeats.last.load(Ordering::Relaxed);
        if !self.budget.take(now) {
            self.count(repeats.action.slot(), count, repeats.began, last.max(now));
            return;
        }
        self.sink.record(&repeats.summary(count, last));
    }

    fn summarize_totals(&self, now: u64) {
        let system_now = self.clock.system_now();
        let at = |time: u64| {
            let ago = Duration::from_nanos(now.saturating_sub(time));
            system_now.checked_sub(ago).unwrap_or(system_now)
        };
        for (action, count, Span { first, last }) in self.totals.take() {
            let event = SecurityEvent::new(Action::EventsSuppressed, "flood")
                .with_suppressed(action)
                .with_count(count)
                .with_span(at(first), Some(at(last)));
            self.sink.record(&event);
        }
    }

    /// Tells occurrences of the same event by a keyed hash: a client cannot choose one that hides another's.
    fn key(&self, event: &SecurityEvent<'_>) -> u64 {
        let client = match event.action().schema().class {
            Class::Condition => None,
            _ => event.client_address(),
        };
        let (addr, token) = match client {
            Some(EventAddress::Token(token)) => (None, Some(&**token)),
            Some(address) => (address.addr().map(one_client), None),
            None => (None, None),
        };
        self.hasher.hash_one((
            event.action(),
            event.enforced(),
            event.policy(),
            addr,
            token,
        ))
    }
}

impl<S: EventSink> EventSink for FloodControl<S> {
    fn record(&self, event: &SecurityEvent<'_>) {
        if !self.sink.wants(event.severity()) {
            return;
        }
        let now = self.now();
        self.sweep(now, SWEEP);
        match event.action().schema().class {
            Class::Alert => self.record_within(event, &self.last_resort, now),
            Class::Condition => self.record_first(event, &self.last_resort, now),
            Class::Ordinary => self.record_first(event, &self.budget, now),
        }
    }

    fn wants(&self, severity: Severity) -> bool {
        self.sink.wants(severity)
    }

    fn tick(&self) {
        self.sweep(self.now(), usize::MAX);
        self.sink.tick();
    }

    fn flush(&self) {
        let now = self.now();
        self.sweep(now, usize::MAX);
        // No lock of the table is held while the sink runs.
        let keys: Vec<u64> = self.table.iter().map(|it| *it.key()).collect();
        for key in keys {
            let counted = self.table.get(&key).and_then(|it| it.counted());
            if let Some(repeats) = counted {
                self.summarize(&repeats, now);
            }
        }
        self.totals.set_due(u64::MAX);
        self.summarize_totals(now);
        self.sink.flush();
    }
}

impl<S: EventSink> Drop for FloodControl<S> {
    fn drop(&mut self) {
        // A panic of the sink must not meet another one on its way.
        let _ = catch_unwind(AssertUnwindSafe(|| self.flush()));
    }
}

impl<S: EventSink> fmt::Debug for FloodControl<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FloodControl")
            .field("window", &Duration::from_nanos(self.window))
            .field("capacity", &self.capacity)
            .field("budget", &self.budget)
            .field("clock", &self.clock)
            .field("remembered", &self.len)
            .field("suppressed", &self.suppressed())
            .finish_non_exhaustive()
    }
}

/// An IPv6 host has a whole /64 to choose from.
fn one_client(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => (addr.to_bits() | u128::from(u64::MAX)) ^ 1,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
