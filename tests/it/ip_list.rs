//! Lists that are reloaded.

use std::{
    fs,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use palisade::{
    SecurityLayer,
    client_ip::{ClientIpLayer, ClientIpSource, SchemeSource, TrustedProxies},
    clock::ManualClock,
    event::{SecurityEvent, SharedSink},
    https::{Https, HttpsLayer},
    ip_filter::{IpDenylist, IpFilterLayer},
    ip_set::{HostBits, IpList, IpListFile, IpListWatcher, Reload},
};
use tempfile::TempDir;
use tower::Layer;

struct Fixture {
    dir: TempDir,
    file: IpListFile,
    events: Receiver<String>,
    clock: ManualClock,
}

impl Fixture {
    fn new(content: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("list.txt");
        fs::write(&path, content).unwrap();
        let (sender, events) = channel();
        let sink = SharedSink::new(move |event: &SecurityEvent<'_>| {
            let policy = event.policy().unwrap_or_default();
            let event = format!("{} {policy}: {}", event.action().as_str(), event.reason());
            sender.send(event).unwrap();
        });
        let clock = ManualClock::new();
        let file = IpListFile::open("office", path).unwrap();
        let file = file.with_sink(sink).with_clock(clock.clone());
        Self {
            dir,
            file,
            events,
            clock,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("list.txt")
    }

    fn contains(&self, addr: &str) -> bool {
        self.file.list().contains(addr.parse().unwrap())
    }

    #[track_caller]
    fn check_events(&self, expected: &[&str]) {
        let events: Vec<_> = self.events.try_iter().collect();
        assert_eq!(events, expected);
    }

    /// Case F26.
    #[track_caller]
    fn check_kept(&mut self, expected: &str) {
        assert_eq!(self.file.poll(), Reload::Failed);
        assert!(self.contains("192.0.2.1"));
        assert_eq!(self.file.list().generation(), 1);
        let event = format!("ip_list_reload_failed office: the old list stays: {expected}");
        self.check_events(&[&event]);
        assert_eq!(self.file.poll(), Reload::Failed);
        self.check_events(&[]);
    }
}

#[test]
fn a_changed_file_replaces_the_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    fixture.check_events(&[]);

    fs::write(fixture.path(), "192.0.2.2\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    assert!(!fixture.contains("192.0.2.1"));
    assert!(fixture.contains("192.0.2.2"));
    assert_eq!(fixture.file.list().generation(), 2);
    fixture.check_events(&["ip_list_reloaded office: the list was reloaded"]);
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert_eq!(fixture.file.reload(), Reload::Unchanged);
    fixture.check_events(&[]);
}

#[test]
fn a_change_of_the_same_length_at_the_same_time_is_seen() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    let metadata = fs::metadata(fixture.path()).unwrap();
    fs::write(fixture.path(), "192.0.2.2\n").unwrap();
    let file = fs::File::options()
        .write(true)
        .open(fixture.path())
        .unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    // Once some time has passed, the file counts as settled and is not even read.
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    fixture.check_events(&["ip_list_reloaded office: the list was reloaded"]);
}

#[test]
fn a_bad_line_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::write(fixture.path(), "192.0.2.2\n192.0.2.300\n").unwrap();
    fixture.check_kept("file is no list of addresses: line 2, entry 1: not an IP address");
    assert_eq!(fixture.file.failure().unwrap().line(), Some(2));

    // Another mistake is another event; the mended file is taken.
    fs::write(fixture.path(), "192.0.2.2\n192.0.2.3/33\n").unwrap();
    fixture.check_kept(
        "file is no list of addresses: line 2, entry 1: prefix is longer than the address",
    );
    fs::write(fixture.path(), "192.0.2.2\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    assert!(fixture.file.failure().is_none());
}

#[test]
fn an_empty_file_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::write(fixture.path(), "# all gone\n").unwrap();
    fixture.check_kept("file is no list of addresses: list has no entries");
}

#[test]
fn a_file_that_is_no_text_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::write(fixture.path(), b"192.0.2.2\n\xff").unwrap();
    fixture.check_kept("file is no list of addresses: list is not UTF-8 text");
}

