//! The probe that a container without a shell runs: the binary asks the running service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::http::{Request, StatusCode, header::HOST};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the service that runs with these settings whether it is well.
///
/// # Errors
///
/// Where it cannot be reached within three seconds or does not answer 200.
pub(crate) async fn probe(config: &Config) -> Result<(), String> {
    let addr = reachable(config.server.listen);
    timeout(PATIENCE, ask(addr))
        .await
        .map_err(|_| format!("{addr} does not answer within {PATIENCE:?}"))?
}

async fn ask(addr: SocketAddr) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{addr}: {error}");
    let stream = TcpStream::connect(addr).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/healthz")
        .header(HOST, addr.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|e| failed(&e))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    connection.abort();
    match response.status() {
        StatusCode::OK => Ok(()),
        status => Err(format!("{addr} answers {status}")),
    }
}

/// Turns "every address" into the loopback address of the same family.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
