//! The sink that writes lines, off the request path.

use std::{
    fmt,
    io::{self, Write},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use crate::{
    clock::{Clock, MonotonicClock},
    event::{
        model::{Action, SecurityEvent},
        sink::EventSink,
    },
    metrics::{
        counter::Counter,
        names::{LABEL_ERROR, SINK_ERRORS_TOTAL},
    },
};

/// How long [`EventSink::flush`] waits for the writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the writer lets lines gather. Waking a thread costs a request more than everything else about an event, and in a flood
/// this bounds how many requests pay for it.
const GATHER: Duration = Duration::from_millis(20);

/// Makes a line of an event.
pub trait LineFormat: Send + Sync + 'static {
    /// Appends the event to `line`, without a line feed; `time` is when the event was recorded.
    fn write(&self, event: &SecurityEvent<'_>, time: SystemTime, line: &mut String);
}

/// Writes events as lines to a writer: a file, standard output, a socket.
///
/// Events go through a queue to a thread of their own, which makes lines of them, so that a slow or broken writer neither blocks nor
/// fails a request, and a request pays for a copy of the event alone. Lines are written 20 milliseconds after their event at the latest
/// if the writer keeps up. When the queue is full the line is lost and counted, and the next line that finds room is preceded by a summary
/// ([`Action::EventsSuppressed`], reason `sink_full`). [`EventSink::flush`], and dropping the sink, wait up to five seconds until all
/// lines are written.
///
/// Put it behind [`FloodControl`](crate::event::FloodControl): it writes whatever it is given.
///
/// # Example
///
/// ```
/// use palisade::event::{Action, EventSink, LineSink, SecurityEvent, TextLines};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("security.log");
/// let file = std::fs::File::options().create(true).append(true).open(&path)?;
/// let sink = LineSink::new(TextLines, file)?;
/// sink.record(&SecurityEvent::new(Action::IpBlocked, "address is blocked").with_client([203, 0, 113, 7].into()));
/// sink.flush();
/// assert!(std::fs::read_to_string(&path)?.contains(" palisade: denied client=203.0.113.7 "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LineSink<F: LineFormat> {
    clock: Arc<dyn Clock>,
    lines: SyncSender<Line>,
    format: PhantomData<fn() -> F>,
    /// Lines lost since the last summary.
    unreported: AtomicU64,
    full: Counter,
    progress: Arc<Progress>,
}

impl<F: LineFormat> LineSink<F> {
    /// Starts a thread that writes to `writer`, with a queue of 4096 lines.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system that has no thread left.
    pub fn new(format: F, writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with_capacity(format, writer, 4096)
    }

    /// Starts a thread that writes to `writer`, with a queue of that many lines, at least 1.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system that has no thread left.
    pub fn with_capacity(
        format: F,
        writer: impl Write + Send + 'static,
        lines: usize,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(lines.max(1));
        let progress = Arc::new(Progress::new());
        let shared = Arc::clone(&progress);
        thread::Builder::new()
            .name("palisade-events".to_owned())
            .spawn(move || write_lines(&receiver, &format, writer, &shared))?;
        Ok(Self {
            format: PhantomData,
            clock: Arc::new(MonotonicClock),
            lines: sender,
            unreported: AtomicU64::new(0),
            full: Counter::new(SINK_ERRORS_TOTAL, &[(LABEL_ERROR, "full")]),
            progress,
        })
    }

    /// Sets the clock that lines take their time from. The default is the operating system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns how many lines were lost because the queue was full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.full.value()
    }

    /// Returns how many lines the writer failed to write.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.progress.failed.value()
    }

    fn send(&self, event: &SecurityEvent<'_>) -> bool {
        let line = Line {
            event: event.clone().into_owned(),
            time: self.clock.system_now(),
        };
        // Counted first, so that the writer is never ahead of what was sent.
        self.progress.state().sent += 1;
        match self.lines.try_send(line) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.progress.state().sent -= 1;
                false
            }
        }
    }

    fn report(&self) {
        if self.unreported.load(Ordering::Relaxed) == 0 {
            return;
        }
        let count = self.unreported.swap(0, Ordering::Relaxed);
        let event = SecurityEvent::new(Action::EventsSuppressed, "sink_full").with_count(count);
        if count != 0 && !self.send(&event) {
            self.unreported.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl<F: LineFormat> EventSink for LineSink<F> {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.report();
        if !self.send(event) {
            self.full.increment();
            self.unreported.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tick(&self) {
        self.report();
    }

    fn flush(&self) {
        self.report();
        self.progress.wait_until_written();
    }
}

impl<F: LineFormat> Drop for LineSink<F> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<F: LineFormat> fmt::Debug for LineSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSink")
            .field("clock", &self.clock)
            .field("lost", &self.full)
            .field("failed", &self.progress.failed)
            .finish_non_exhaustive()
    }
}

/// An event that is to become a line.
struct Line {
    event: SecurityEvent<'static>,
    time: SystemTime,
}

/// How far the writer has come.
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    failed: Counter,
}

#[derive(Default)]
struct State {
    sent: u64,
    done: u64,
    /// How many are waiting for the writer, which should not take its time then.
    waiting: u64,
}

impl Progress {
    fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            failed: Counter::new(SINK_ERRORS_TOTAL, &[(LABEL_ERROR, "write")]),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic or wait for the writer runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, lines: u64) {
        self.state().done += lines;
        self.changed.notify_all();
    }

    fn wait_until_written(&self) {
        let mut state = self.state();
        let goal = state.sent;
        state.waiting += 1;
        self.changed.notify_all();
        // Whoever is still not done after this time has lost its lines, and the process can end.
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.done < goal);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }

    /// Lets lines gather, unless somebody waits for them.
    fn gather(&self) {
        let state = self.state();
        drop(
            self.changed
                .wait_timeout_while(state, GATHER, |state| state.waiting == 0),
        );
    }
}

fn write_lines(
    lines: &Receiver<Line>,
    format: &impl LineFormat,
    mut writer: impl Write,
    progress: &Progress,
) {
    let mut torn = false;
    let mut text = String::with_capacity(1024);
    while let Ok(line) = lines.recv() {
        progress.gather();
        let mut next = Some(line);
        let mut written = 0;
        while let Some(line) = next {
            // What is left of a line that failed must not run into the next one.
            let result = guard(|| {
                text.clear();
                format.write(&line.event, line.time, &mut text);
                text.push('\n');
                if torn {
                    writer.write_all(b"\n")?;
                }
                writer.write_all(text.as_bytes())
            });
            torn = result.is_err();
            if torn {
                progress.failed.increment();
            }
            written += 1;
            next = lines.try_recv().ok();
        }
        if guard(|| writer.flush()).is_err() {
            progress.failed.increment();
        }
        progress.advance(written);
    }
}

/// Takes a panic of the writer, or of a format of the application's own, for an error.
fn guard(call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}
