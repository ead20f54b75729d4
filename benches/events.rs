//! What events cost: on the admitted path in instructions, on the refused path of a flood as a distribution.
//!
//! `cargo bench --all-features --bench events`
//!
//! Instructions are counted by valgrind's callgrind, which runs this program again; without valgrind they are left out.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a benchmark that fails panics"
)]

use std::{
    convert::Infallible,
    env,
    future::{Ready, ready},
    hint::black_box,
    io,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientContext, ClientIp, PeerAddr},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::{
        Action, EcsLines, EventSink, FloodControl, LineSink, NullSink, SecurityEvent, Severity,
        SharedSink, TextLines, TracingSink,
    },
    policy::{Check, Policy, Rejection, RequestHead},
};
use tower::{Layer, Service};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, word, case, count] = &arguments[..]
        && word == "count"
    {
        return admit(case, count.parse().expect("a number"));
    }
    instructions();
    counters();
    flood();
}

/// The counters of the crate, which are its own business: compiled once more to be measured alone.
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "most of it is not measured"
)]
#[path = "../src/metrics"]
mod metrics {
    pub mod counter;
    pub mod names;
}

/// Prints what counting once costs, beside one atomic add.
fn counters() {
    use metrics::{counter::Counter, names::DECISIONS_TOTAL};

    const CALLS: u32 = 100_000;

    let prometheus = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let labels = [
        ("layer", "bench"),
        ("policy", "bench"),
        ("decision", "allowed"),
    ];
    let atomic = AtomicU64::new(0);
    let alone = Counter::new(DECISIONS_TOTAL, &labels);
    let followed =
        ::metrics::with_local_recorder(&prometheus, || Counter::new(DECISIONS_TOTAL, &labels));
    let cases: [(&str, &dyn Fn()); 3] = [
        ("one atomic add", &|| {
            black_box(&atomic).fetch_add(1, Ordering::Relaxed);
        }),
        ("a counter without a recorder", &|| {
            black_box(&alone).increment();
        }),
        ("a counter that Prometheus follows", &|| {
            black_box(&followed).increment();
        }),
    ];
    let mut times = cases.map(|_| Vec::new());
    for _ in 0..31 {
        for ((_, work), times) in cases.iter().zip(&mut times) {
            let began = Instant::now();
            for _ in 0..CALLS {
                work();
            }
            times.push(began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
    assert_eq!(followed.value(), 31 * u64::from(CALLS), "every call counts");
    println!("counting once, in nanoseconds:");
    let mut add = 0.0;
    for ((name, _), times) in cases.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        if add == 0.0 {
            add = median;
        }
        println!("  {name:34} {median:6.2}  {:.2}x", median / add);
    }
}

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

struct Admit;

impl Policy for Admit {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        Check::admit()
    }
}

struct Refuse(Arc<str>);

impl Policy for Refuse {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        let rejection = Rejection::new(
            Action::RateLimitExceeded,
            StatusCode::TOO_MANY_REQUESTS,
            "quota exceeded",
        );
        Check::reject(
            rejection
                .with_policy(Arc::clone(&self.0))
                .with_retry_after(Duration::from_secs(1)),
        )
    }
}

/// Admits so many requests: what callgrind counts.
fn admit(case: &str, count: u64) {
    let layer = EnforceLayer::new(Admit).with_clock(ManualClock::new());
    let layer = match case {
        "null" => layer.with_sink(NullSink),
        "default" => layer.with_sink(SharedSink::default()),
        "lines" => layer.with_sink(FloodControl::new(
            LineSink::new(EcsLines::new(), io::sink()).expect("a thread"),
        )),
        _ => return,
    };
    let mut service = layer.layer(Inner);
    for _ in 0..count {
        drop(black_box(service.call(black_box(Request::new(())))));
    }
}

