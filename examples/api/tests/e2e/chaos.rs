//! What goes wrong around a service: clients that behave badly, a full disk, a clock that jumps, no descriptors left. After each of it the
//! service answers, nothing has panicked, and it ends as it should.
//!
//! The table in `README.md` names these tests.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Request, body::Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::support::{self, Api, free_address};

/// No step takes longer; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// The settings under which clients are told apart by a header.
const PROXIED: [(&str, &str); 2] = [
    ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
    ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
];

/// Asks as a client behind the proxy.
async fn status_for(api: &Api, client: &str, path: &str) -> u16 {
    let request = Request::get(format!("http://{}{path}", api.addr))
        .header("x-forwarded-for", client)
        .body(Full::<Bytes>::default())
        .unwrap();
    api.send(request).await.status().as_u16()
}

/// Opens a connection and says something, or as much as the service lets be said.
async fn say(api: &Api, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(api.addr).await.unwrap();
    let _ = stream.write_all(bytes).await;
    stream
}

/// Reads until the service closes the connection.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed");
    answer
}

/// Waits for the end of the head of an answer.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, read).await.expect("it answers");
    String::from_utf8(head).unwrap()
}

/// Checks that the service answers, lets it end, and returns what it has logged.
async fn is_well(api: Api) -> String {
    assert_eq!(api.get("/healthz").await.status(), 200);
    api.terminate().await;
    let (code, stdout, stderr) = api.end().await;
    assert_eq!(code, Some(0), "{stderr}");
    for text in [&stdout, &stderr] {
        assert!(!text.contains("panicked"), "{text}");
    }
    stdout
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let api = Api::start(&[
        ("API__SERVER__HEADER_READ_TIMEOUT", "300ms"),
        ("API__SERVER__MAX_CONNECTIONS", "4"),
    ])
    .await;
    // More than there is room for, so that all of them must go before anybody is served.
    let mut silent = Vec::new();
    for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HT"] {
        for _ in 0..4 {
            silent.push(say(&api, start).await);
        }
    }
    assert_eq!(api.get("/healthz").await.status(), 200);
    for mut stream in silent {
        rest(&mut stream).await;
    }
    is_well(api).await;
}

#[tokio::test]
async fn one_client_does_not_take_all_connections() {
    let connect = async |api: &Api, from: [u8; 4]| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(api.addr).await.unwrap();
        // Whoever is turned away may find the connection gone before it has said anything.
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let _ = stream.write_all(request).await;
        let mut answer = [0; 12];
        let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
        let served = read.expect("it answers or closes").is_ok();
        served.then_some(stream)
    };
    let greedy = [127, 0, 0, 2];
    let api = Api::start(&[("API__SERVER__MAX_CONNECTIONS_PER_CLIENT", "2")]).await;
    let first = connect(&api, greedy).await.unwrap();
    let _second = connect(&api, greedy).await.unwrap();
    for _ in 0..3 {
        assert!(connect(&api, greedy).await.is_none());
    }
    assert!(connect(&api, [127, 0, 0, 3]).await.is_some());
    drop(first);
    let start = Instant::now();
    while connect(&api, greedy).await.is_none() {
        assert!(start.elapsed() < PATIENCE, "its place is not given back");
        sleep(Duration::from_millis(20)).await;
    }
    is_well(api).await;

    let behind_proxy = Api::start(&[
        ("API__SERVER__MAX_CONNECTIONS_PER_CLIENT", "2"),
        ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
        ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["127.0.0.2"]"#),
    ])
    .await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(connect(&behind_proxy, greedy).await.unwrap());
    }
    is_well(behind_proxy).await;
}

