//! No decision takes longer than its deadline, whatever has happened to the store.
//!
//! The clock here is tokio's, paused: it stands still while a task has something to do, and moves on to the next timer when all of them wait. So the
//! time that a decision has taken is the time of the timers that it has waited for, to the millisecond, and a busy machine does not add to it. That
//! misses nothing that a decision may wait for: the tests, the limiters, the task that sends calls and the client of the store are all on one thread, and
//! wait for each other, for sockets and for timers, all of them tokio's. What blocked the thread would not be seen: that is for the tests of
//! [faults](crate::faults), which run by the clock of the machine.
//!
//! Such a clock does not wait for what is on its way between two sockets: where nobody [holds](Held) it, answers of the store come after the deadline or
//! before it, as it happens. Where they never come, that makes no difference.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use palisade::{
    event::NullSink,
    rate_limit::{Quota, SharedRateLimiter},
    secret::SecretString,
    shared_store::{OnStoreFailure, RedisStore, RedisStoreBuilder},
};
use tokio::{
    task::{self, JoinHandle},
    time::Instant,
};

use crate::{
    proxy::Proxy,
    support::{Server, builder, free_port, join},
};

/// The default.
const DEADLINE: Duration = Duration::from_millis(50);
/// So much longer may a decision take.
const GRACE: Duration = Duration::from_millis(10);
/// So many ask at once, a third of them each limit.
const CALLERS: u32 = 90;
/// What an idle client may spend.
const BURST: u32 = 10;
/// What is left of it after the first request.
const LEFT: u32 = BURST - 1;
/// What is left of the share of one of two instances.
const LEFT_OF_SHARE: u32 = BURST / 2 - 1;

/// Keeps the clock where it is, so that whatever the sockets have comes in time. Who waits for a timer waits for the end of this.
struct Held(#[expect(dead_code, reason = "its drop is what ends it")] mpsc::Sender<()>);

impl Held {
    fn start() -> Self {
        let (sender, dropped) = mpsc::channel();
        // The clock stands still while a thread is at work for the runtime. It ends by itself, or a decision that hangs would hang the test.
        task::spawn_blocking(move || dropped.recv_timeout(Duration::from_secs(20)));
        Self(sender)
    }
}

/// What becomes of decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// What the limit has chosen for a store that is away.
    Chosen,
    /// What the store says.
    Decided,
    /// One of them.
    Either,
}

/// A decision, and how long it took.
struct Decision {
    limit: OnStoreFailure,
    /// What is left, or why there is no decision.
    result: Result<u32, String>,
    took: Duration,
}

impl Decision {
    #[track_caller]
    fn check(&self, expected: Expected) {
        let Self {
            limit,
            result,
            took,
        } = self;
        assert!(*took <= DEADLINE + GRACE, "{limit:?} {result:?}: {took:?}");
        let is_chosen = match limit {
            // What passes uncounted has spent nothing.
            OnStoreFailure::Allow => *result == Ok(BURST),
            OnStoreFailure::Deny => result.is_err(),
            _ => *result == Ok(LEFT_OF_SHARE),
        };
        let is_decided = *result == Ok(LEFT);
        let fits = match expected {
            Expected::Chosen => is_chosen,
            Expected::Decided => is_decided,
            Expected::Either => is_chosen || is_decided,
        };
        assert!(fits, "{limit:?} {result:?}, expected {expected:?}");
    }
}

/// A store and a limit for each choice.
#[derive(Clone)]
struct Limits {
    store: RedisStore,
    each: Vec<(OnStoreFailure, SharedRateLimiter)>,
    /// No two decisions are about the same client.
    clients: Arc<AtomicU32>,
}

impl Limits {
    fn new(store: RedisStoreBuilder) -> Self {
        let store = store.build().unwrap();
        let limits = [
            ("allow", OnStoreFailure::Allow),
            ("deny", OnStoreFailure::Deny),
            ("fallback", OnStoreFailure::Fallback),
        ]
        .map(|(name, choice)| {
            let quota = Quota::per_day(1).with_burst(BURST);
            let limiter = SharedRateLimiter::builder(&store, name, quota).on_failure(choice);
            (choice, limiter.build().unwrap())
        });
        Self {
            store,
            each: limits.into(),
            clients: Arc::default(),
        }
    }

    /// Makes the limits of a store that has answered.
    async fn of(store: RedisStoreBuilder) -> Self {
        let limits = Self::new(store);
        limits.held(Expected::Decided).await;
        limits
    }

