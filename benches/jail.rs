//! What a jail costs a client that behaves: `cargo bench --features jail --bench jail`.
//!
//! Every line is one request through a service; the difference to `gate without policies` is the jail.

use std::{
    convert::Infallible,
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, PeerAddr},
    enforce::EnforceLayer,
    event::NullSink,
    jail::{Jail, JailBuilder, JailLayer, Rule, TrapPaths},
};
use tower::{Layer, Service, service_fn};

criterion_group!(benches, jail);
criterion_main!(benches);

fn jail(criterion: &mut Criterion) {
    let handler = service_fn(|request: Request<()>| async move {
        let mut response = Response::new(String::new());
        if request.uri().path() == "/401" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        Ok::<_, Infallible>(response)
    });
    let client_ip = ClientIpLayer::new(ClientIpSource::Peer);
    let jailed = |jail: JailBuilder, bans: u32| {
        let jail = jail.sink(NullSink).build();
        for number in 0..bans {
            let client = Ipv4Addr::from_bits(0x0b00_0000 + number);
            let _ = jail.handle().ban(client.into(), Duration::from_secs(3600));
        }
        client_ip.layer(JailLayer::new(jail).layer(handler))
    };
    let rules = || {
        Jail::builder()
            .rule(Rule::status(StatusCode::UNAUTHORIZED))
            .rule(Rule::status(StatusCode::NOT_FOUND))
    };
    let traps = || Jail::builder().traps(TrapPaths::common());
    let good = [203, 0, 113, 7].into();
    let bad = [11, 0, 0, 1].into();

    let mut group = criterion.benchmark_group("jail");
    let mut measure = |name: &str,
                       mut service: Box<dyn FnMut(Request<()>) -> u16>,
                       client: IpAddr,
                       path: &str| {
        let request = Request::get(path).extension(PeerAddr::from(SocketAddr::new(client, 1)));
        let request = request.body(()).unwrap_or_default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| service(black_box(request.clone())));
        });
    };
    measure(
        "client address alone",
        timed(client_ip.layer(handler)),
        good,
        "/v1/notes",
    );
    measure(
        "gate without policies",
        timed(client_ip.layer(EnforceLayer::new(()).with_sink(NullSink).layer(handler))),
        good,
        "/v1/notes",
    );
    measure(
        "empty jail",
        timed(jailed(Jail::builder(), 0)),
        good,
        "/v1/notes",
    );
    measure("two rules", timed(jailed(rules(), 0)), good, "/v1/notes");
    measure("traps", timed(jailed(traps(), 0)), good, "/v1/notes");
    measure(
        "traps, odd path",
        timed(jailed(traps(), 0)),
        good,
        "/v1/Notes/%41.html",
    );
    measure(
        "10000 bans",
        timed(jailed(Jail::builder(), 10_000)),
        good,
        "/v1/notes",
    );
    let all = rules().traps(TrapPaths::common());
    measure(
        "all of it, good client",
        timed(jailed(all, 10_000)),
        good,
        "/v1/notes",
    );
    let all = rules().traps(TrapPaths::common());
    measure(
        "all of it, banned client",
        timed(jailed(all, 10_000)),
        bad,
        "/v1/notes",
    );
    // An exempt client is counted like others, and fails for ever.
    measure(
        "failure",
        timed(jailed(
            Jail::builder().rule(Rule::status(StatusCode::UNAUTHORIZED).with_limit(255)),
            0,
        )),
        [127, 0, 0, 1].into(),
        "/401",
    );
    group.finish();
}

/// Polls once: nothing here waits.
fn timed<S>(mut service: S) -> Box<dyn FnMut(Request<()>) -> u16>
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible> + 'static,
{
    Box::new(move |request| {
        let future = pin!(service.call(request));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => response.status().as_u16(),
            Poll::Pending => 0,
        }
    })
}
