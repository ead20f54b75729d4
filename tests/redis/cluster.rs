//! Stores of several servers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use palisade::{
    rate_limit::{Quota, QuotaSet},
    shared_store::{RedisStore, RedisStoreBuilder},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{
    Events, Server, ban_on_both, builder, denying, eventually, fail_over, join, wait_for,
};

/// Starts three masters with a third of the slots each.
fn start() -> Vec<Server> {
    start_with(&[])
}

fn start_with(arguments: &[&str]) -> Vec<Server> {
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let cluster = ["--cluster-enabled", "yes"];
            Server::start_with(&[&cluster, arguments].concat())
        })
        .collect();
    join(&servers);
    servers
}

/// Makes a store that asks the first for the slots first.
fn store_builder(servers: &[Server]) -> RedisStoreBuilder {
    builder(&servers[0].address())
        .cluster(servers[1..].iter().map(Server::address))
        .deadline(Duration::from_secs(5))
}

fn store(servers: &[Server]) -> RedisStore {
    store_builder(servers).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_spread_over_the_nodes_of_a_cluster() {
    let servers = start();
    let quotas = QuotaSet::new([
        Quota::per_day(2).with_name("small"),
        Quota::per_day(5).with_name("large"),
    ])
    .unwrap();
    let limiter = denying(&store(&servers), "cluster", quotas);
    for key in 0..60 {
        for expected in [true, true, false] {
            let verdict = limiter.check(&key, 1).await.unwrap();
            assert_eq!(verdict.is_admitted(), expected, "{key}");
        }
    }
    for server in &servers {
        assert_ne!(server.cli(&["dbsize"]), "0");
    }
    // Bans are in one slot, and news reaches whoever listens at any node.
    let stores = [(), ()].map(|()| store(&servers));
    let _ = ban_on_both(stores, [203, 0, 113, 7].into(), Duration::from_secs(3600)).await;
}

/// A slot moves from one node to another, key by key, while its client is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed_and_nothing_is_lost() {
    let servers = start();
    let quotas = QuotaSet::new([
        Quota::per_day(1).with_burst(3000).with_name("small"),
        Quota::per_day(2).with_burst(6000).with_name("large"),
    ])
    .unwrap();
    let limiter = denying(&store(&servers), "moving", quotas);
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    let from = servers
        .iter()
        .find(|it| it.cli(&["dbsize"]) == "2")
        .unwrap();
    let to = servers.iter().find(|it| it.port != from.port).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let admitted = Arc::new(AtomicU32::new(1));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (limiter, stop, admitted) =
                (limiter.clone(), Arc::clone(&stop), Arc::clone(&admitted));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if limiter
                        .check("key", 1)
                        .await
                        .is_ok_and(|it| it.is_admitted())
                    {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();

    let keys = from.cli(&["keys", "*moving*"]);
    let keys: Vec<_> = keys.lines().collect();
    let slot = from.cli(&["cluster", "keyslot", keys[0]]);
    let ids = [from, to].map(|it| it.cli(&["cluster", "myid"]));
    to.cli(&["cluster", "setslot", &slot, "importing", &ids[0]]);
    from.cli(&["cluster", "setslot", &slot, "migrating", &ids[1]]);
    for key in &keys {
        let port = to.port.to_string();
        assert_eq!(
            from.cli(&["migrate", "127.0.0.1", &port, key, "0", "5000"]),
            "OK"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for server in &servers {
        server.cli(&["cluster", "setslot", &slot, "node", &ids[1]]);
    }
    let before = admitted.load(Ordering::Relaxed);
    eventually("the other node counts", async || {
        before + 50 < admitted.load(Ordering::Relaxed)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    let left = limiter.peek("key", 0).await.unwrap().remaining();
    assert_eq!(3000 - left, admitted.load(Ordering::Relaxed));
    assert_eq!(from.cli(&["keys", "*moving*"]), "");
}

/// While a slot moves, a client that has moved already is counted where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_moved_before_its_slot_is_found() {
    let servers = start();
    let limiter = denying(&store(&servers), "asking", Quota::per_day(100));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    let key_of = |it: &Server| it.cli(&["keys", "*:asking:*"]);
    let from = servers.iter().find(|it| !key_of(it).is_empty()).unwrap();
    let to = servers.iter().find(|it| it.port != from.port).unwrap();
    let key = key_of(from);
    let slot = from.cli(&["cluster", "keyslot", &key]);
    let ids = [from, to].map(|it| it.cli(&["cluster", "myid"]));
    to.cli(&["cluster", "setslot", &slot, "importing", &ids[0]]);
    from.cli(&["cluster", "setslot", &slot, "migrating", &ids[1]]);
    let port = to.port.to_string();
    let moved = from.cli(&["migrate", "127.0.0.1", &port, &key, "0", "5000"]);
    assert_eq!(moved, "OK");
    for remaining in [98, 97] {
        let verdict = limiter.check("key", 1).await.unwrap();
        assert_eq!(verdict.remaining(), remaining);
    }
}

/// Nodes may leave it to their clients to know where they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_tell_no_host_are_on_that_of_the_one_who_was_asked() {
    if Server::start().is_of_version_6() {
        return;
    }
    let servers = start_with(&["--cluster-preferred-endpoint-type", "unknown-endpoint"]);
    let limiter = denying(&store(&servers), "host", Quota::per_day(100));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    let key_of = |it: &Server| it.cli(&["keys", "*:host:*"]);
    let from = servers.iter().find(|it| !key_of(it).is_empty()).unwrap();
    let to = servers.iter().find(|it| it.port != from.port).unwrap();
    let slot = from.cli(&["cluster", "keyslot", &key_of(from)]);
    let [id_of_from, id] = [from, to].map(|it| it.cli(&["cluster", "myid"]));
    from.cli(&["del", &key_of(from)]);
    // Who imports a slot has the last word: else a message of before, that the other has it, may undo the move.
    to.cli(&["cluster", "setslot", &slot, "importing", &id_of_from]);
    for server in [to].into_iter().chain(&servers) {
        server.cli(&["cluster", "setslot", &slot, "node", &id]);
    }
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    assert_ne!(key_of(to), "");
}

/// A sentinel, and the master and the replica that it watches.
struct Watched {
    _directory: TempDir,
    sentinel: Server,
    servers: [Server; 2],
}

impl Watched {
    fn start() -> Self {
        let servers = [Server::start(), Server::start()];
        let port = servers[0].port.to_string();
        servers[1].cli(&["replicaof", "127.0.0.1", &port]);
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("sentinel.conf");
        std::fs::write(
            &config,
            format!("sentinel monitor main 127.0.0.1 {port} 1\n"),
        )
        .unwrap();
        let mut sentinel = Server::new(&[]);
        sentinel.spawn_sentinel(&config);
        Self {
            _directory: directory,
            sentinel,
            servers,
        }
    }
}

/// A sentinel tells where the master is, and where it is after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_that_a_sentinel_names_is_used() {
    let Watched {
        sentinel, servers, ..
    } = Watched::start();
    let store = builder(&sentinel.address())
        .sentinel("main", None::<String>)
        .deadline(Duration::from_secs(1))
        .build()
        .unwrap();
    let limiter = denying(&store, "sentinel", Quota::per_day(100));
    assert!(limiter.check("key", 40).await.unwrap().is_admitted());
    assert_eq!(servers[0].cli(&["dbsize"]), "1");
    fail_over(&sentinel, "main", &servers[0], &servers[1]).await;
    eventually("the other counts", async || {
        limiter
            .check("key", 1)
            .await
            .is_ok_and(|it| it.is_admitted())
    })
    .await;
    // What the first has counted is known to the second.
    assert!(limiter.peek("key", 0).await.unwrap().remaining() < 61);
}

/// Sentinels have no databases, and the master has.
#[tokio::test]
async fn the_database_of_a_master_is_none_of_its_sentinel() {
    let Watched {
        sentinel, servers, ..
    } = Watched::start();
    let store = builder(&format!("{}/2", sentinel.address()))
        .sentinel("main", None::<String>)
        .deadline(Duration::from_secs(5))
        .build()
        .unwrap();
    let limiter = denying(&store, "database", Quota::per_day(100));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    assert_eq!(servers[0].cli(&["-n", "2", "dbsize"]), "1");
}

/// What is published is published at the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_bans_is_heard_where_a_sentinel_says() {
    let Watched {
        sentinel, servers, ..
    } = Watched::start();
    let store = || {
        builder(&sentinel.address())
            .sentinel("main", None::<String>)
            .deadline(Duration::from_secs(5))
            .build()
            .unwrap()
    };
    let _jails = ban_on_both(
        [store(), store()],
        [203, 0, 113, 7].into(),
        Duration::from_secs(3600),
    )
    .await;
    let count = "palisade:{bans}:news\n2";
    eventually("both listen", async || {
        servers[0].cli(&["pubsub", "numsub", "palisade:{bans}:news"]) == count
    })
    .await;
}

/// Slots that nobody has when the store is first asked are looked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_are_assigned_later_are_found() {
    let server = Server::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
    ]);
    let assign = |slots: std::ops::Range<u16>| {
        let slots: Vec<_> = slots.map(|it| it.to_string()).collect();
        let slots = slots.iter().map(String::as_str);
        let command: Vec<_> = ["cluster", "addslots"].into_iter().chain(slots).collect();
        assert_eq!(server.cli(&command), "OK");
        wait_for("the cluster is up", || {
            let info = server.cli(&["cluster", "info"]);
            info.contains("cluster_state:ok")
        });
    };
    assign(0..8192);
    let store = store(std::slice::from_ref(&server));
    let limiter = denying(&store, "later", Quota::per_day(1).with_burst(3000));
    let ask = async || {
        let mut away = Vec::new();
        for key in 0..30 {
            if let Err(error) = limiter.check(&key, 1).await {
                away.push(error.to_string());
            }
        }
        away
    };
    // Those who have a slot are decided all the while.
    let first = ask().await;
    assert!((1..30).contains(&first.len()), "{first:?}");
    for _ in 0..5 {
        assert_eq!(ask().await.len(), first.len());
    }
    let reason = "a node of the shared store's cluster does not serve";
    assert!(first.iter().all(|it| it == reason), "{first:?}");
    assign(8192..16384);
    eventually("all are decided", async || ask().await.is_empty()).await;
}

