//! Bans that instances share.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, PeerAddr},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::NullSink,
    jail::{BanTime, Jail, JailHandle, JailLayer, Rule},
    policy::DryRun,
    shared_store::RedisStore,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Server, Words, eventually};

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(10);

fn jail(store: &RedisStore) -> Jail {
    jail_for(store, HOUR)
}

fn jail_for(store: &RedisStore, ban_time: Duration) -> Jail {
    Jail::builder()
        .rule(Rule::status(StatusCode::UNAUTHORIZED).with_limit(1))
        .ban_time(BanTime::new(ban_time))
        .sink(NullSink)
        .shared(store)
        .build()
}

fn client(last: u8) -> IpAddr {
    [203, 0, 113, last].into()
}

fn has(handle: &JailHandle, last: u8) -> bool {
    handle
        .bans()
        .iter()
        .any(|ban| ban.client().contains(&client(last)))
}

fn request(last: u8) -> Request<()> {
    let peer = SocketAddr::from((client(last), 50_000));
    let request = Request::get("/").extension(PeerAddr::from(peer));
    request.body(()).unwrap()
}

async fn unauthorized(_: Request<()>) -> Result<Response<String>, Infallible> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    Ok(response)
}

async fn status(jail: &Jail, last: u8) -> StatusCode {
    let layers = ClientIpLayer::new(ClientIpSource::Peer)
        .with_sink(NullSink)
        .layer(JailLayer::new(jail.clone()).layer(service_fn(unauthorized)));
    layers.oneshot(request(last)).await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_of_one_holds_on_all_and_so_does_lifting_it() {
    let server = Server::start();
    let (one, two) = (jail(&server.store()), jail(&server.store()));
    assert!(two.handle().synchronize(PATIENCE).await);
    assert_eq!(status(&one, 7).await, 401);
    assert_eq!(status(&one, 7).await, 403);
    eventually("the other bans too", async || has(&two.handle(), 7)).await;
    assert_eq!(status(&two, 7).await, 403);
    let (here, there) = (one.handle().bans(), two.handle().bans());
    assert_eq!(here[0].rule(), there[0].rule());
    assert_eq!(here[0].count(), there[0].count());

    two.handle().unban(client(7));
    eventually("the first lifts it too", async || !has(&one.handle(), 7)).await;
    // A handle works without any request.
    one.handle().ban(client(8), HOUR).unwrap();
    eventually("the other bans by hand", async || has(&two.handle(), 8)).await;
    // A longer one takes its place.
    two.handle().ban(client(8), 2 * HOUR).unwrap();
    eventually("the longer one prevails", async || {
        let bans = one.handle().bans();
        let left = bans[0].end().duration_since(SystemTime::now()).unwrap();
        bans.len() == 1 && HOUR + HOUR / 2 < left
    })
    .await;
}

/// An instance that tells nobody anything but while it is asked to: as where the store is away for it.
struct Late {
    runtime: tokio::runtime::Runtime,
    jail: Jail,
}

impl Late {
    fn new(server: &Server, ban_time: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let jail = runtime.block_on(async { jail_for(&server.store(), ban_time) });
        Self { runtime, jail }
    }

    /// Bans a client for what it does.
    fn ban(&self, last: u8) {
        for expected in [401, 403] {
            let status = self.runtime.block_on(status(&self.jail, last));
            assert_eq!(status, expected);
        }
    }

    /// Tells what there is to tell, and learns what there is to learn.
    fn exchange(&self) {
        for _ in 0..2 {
            let exchanged = self.jail.handle();
            assert!(self.runtime.block_on(exchanged.synchronize(PATIENCE)));
        }
    }

    /// Returns how long a client is banned from now on.
    fn left(&self, last: u8) -> Duration {
        let bans = self.jail.handle().bans();
        let ban = bans.iter().find(|it| it.client().contains(&client(last)));
        ban.map_or(Duration::ZERO, |ban| {
            ban.end().duration_since(SystemTime::now()).unwrap()
        })
    }
}

#[test]
fn a_ban_that_is_told_late_frees_nobody() {
    let server = Server::start();
    let (late, other) = (Late::new(&server, HOUR), Late::new(&server, 24 * HOUR));
    late.ban(7);
    other.ban(7);
    other.exchange();
    // The first learns of the longer one, and takes it for its own.
    for it in [&late, &other] {
        it.exchange();
        assert!(23 * HOUR < it.left(7), "{:?}", it.left(7));
    }
    // By hand, a ban may become shorter.
    late.jail.handle().ban(client(7), HOUR).unwrap();
    late.exchange();
    other.exchange();
    assert!(other.left(7) <= HOUR && !other.left(7).is_zero());
}

#[test]
fn what_is_lifted_late_is_not_what_was_banned_since() {
    let server = Server::start();
    let (late, other) = (Late::new(&server, HOUR), Late::new(&server, HOUR));
    late.jail.handle().unban(client(7));
    // Times of the store are in milliseconds.
    std::thread::sleep(Duration::from_millis(20));
    other.ban(7);
    other.exchange();
    for it in [&late, &other] {
        it.exchange();
        assert!(!it.left(7).is_zero());
    }
    late.jail.handle().unban(client(7));
    late.exchange();
    other.exchange();
    assert!(other.left(7).is_zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_survive_a_restart_of_every_instance() {
    let server = Server::start();
    {
        let first = jail(&server.store());
        for last in 1..=200 {
            first.handle().ban(client(last), HOUR).unwrap();
        }
        let second = jail(&server.store());
        eventually("all are in the store", async || {
            second.handle().synchronize(PATIENCE).await;
            second.handle().bans().len() == 200
        })
        .await;
    }
    let third = jail(&server.store());
    assert!(third.handle().synchronize(PATIENCE).await);
    assert_eq!(third.handle().bans().len(), 200);
    assert_eq!(status(&third, 7).await, 403);
}

/// A store that has lost all is told again, by whoever remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_emptied_is_filled_again() {
    let mut server = Server::start();
    let one = jail(&server.store());
    one.handle().ban(client(7), HOUR).unwrap();
    assert!(one.handle().synchronize(PATIENCE).await);
    server.kill();
    // What happens meanwhile is not lost.
    one.handle().ban(client(8), HOUR).unwrap();
    server.spawn();
    let two = jail(&server.store());
    eventually("both are in the store", async || {
        two.handle().synchronize(PATIENCE).await;
        has(&two.handle(), 7) && has(&two.handle(), 8)
    })
    .await;
}

/// A store that comes back as it was a while ago, and gives out numbers a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_lost_the_newest_bans_is_told_them_again() {
    let mut server = Server::start();
    let (one, two) = (jail(&server.store()), jail(&server.store()));
    one.handle().ban(client(1), HOUR).unwrap();
    assert!(one.handle().synchronize(PATIENCE).await);
    // Once it is back, it may have been told of the others before anybody can look.
    assert_eq!(server.cli(&["hlen", "palisade:{bans}:entries"]), "1");
    assert_eq!(server.cli(&["save"]), "OK");
    for last in 2..=9 {
        one.handle().ban(client(last), HOUR).unwrap();
    }
    eventually("the other bans too", async || {
        two.handle().synchronize(PATIENCE).await;
        two.handle().bans().len() == 9
    })
    .await;
    server.kill();
    server.spawn();
    one.handle().ban(client(10), HOUR).unwrap();
    eventually("the other hears of the next", async || {
        has(&two.handle(), 10)
    })
    .await;
    let three = jail(&server.store());
    eventually("all are in the store", async || {
        three.handle().synchronize(PATIENCE).await;
        three.handle().bans().len() == 10
    })
    .await;
}

/// The store tells of them in several answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bans_are_read_as_a_whole() {
    let server = Server::start();
    let one = jail(&server.store());
    for number in 0..600_u32 {
        let client = IpAddr::V4((0x0a00_0000 + number).into());
        one.handle().ban(client, HOUR).unwrap();
    }
    eventually("all are in the store", async || {
        server.cli(&["hlen", "palisade:{bans}:entries"]) == "600"
    })
    .await;
    let two = jail(&server.store());
    assert!(two.handle().synchronize(PATIENCE).await);
    assert_eq!(two.handle().bans().len(), 600);
}

