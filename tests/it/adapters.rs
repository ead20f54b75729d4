//! The gate among the middleware and servers of others.

use std::{
    convert::Infallible,
    error::Error,
    future::ready,
    net::SocketAddr,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body as AxumBody, routing::get};
use bytes::{Buf as _, BufMut as _, Bytes};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header::CONTENT_LENGTH,
    uri::PathAndQuery,
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource},
    enforce::{EnforceLayer, Refusal, TrackBodyLayer},
    policy::{Admission, Check, Decision, Outcome, Policy as _, Rejection, RequestHead, Until},
    respond::StatusOnly,
};
use tokio::{net::TcpListener, task::AbortHandle};
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    transport::{Channel, Server, server::TcpIncoming},
};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer, trace::TraceLayer};

use crate::support::{
    FnPolicy, Hello, Quota, REFUSED, RecordingSink, Settled, gate, later, request,
};

fn router() -> Router {
    Router::new()
        .route("/a", get(|| async { "a" }))
        .route("/b", get(|| async { "b" }))
}

async fn statuses<S, B>(service: S, paths: &[&str]) -> Vec<u16>
where
    S: Service<Request<AxumBody>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
{
    let mut statuses = Vec::new();
    for path in paths {
        let response = service.clone().oneshot(request(path)).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn the_routes_of_an_axum_router_share_one_state() {
    let app = router().layer(gate(Quota::new(3)));
    let paths = ["/a", "/b", "/none", "/a", "/b"];
    assert_eq!(statuses(app, &paths).await, [200, 200, 404, 429, 429]);
}

#[tokio::test]
async fn an_axum_router_that_is_built_for_each_request_keeps_its_state() {
    let layer = gate(Quota::new(2));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let app = router().layer(layer.clone());
        seen.extend(statuses(app, &["/a"]).await);
    }
    assert_eq!(seen, [200, 200, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_later_decision_works_in_an_axum_router() {
    let app = router().route_layer(gate((later(Decision::admit), Quota::new(1))));
    assert_eq!(statuses(app, &["/a", "/b"]).await, [200, 429]);
}

#[tokio::test]
async fn bodies_are_tracked_in_an_axum_router() {
    let settled = Settled::default();
    let app = router().layer((TrackBodyLayer::new(), gate(settled.policy(Until::BodyEnd))));
    let response = app.oneshot(request::<AxumBody>("/a")).await.unwrap();
    assert!(settled.take().is_empty());
    response.into_body().collect().await.unwrap();
    assert_eq!(settled.take(), ["ended 200"]);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_peer_of_axum_is_in_the_event() {
    let sink = RecordingSink::default();
    let layer = EnforceLayer::new(Quota::new(0)).with_sink(sink.clone());
    let peer: SocketAddr = "[::ffff:198.51.100.1]:1".parse().unwrap();
    let app = router()
        .layer((ClientIpLayer::new(ClientIpSource::Peer), layer))
        .layer(axum::extract::connect_info::MockConnectInfo(peer));
    let request = Request::get("/a").body(AxumBody::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 429);
    let [event] = &sink.take()[..] else {
        panic!("one event")
    };
    let canonical = "198.51.100.1".parse().unwrap();
    assert_eq!(event.client(), Some(canonical));
    assert_eq!(event.peer(), Some(canonical));
}

#[tokio::test]
async fn the_gate_works_beside_other_middleware() {
    let stack = || {
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                Duration::from_secs(5),
            ))
            .concurrency_limit(2)
            .layer(CompressionLayer::new())
            .layer(TrackBodyLayer::new())
    };
    let settled = Settled::default();
    let policies = (Quota::new(1), settled.policy(Until::BodyEnd));
    let service = stack().layer(gate(policies)).service(Hello::default());
    for expected in [200, 429] {
        let response = service
            .clone()
            .oneshot(request::<AxumBody>("/"))
            .await
            .unwrap();
        assert_eq!(response.status(), expected);
        let refusal = response.extensions().get::<Refusal>();
        assert_eq!(refusal.is_some(), expected == 429);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(settled.take(), ["ended 200"]);

    // And outside of them.
    let inner = ServiceBuilder::new()
        .concurrency_limit(1)
        .service(Hello::default());
    let service = ServiceBuilder::new()
        .layer(gate(Quota::new(2)))
        .buffer(4)
        .service(inner);
    for expected in [200, 200, 429] {
        let response = service.clone().oneshot(request::<()>("/")).await.unwrap();
        assert_eq!(response.status(), expected);
    }
    let service = ServiceBuilder::new()
        .buffer(4)
        .layer(gate(Quota::new(0)))
        .service(Hello::default());
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(response.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_settles_receipts_as_dropped() {
    let settled = Settled::default();
    let slow = service_fn(|_: Request<()>| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_secs(5),
        ))
        .layer(gate(settled.policy(Until::Head)))
        .service(slow);
    let response = service.oneshot(request("/")).await.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(settled.take(), ["dropped"]);
}

/// Serves on a free port of the loopback, HTTP/1.1 and HTTP/2.
async fn serve<S, B>(service: S) -> (SocketAddr, AbortHandle)
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                // A client that hangs up is an error to the server, and not to the test.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (addr, task.abort_handle())
}

/// Sends one request over a connection of its own.
async fn send(
    addr: SocketAddr,
    version: Version,
    method: Method,
) -> (http::response::Parts, Bytes) {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .build_http::<Empty<Bytes>>();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{addr}/"))
        .body(Empty::new())
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), version);
    let (head, body) = response.into_parts();
    (head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn connections_share_one_state_under_hyper() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let service = gate(Quota::new(2)).layer(Hello::default());
        let (addr, server) = serve(service).await;
        for expected in [200, 200, 429] {
            let (head, body) = send(addr, version, Method::GET).await;
            assert_eq!(head.status, expected);
            assert_eq!(expected == 200, body == "hello");
            assert_eq!(head.headers.contains_key("retry-after"), expected == 429);
        }
        let (head, body) = send(addr, version, Method::HEAD).await;
        assert_eq!(head.status, 429);
        assert_ne!(head.headers[CONTENT_LENGTH], "0");
        assert!(body.is_empty());
        server.abort();
    }
}

/// A body of these frames that knows nothing of its length; the last comes first.
struct Chunks(Vec<Frame<Bytes>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// Sends one request and checks that its receipt is settled once, with the end of the body.
async fn check_end(version: Version, method: Method, make: fn() -> Response<AxumBody>) {
    let (sender, mut settled) = tokio::sync::mpsc::unbounded_channel();
    let policy = FnPolicy(move |_: &RequestHead<'_>| {
        let sender = sender.clone();
        let receipt = move |outcome: Outcome<'_>| {
            let _ = sender.send(format!("{outcome:?}"));
        };
        Check::Ready(
            Admission::new()
                .with_receipt(Until::BodyEnd, receipt)
                .into(),
        )
    });
    let inner =
        service_fn(move |_: Request<hyper::body::Incoming>| ready(Ok::<_, Infallible>(make())));
    let (addr, server) = serve(TrackBodyLayer::new().layer(gate(policy).layer(inner))).await;
    send(addr, version, method).await;
    assert_eq!(settled.recv().await.unwrap(), "Ended(200)");
    assert!(settled.try_recv().is_err());
    server.abort();
}

#[tokio::test]
async fn the_end_of_a_body_is_seen_once_under_hyper() {
    let full = || Response::new(AxumBody::from("hello"));
    let empty = || Response::new(AxumBody::empty());
    let streamed = || Response::new(AxumBody::new(Chunks(vec![data("b"), data("a")])));
    // The server stops polling at the length that the head announces.
    let announced = || {
        let mut response = Response::new(AxumBody::new(Chunks(vec![data("b"), data("a")])));
        let length = HeaderValue::from_static("2");
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    };
    // It stops at the trailers, too.
    let trailers = || {
        let trailers = Frame::trailers(HeaderMap::new());
        Response::new(AxumBody::new(Chunks(vec![trailers, data("a")])))
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        check_end(version, Method::GET, full).await;
        check_end(version, Method::GET, empty).await;
        check_end(version, Method::GET, streamed).await;
        check_end(version, Method::GET, announced).await;
        check_end(version, Method::GET, trailers).await;
    }
    // On HTTP/2 the body of a service that answers HEAD with one would be sent, to the client's dismay.
    check_end(Version::HTTP_11, Method::HEAD, streamed).await;
}

/// A gRPC service that says the same back.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<tonic::body::Body>> for Echo {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let echo = service_fn(|request: tonic::Request<Bytes>| {
                ready(Ok::<_, Status>(tonic::Response::new(request.into_inner())))
            });
            Ok(tonic::server::Grpc::new(Raw).unary(echo, request).await)
        })
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