/// Starts what looks like a sentinel, and tells always of that master.
async fn sentinel_that_tells(master: &Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    let port = master.port.to_string();
    let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                while let Ok(1..) = client.read(&mut asked).await {
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// A sentinel that is cut off may take for the master what is none any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_is_wrong_about_the_master_is_asked_last() {
    let servers = [Server::start(), Server::start()];
    let port = servers[1].port.to_string();
    servers[0].cli(&["replicaof", "127.0.0.1", &port]);
    let wrong = sentinel_that_tells(&servers[0]).await;
    let right = sentinel_that_tells(&servers[1]).await;
    let store = builder(&wrong)
        .sentinel("main", [right])
        .deadline(Duration::from_secs(5))
        .build()
        .unwrap();
    let limiter = denying(&store, "wrong", Quota::per_day(100));
    assert!(limiter.check("key", 1).await.is_err());
    eventually("the master decides", async || {
        limiter.check("key", 1).await.is_ok()
    })
    .await;
}

/// One of three nodes dies: its clients are decided as the limit says, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_nodes_decide_while_one_is_away() {
    let mut servers = start_with(&["--cluster-require-full-coverage", "no"]);
    let events = Events::default();
    // The one that dies is the one that is asked first.
    let store = store_builder(&servers)
        .sink(events.clone())
        .build()
        .unwrap();
    let limiter = denying(&store, "partial", Quota::per_day(1).with_burst(900));
    let ask = async || {
        let mut away = Vec::new();
        for key in 0..30 {
            match limiter.check(&key, 1).await {
                Ok(verdict) => assert!(verdict.is_admitted()),
                Err(error) => away.push((key, error.to_string())),
            }
        }
        away
    };
    assert!(ask().await.is_empty());
    let of_first = servers[0].cli(&["dbsize"]).parse::<usize>().unwrap();
    assert!((1..30).contains(&of_first), "{of_first}");

    servers[0].kill();
    // Whichever way the loss shows, it concerns its clients alone, from the first decision on.
    let reason = "a node of the shared store's cluster does not serve";
    let first = ask().await;
    for _ in 0..20 {
        let away = ask().await;
        assert_eq!(away.len(), of_first, "{away:?}");
        assert_eq!(away, first);
        assert!(away.iter().all(|(_, it)| it == reason), "{away:?}");
    }
    assert!(store.is_available());
    assert_eq!(events.take_reasons(), [reason]);

    servers[0].spawn();
    eventually("all nodes decide", async || ask().await.is_empty()).await;
    eventually("somebody is told", async || {
        events.take_reasons() == ["shared store answers again"]
    })
    .await;
    assert!(ask().await.is_empty());
}

