//! Clients that speak HTTP/1.1, HTTP/2 and TLS to servers on loopback.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Makes the handshake of a client that trusts one certificate.
pub(crate) async fn handshake(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("api.example.com").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Sends a `GET` request over HTTP/1.1.
pub(crate) async fn ask_1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &str,
) -> Response<Incoming> {
    let request = Request::get(target).header("host", "api.example.com");
    send_1(stream, request).await
}

/// Sends a request over HTTP/1.1.
pub(crate) async fn send_1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::request::Builder,
) -> Response<Incoming> {
    let io = TokioIo::new(stream);
    let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    client.send_request(request).await.unwrap()
}

/// Sends a `GET` request over HTTP/2.
pub(crate) async fn ask_2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &str,
) -> Response<Incoming> {
    let io = TokioIo::new(stream);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(target).body(Empty::<Bytes>::new()).unwrap();
    client.send_request(request).await.unwrap()
}