#[test]
fn a_missing_file_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::remove_file(fixture.path()).unwrap();
    assert_eq!(fixture.file.poll(), Reload::Failed);
    assert!(fixture.contains("192.0.2.1"));
    let events: Vec<_> = fixture.events.try_iter().collect();
    assert_eq!(events.len(), 1);
    assert!(
        events[0]
            .starts_with("ip_list_reload_failed office: the old list stays: file cannot be read")
    );
    // Renamed back into place, it is as it was.
    fs::write(fixture.path(), "192.0.2.1\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert!(fixture.file.failure().is_none());
}

#[test]
fn a_directory_or_a_huge_file_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::remove_file(fixture.path()).unwrap();
    fs::create_dir(fixture.path()).unwrap();
    fixture.check_kept("path is no regular file");

    let mut fixture = Fixture::new("192.0.2.1\n");
    fixture.file = fixture.file.with_max_bytes(20);
    fs::write(fixture.path(), "192.0.2.1\n192.0.2.2\n ").unwrap();
    fixture.check_kept("file is too large");
    fs::write(fixture.path(), "192.0.2.1\n192.0.2.2\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);

    // By default, 64 MiB.
    let mut fixture = Fixture::new("192.0.2.1\n");
    let sparse = fs::File::create(fixture.path()).unwrap();
    sparse.set_len((64 << 20) + 1).unwrap();
    fixture.check_kept("file is too large");
}

/// Case F18.
#[test]
fn a_failure_is_told_of_until_it_is_another() {
    let mut fixture = Fixture::new("192.0.2.1");
    let mut check = |told: usize| {
        for _ in 0..3 {
            assert_eq!(fixture.file.reload(), Reload::Failed);
        }
        assert_eq!(fixture.events.try_iter().count(), told);
    };
    let path = fixture.dir.path().join("list.txt");
    fs::write(&path, "x").unwrap();
    check(1);
    fs::write(&path, "192.0.2.2\nx").unwrap();
    check(1);
    fs::remove_file(&path).unwrap();
    check(1);
    // Neither can be read, for different reasons.
    fs::remove_dir(fixture.dir.path()).unwrap();
    fs::write(fixture.dir.path(), "").unwrap();
    check(1);
    check(0);
    fs::remove_file(fixture.dir.path()).unwrap();
    fs::create_dir_all(&path).unwrap();
    check(1);
}

#[test]
fn bits_behind_a_prefix_are_told_once() {
    let mut fixture = Fixture::new("10.0.0.0/8\n10.0.0.1/8\n");
    assert!(fixture.contains("10.200.0.1"));
    fixture.file.poll();
    fixture.check_events(&[
        "ip_list_entry_masked office: bits are set behind a prefix: line 2: 10.0.0.1 was read as 10.0.0.0/8",
    ]);
    fixture.file.poll();
    fixture.check_events(&[]);

    let mut fixture = Fixture::new("192.0.2.1\n");
    fixture.file = fixture.file.with_host_bits(HostBits::Refuse);
    fs::write(fixture.path(), "10.0.0.1/8\n").unwrap();
    fixture.check_kept(
        "file is no list of addresses: line 1, entry 1: address has bits set behind its prefix",
    );
}

/// Case F18, for lists that come from the configuration.
#[test]
fn the_facade_tells_of_bits_behind_a_prefix_once() {
    let (sender, events) = channel();
    let build = |deny: IpList| {
        let sender = sender.clone();
        let proxies: TrustedProxies = "192.0.2.1/24".parse().unwrap();
        let _ = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies))
            .deny(IpDenylist::new(deny))
            .allow("10.0.0.0/8".parse().unwrap())
            .sink(move |event: &SecurityEvent<'_>| {
                let policy = event.policy().unwrap_or_default();
                let shown = format!("{} {policy}: {}", event.action().as_str(), event.reason());
                let _ = sender.send(shown);
            })
            .build();
        events.try_iter().collect::<Vec<String>>()
    };
    let told = "ip_list_entry_masked blocked: bits are set behind a prefix: line 1: 10.0.0.1 was read as 10.0.0.0/8";
    let proxies = "ip_list_entry_masked trusted_proxies: bits are set behind a prefix: line 1: 192.0.2.1 was read as 192.0.2.0/24";
    let list = IpList::new("blocked", "10.0.0.1/8".parse().unwrap());
    assert_eq!(build(list.clone()), [told, proxies]);
    // The list is shared by both layers and told of already.
    assert_eq!(build(list), [proxies]);
}