/// The only node that was named dies: those that it has told of decide, and tell of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_known_when_those_who_were_named_are_away() {
    let mut servers = start_with(&["--cluster-require-full-coverage", "no"]);
    let store = store_builder(&servers[..1]).build().unwrap();
    let limiter = denying(&store, "named", Quota::per_day(1).with_burst(900));
    let ask = async || {
        let mut away = Vec::new();
        for key in 0..30 {
            if limiter.check(&key, 1).await.is_err() {
                away.push(key);
            }
        }
        away
    };
    assert!(ask().await.is_empty());
    let keys = servers[0].cli(&["keys", "*:named:*"]);
    assert!((1..30).contains(&keys.lines().count()), "{keys}");
    let slot = |key| servers[0].cli(&["cluster", "keyslot", key]);
    let slots: Vec<_> = keys.lines().map(slot).collect();

    servers[0].kill();
    let first = ask().await;
    assert_eq!(first.len(), slots.len());
    // Another one gets its slots, which nobody can tell but the others.
    let id = servers[1].cli(&["cluster", "myid"]);
    for slot in &slots {
        for server in &servers[1..] {
            server.cli(&["cluster", "setslot", slot, "node", &id]);
        }
    }
    eventually("all are decided", async || {
        let away = ask().await;
        assert!(away.iter().all(|key| first.contains(key)), "{away:?}");
        assert!(store.is_available());
        away.is_empty()
    })
    .await;
}