async fn echo(channel: &Channel) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Echo");
    let request = tonic::Request::new(Bytes::from_static(b"ping"));
    let response = client.unary(request, path, Raw).await?;
    Ok(response.into_inner())
}

#[tokio::test]
async fn a_grpc_client_sees_a_proper_status_under_tonic() {
    let (sender, mut settled) = tokio::sync::mpsc::unbounded_channel();
    let tracked = FnPolicy(move |_: &RequestHead<'_>| {
        let sender = sender.clone();
        let receipt = move |outcome: Outcome<'_>| {
            let _ = sender.send(format!("{outcome:?}"));
        };
        let admission = Admission::new().with_receipt(Until::BodyEnd, receipt);
        Check::Ready(admission.into())
    });
    let refusing = FnPolicy({
        let statuses = Mutex::new(vec![503, 401, 403, 429]);
        let first = Quota::new(1);
        move |request: &RequestHead<'_>| match first.check(request) {
            Check::Ready(Decision::Reject(_)) => {
                let status = statuses.lock().unwrap().pop().unwrap();
                let status = StatusCode::from_u16(status).unwrap();
                Check::reject(Rejection::new(REFUSED, status, "100% refused"))
            }
            admitted => admitted,
        }
    });
    let sink = RecordingSink::default();
    let layer = EnforceLayer::new((refusing, tracked))
        .with_sink(sink.clone())
        .with_responder(StatusOnly);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(
            ServiceBuilder::new()
                .layer(ClientIpLayer::new(ClientIpSource::Peer))
                .layer(TrackBodyLayer::new())
                .layer(layer)
                .into_inner(),
        )
        .add_service(Echo)
        .serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);

    let channel = Channel::from_shared(format!("http://{addr}")).unwrap();
    let channel = channel.connect().await.unwrap();
    assert_eq!(echo(&channel).await.unwrap(), "ping");
    assert_eq!(settled.recv().await.unwrap(), "Ended(200)");
    for expected in [
        Code::ResourceExhausted,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::Unavailable,
    ] {
        let status = echo(&channel).await.unwrap_err();
        assert_eq!(status.code(), expected);
        assert_eq!(status.message(), "100% refused");
    }
    let events = sink.take();
    assert_eq!(events.len(), 4);
    #[cfg(feature = "tonic")]
    for event in events {
        assert_eq!(event.client(), Some(addr.ip()));
        assert_eq!(event.path().as_deref(), Some("/test.Echo/Echo"));
    }
    server.abort();
}
