//! The last security events, and those to come.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use palisade::event::{EventSink, SecurityEvent};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::millis;

/// How many past events a new reader is shown.
const REMEMBERED: usize = 100;
/// How many events a reader may be behind before it is dropped.
const BEHIND: usize = 256;
/// How many readers there may be at a time.
const READERS: usize = 16;

/// Keeps the last security events and hands new ones to whoever reads.
///
/// As a sink it waits for nobody: a reader that falls behind is dropped, comes again and is shown what is remembered. Its place is behind
/// flood control, where the log's is, so that an attack does not wash everything else off the page:
/// `FloodControl::new((TracingSink, feed.clone()))`.
///
/// Clones are the same feed.
#[derive(Clone, Debug)]
pub(crate) struct EventFeed {
    memory: Arc<Mutex<Memory>>,
    readers: Arc<Semaphore>,
    /// When the feed began, in milliseconds since 1970: numbers of events begin again with the process.
    began: u64,
}

#[derive(Debug)]
struct Memory {
    past: VecDeque<Arc<Told>>,
    /// None once the feed has ended.
    sender: Option<broadcast::Sender<Arc<Told>>>,
}

/// An event as readers are told of it.
#[derive(Debug)]
struct Told {
    sequence: u64,
    json: String,
}

impl EventFeed {
    /// Ends the streams of all readers: they would keep a service that is told to stop from ending.
    pub(crate) fn end(&self) {
        self.lock().sender = None;
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts reading after `seen`; none where the feed has ended.
    fn reader(&self, seen: Option<u64>, permit: OwnedSemaphorePermit) -> Option<Reader> {
        // Both under one lock, so that nothing is missed between what was and what comes.
        let memory = self.lock();
        let receiver = memory.sender.as_ref()?.subscribe();
        let past = memory.past.iter();
        let past = past.filter(|it| seen.is_none_or(|seen| seen < it.sequence));
        Some(Reader {
            past: past.cloned().collect(),
            receiver,
            _permit: permit,
        })
    }
}

impl Default for EventFeed {
    fn default() -> Self {
        let memory = Memory {
            past: VecDeque::with_capacity(REMEMBERED),
            sender: Some(broadcast::Sender::new(BEHIND)),
        };
        Self {
            memory: Arc::new(Mutex::new(memory)),
            readers: Arc::new(Semaphore::new(READERS)),
            began: millis(SystemTime::now()),
        }
    }
}

impl EventSink for EventFeed {
    fn record(&self, event: &SecurityEvent<'_>) {
        let told = Arc::new(Told {
            sequence: event.sequence(),
            json: json(event, SystemTime::now()).to_string(),
        });
        // Held for as long as it takes to move a pointer, or, when somebody opens the page, to copy a hundred.
        let mut memory = self.lock();
        if memory.past.len() == REMEMBERED {
            memory.past.pop_front();
        }
        memory.past.push_back(Arc::clone(&told));
        if let Some(sender) = &memory.sender {
            // An error only says that nobody reads.
            let _ = sender.send(told);
        }
    }
}

/// Answers with the last events and those to come, as server-sent events. A reader that comes again with `Last-Event-ID` is not told twice.
pub(super) async fn events(State(feed): State<EventFeed>, headers: HeaderMap) -> Response {
    let began = feed.began;
    let seen = headers
        .get("last-event-id")
        .and_then(|it| it.to_str().ok()?.split_once('-'))
        .filter(|(process, _)| process.parse() == Ok(began))
        .and_then(|(_, sequence)| sequence.parse().ok());
    let Ok(permit) = Arc::clone(&feed.readers).try_acquire_owned() else {
        return unavailable("there are enough readers");
    };
    let Some(reader) = feed.reader(seen, permit) else {
        return unavailable("the service is stopping");
    };
    let events = stream::unfold(reader, move |mut reader| async move {
        let told = reader.next().await?;
        let event = Event::default()
            .id(format!("{began}-{}", told.sequence))
            .data(&told.json);
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}

struct Reader {
    past: VecDeque<Arc<Told>>,
    receiver: broadcast::Receiver<Arc<Told>>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Returns the next event; none where the reader is too far behind or the feed has ended.
    async fn next(&mut self) -> Option<Arc<Told>> {
        match self.past.pop_front() {
            Some(told) => Some(told),
            None => self.receiver.recv().await.ok(),
        }
    }
}

fn unavailable(error: &str) -> Response {
    let retry = [(RETRY_AFTER, "5")];
    let error = Json(json!({"error": error}));
    (StatusCode::SERVICE_UNAVAILABLE, retry, error).into_response()
}

fn json(event: &SecurityEvent<'_>, time: SystemTime) -> Value {
    json!({
        "sequence": event.sequence(),
        "time": millis(time),
        "level": event.severity().as_str(),
        "layer": event.action().layer(),
        "action": event.action().as_str(),
        "enforced": event.enforced(),
        "reason": event.reason(),
        "policy": event.policy(),
        "client": event.client_address().map(ToString::to_string),
        "method": event.method(),
        "path": event.path(),
        "status": event.status().map(|it| it.as_u16()),
        "count": event.count(),
        "suppressed": event.suppressed().map(palisade::event::Action::as_str),
    })
}