#[tokio::test]
async fn a_byte_now_and_then_makes_no_head_longer() {
    let api = Api::start(&[("API__SERVER__HEADER_READ_TIMEOUT", "300ms")]).await;
    for start in [&b"PRI * HTTP/2.0\r\n"[..], b"GET /notes HTTP/1.1\r\n"] {
        let (mut reader, mut writer) = TcpStream::connect(api.addr).await.unwrap().into_split();
        let drip = async {
            for byte in start.iter().cycle() {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            // A failed write is an end, too.
            () = drip => {}
            end = timeout(PATIENCE, reader.read_to_end(&mut answer)) => {
                let _ = end.expect("the connection is closed");
            }
        }
    }
    is_well(api).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let api = Api::start(&[("API__SERVER__REQUEST_TIMEOUT", "300ms")]).await;
    let mut stream = say(
        &api,
        b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    )
    .await;
    let answer = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    is_well(api).await;
}

#[tokio::test]
async fn connections_that_were_left_behind_are_closed() {
    let api = Api::start(&[
        ("API__SERVER__HEADER_READ_TIMEOUT", "300ms"),
        ("API__SERVER__REQUEST_TIMEOUT", "300ms"),
        ("API__SERVER__MAX_CONNECTIONS", "2"),
    ])
    .await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    // One that is kept alive and forgotten, and one that is closed in one direction.
    let mut forgotten = say(&api, request).await;
    assert!(head(&mut forgotten).await.starts_with("HTTP/1.1 200 "));
    let mut half = say(&api, request).await;
    half.shutdown().await.unwrap();
    rest(&mut half).await;
    rest(&mut forgotten).await;
    is_well(api).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_kept() {
    let api = Api::start(&[
        ("API__SERVER__HEADER_READ_TIMEOUT", "300ms"),
        ("API__SERVER__REQUEST_TIMEOUT", "1s"),
        ("API__SERVER__MAX_CONNECTIONS", "1"),
        ("API__RATE_LIMIT__QUOTAS", r#"["1000000/second"]"#),
    ])
    .await;
    let text = "x".repeat(4000);
    for _ in 0..100 {
        let note = format!(r#"{{"text":"{text}"}}"#);
        assert_eq!(api.post_json("/notes", &note).await.status(), 201);
    }
    // Much more is asked for than fits between the two, and none of it read.
    let request = b"GET /notes HTTP/1.1\r\nHost: x\r\n\r\n";
    let unread = say(&api, &request.repeat(1000)).await;
    // There is room for one: it is served only when that one is gone.
    let mut next = say(&api, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head(&mut next).await.starts_with("HTTP/1.1 200 "));
    drop((next, unread));
    is_well(api).await;
}

#[tokio::test]
async fn floods_of_header_fields_are_refused() {
    let api = Api::start(&[]).await;
    let many = "x: y\r\n".repeat(500);
    let large = format!("x: {}\r\n", "y".repeat(2 << 20));
    for fields in [many, large] {
        let mut stream = TcpStream::connect(api.addr).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let request = format!("GET /notes HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let mut answer = Vec::new();
        let (_, read) = timeout(PATIENCE, async {
            tokio::join!(
                writer.write_all(request.as_bytes()),
                reader.read_to_end(&mut answer)
            )
        })
        .await
        .expect("the connection is closed");
        // A reset may overtake the answer.
        assert!(
            answer.starts_with(b"HTTP/1.1 431 ") || (answer.is_empty() && read.is_err()),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    is_well(api).await;
}

/// The preface of HTTP/2 and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET http://x/notes`, by HPACK: RFC 7541, appendix A.
const GET: &[u8] = b"\x82\x86\x04\x06/notes\x41\x01x";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head[..], payload].concat()
}

/// Floods a connection of HTTP/2 until the service ends it, and returns the frames it has sent.
async fn flood(api: &Api, mut next: impl FnMut(u32) -> Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let mut stream = say(api, HELLO).await;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // Many times what may be kept for one connection, and an end for the test.
        for n in 0..20_000 {
            if writer.write_all(&next(n)).await.is_err() {
                return;
            }
        }
        panic!("nobody ended it");
    };
    let read = async {
        let _ = reader.read_to_end(&mut answer).await;
    };
    timeout(PATIENCE, async {
        tokio::select! {
            () = read => {}
            // What was sent before the end is still to be read.
            () = write => {}
        }
    })
    .await
    .expect("the service ends it");
    let _ = timeout(PATIENCE, reader.read_to_end(&mut answer)).await;
    let mut frames = Vec::new();
    let mut bytes = &answer[..];
    while let Some((head, tail)) = bytes.split_at_checked(9) {
        let length = (usize::from(head[1]) << 8) | usize::from(head[2]);
        let Some((payload, tail)) = tail.split_at_checked(length) else {
            break;
        };
        frames.push((head[3], payload.to_vec()));
        bytes = tail;
    }
    frames
}

/// RFC 9113, section 7: the peer behaves as if it wanted to make this one busy.
const ENHANCE_YOUR_CALM: &[u8] = &[0, 0, 0, 0xb];

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let api = Api::start(&[]).await;
    let frames = flood(&api, |n| {
        let stream = 2 * n + 1;
        let mut both = frame(HEADERS, 0x5, stream, GET);
        // CANCEL.
        both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        both
    })
    .await;
    let (_, last) = frames
        .iter()
        .rfind(|(kind, _)| *kind == GOAWAY)
        .expect("it says goodbye");
    assert_eq!(&last[4..8], ENHANCE_YOUR_CALM);
    is_well(api).await;
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let api = Api::start(&[]).await;
    let field = [&b"\x00\x01x\x7f\xb5\x05"[..], &[b'y'; 820]].concat();
    let block = field.repeat(16_384 / field.len());
    for payload in [&block[..], b""] {
        let frames = flood(&api, |n| match n {
            // Without END_HEADERS.
            0 => frame(HEADERS, 0x1, 1, GET),
            _ => frame(CONTINUATION, 0, 1, payload),
        })
        .await;
        // No answer to the request that never ended.
        assert!(frames.iter().all(|(kind, _)| *kind != HEADERS));
    }
    is_well(api).await;
}

#[tokio::test]
async fn without_descriptors_the_service_waits_for_some() {
    let api = Api::start(&[("API__SERVER__HEADER_READ_TIMEOUT", "1s")]).await;
    assert_eq!(api.get("/healthz").await.status(), 200);
    let used = fs::read_dir(format!("/proc/{}/fd", api.id()))
        .unwrap()
        .count();
    let status = Command::new("prlimit")
        .args(["--pid", &api.id().to_string()])
        .arg(format!("--nofile={0}:{0}", used + 8))
        .status()
        .await
        .expect("prlimit is part of util-linux");
    assert!(status.success());
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(say(&api, b"").await);
    }
    let line = api.line_with("cannot accept a connection").await;
    assert_eq!(line["log.level"], "warn");
    // One that is open is still served, and whoever comes is served when the silent ones have gone.
    assert_eq!(api.get("/whoami").await.status(), 200);
    let mut late = say(&api, b"GET /whoami HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head(&mut late).await.starts_with("HTTP/1.1 200 "));
    drop(streams);
    is_well(api).await;
}

/// A command that runs the example where a folder is a small file system of its own: no other way fills a disk for one process alone.
fn on_small_disk(folder: &Path) -> Command {
    let example = support::command();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=64k tmpfs \"$0\" && exec \"$1\"");
    command.arg(folder).arg(example.as_std().get_program());
    for (name, value) in example.as_std().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_full_disk_keeps_the_bans_in_memory_and_the_old_file_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bans = folder.path().join("bans");
    let bans_text = bans.to_str().unwrap();
    let settings = [&PROXIED[..], &[("API__JAIL__FILE", bans_text)]].concat();
    let probe = on_small_disk_works(folder.path()).await;
    if !probe {
        eprintln!("SKIPPED: this machine lets nobody mount in a namespace of its own");
        return;
    }
    let api = Api::start_by(on_small_disk(folder.path()), &settings).await;
    let inside = |path: &Path| -> PathBuf {
        let root = format!("/proc/{}/root", api.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap())
    };
    let (bans, filler) = (inside(&bans), inside(&folder.path().join("filler")));
    assert_eq!(status_for(&api, "198.51.100.9", "/.env").await, 403);
    let saved = async {
        while !fs::read_to_string(&bans).is_ok_and(|text| text.contains("198.51.100.9")) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, saved).await.expect("the bans are saved");
    let before = fs::read(&bans).unwrap();

    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err());
    assert_eq!(status_for(&api, "198.51.100.10", "/.env").await, 403);
    let line = api.line_with("ban_file_failed").await;
    assert_eq!(line["log"]["logger"], "palisade::security");
    assert_eq!(fs::read(&bans).unwrap(), before);
    let names = fs::read_dir(bans.parent().unwrap()).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
    for client in ["198.51.100.9", "198.51.100.10"] {
        assert_eq!(status_for(&api, client, "/notes").await, 403);
    }
    assert_eq!(status_for(&api, "198.51.100.11", "/notes").await, 200);

    fs::remove_file(&filler).unwrap();
    let saved = async {
        while !fs::read_to_string(&bans).is_ok_and(|text| text.contains("198.51.100.10")) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, saved).await.expect("the bans are saved");
    is_well(api).await;
}

/// Whether a namespace with a file system of its own is to be had.
async fn on_small_disk_works(folder: &Path) -> bool {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=64k tmpfs \"$0\"")
        .arg(folder)
        .output();
    output.await.is_ok_and(|it| it.status.success())
}

