//! Requests for hosts that are not served are refused: the cases E22 to E35, through real servers.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use palisade::{
    event::{Action, SecurityEvent},
    host::AllowedHostsLayer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server on loopback that answers for `api.example.com`, `*.foo.test` and `www.example.com:80`.
struct Server {
    address: SocketAddr,
    actions: Arc<Mutex<Vec<Action>>>,
}

impl Server {
    async fn start() -> Self {
        let actions = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let actions = Arc::clone(&actions);
            move |event: &SecurityEvent<'_>| actions.lock().unwrap().push(event.action())
        };
        let hosts = "api.example.com, *.foo.test, www.example.com:80";
        let layer = AllowedHostsLayer::new(hosts.parse().unwrap()).with_sink(sink);
        let app = Router::new()
            .route("/", get(|| async { "hello" }))
            .layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, actions }
    }

    /// Sends bytes and returns the status of the answer.
    async fn ask(&self, request: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn http_1_is_checked_as_it_comes_from_the_wire() {
    let server = Server::start().await;
    let malformed = Some(Action::HostMalformed);
    let not_served = Some(Action::HostNotServed);
    let rows = [
        ("served", "/", "Host: api.example.com\r\n", 200, None),
        ("E35", "/", "Host: API.EXAMPLE.com.\r\n", 200, None),
        ("E31", "/", "Host: a.Foo.test:443\r\n", 200, None),
        ("E31", "/", "Host: foo.test:443\r\n", 421, not_served),
        ("E31", "/", "Host: a.foo.test.bar:443\r\n", 421, not_served),
        ("E31", "/", "Host: .foo.test:443\r\n", 400, malformed),
        ("E29", "/", "Host: www.example.com:80\r\n", 200, None),
        (
            "E29",
            "/",
            "Host: www.example.com:80:80\r\n",
            400,
            malformed,
        ),
        ("E29", "/", "Host: www.example.com:81\r\n", 421, not_served),
        ("E22", "/", "Host: evil.test\r\n", 421, not_served),
        ("E23", "/", "", 400, malformed),
        ("E23", "/", "Host:\r\n", 400, malformed),
        (
            "E24",
            "/",
            "Host: api.example.com\r\nHost: api.example.com\r\n",
            400,
            malformed,
        ),
        ("E25", "/", "Host: a/b@c\"\r\n", 400, malformed),
        ("E25", "/", "Host: a/b\"\r\n", 400, malformed),
        (
            "E26",
            "http://evil/",
            "Host: api.example.com\r\n",
            400,
            malformed,
        ),
        (
            "E26",
            "http://api.example.com/",
            "Host: api.example.com\r\n",
            200,
            None,
        ),
        (
            "E28",
            "http://u:p@api.example.com/",
            "Host: api.example.com\r\n",
            400,
            malformed,
        ),
    ];
    for (id, target, host, status, action) in rows {
        let request = format!("GET {target} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        assert_eq!(server.ask(&request).await, status, "{id} {host}");
        let actions = std::mem::take(&mut *server.actions.lock().unwrap());
        assert_eq!(actions, action.into_iter().collect::<Vec<_>>(), "{id}");
    }
}

#[tokio::test]
async fn http_2_is_checked_as_it_comes_from_the_wire() {
    let server = Server::start().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let rows = [
        ("served", "http://api.example.com/", None, 200),
        (
            "served",
            "http://api.example.com/",
            Some("api.example.com"),
            200,
        ),
        ("E22", "http://evil.test/", None, 421),
        ("E27", "http://api.example.com/", Some("evil.test"), 400),
        ("E27", "http://evil.test/", Some("api.example.com"), 400),
    ];
    for (id, target, host, status) in rows {
        let mut request = http::Request::get(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new());
        let response = client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{id}");
    }
}