/// A node stops answering: whoever waits, waits for the deadline at most, and the clients of the others are soon decided again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_nodes_decide_while_one_is_frozen() {
    let servers = start_with(&[
        "--cluster-require-full-coverage",
        "no",
        // Nobody is to take it for dead.
        "--cluster-node-timeout",
        "60000",
    ]);
    let store = store_builder(&servers)
        .deadline(Duration::from_millis(250))
        .build()
        .unwrap();
    let limiter = denying(&store, "frozen", Quota::per_day(1).with_burst(900));
    let ask = async || {
        let mut away = Vec::new();
        for key in 0..30 {
            let asked = limiter.check(&key, 1);
            let asked = tokio::time::timeout(Duration::from_secs(10), asked);
            if asked.await.expect("it hangs").is_err() {
                away.push(key);
            }
        }
        away
    };
    eventually("all nodes decide", async || ask().await.is_empty()).await;
    let of_first = servers[0].cli(&["keys", "*frozen*"]).lines().count();
    assert!((1..30).contains(&of_first), "{of_first}");

    servers[0].signal("-STOP");
    // Twice in a row, so that it is no chance.
    let mut before = Vec::new();
    eventually("the others decide", async || {
        let away = ask().await;
        let same = away.len() == of_first && away == before && store.is_available();
        before = away;
        same
    })
    .await;

    servers[0].signal("-CONT");
    eventually("all nodes decide again", async || ask().await.is_empty()).await;
}

/// All nodes die, and come back one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_back_decide_before_all_are_there() {
    let mut servers = start_with(&["--cluster-require-full-coverage", "no"]);
    let events = Events::default();
    let store = store_builder(&servers)
        .sink(events.clone())
        .build()
        .unwrap();
    let limiter = denying(&store, "back", Quota::per_day(1).with_burst(900));
    let ask = async || {
        let mut away = 0;
        for key in 0..30 {
            away += usize::from(limiter.check(&key, 1).await.is_err());
        }
        away
    };
    assert_eq!(ask().await, 0);
    let of_first = servers[0].cli(&["dbsize"]).parse::<usize>().unwrap();
    assert!((1..30).contains(&of_first), "{of_first}");
    for server in &mut servers {
        server.kill();
    }
    eventually("the store is away", async || {
        ask().await == 30 && !store.is_available()
    })
    .await;
    let reasons = events.take_reasons();
    // A node, and then all.
    assert!((1..=2).contains(&reasons.len()), "{reasons:?}");

    servers[1].spawn();
    servers[2].spawn();
    eventually("two of three decide", async || {
        ask().await == of_first && store.is_available()
    })
    .await;
    servers[0].spawn();
    eventually("all decide", async || ask().await == 0).await;
    let mut reasons = Vec::new();
    eventually("somebody is told", async || {
        reasons.extend(events.take_reasons());
        reasons
            .last()
            .is_some_and(|it| it == "shared store answers again")
    })
    .await;
    assert!(
        reasons.iter().any(|it| it.starts_with("some nodes")),
        "{reasons:?}"
    );
}