    async fn decide(&self, (limit, limiter): &(OnStoreFailure, SharedRateLimiter)) -> Decision {
        let client = self.clients.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let result = limiter.check(&client, 1).await;
        let took = start.elapsed();
        if let Ok(verdict) = &result {
            assert!(verdict.is_admitted());
        }
        Decision {
            limit: *limit,
            result: result
                .map(|it| it.remaining())
                .map_err(|error| error.to_string()),
            took,
        }
    }

    /// Has many callers decide, so often each.
    fn start(&self, times: usize) -> Vec<JoinHandle<Vec<Decision>>> {
        let callers = self.each.iter().cycle().take(CALLERS as usize);
        callers
            .map(|limit| {
                let (this, limit) = (self.clone(), limit.clone());
                tokio::spawn(async move {
                    let mut decisions = Vec::new();
                    for _ in 0..times {
                        decisions.push(this.decide(&limit).await);
                    }
                    decisions
                })
            })
            .collect()
    }

    /// Has many callers decide at once, and returns the longest time that one of them took.
    async fn check(&self, expected: Expected) -> Duration {
        let decisions = all(self.start(1)).await;
        for decision in &decisions {
            decision.check(expected);
        }
        decisions.iter().map(|it| it.took).max().unwrap()
    }

    /// The same, where the store has all the time that it needs to answer.
    async fn held(&self, expected: Expected) {
        let held = Held::start();
        let longest = self.check(expected).await;
        drop(held);
        assert_eq!(longest, Duration::ZERO);
    }

    /// The same, where no answer ever comes: those who ask first wait for the deadline, and the later ones for nothing.
    async fn silent(&self) {
        assert!(DEADLINE <= self.check(Expected::Chosen).await);
        assert_eq!(self.check(Expected::Chosen).await, Duration::ZERO);
        assert!(!self.store.is_available());
        // Probes are under way meanwhile.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(self.check(Expected::Chosen).await, Duration::ZERO);
    }
}

async fn all(callers: Vec<JoinHandle<Vec<Decision>>>) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for caller in callers {
        decisions.extend(caller.await.unwrap());
    }
    decisions
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_is_not_waited_for() {
    let server = Server::start();
    let limits = Limits::of(builder(&server.address())).await;
    server.signal("-STOP");
    limits.silent().await;
}

