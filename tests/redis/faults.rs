//! What happens when the store is away, and when it comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use palisade::{
    rate_limit::{Quota, SharedRateLimiter},
    shared_store::{OnStoreFailure, RedisStore},
};
use tokio::task::JoinHandle;

use crate::{
    proxy::Proxy,
    support::{Server, Words, builder, denying, eventually, jail},
};

/// So many tasks ask all the time.
const TASKS: u32 = 8;
/// Whoever waits longer than this for a decision hangs.
const HANGS: Duration = Duration::from_secs(10);

/// Tasks that ask all the time, and what they were told.
struct Load {
    limiter: SharedRateLimiter,
    store: RedisStore,
    words: Words,
    stop: Arc<AtomicBool>,
    admitted: Arc<AtomicU32>,
    denied: Arc<AtomicU32>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(address: &str) -> Self {
        let words = Words::default();
        let store = builder(address)
            .deadline(Duration::from_millis(250))
            .sink(words.clone())
            .build()
            .unwrap();
        let quota = Quota::per_day(1).with_burst(3000);
        let limiter = denying(&store, "faults", quota);
        let mut load = Self {
            limiter,
            store,
            words,
            stop: Arc::default(),
            admitted: Arc::default(),
            denied: Arc::default(),
            tasks: Vec::new(),
        };
        for task in 0..TASKS {
            let limiter = load.limiter.clone();
            let (stop, admitted, denied) = (
                Arc::clone(&load.stop),
                Arc::clone(&load.admitted),
                Arc::clone(&load.denied),
            );
            load.tasks.push(tokio::spawn(async move {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // Always another key, so that what is asked is always a write.
                    number += 1;
                    let key = (task, number);
                    let asked = limiter.check(&key, 1);
                    match tokio::time::timeout(HANGS, asked).await.expect("it hangs") {
                        Ok(verdict) => {
                            assert!(verdict.is_admitted());
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => {
                            denied.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        load.serves().await;
        load
    }

    /// Waits until the store decides, and has for a while.
    async fn serves(&self) {
        let before = self.admitted.load(Ordering::Relaxed);
        eventually("the store decides", async || {
            before + 50 < self.admitted.load(Ordering::Relaxed)
        })
        .await;
    }

    /// Waits until requests are denied, without anybody having to wait.
    async fn denies(&self) {
        let before = self.denied.load(Ordering::Relaxed);
        eventually("the store is given up", async || {
            before + 50 < self.denied.load(Ordering::Relaxed) && !self.store.is_available()
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Breaks the store, sees it given up, mends it, and sees it used again: with one event for each.
async fn check(
    server: &mut Server,
    address: &str,
    break_it: impl AsyncFnOnce(&mut Server),
    mend_it: impl AsyncFnOnce(&mut Server),
) {
    let load = Load::start(address).await;
    assert_eq!(load.words.take(), [""; 0]);
    break_it(server).await;
    load.denies().await;
    assert_eq!(load.words.take(), ["limiter_store_failed"]);
    mend_it(server).await;
    load.serves().await;
    assert!(load.store.is_available());
    assert_eq!(load.words.take(), ["limiter_store_recovered"]);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_given_up_and_used_again() {
    let mut server = Server::start();
    let address = server.address();
    check(
        &mut server,
        &address,
        async |it| it.kill(),
        async |it| it.spawn(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_given_up_and_used_again() {
    let mut server = Server::start();
    let address = server.address();
    check(
        &mut server,
        &address,
        async |it| it.signal("-STOP"),
        async |it| it.signal("-CONT"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_given_up_and_a_master_used() {
    let mut server = Server::start();
    let address = server.address();
    check(
        &mut server,
        &address,
        async |it| drop(it.cli(&["replicaof", "127.0.0.1", "1"])),
        async |it| drop(it.cli(&["replicaof", "no", "one"])),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_is_given_up_and_used_again() {
    let mut server = Server::start();
    let address = server.address();
    check(
        &mut server,
        &address,
        async |it| drop(it.cli(&["config", "set", "maxmemory", "1"])),
        async |it| drop(it.cli(&["config", "set", "maxmemory", "0"])),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_permission_is_given_up_and_used_again() {
    let mut server = Server::start();
    let address = server.address();
    check(
        &mut server,
        &address,
        async |it| drop(it.cli(&["acl", "setuser", "default", "-set"])),
        async |it| drop(it.cli(&["acl", "setuser", "default", "+set"])),
    )
    .await;
}

/// A store that takes writes, and nothing else that is needed, is not tried again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_writing_does_not_need_is_missed_once() {
    let server = Server::start();
    let load = Load::start(&server.address()).await;
    for command in ["time", "get"] {
        server.cli(&["acl", "setuser", "default", &format!("-{command}")]);
        let before = load.denied.load(Ordering::Relaxed);
        // Several probes have been answered meanwhile.
        eventually("requests are denied", async || {
            before + 2000 < load.denied.load(Ordering::Relaxed)
        })
        .await;
        assert_eq!(load.words.take(), ["limiter_store_failed"], "{command}");
        server.cli(&["acl", "setuser", "default", &format!("+{command}")]);
        load.serves().await;
        assert_eq!(load.words.take(), ["limiter_store_recovered"], "{command}");
    }
    load.end().await;
}

/// Limits do not need what bans need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_only_bans_need_is_no_fault_of_limits() {
    let server = Server::start();
    server.cli(&["acl", "setuser", "default", "-hget", "-hset"]);
    let load = Load::start(&server.address()).await;
    let jail = jail(&load.store);
    assert!(!jail.synchronize(Duration::from_secs(3)).await);
    load.serves().await;
    assert_eq!(load.words.take(), [""; 0]);
    assert_ne!(load.store.failures(), 0);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_is_given_up_and_used_again() {
    let mut server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let address = proxy.address();
    check(
        &mut server,
        &address,
        async |_| proxy.cut(),
        async |_| proxy.mend(),
    )
    .await;
}

/// T05: frozen in the middle of a load, a server charges at most what was in flight, and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_charges_twice_at_most_what_was_in_flight() {
    let server = Server::start();
    let store = server
        .builder()
        .deadline(Duration::from_millis(250))
        .build()
        .unwrap();
    let quota = Quota::per_day(1).with_burst(3000);
    let limiter = denying(&store, "exact", quota);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let (mut admitted, mut denied) = (0, 0);
                for _ in 0..100 {
                    let asked = tokio::time::timeout(HANGS, limiter.check("key", 1));
                    match asked.await.expect("it hangs") {
                        Ok(verdict) => admitted += u32::from(verdict.is_admitted()),
                        Err(_) => denied += 1,
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (admitted, denied)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.signal("-STOP");
    eventually("the store is given up", async || !store.is_available()).await;
    server.signal("-CONT");
    let (mut admitted, mut denied) = (0, 0);
    for task in tasks {
        let told = task.await.unwrap();
        admitted += told.0;
        denied += told.1;
    }
    assert!(admitted != 0 && denied != 0, "{admitted} {denied}");
    eventually("the store answers", async || {
        limiter.peek("key", 0).await.is_ok()
    })
    .await;
    let charged = 3000 - limiter.peek("key", 0).await.unwrap().remaining();
    // Each task had one question in flight when the server froze; until five had failed there may have been a second one.
    assert!(
        (admitted..=admitted + 2 * TASKS).contains(&charged),
        "{admitted} were admitted and {charged} charged"
    );
}

/// T02: an instance whose clock is wrong counts as the others: the time is the server's.
#[tokio::test]
async fn the_clock_of_an_instance_does_not_matter() {
    use palisade::clock::ManualClock;

    let server = Server::start();
    let quota = Quota::per_hour(4);
    let instance = |clock: ManualClock| {
        SharedRateLimiter::builder(&server.store(), "clock", quota.clone())
            .clock(clock)
            .remembered_refusals(0)
            .build()
            .unwrap()
    };
    let (early, late) = (ManualClock::new(), ManualClock::new());
    late.advance(Duration::from_secs(86_400));
    let (one, two) = (instance(early), instance(late.clone()));
    let mut admitted = 0;
    for _ in 0..10 {
        admitted += u32::from(one.check("key", 1).await.unwrap().is_admitted());
        late.advance(Duration::from_secs(3600));
        admitted += u32::from(two.check("key", 1).await.unwrap().is_admitted());
    }
    assert_eq!(admitted, 4);
}

/// F21, F22, F24: what stands in for the store has numbers of its own, and is asked where the store does not answer and nowhere else.
#[tokio::test]
async fn what_stands_in_for_the_store_is_asked_when_it_does_not_answer() {
    let server = Server::start();
    let store = server
        .builder()
        .deadline(Duration::from_millis(250))
        .build()
        .unwrap();
    let limiter = |name: &str, on_failure| {
        SharedRateLimiter::builder(&store, name, Quota::per_day(1).with_burst(10))
            .on_failure(on_failure)
            .remembered_refusals(0)
            .build()
            .unwrap()
    };
    let insured = limiter("insured", OnStoreFailure::Fallback);
    let denying = limiter("denying", OnStoreFailure::Deny);
    // F22: a refusal is an answer.
    for _ in 0..10 {
        assert!(insured.check("key", 1).await.unwrap().is_admitted());
    }
    for _ in 0..10 {
        assert!(!insured.check("key", 1).await.unwrap().is_admitted());
    }

    // F21, F24: so none of its share, half of the quota, has been spent yet. All that asks is answered, late or at once.
    server.signal("-STOP");
    let verdict = insured.check("key", 1).await.unwrap();
    assert!(verdict.is_admitted());
    assert_eq!(verdict.remaining(), 4);
    assert_eq!(insured.check_up_to("key", 2).await.unwrap().cost(), 2);
    let reserved = insured.reserve("key", 2).await.unwrap().unwrap();
    assert!(!insured.check("key", 1).await.unwrap().is_admitted());
    reserved.cancel();
    assert!(insured.check("key", 2).await.unwrap().is_admitted());
    // What is there to see or to correct is in the store.
    assert!(insured.peek("key", 1).await.is_err());
    assert!(insured.refund("key", 1).await.is_err());
    assert!(insured.reset("key").await.is_err());

    assert!(denying.check("key", 1).await.is_err());
    assert!(denying.check_up_to("key", 1).await.is_err());
    assert!(denying.reserve("key", 1).await.is_err());
    assert!(denying.peek("key", 1).await.is_err());
    assert!(denying.refund("key", 1).await.is_err());
    assert!(denying.reset("key").await.is_err());
    server.signal("-CONT");
}

/// More decisions than may be in flight are not waited for.
#[tokio::test]
async fn decisions_in_flight_are_bounded() {
    let server = Server::start();
    let store = server.builder().max_in_flight(2).build().unwrap();
    let limiter = denying(&store, "busy", Quota::per_day(1).with_burst(100));
    assert!(limiter.check("key", 1).await.is_ok());
    server.signal("-STOP");
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.check("key", 1).await.map(drop) })
        })
        .collect();
    eventually("those beyond are told at once", async || {
        8 <= tasks.iter().filter(|it| it.is_finished()).count()
    })
    .await;
    server.signal("-CONT");
    let mut busy = 0;
    for task in tasks {
        if let Err(error) = task.await.unwrap() {
            busy += u32::from(error.to_string().contains("too many"));
        }
    }
    assert_eq!(busy, 8);
}

/// A connection that the server has closed while nobody asked is made again before somebody does.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_no_fault() {
    let server = Server::start();
    let words = Words::default();
    let store = server.builder().sink(words.clone()).build().unwrap();
    let limiter = denying(&store, "idle", Quota::per_day(1).with_burst(100));
    for _ in 0..5 {
        assert!(limiter.check("key", 1).await.is_ok());
        server.cli(&["client", "kill", "type", "normal"]);
        // Until it is known here, too.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(limiter.peek("key", 0).await.unwrap().remaining(), 95);
    assert_eq!(store.failures(), 0);
    assert_eq!(words.take(), [""; 0]);
}

/// Whoever is on no runtime is told so, even where somebody else is on one.
#[test]
fn where_no_runtime_is_the_limit_decides_and_nobody_panics() {
    let server = Server::start();
    let limiter = denying(&server.store(), "runtime", Quota::per_day(100));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert!(runtime.block_on(limiter.check("key", 1)).is_ok());
    let asked = std::pin::pin!(limiter.check("key", 1));
    let mut context = Context::from_waker(Waker::noop());
    match asked.poll(&mut context) {
        Poll::Ready(Err(error)) => {
            assert_eq!(error.to_string(), "shared store needs a tokio runtime");
        }
        other => panic!("{other:?}"),
    }
}

/// The task that looks when the store is back goes with the runtime that it was on.
#[test]
fn a_store_that_is_back_is_found_from_another_runtime() {
    let mut server = Server::new(&[]);
    let store = server.store();
    let limiter = denying(&store, "runtimes", Quota::per_day(100));
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    runtime().block_on(async {
        assert!(limiter.check("key", 1).await.is_err());
    });
    assert!(!store.is_available());
    server.spawn();
    runtime().block_on(eventually("the store decides", async || {
        limiter.check("key", 1).await.is_ok()
    }));
}
