//! Policies and sinks for tests of events.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, Write},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientContext, ClientIp, PeerAddr},
    clock::ManualClock,
    enforce::{Enforce, EnforceLayer},
    event::{Action, EventSink, FloodControl, SecurityEvent},
    policy::{Check, Policy, PolicyLabel, PolicySet, Rejection, RequestHead},
};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

/// Keeps every event.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<SecurityEvent<'static>>>>);

impl Collector {
    pub(crate) fn take(&self) -> Vec<SecurityEvent<'static>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn actions(&self) -> Vec<&'static str> {
        self.take().iter().map(|it| it.action().as_str()).collect()
    }
}

impl EventSink for Collector {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.lock().unwrap().push(event.clone().into_owned());
    }
}

/// A writer whose content can be read.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two requests per minute and address, in a fixed window.
#[derive(Debug, Default)]
pub(crate) struct Limit(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Policy for Limit {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::new("rate_limit", "api").unwrap()
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let Some(client) = request.client().and_then(|it| it.client().addr()) else {
            return refuse(Action::RateLimitKeyMissing, 500, "client is not known");
        };
        let mut table = self.0.lock().unwrap();
        let (since, count) = table.entry(client).or_insert((request.now(), 0));
        if Duration::from_secs(60) <= request.now() - *since {
            (*since, *count) = (request.now(), 0);
        }
        if *count == 2 {
            return refuse(Action::RateLimitExceeded, 429, "quota exceeded");
        }
        *count += 1;
        Check::admit()
    }
}

/// Refuses everything for one reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refuse(pub(crate) Action, pub(crate) u16);

impl Policy for Refuse {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        refuse(self.0, self.1, "refused by the test")
    }
}

fn refuse(action: Action, status: u16, reason: &'static str) -> Check {
    let status = StatusCode::from_u16(status).unwrap();
    Check::reject(Rejection::new(action, status, reason).with_policy("api".into()))
}

/// A layer of those policies with a clock that stands still.
pub(crate) fn layer<P: PolicySet>(policies: P, sink: impl EventSink) -> EnforceLayer<P> {
    EnforceLayer::new(policies)
        .with_sink(sink)
        .with_clock(ManualClock::new())
}

/// Flood control as by default, with that clock.
pub(crate) fn flood_control(
    clock: &ManualClock,
    sink: impl EventSink,
) -> FloodControl<impl EventSink> {
    FloodControl::new(sink).with_clock(clock.clone())
}

/// A handler that counts its calls.
#[derive(Clone, Default)]
pub(crate) struct Handler(Arc<AtomicU64>);

impl Handler {
    pub(crate) fn calls(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn behind<P: PolicySet>(
        &self,
        layer: &EnforceLayer<P>,
    ) -> Enforce<BoxCloneSyncService<Request<()>, Response<String>, Infallible>, P> {
        layer.layer(self.service())
    }

    pub(crate) fn service(&self) -> BoxCloneSyncService<Request<()>, Response<String>, Infallible> {
        let calls = Arc::clone(&self.0);
        BoxCloneSyncService::new(tower::service_fn(move |_: Request<()>| {
            calls.fetch_add(1, Ordering::SeqCst);
            async { Ok(Response::new(String::from("hello"))) }
        }))
    }
}

pub(crate) const CLIENT: &str = "203.0.113.7";

/// A request of that client, which the peer is itself.
pub(crate) fn request(client: &str) -> Request<()> {
    from(
        client,
        client,
        Request::get("/notes/7?token=SECRET").body(()).unwrap(),
    )
}

/// The request as one of `client` that came through `peer`.
pub(crate) fn from(client: &str, peer: &str, mut request: Request<()>) -> Request<()> {
    let peer: IpAddr = peer.parse().unwrap();
    let client = ClientIp::Known(client.parse().unwrap());
    let context = ClientContext::new(client, Some(PeerAddr::Tcp((peer, 4711).into())));
    request.extensions_mut().insert(context);
    request
}

/// Sends a request and returns the status of the answer.
pub(crate) fn send<S>(service: &S, request: Request<()>) -> u16
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible> + Clone,
{
    let future = service.clone().oneshot(request);
    block_on(future).unwrap().status().as_u16()
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