/// Case F18, for the layers by themselves: each list is told of once, whichever layers share it.
#[test]
fn single_layers_tell_of_bits_behind_a_prefix_once() {
    let (sender, events) = channel();
    let sink = SharedSink::new(move |event: &SecurityEvent<'_>| {
        let policy = event.policy().unwrap_or_default();
        let _ = sender.send(format!("{} {policy}", event.action().as_str()));
    });
    let told = || events.try_iter().collect::<Vec<String>>();
    let proxies = |list: &str| list.parse::<TrustedProxies>().unwrap();

    let deny = IpDenylist::new(IpList::new("blocked", "10.0.0.1/8".parse().unwrap()));
    let allow = "10.0.0.1/8".parse().unwrap();
    let layer = IpFilterLayer::new(deny.clone(), allow).with_shared_sink(sink.clone());
    for _route in 0..2 {
        let _ = layer.layer(());
    }
    let _ = IpFilterLayer::deny(deny)
        .with_shared_sink(sink.clone())
        .layer(());
    assert_eq!(
        told(),
        ["ip_list_entry_masked blocked", "ip_list_entry_masked allow"]
    );

    let address = proxies("192.0.2.1/24");
    let scheme = SchemeSource::XForwardedProto(proxies("198.51.100.1/24"));
    let layer = ClientIpLayer::new(ClientIpSource::XForwardedFor(address.clone()))
        .with_scheme(scheme.clone())
        .with_shared_sink(sink.clone());
    for _route in 0..2 {
        let _ = layer.layer(());
    }
    // The same proxies elsewhere.
    let _ = HttpsLayer::new(Https::reject(scheme))
        .with_sink(sink.clone())
        .layer(());
    assert_eq!(told(), ["ip_list_entry_masked trusted_proxies"; 2]);

    let scheme = SchemeSource::Forwarded(proxies("198.51.100.1/24"));
    let _ = HttpsLayer::new(Https::reject(scheme))
        .with_sink(sink.clone())
        .layer(());
    assert_eq!(told(), ["ip_list_entry_masked trusted_proxies"]);

    // Nothing to tell of.
    let _ = ClientIpLayer::new(ClientIpSource::Forwarded(proxies("192.0.2.0/24")))
        .with_shared_sink(sink)
        .layer(());
    assert!(told().is_empty());
}

#[test]
fn a_list_that_cannot_be_read_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("list.txt");
    assert!(IpListFile::open("list", &path).is_err());
    fs::write(&path, "").unwrap();
    assert!(IpListFile::open("list", &path).is_err());
    fs::write(&path, "192.0.2.1\nx").unwrap();
    assert_eq!(IpListFile::open("list", &path).unwrap_err().line(), Some(2));
}

#[test]
fn a_file_that_has_settled_is_read_again_where_it_differs() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    let path = fixture.path();
    let write = |content: &str, modified| {
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
    };
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    // As long as before, and of the same time: nobody looks into it.
    write("192.0.2.2\n", written);
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert!(fixture.contains("192.0.2.1"));
    let later = written + Duration::from_secs(1);
    write("192.0.2.2\n", later);
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    write("192.0.2.22\n", later);
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    // Nor into one that is bad, which stays so.
    write("192.0.2.x\n", later);
    assert_eq!(fixture.file.poll(), Reload::Failed);
    write("192.0.2.3\n", later);
    assert_eq!(fixture.file.poll(), Reload::Failed);
    // Another file in its place.
    let new = fixture.dir.path().join("new");
    fs::rename(&path, &new).unwrap();
    write("192.0.2.3\n", later);
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    assert!(fixture.contains("192.0.2.3"));
}

#[test]
fn a_watcher_reloads_when_it_is_told_to() {
    let Fixture {
        dir, file, events, ..
    } = Fixture::new("192.0.2.1\n");
    let list = file.list();
    let write = |content| {
        // The watcher may be reading already, and must not see half of a file.
        let new = dir.path().join("new.txt");
        fs::write(&new, content).unwrap();
        fs::rename(new, dir.path().join("list.txt")).unwrap();
    };
    write("192.0.2.2\n");
    let watcher = IpListWatcher::spawn([file], Duration::from_secs(3_600)).unwrap();
    assert!(events.recv().unwrap().starts_with("ip_list_reloaded"));
    // It has looked after the file, and would not for an hour.
    write("192.0.2.3\n");
    watcher.reload();
    assert!(events.recv().unwrap().starts_with("ip_list_reloaded"));
    assert!(list.contains("192.0.2.3".parse().unwrap()));
    // The thread drops the files, and with them the sink, when it ends.
    drop(watcher);
    assert!(events.recv().is_err());
}

