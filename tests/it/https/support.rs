//! What the tests of the HTTPS check share.

pub(crate) use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) use http::{
    HeaderName, Method, Request, Response, Version,
    header::{AUTHORIZATION, COOKIE, HOST, LOCATION, STRICT_TRANSPORT_SECURITY, VARY},
};
pub(crate) use palisade::{
    client_ip::{
        ClientIpLayer, ClientIpSource, PeerAddr, SchemeSource, TlsConnection, TrustedProxies,
    },
    clock::ManualClock,
    enforce::EnforceLayer,
    event::{Action, FingerprintKey, SecurityEvent},
    host::AllowedHosts,
    https::{Hsts, Https, HttpsLayer, PathPattern, RedirectTarget},
    policy::{Check, DryRun, Policy, Rejection, RequestHead},
};
pub(crate) use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

pub(crate) const PROXY: &str = "10.0.0.1:40000";
pub(crate) const STRANGER: &str = "203.0.113.7:50000";

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<String>,
    pub(crate) events: Vec<SecurityEvent<'static>>,
    pub(crate) reached_app: bool,
}

impl Answer {
    #[track_caller]
    pub(crate) fn status(&self, status: u16) -> &Self {
        assert_eq!(self.response.status(), status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn location(&self, expected: Option<&str>) -> &Self {
        let location = self.response.headers().get(LOCATION);
        assert_eq!(location.map(|it| it.to_str().unwrap()), expected);
        self
    }

    #[track_caller]
    pub(crate) fn actions(&self, expected: &[Action]) -> &Self {
        let actions: Vec<_> = self.events.iter().map(SecurityEvent::action).collect();
        assert_eq!(actions, expected);
        self
    }

    pub(crate) fn hsts(&self) -> Vec<&str> {
        self.response
            .headers()
            .get_all(STRICT_TRANSPORT_SECURITY)
            .iter()
            .map(|it| it.to_str().unwrap())
            .collect()
    }
}

pub(crate) async fn ask(https: &Https, request: http::request::Builder) -> Answer {
    ask_app(https, request, |_| Response::new(String::from("hello"))).await
}

pub(crate) async fn ask_app(
    https: &Https,
    request: http::request::Builder,
    app: impl Fn(Request<()>) -> Response<String>,
) -> Answer {
    let events = Arc::new(Mutex::new(Vec::new()));
    let reached = AtomicUsize::new(0);
    let sink = {
        let events = Arc::clone(&events);
        move |event: &SecurityEvent<'_>| events.lock().unwrap().push(event.clone().into_owned())
    };
    let (app, reached_app) = (&app, &reached);
    let service = HttpsLayer::new(https.clone())
        .with_sink(sink)
        .layer(service_fn(move |request: Request<()>| async move {
            reached_app.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(app(request))
        }));
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    let events = std::mem::take(&mut *events.lock().unwrap());
    let reached_app = reached.load(Ordering::SeqCst) == 1;
    Answer {
        response,
        events,
        reached_app,
    }
}

pub(crate) fn get(uri: &str) -> http::request::Builder {
    Request::get(uri).header(HOST, "testserver")
}

pub(crate) fn from(peer: &str, request: http::request::Builder) -> http::request::Builder {
    request.extension(PeerAddr::from(peer.parse::<SocketAddr>().unwrap()))
}

pub(crate) fn proxies() -> TrustedProxies {
    "10.0.0.0/8, ::1".parse().unwrap()
}

pub(crate) fn x_forwarded_proto() -> SchemeSource {
    SchemeSource::XForwardedProto(proxies())
}

pub(crate) fn redirect(target: &str) -> Https {
    let target: RedirectTarget = target.parse().unwrap();
    Https::redirect_to(SchemeSource::Listener, target)
}

pub(crate) fn redirect_any_of(hosts: &str) -> Https {
    let hosts: AllowedHosts = hosts.parse().unwrap();
    Https::redirect_to(SchemeSource::Listener, hosts)
}
