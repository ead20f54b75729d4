//! The handle of the store.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{self, Instant},
};

#[cfg(feature = "jail")]
use crate::shared_store::listener::Listener;
use crate::shared_store::{
    breaker::Breaker,
    call::Call,
    failure::Cause,
    hash::WideHasher,
    script::Script,
    settings::{Settings, Topology},
    worker,
};

/// A Redis or Valkey that instances share: what one counts, all count. Clones are handles to the same connection.
///
/// See the [module](crate::shared_store).
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) settings: Arc<Settings>,
    pub(crate) breaker: Breaker,
    /// Where the task takes calls from; none until somebody calls.
    calls: Mutex<Option<mpsc::Sender<Call>>>,
    in_flight: AtomicUsize,
    /// The task that looks when the store is back.
    probing: Mutex<Option<AbortHandle>>,
    /// When a probe was last answered, and after which pause.
    recovered: Mutex<Option<(Instant, Duration)>>,
    names: Mutex<HashSet<Arc<str>>>,
    probe: Arc<Script>,
}

impl RedisStore {
    pub(crate) fn new(settings: Settings, breaker: Breaker) -> Self {
        Self(Arc::new(Inner {
            settings: Arc::new(settings),
            breaker,
            calls: Mutex::new(None),
            in_flight: AtomicUsize::new(0),
            probing: Mutex::new(None),
            recovered: Mutex::new(None),
            names: Mutex::default(),
            probe: Arc::new(Script::new(PROBE)),
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Returns whether the store answers, as far as is known: `false` while the circuit breaker is open.
    #[must_use]
    pub fn is_available(&self) -> bool {
        !self.0.breaker.is_open()
    }

    /// Returns how many decisions the store has not made since the start, whatever the reason.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.breaker.failures()
    }

    pub(crate) fn is_away(&self) -> bool {
        self.0.breaker.is_open()
    }

    pub(crate) fn hasher(&self) -> WideHasher {
        self.0.settings.hash_key.hasher()
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0.settings.prefix
    }

    /// Returns the full name of a key or channel.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix())
    }

    /// Wakes whoever waits, whenever something is published on a channel. A connection that is lost is made again; what was published meanwhile
    /// is missed.
    #[cfg(feature = "jail")]
    pub(crate) async fn listen(&self, channel: &str, news: Arc<tokio::sync::Notify>) {
        let channel = self.named(channel);
        loop {
            if let Ok(listening) = Listener::open(&self.0.settings, &channel, &news).await {
                listening.until_lost().await;
            }
            time::sleep(RELISTEN).await;
        }
    }

    /// Takes a name for a part of the store; nothing where it is taken.
    pub(crate) fn register(&self, name: Arc<str>) -> Option<Registration> {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(Arc::clone(&name)).then(|| Registration {
            store: self.clone(),
            name,
        })
    }

    /// Runs a script, within the deadline or not at all.
    pub(crate) async fn run(&self, script: &Arc<Script>, command: Cmd) -> Result<Value, Cause> {
        if self.is_away() {
            return Err(self.failed(Cause::Away));
        }
        match self.ask(script, command).await {
            Ok(value) => {
                self.0.breaker.succeed();
                Ok(value)
            }
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Runs a script some time, and asks for no answer.
    pub(crate) fn post(&self, script: &Arc<Script>, command: Cmd) {
        if self.0.breaker.is_open() {
            self.failed(Cause::Away);
            return;
        }
        let call = Call {
            script: Arc::clone(script),
            command,
            reply: None,
            redirected: None,
            asking: false,
        };
        if let Err(cause) = self.send(call) {
            self.failed(cause);
        }
    }

    /// Asks the store whether it takes writes, and takes note where it does; returns whether all of it does.
    async fn probe(&self) -> bool {
        // In a cluster, so many keys that next to surely every node has one of them.
        let keys = match self.0.settings.topology {
            Topology::Cluster => 32,
            Topology::Sentinel(_) | Topology::Single => 1,
        };
        let mut answered = 0;
        for key in 0..keys {
            let mut command = self.0.probe.call(1);
            command.arg(self.named(&format!("probe:{key}")));
            match self.ask(&self.0.probe, command).await {
                Ok(_) => answered += 1,
                Err(cause) if cause.is_of_node() || cause == Cause::Timeout => {}
                Err(_) => return false,
            }
        }
        if answered == keys {
            self.0.breaker.close();
        } else if answered != 0 {
            self.0.breaker.close_in_part();
        }
        answered == keys
    }

    async fn ask(&self, script: &Arc<Script>, command: Cmd) -> Result<Value, Cause> {
        // Whoever waits needs a timer, even where the task is on a runtime already.
        Handle::try_current().map_err(|_| Cause::NoRuntime)?;
        let _place = Place::take(&self.0).ok_or(Cause::Busy)?;
        let (reply, answer) = oneshot::channel();
        self.send(Call {
            script: Arc::clone(script),
            command,
            reply: Some(reply),
            redirected: None,
            asking: false,
        })?;
        match time::timeout(self.0.settings.deadline, answer).await {
            Ok(Ok(result)) => result,
            // The task has gone, as with its runtime.
            Ok(Err(_)) => Err(Cause::Connection),
            Err(_) => Err(Cause::Timeout),
        }
    }

    fn send(&self, call: Call) -> Result<(), Cause> {
        let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match calls.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.start()?,
        };
        let sent = sender.try_send(call).map_err(|_| Cause::Busy);
        *calls = Some(sender);
        sent
    }

    /// Starts the task on the runtime that the caller is on.
    fn start(&self) -> Result<mpsc::Sender<Call>, Cause> {
        let runtime = Handle::try_current().map_err(|_| Cause::NoRuntime)?;
        let (sender, calls) = mpsc::channel(self.0.settings.max_in_flight);
        let response = (self.0.settings.deadline * 4).max(MIN_RESPONSE);
        runtime.spawn(worker::run(Arc::clone(&self.0.settings), calls, response));
        Ok(sender)
    }

    /// Takes note of a failure, and sees to it that somebody looks when the store is back.
    fn failed(&self, cause: Cause) -> Cause {
        if self.0.breaker.fail(cause) || cause == Cause::Away || cause.is_of_node() {
            self.see_to_probe();
        }
        cause
    }

    fn see_to_probe(&self) {
        let mut probing = self
            .0
            .probing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // It may have ended with the runtime that it was on.
        if probing.as_ref().is_none_or(AbortHandle::is_finished)
            && let Ok(runtime) = Handle::try_current()
        {
            let probe = runtime.spawn(probe(Arc::downgrade(&self.0)));
            *probing = Some(probe.abort_handle());
        }
    }
}

/// Asks at ever longer pauses whether the store is back.
async fn probe(inner: Weak<Inner>) {
    let mut pause = match inner.upgrade() {
        Some(inner) => inner.first_pause(),
        None => return,
    };
    loop {
        time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let store = RedisStore(inner);
        if store.probe().await {
            store.0.note_recovered(pause);
            return;
        }
        pause = longer(pause);
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

impl Inner {
    /// Returns how long to wait for the first probe: longer where the store was back for a short while alone, as one that answers probes and not the
    /// load that follows.
    fn first_pause(&self) -> Duration {
        let recovered = self.recovered.lock();
        match *recovered.unwrap_or_else(PoisonError::into_inner) {
            Some((since, pause)) if since.elapsed() < STANDS => longer(pause),
            _ => FIRST_PAUSE,
        }
    }

    fn note_recovered(&self, pause: Duration) {
        let mut recovered = self
            .recovered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *recovered = Some((Instant::now(), pause));
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix())
            .field("deadline", &self.0.settings.deadline)
            .field("is_available", &self.is_available())
            .finish_non_exhaustive()
    }
}

/// A place among the decisions in flight.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(inner: &'a Inner) -> Option<Self> {
        let before = inner.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Self(&inner.in_flight);
        (before < inner.settings.max_in_flight).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A name within the store that is taken until this is dropped.
pub(crate) struct Registration {
    store: RedisStore,
    name: Arc<str>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let names = &self.store.0.names;
        names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

/// A lost subscription is made again after so long.
#[cfg(feature = "jail")]
const RELISTEN: Duration = Duration::from_millis(500);
/// A connection that has not answered for so long is given up at the earliest.
const MIN_RESPONSE: Duration = Duration::from_millis(200);
/// Does all that the script of limits may do, or a store that can do the half of it would be taken for one that is back. It writes first with what
/// takes memory: a script that has written may write more where there is none left.
const PROBE: &str = "
local time = redis.call('TIME')
redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], '1', 'PXAT', string.format('%.0f', time[1] * 1000 + 1000))
return redis.call('DEL', KEYS[1])
";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A store that has answered for so long is as good as one that was never away.
const STANDS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_and_goes_is_probed_less_often() {
        let hash_key = SecretString::from("0123456789abcdef");
        let store = RedisStore::builder("redis://127.0.0.1:1", hash_key).build();
        let store = store.unwrap();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = store.0.first_pause();
            store.0.note_recovered(pause);
            pauses.push(pause.as_millis());
            time::sleep(STANDS / 2).await;
        }
        assert_eq!(pauses, [50, 100, 200, 400, 500, 500]);
        time::sleep(STANDS / 2).await;
        assert_eq!(store.0.first_pause(), FIRST_PAUSE);
    }

    #[test]
    fn so_many_are_in_flight_and_no_more() {
        let hash_key = SecretString::from("0123456789abcdef");
        let store = RedisStore::builder("redis://127.0.0.1:1", hash_key).max_in_flight(2);
        let store = store.build().unwrap();
        let mut places = [(); 4].map(|()| Place::take(store.inner()));
        let taken = places.each_ref().map(Option::is_some);
        assert_eq!(taken, [true, true, false, false]);
        places[0] = None;
        assert!(Place::take(store.inner()).is_some());
        places[1] = None;
        assert_eq!(store.0.in_flight.load(Ordering::Relaxed), 0);
    }
}