#[cfg(feature = "axum")]
mod under_load {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
    };

    use axum::{Router, body::Body, routing::get};
    use http::Request;
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const CLIENTS: [&str; 2] = ["203.0.113.7", "198.51.100.7"];
    const CONNECTIONS: usize = 4;
    const REQUESTS: usize = 2_500;

    /// Sends requests of both clients in turns over one connection, and counts those that were let in and those that were refused.
    async fn send_many(address: SocketAddr, connection: usize) -> [u64; 2] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connected) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connected = tokio::spawn(connected);
        let mut statuses = [0_u64; 2];
        for number in 0..REQUESTS {
            let request = Request::get("/")
                .header("host", "localhost")
                .header("x-forwarded-for", CLIENTS[(connection + number) % 2])
                .body(Body::empty())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            match response.status().as_u16() {
                200 => statuses[0] += 1,
                403 => statuses[1] += 1,
                other => panic!("{other}"),
            }
            response.into_body().collect().await.unwrap();
        }
        drop(sender);
        connected.await.unwrap().unwrap();
        statuses
    }

    /// Case F28: lists are swapped while requests come over HTTP, and each request is judged by one of them entirely.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_list_is_swapped_under_load() {
        // Lists that block one client each, among ten thousand neighbors of theirs, in turns.
        let set = |client: &str| {
            let mut text = (0..10_000_u32).fold(String::new(), |text, number| {
                let [_, _, high, low] = number.to_be_bytes();
                text + &format!("10.0.{high}.{low}\n")
            });
            text += client;
            text.parse::<palisade::ip_set::IpSet>().unwrap()
        };
        let sets = CLIENTS.map(set);
        let list = IpList::new("blocked", sets[0].clone());
        let first = list.generation();
        let (refused, wrong) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let sink = {
            let (refused, wrong) = (Arc::clone(&refused), Arc::clone(&wrong));
            move |event: &SecurityEvent<'_>| {
                let Some(generation) = event.generation() else {
                    return;
                };
                refused.fetch_add(1, Ordering::Relaxed);
                // The generation that the event names is the one whose list blocks this client, and the entry is that list's.
                let blocked = usize::from(!(generation - first).is_multiple_of(2));
                let client = event.client().unwrap().to_string();
                let rule = event.rule().unwrap().to_string();
                if client != CLIENTS[blocked] || rule != format!("{client}/32") {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let source = ClientIpSource::XForwardedFor("127.0.0.1".parse().unwrap());
        let layer = SecurityLayer::builder(source)
            .deny(IpDenylist::new(list.clone()))
            .sink(sink)
            .build();
        let app = Router::new()
            .route("/", get(|| async { "hello" }))
            .layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, app).await
        });

        let done = Arc::new(AtomicBool::new(false));
        let swapper = {
            let (done, list) = (Arc::clone(&done), list.clone());
            std::thread::spawn(move || {
                for set in sets.iter().rev().cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    list.replace(set.clone());
                }
            })
        };
        let load = (0..CONNECTIONS).map(|connection| tokio::spawn(send_many(address, connection)));
        let (mut admitted, mut denied) = (0, 0);
        // Collected first, so that all of them run at once.
        for task in load.collect::<Vec<_>>() {
            let [ok, forbidden] = task.await.unwrap();
            admitted += ok;
            denied += forbidden;
        }
        done.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
        assert_eq!(admitted + denied, (CONNECTIONS * REQUESTS) as u64);
        assert_eq!(refused.load(Ordering::Relaxed), denied);
        assert_eq!(wrong.load(Ordering::Relaxed), 0);
        // Both lists were met, and many others between them.
        assert!(0 < admitted && 0 < denied, "{admitted} {denied}");
        assert!(10 < list.generation() - first);
    }
}