/// Whatever else asks the store has the same deadline.
#[tokio::test(start_paused = true)]
async fn corrections_of_a_frozen_server_are_not_waited_for() {
    let server = Server::start();
    let limits = Limits::of(builder(&server.address())).await;
    server.signal("-STOP");
    for (_, limiter) in &limits.each {
        let start = Instant::now();
        let (peek, refund, reset) = tokio::join!(
            limiter.peek("key", 1),
            limiter.refund("key", 1),
            limiter.reset("key")
        );
        assert!(peek.is_err() && refund.is_err() && reset.is_err());
        assert!(start.elapsed() <= DEADLINE + GRACE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_killed_under_load_is_not_waited_for() {
    let mut server = Server::start();
    let limits = Limits::of(builder(&server.address())).await;
    let before = limits.clients.load(Ordering::Relaxed);
    let held = Held::start();
    let load = limits.start(20);
    // Each has had some decisions.
    while limits.clients.load(Ordering::Relaxed) < before + 3 * CALLERS {
        task::yield_now().await;
    }
    server.kill();
    drop(held);
    let decisions = all(load).await;
    for decision in &decisions {
        decision.check(Expected::Either);
    }
    let last = decisions.last().unwrap();
    last.check(Expected::Chosen);
    limits.check(Expected::Chosen).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_restarted_empty_is_not_waited_for() {
    let mut server = Server::start();
    let limits = Limits::of(builder(&server.address())).await;
    server.kill();
    server.spawn();
    limits.check(Expected::Either).await;
    limits.check(Expected::Either).await;
}

/// A fault that the server tells of, at once where the clock is held, and in a race with the deadline where it is not.
async fn told(command: &[&str], expected: Expected) {
    for held in [true, false] {
        let server = Server::start();
        let limits = Limits::of(builder(&server.address())).await;
        server.cli(command);
        if held {
            limits.held(expected).await;
        }
        for _ in 0..3 {
            limits.check(Expected::Either).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_only_server_is_not_waited_for() {
    told(&["replicaof", "127.0.0.1", "1"], Expected::Chosen).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_memory_is_not_waited_for() {
    told(&["config", "set", "maxmemory", "1"], Expected::Chosen).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_scripts_were_flushed_is_not_waited_for() {
    told(&["script", "flush"], Expected::Decided).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_never_there_is_not_waited_for() {
    let address = format!("redis://127.0.0.1:{}", free_port());
    Limits::new(builder(&address)).held(Expected::Chosen).await;
    let limits = Limits::new(builder(&address));
    for _ in 0..3 {
        limits.check(Expected::Chosen).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_cut_is_not_waited_for() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let limits = Limits::of(builder(&proxy.address())).await;
    proxy.cut();
    limits.silent().await;
}

/// Somebody takes connections and says nothing.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_from_the_start_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let password = || SecretString::from("password");
    let address = format!("127.0.0.1:{port}");
    // The first has to answer to a script, and the second to the password.
    for store in [
        builder(&format!("redis://{address}")),
        builder(&format!("redis://{address}")).password(password()),
        builder(&format!("redis://{address}")).cluster(None::<String>),
        builder(&format!("redis://{address}")).sentinel("main", None::<String>),
    ] {
        Limits::new(store).silent().await;
    }
    // And here it has to shake hands.
    #[cfg(feature = "redis-tls")]
    for store in [
        builder(&format!("rediss://{address}")),
        builder(&format!("rediss://{address}")).cluster(None::<String>),
        builder(&format!("rediss://{address}")).sentinel("main", None::<String>),
    ] {
        Limits::new(store).silent().await;
    }
}

/// What has not been sent when its caller gives up is never charged.
#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_too_late_charges_nothing() {
    let server = Server::start_with(&["--requirepass", "password"]);
    let proxy = Proxy::start(server.port).await;
    // Nobody is there yet to answer to the password.
    proxy.cut();
    let limits = Limits::new(builder(&proxy.address()).password(SecretString::from("password")));
    let (_, limiter) = &limits.each[1];
    assert!(limiter.check("key", 1).await.is_err());
    let _held = Held::start();
    proxy.mend();
    assert!(limiter.check("another", 1).await.is_ok());
    let verdict = limiter.peek("key", 0).await.unwrap();
    assert_eq!(verdict.remaining(), BURST);
}

/// Who is counted by the instance after a wait finds others counted meanwhile, and nothing of theirs gone.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_share_is_told_as_of_the_end_of_the_wait() {
    let server = Server::start();
    server.signal("-STOP");
    let store = builder(&server.address()).max_in_flight(1).build().unwrap();
    let limiter = SharedRateLimiter::builder(&store, "share", Quota::per_day(1).with_burst(BURST))
        .max_keys(10)
        .build()
        .unwrap();
    // The second finds no place, and is counted while the first waits.
    let (first, second) = tokio::join!(limiter.check("one", 1), limiter.check("two", 1));
    assert_eq!(first.unwrap().remaining(), LEFT_OF_SHARE);
    assert_eq!(second.unwrap().remaining(), LEFT_OF_SHARE);
}

/// Those who find no place wait for nothing, and those who have one for the deadline.
#[tokio::test(start_paused = true)]
async fn a_full_queue_is_not_waited_for() {
    let server = Server::start();
    let store = builder(&server.address()).max_in_flight(8);
    let limits = Limits::new(store);
    let first = {
        let _held = Held::start();
        limits.decide(&limits.each[0]).await
    };
    first.check(Expected::Decided);
    server.signal("-STOP");
    let decisions = all(limits.start(1)).await;
    for decision in &decisions {
        decision.check(Expected::Chosen);
    }
    let waited = decisions.iter().filter(|it| !it.took.is_zero());
    assert_eq!(waited.count(), 8);
}

/// Starts three nodes, and nobody takes one of them for dead.
fn start_cluster() -> Vec<Server> {
    let arguments = [
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
        "--cluster-node-timeout",
        "60000",
    ];
    let servers: Vec<_> = (0..3).map(|_| Server::start_with(&arguments)).collect();
    join(&servers);
    servers
}

fn cluster(servers: &[Server]) -> RedisStoreBuilder {
    let others = servers[1..].iter().map(Server::address);
    builder(&servers[0].address()).cluster(others)
}

/// The clients of the other nodes may be decided, and nobody waits for longer.
#[tokio::test(start_paused = true)]
async fn a_frozen_node_of_a_cluster_is_not_waited_for() {
    let servers = start_cluster();
    let limits = Limits::of(cluster(&servers)).await;
    servers[0].signal("-STOP");
    assert!(DEADLINE <= limits.check(Expected::Either).await);
    for _ in 0..20 {
        limits.check(Expected::Either).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for what sockets bring about, while the clock is held.
async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened().await {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{what}: it never happened"
        );
        task::yield_now().await;
    }
}

/// Once it has been noticed that a node is frozen, the clients of the others are decided in no time, however often it is tried again.
#[tokio::test(start_paused = true)]
async fn clients_of_other_nodes_do_not_wait_for_a_frozen_one() {
    const CLIENTS: u32 = 300;
    /// Less than what a connection may take to answer, so that none that does is given up: whatever was asked before has been answered when those have been
    /// who ask after it.
    const STEP: Duration = Duration::from_millis(150);

    let servers = start_cluster();
    let store = cluster(&servers).build().unwrap();
    let quota = Quota::per_day(1).with_burst(1000);
    let limiter = SharedRateLimiter::builder(&store, "others", quota)
        .on_failure(OnStoreFailure::Deny)
        .build()
        .unwrap();
    let decided = Arc::new(AtomicU32::new(0));
    let start = || {
        let callers = (0..CLIENTS).map(|client| {
            let (limiter, decided) = (limiter.clone(), Arc::clone(&decided));
            tokio::spawn(async move {
                let start = Instant::now();
                let is_decided = limiter.check(&client, 1).await.is_ok();
                decided.fetch_add(u32::from(is_decided), Ordering::Relaxed);
                (client, is_decided, start.elapsed())
            })
        });
        callers.collect::<Vec<_>>()
    };
    // Who is denied, and for how long somebody has waited.
    let ask = async || {
        let (mut denied, mut longest) = (Vec::new(), Duration::ZERO);
        for caller in start() {
            let (client, is_decided, took) = caller.await.unwrap();
            if !is_decided {
                denied.push(client);
            }
            longest = longest.max(took);
        }
        (denied, longest)
    };
    let mut held = Held::start();
    assert_eq!(ask().await, (Vec::new(), Duration::ZERO));
    let frozen = servers[0].cli(&["keys", "*:others:*"]).lines().count();
    assert!((1..CLIENTS as usize).contains(&frozen), "{frozen}");

    servers[0].signal("-STOP");
    decided.store(0, Ordering::Relaxed);
    let first = start();
    // Even those who ask together with the first that notice.
    let others = CLIENTS - u32::try_from(frozen).unwrap();
    until("the others are decided", async || {
        decided.load(Ordering::Relaxed) == others
    })
    .await;
    tokio::time::advance(STEP).await;
    for caller in first {
        caller.await.unwrap();
    }
    // The clock goes on where a probe may have been answered.
    let later = async || {
        tokio::time::advance(STEP).await;
        let start = std::time::Instant::now();
        until("a while has passed", async || {
            Duration::from_millis(20) < start.elapsed()
        })
        .await;
    };
    let mut away = Vec::new();
    until("it is noticed", async || {
        later().await;
        held = Held::start();
        (away, _) = ask().await;
        away.len() == frozen && store.is_available()
    })
    .await;
    for _ in 0..20 {
        later().await;
        held = Held::start();
        assert_eq!(ask().await, (away.clone(), Duration::ZERO));
        assert!(store.is_available());
    }

    servers[0].signal("-CONT");
    until("all are decided again", async || {
        later().await;
        held = Held::start();
        ask().await.0.is_empty()
    })
    .await;
    drop(held);
}

/// The same through all that a request passes.
#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_a_frozen_server() {
    use std::convert::Infallible;

    use http::{Request, Response};
    use palisade::rate_limit::{RateLimit, RateLimitKey, RateLimitLayer};
    use tower::{Layer as _, ServiceExt as _, service_fn};

    let server = Server::start();
    for (choice, status) in [
        (OnStoreFailure::Allow, 200),
        (OnStoreFailure::Deny, 503),
        (OnStoreFailure::Fallback, 200),
    ] {
        let store = builder(&server.address()).build().unwrap();
        let limit = RateLimit::builder(Quota::per_day(1).with_burst(1000))
            .key(RateLimitKey::global())
            .shared(&store, "requests")
            .on_store_failure(choice)
            .build()
            .unwrap();
        let inner = service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let service = RateLimitLayer::from(limit).with_sink(NullSink).layer(inner);
        let ask = async || {
            let start = Instant::now();
            let asked = service.clone().oneshot(Request::new(String::new()));
            (asked.await.unwrap().status().as_u16(), start.elapsed())
        };
        let held = Held::start();
        assert_eq!(ask().await.0, 200);
        drop(held);
        server.signal("-STOP");
        for _ in 0..5 {
            let (answer, took) = ask().await;
            assert_eq!(answer, status);
            assert!((DEADLINE..=DEADLINE + GRACE).contains(&took), "{took:?}");
        }
        assert_eq!(ask().await, (status, Duration::ZERO));
        server.signal("-CONT");
    }
}