#[tokio::test]
async fn a_bad_certificate_leaves_the_old_one_in_use() {
    let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&certificate, one.cert.pem()).unwrap();
    fs::write(&key, one.signing_key.serialize_pem()).unwrap();
    let api = Api::start(&[
        ("API__TLS__CERTIFICATE", certificate.to_str().unwrap()),
        ("API__TLS__KEY", key.to_str().unwrap()),
        ("API__TLS__RELOAD", "1h"),
    ])
    .await;
    let pem = other.cert.pem();
    // One that does not fit its key, half of one, none, and no file.
    for text in [Some(&pem[..]), Some(&pem[..pem.len() / 2]), Some(""), None] {
        match text {
            Some(text) => fs::write(&certificate, text).unwrap(),
            None => fs::remove_file(&certificate).unwrap(),
        }
        hang_up(&api).await;
        let line = api
            .line_with("the TLS certificate cannot be exchanged")
            .await;
        assert_eq!(line["log.level"], "error");
        let response = api.get_tls("/whoami", one.cert.der()).await;
        assert_eq!(response.status(), 200);
    }
    fs::write(&certificate, &pem).unwrap();
    fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    hang_up(&api).await;
    api.line_with("the TLS certificate was read again").await;
    let response = api.get_tls("/whoami", other.cert.der()).await;
    assert_eq!(response.status(), 200);
    api.terminate().await;
    let (code, stdout, stderr) = api.end().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stdout.contains("panicked") && !stderr.contains("panicked"));
}