/// Prints the instructions of an admitted request: those of 20 000 less those of 10 000.
fn instructions() {
    println!(
        "instructions of an admitted request through one policy, by sink, and what the event that is not emitted adds:"
    );
    let mut null = None;
    for case in ["null", "default", "lines"] {
        let (Some(more), Some(less)) = (collected(case, 20_000), collected(case, 10_000)) else {
            println!("  {case:8} not counted: valgrind is missing");
            continue;
        };
        let count = (more - less) / 10_000.0;
        let null = *null.get_or_insert(count);
        println!("  {case:8} {count:8.2}  {:+.2}", count - null);
    }
}

fn collected(case: &str, count: u64) -> Option<f64> {
    let program = env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["count", case, &count.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, collected) = text.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok()
}

/// Counts what passes through it.
struct Counted<S>(Arc<AtomicU64>, S);

impl<S: EventSink> EventSink for Counted<S> {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.record(event);
    }

    fn wants(&self, severity: Severity) -> bool {
        self.1.wants(severity)
    }

    fn flush(&self) {
        self.1.flush();
    }
}

/// Refuses 20 000 addresses in each of five seconds, on a clock moved by hand, and prints how long a refusal takes.
fn flood() {
    println!("a refusal in a flood of 20 000 addresses per second, in nanoseconds:");
    println!(
        "  {:32} {:>6} {:>6} {:>6} {:>6}  lines in each second",
        "sink", "p50", "p90", "p99", "p99.9"
    );
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(io::sink)
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
    let clock = ManualClock::new();
    let lines = Arc::new(AtomicU64::new(0));
    let counted = || Arc::clone(&lines);
    let ecs = || LineSink::new(EcsLines::new(), io::sink()).expect("a thread");
    let text = || LineSink::new(TextLines, io::sink()).expect("a thread");
    let control = |clock: &ManualClock| clock.clone();
    for _ in 0..2 {
        measure("none", &clock, &lines, NullSink);
        measure(
            "flood control, tracing JSON",
            &clock,
            &lines,
            FloodControl::new(Counted(counted(), TracingSink)).with_clock(control(&clock)),
        );
        measure(
            "flood control, ECS lines",
            &clock,
            &lines,
            FloodControl::new(Counted(counted(), ecs())).with_clock(control(&clock)),
        );
        measure(
            "flood control, text lines",
            &clock,
            &lines,
            FloodControl::new(Counted(counted(), text())).with_clock(control(&clock)),
        );
        measure(
            "without control, ECS lines",
            &clock,
            &lines,
            Counted(counted(), ecs()),
        );
    }
}

fn measure(name: &str, clock: &ManualClock, lines: &AtomicU64, sink: impl EventSink) {
    let layer = EnforceLayer::new(Refuse("api".into()))
        .with_sink(sink)
        .with_clock(clock.clone());
    let mut service = layer.layer(Inner);
    let (mut times, mut seconds) = (Vec::with_capacity(100_000), Vec::new());
    for second in 0..5u32 {
        lines.store(0, Ordering::Relaxed);
        for i in 0..20_000 {
            let request = request(second * 20_000 + i);
            let began = Instant::now();
            let future = black_box(service.call(request));
            times.push(began.elapsed());
            drop(future);
            clock.advance(Duration::from_micros(50));
        }
        seconds.push(lines.load(Ordering::Relaxed));
    }
    let first = percentiles(times.get(..20_000).unwrap_or_default());
    let all = percentiles(&times);
    println!("  {name:32} {all}  {seconds:?}");
    println!("  {:32} {first}", "  in the first second");
}

fn percentiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 1000)
            .map_or(0, Duration::as_nanos)
    };
    format!("{:6} {:6} {:6} {:6}", at(500), at(900), at(990), at(999))
}

fn request(client: u32) -> Request<()> {
    let mut request = Request::get("/notes/7?page=2")
        .header("user-agent", "curl/8.5.0")
        .body(())
        .expect("a valid request");
    let client = Ipv4Addr::from(client).into();
    let peer = PeerAddr::Tcp((client, 4711).into());
    request
        .extensions_mut()
        .insert(ClientContext::new(ClientIp::Known(client), Some(peer)));
    request
}
