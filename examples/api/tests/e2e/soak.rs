//! Good and bad clients together, for a while: every answer is one that was meant, memory stays as it is, nothing panics.
//!
//! A plain run takes some seconds, which shows no leak but keeps this honest; `PALISADE_SOAK=600` makes it ten minutes. `tests/all.sh --long` sets it.

use std::{
    collections::BTreeMap,
    env, fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Method, Request, body::Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use crate::support::Api;

const KEY: &str = "a-key-of-the-good-clients";

/// How many good clients there are at a time.
const GOOD: u32 = 4;

/// From how many addresses the bad ones come: so few that all have been seen when memory is first looked at.
const BAD: u32 = 512;

/// How much memory may come on top after the first third of the time, in KiB: what an allocator keeps of a peak. A leak of 40 bytes a request
/// is more than that in two minutes.
const GROWTH: u64 = 6 * 1024;

/// What was answered, by who asked.
type Counts = Arc<Mutex<BTreeMap<(&'static str, u16), u64>>>;

async fn ask(
    api: &Api,
    counts: &Counts,
    who: &'static str,
    request: Request<Full<Bytes>>,
) -> hyper::Response<Bytes> {
    let response = api.send(request).await;
    let status = response.status().as_u16();
    *counts.lock().unwrap().entry((who, status)).or_default() += 1;
    response
}

fn request(
    api: &Api,
    method: Method,
    path: &str,
    client: &str,
    key: Option<&str>,
    body: &str,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", api.addr))
        .header("x-forwarded-for", client)
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.body(Full::from(body.to_owned())).unwrap()
}

/// Writes, reads and deletes notes at a pace that is within the quota.
async fn good(api: &Api, counts: &Counts, number: u32) {
    let client = format!("198.51.100.{number}");
    let ask = |method, path: String, body: &'static str| {
        let request = request(api, method, &path, &client, Some(KEY), body);
        ask(api, counts, "good", request)
    };
    let created = ask(Method::POST, "/notes".into(), r#"{"text":"hello"}"#).await;
    let Some(path) = created.headers().get("location") else {
        return;
    };
    let path = path.to_str().unwrap().to_owned();
    ask(Method::GET, "/notes".into(), "").await;
    ask(Method::GET, path.clone(), "").await;
    ask(Method::DELETE, path, "").await;
    ask(Method::GET, "/whoami".into(), "").await;
    sleep(Duration::from_millis(400)).await;
}

/// Guesses keys, probes paths, floods, forges headers and sends what is too large.
async fn bad(api: &Api, counts: &Counts, turn: u32) {
    let (kind, number) = (turn % 8, turn / 8 % BAD);
    let client = match number % 3 {
        0 => format!("2001:db8:{number:x}::1"),
        _ => format!("203.0.{}.{}", number / 256, number % 256),
    };
    if kind == 2 {
        too_large(api, counts, &client).await;
        return;
    }
    let (method, path, key, body) = match kind {
        0 => (Method::GET, "/notes", Some("a-key-that-was-guessed"), ""),
        1 => (Method::GET, "/nothing-here", Some(KEY), ""),
        3 => (Method::POST, "/notes", Some(KEY), r#"{"text":"#),
        4 => (Method::GET, "/a%00b?x=%0a", None, ""),
        5 => (Method::PUT, "/notes", Some(KEY), ""),
        6 if number % 4 == 0 => (Method::GET, "/x/../.env", None, ""),
        _ => (Method::GET, "/whoami", Some(KEY), ""),
    };
    let times = match (kind, number % 16) {
        (0, 0) => 12,
        (7, 2) => 200,
        _ => 1,
    };
    for _ in 0..times {
        ask(
            api,
            counts,
            "bad",
            request(api, method.clone(), path, &client, key, body),
        )
        .await;
    }
    let forged = format!("{client}, 198.51.100.1 garbage, \"");
    ask(
        api,
        counts,
        "bad",
        request(api, Method::GET, "/whoami", &forged, None, ""),
    )
    .await;
}

/// Announces a body that is too large, over a connection of its own: the service answers before the body has come, and closes.
async fn too_large(api: &Api, counts: &Counts, client: &str) {
    let request = format!(
        "POST /notes HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 70000\r\n\r\n"
    );
    let mut stream = TcpStream::connect(api.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    let status = str::from_utf8(&start[9..]).unwrap().parse().unwrap();
    *counts.lock().unwrap().entry(("bad", status)).or_default() += 1;
}

/// Connections that say something odd and go away.
async fn rude(api: &Api, turn: u32) {
    let words = [
        &b""[..],
        b"GET / HT",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
        b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n{",
    ];
    let word = words[turn as usize % words.len()];
    if let Ok(mut stream) = TcpStream::connect(api.addr).await {
        let _ = stream.write_all(word).await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// The resident memory of the service, in KiB.
fn resident(api: &Api) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", api.id())).unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_and_bad_clients_together() {
    let seconds = env::var("PALISADE_SOAK").map_or(6, |it| it.parse().expect("seconds"));
    let time = Duration::from_secs(seconds);
    let keys = format!(r#"{{"good": "{KEY}"}}"#);
    let settings = [
        ("API__CLIENT_IP__SOURCE", "x_forwarded_for"),
        ("API__CLIENT_IP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
        ("API__API_KEYS__REQUIRED", "true"),
        (
            "API__RATE_LIMIT__QUOTAS",
            r#"["20/second burst 40", "1000000/hour"]"#,
        ),
        // A connection that the client keeps must not end while it is taken up again.
        ("API__SERVER__HEADER_READ_TIMEOUT", "30s"),
        // Bans end, so that what they cost is freed and taken again.
        ("API__JAIL__BAN_TIME", "5s"),
        ("API_KEYS", &keys),
    ];
    let api = Arc::new(Api::start(&settings).await);
    let counts = Counts::default();
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for number in 1..=GOOD {
        let (api, counts, over) = (Arc::clone(&api), Arc::clone(&counts), Arc::clone(&over));
        tasks.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                good(&api, &counts, number).await;
            }
        });
    }
    for worker in 0..4 {
        let (api, counts, over) = (Arc::clone(&api), Arc::clone(&counts), Arc::clone(&over));
        tasks.spawn(async move {
            let mut turn = worker;
            while !over.load(Ordering::Relaxed) {
                bad(&api, &counts, turn).await;
                rude(&api, turn).await;
                turn += 4;
            }
        });
    }
    // The log is read, or the pipe would be full.
    let log = {
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            let mut lines = 0_u64;
            while let Some(line) = api.next_line().await {
                assert!(!line.contains("panicked"), "{line}");
                serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
                lines += 1;
                if line.contains("stopping: requests in flight may end") {
                    break;
                }
            }
            lines
        })
    };

    let start = Instant::now();
    let mut memory = Vec::new();
    while start.elapsed() < time {
        sleep(Duration::from_millis(250)).await;
        memory.push(resident(&api));
    }
    over.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(api.get("/healthz").await.status(), 200);
    api.terminate().await;
    let lines = log.await.unwrap();
    let api = Arc::into_inner(api).expect("nobody else has it");
    let (code, stdout, stderr) = api.end().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stdout.contains("panicked") && !stderr.contains("panicked"));

    let counts = counts.lock().unwrap();
    let (early, late) = memory.split_at(memory.len() / 3);
    let (early, late) = (early.iter().max().unwrap(), late.iter().max().unwrap());
    println!(
        "{seconds} s: {counts:?}; {lines} lines of log; resident {early} KiB in the first third, then {late} KiB at most"
    );
    for ((who, status), count) in counts.iter() {
        let meant: &[u16] = match *who {
            "good" => &[200, 201, 204],
            _ => &[200, 400, 401, 403, 404, 405, 413, 429],
        };
        assert!(meant.contains(status), "{who}: {count} times {status}");
    }
    // Each of them was met.
    for status in [200, 201, 204] {
        assert!(counts.contains_key(&("good", status)), "{counts:?}");
    }
    for status in [200, 400, 401, 403, 404, 405, 413, 429] {
        assert!(counts.contains_key(&("bad", status)), "{counts:?}");
    }
    // In some seconds memory has not settled.
    if 60 <= seconds {
        assert!(*late <= early + GROWTH, "{early} KiB grew to {late} KiB");
    }
}