/// Sends SIGHUP.
async fn hang_up(api: &Api) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -HUP {}", api.id())])
        .status();
    assert!(status.await.unwrap().success());
}

/// The library that gives a process a wall clock of its own, from Debian's package `libfaketime`.
fn faketime() -> Option<PathBuf> {
    let machines = fs::read_dir("/usr/lib").ok()?;
    machines
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|path| path.exists())
}

#[tokio::test]
async fn a_wall_clock_that_jumps_lets_nobody_in_and_keeps_nobody_out() {
    let Some(library) = faketime() else {
        eprintln!("SKIPPED: libfaketime is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    fs::write(&clock, "+0").unwrap();
    let settings = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // As when an administrator or a time server sets the clock.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("API__RATE_LIMIT__QUOTAS", r#"["2/hour"]"#),
    ];
    let api = Api::start(&[&PROXIED[..], &settings].concat()).await;
    let (banned, hasty) = ("198.51.100.9", "198.51.100.10");
    assert_eq!(status_for(&api, banned, "/.env").await, 403);
    for expected in [200, 200, 429] {
        assert_eq!(status_for(&api, hasty, "/notes").await, expected);
    }
    for (jump, fresh) in [("+365d", 11), ("-365d", 12), ("+0", 13)] {
        fs::write(&clock, jump).unwrap();
        assert_eq!(status_for(&api, banned, "/notes").await, 403, "{jump}");
        assert_eq!(status_for(&api, hasty, "/notes").await, 429, "{jump}");
        let fresh = format!("198.51.100.{fresh}");
        for expected in [200, 200, 429] {
            assert_eq!(status_for(&api, &fresh, "/notes").await, expected, "{jump}");
        }
    }
    // The clock did jump.
    let log = is_well(api).await;
    let years: BTreeSet<_> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| Some(line["@timestamp"].as_str()?.get(..4)?.to_owned()))
        .collect();
    assert_eq!(years.len(), 3, "{years:?}");
}