/// What would be a ban is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_of_a_dry_run_are_told_to_nobody() {
    let mut server = Server::new(&[]);
    let jail = jail(&server.store());
    let dry_run = EnforceLayer::new(DryRun::new(jail.clone())).with_sink(NullSink);
    let layers = ClientIpLayer::new(ClientIpSource::Peer)
        .with_sink(NullSink)
        .layer(dry_run.layer(service_fn(unauthorized)));
    for _ in 0..2 {
        let response = layers.clone().oneshot(request(7)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(has(&jail.handle(), 7));
    jail.handle().ban(client(8), HOUR).unwrap();
    // Once the store is there, it is told of all that hold.
    server.spawn();
    eventually("the jail has told its bans", async || {
        jail.handle().synchronize(PATIENCE).await
    })
    .await;
    let entries = server.cli(&["hkeys", "palisade:{bans}:entries"]);
    assert_eq!(entries, "203.0.113.8/32");
}

/// The task goes with the runtime that it was on.
#[test]
fn bans_are_told_from_another_runtime_as_well() {
    let server = Server::start();
    let jail = jail(&server.store());
    for (number, last) in [(1, 7), (2, 8)] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            jail.handle().ban(client(last), HOUR).unwrap();
            eventually("the store knows of it", async || {
                jail.handle().synchronize(PATIENCE).await;
                server.cli(&["hlen", "palisade:{bans}:entries"]) == number.to_string()
            })
            .await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens_for_a_jail_that_is_gone() {
    let server = Server::start();
    let listen = async |expected: &str| {
        let expected = format!("palisade:{{bans}}:news\n{expected}");
        eventually("so many listen", async || {
            server.cli(&["pubsub", "numsub", "palisade:{bans}:news"]) == expected
        })
        .await;
    };
    let jail = jail(&server.store());
    assert!(jail.handle().synchronize(PATIENCE).await);
    listen("1").await;
    drop(jail);
    listen("0").await;
}

/// A message that was missed is made up for by looking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_message_heals() {
    let server = Server::start();
    let (one, two) = (jail(&server.store()), jail(&server.store()));
    assert!(one.handle().synchronize(PATIENCE).await);
    assert!(two.handle().synchronize(PATIENCE).await);
    // Nobody may hear of news: the user's permission for channels is taken away, and subscribers with it.
    server.cli(&["acl", "setuser", "default", "resetchannels"]);
    server.cli(&["client", "kill", "type", "pubsub"]);
    server.cli(&["acl", "setuser", "default", "allchannels"]);
    server.cli(&["client", "kill", "type", "pubsub"]);
    one.handle().ban(client(7), HOUR).unwrap();
    eventually("the other looks", async || has(&two.handle(), 7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_go_when_they_are_over() {
    let server = Server::start();
    let jail = jail(&server.store());
    jail.handle()
        .ban(client(7), Duration::from_millis(300))
        .unwrap();
    jail.handle().ban(client(8), HOUR).unwrap();
    assert!(jail.handle().synchronize(PATIENCE).await);
    eventually("the short one is gone", async || {
        server.cli(&["hkeys", "palisade:{bans}:entries"]) == "203.0.113.8/32"
    })
    .await;
    assert_eq!(server.cli(&["zcard", "palisade:{bans}:log"]), "1");
    assert_eq!(server.cli(&["zcard", "palisade:{bans}:ends"]), "1");
}

/// One tells of a ban, and of its being lifted; each tells that one has expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_tells_of_a_ban() {
    let server = Server::start();
    let clock = ManualClock::new();
    let (one, two) = (Words::default(), Words::default());
    let jails = [&one, &two].map(|words| {
        let jail = Jail::builder().shared(&server.store());
        let jail = jail.sink(words.clone()).clock(clock.clone());
        jail.build().handle()
    });
    for jail in &jails {
        assert!(jail.synchronize(PATIENCE).await);
    }
    jails[0].ban(client(7), HOUR).unwrap();
    eventually("the other bans too", async || has(&jails[1], 7)).await;
    assert_eq!(one.take(), ["client_banned"]);
    jails[0].unban(client(7));
    eventually("the other lifts it too", async || !has(&jails[1], 7)).await;
    assert_eq!(one.take(), ["client_unbanned"]);
    assert_eq!(two.take(), [""; 0]);

    jails[0].ban(client(8), HOUR).unwrap();
    eventually("the other bans too", async || has(&jails[1], 8)).await;
    clock.advance(2 * HOUR);
    for jail in &jails {
        jail.sweep();
    }
    assert_eq!(one.take(), ["client_banned", "client_unbanned"]);
    assert_eq!(two.take(), ["client_unbanned"]);
}
