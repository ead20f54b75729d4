//! A service behind a jail, a clock that stands still and a sink that remembers.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, PeerAddr},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::{Action, SecurityEvent},
    jail::{Jail, JailBuilder, JailHandle, JailLayer, Rule},
    policy::DryRun,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

pub(super) const CLIENT: &str = "203.0.113.7";

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The jail of the cases: five answers 401 within 600 s ban for 600 s.
pub(super) fn jail() -> JailBuilder {
    Jail::builder().rule(Rule::status(StatusCode::UNAUTHORIZED))
}

pub(super) type Service = BoxCloneSyncService<Request<()>, Response<String>, Infallible>;

#[derive(Clone)]
pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) jail: JailHandle,
    events: Events,
    service: Service,
}

/// Everything that was recorded.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Vec<SecurityEvent<'static>>>>);

impl Events {
    pub(super) fn sink(&self) -> impl Fn(&SecurityEvent<'_>) + Send + Sync + use<> {
        let events = Arc::clone(&self.0);
        move |event: &SecurityEvent<'_>| events.lock().unwrap().push(event.clone().into_owned())
    }

    /// Takes the events that have come since the last time.
    pub(super) fn take(&self) -> Vec<SecurityEvent<'static>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Puts the handler behind the jail.
pub(super) fn service(jail: Jail) -> Service {
    behind(ClientIpSource::Peer, jail)
}

fn behind(source: ClientIpSource, jail: Jail) -> Service {
    let layer = JailLayer::new(jail);
    BoxCloneSyncService::new(ClientIpLayer::new(source).layer(layer.layer(service_fn(handler))))
}

/// Answers with the status that the path says, such as `/401`, or with 200.
pub(super) async fn handler(request: Request<()>) -> Result<Response<String>, Infallible> {
    let mut response = Response::new(String::new());
    let path = request.uri().path().trim_start_matches('/');
    if let Ok(status) = path.parse::<u16>().map(StatusCode::from_u16) {
        *response.status_mut() = status.unwrap();
    }
    Ok(response)
}

impl World {
    pub(super) fn new(jail: JailBuilder) -> Self {
        Self::with_source(jail, ClientIpSource::Peer)
    }

    pub(super) fn with_source(jail: JailBuilder, source: ClientIpSource) -> Self {
        Self::make(jail, |jail| behind(source, jail))
    }

    pub(super) fn dry_run(jail: JailBuilder) -> Self {
        let clock = ManualClock::new();
        let events = Events::default();
        let jail = jail.clock(clock.clone()).sink(events.sink()).build();
        let layer = EnforceLayer::new(DryRun::new(jail.clone()))
            .with_clock(clock.clone())
            .with_sink(events.sink());
        let service =
            ClientIpLayer::new(ClientIpSource::Peer).layer(layer.layer(service_fn(handler)));
        Self {
            clock,
            jail: jail.handle(),
            events,
            service: BoxCloneSyncService::new(service),
        }
    }

    pub(super) fn make(jail: JailBuilder, service: impl FnOnce(Jail) -> Service) -> Self {
        Self::at(ManualClock::new(), jail, service)
    }

    pub(super) fn at(
        clock: ManualClock,
        jail: JailBuilder,
        service: impl FnOnce(Jail) -> Service,
    ) -> Self {
        let events = Events::default();
        let jail = jail.clock(clock.clone()).sink(events.sink()).build();
        Self {
            clock,
            jail: jail.handle(),
            events,
            service: service(jail),
        }
    }

    pub(super) fn send(&self, client: &str, path: &str) -> u16 {
        self.answer(client, path, &[]).status().as_u16()
    }

    pub(super) fn answer(
        &self,
        client: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Response<String> {
        ready(self.service.clone().oneshot(request(client, path, fields))).unwrap()
    }

    /// Sends a request, and goes away before it is answered.
    pub(super) fn give_up(&self, client: &str) {
        let future = self.service.clone().oneshot(request(client, "/", &[]));
        let poll = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
    }

    /// Makes a client fail so many times, each of which it is let in.
    #[track_caller]
    pub(super) fn fail(&self, client: &str, times: usize) {
        for _ in 0..times {
            assert_eq!(self.send(client, "/401"), 401);
        }
    }

    #[track_caller]
    pub(super) fn check_banned(&self, client: &str, expected: bool) {
        let expected = if expected { 403 } else { 200 };
        assert_eq!(self.send(client, "/"), expected, "{client}");
    }

    /// Takes the events that have come since the last time.
    pub(super) fn events(&self) -> Vec<SecurityEvent<'static>> {
        self.events.take()
    }

    pub(super) fn actions(&self) -> Vec<Action> {
        self.events().iter().map(SecurityEvent::action).collect()
    }
}

fn request(client: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let peer = SocketAddr::new(client.parse().unwrap(), 50_000);
    request.extension(PeerAddr::from(peer)).body(()).unwrap()
}

pub(super) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Runs a future that waits for nothing.
pub(super) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something"),
    }
}