/// A Redis that keeps nothing on disk and is killed when the test ends.
async fn redis(addr: SocketAddr) -> Child {
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &addr.port().to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .args(["--user", "palisade", "on", ">of-the-store"])
        .args(["~*", "&*", "+@all"])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server, of Debian's package of that name");
    let up = async {
        while TcpStream::connect(addr).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("the store answers");
    child
}

#[tokio::test]
async fn a_killed_store_leads_to_what_was_chosen_and_to_nothing_else() {
    let addr = free_address().await;
    let mut store = redis(addr).await;
    let url = format!("redis://{addr}");
    let settings = |on_failure| {
        let own = [
            ("API__RATE_LIMIT__QUOTAS", r#"["6/hour"]"#),
            ("API__REDIS__URL", &*url),
            ("API__REDIS__USERNAME", "palisade"),
            // A busy machine keeps it.
            ("API__REDIS__DEADLINE", "5s"),
            ("API__REDIS__EXPECTED_INSTANCES", "2"),
            ("API__REDIS__ON_FAILURE", on_failure),
            ("REDIS_HASH_KEY", "0123456789abcdef0123456789abcdef"),
            ("REDIS_PASSWORD", "of-the-store"),
        ];
        [&PROXIED[..], &own].concat()
    };
    let fallback = Api::start(&settings("fallback")).await;
    let deny = Api::start(&settings("deny")).await;
    let ask = async |api: &Api, client: &str, expected: &[u16]| {
        for status in expected {
            assert_eq!(
                status_for(api, client, "/whoami").await,
                *status,
                "{client}"
            );
        }
    };
    ask(&fallback, "198.51.100.1", &[200; 3]).await;
    ask(&deny, "198.51.100.1", &[200, 200, 200, 429]).await;
    ask(&fallback, "198.51.100.1", &[429]).await;

    // It is killed while clients come, each of them once.
    let come = async |api: &Api| {
        let mut seen = BTreeSet::new();
        for number in 0..200 {
            seen.insert(status_for(api, &format!("203.0.113.{number}"), "/whoami").await);
        }
        seen
    };
    let kill = async {
        status_for(&deny, "198.51.100.2", "/whoami").await;
        store.start_kill().unwrap();
        store.wait().await.unwrap();
    };
    let (by_fallback, by_deny, ()) = tokio::join!(come(&fallback), come(&deny), kill);
    assert_eq!(by_fallback, BTreeSet::from([200]));
    assert!(
        by_deny.is_subset(&BTreeSet::from([200, 503])),
        "{by_deny:?}"
    );
    for api in [&fallback, &deny] {
        let line = api.line_with("limiter_store_failed").await;
        assert_eq!(line["log"]["logger"], "palisade::security");
    }
    ask(&fallback, "198.51.100.3", &[200, 200, 200, 429]).await;
    ask(&deny, "198.51.100.3", &[503, 503]).await;

    let _store = redis(addr).await;
    for api in [&fallback, &deny] {
        api.line_with("limiter_store_recovered").await;
    }
    ask(&deny, "198.51.100.4", &[200; 3]).await;
    ask(&fallback, "198.51.100.4", &[200, 200, 200, 429]).await;
    is_well(fallback).await;
    is_well(deny).await;
}
