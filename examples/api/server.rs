//! The listener: axum's own `serve` has no timeout for request heads and no limit of connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use palisade::client_ip::PeerAddr;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

use crate::{
    Failure,
    config::{Config, Server},
    protection::Protection,
    routes::{self, Ready},
};

/// Serves until SIGTERM or Ctrl-C, then lets requests in flight end.
pub(crate) async fn serve(config: Config, protection: Protection) -> Result<(), Failure> {
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::Configuration(format!(
            "server.listen: cannot listen on {listen}: {error}; choose a free address, as API__SERVER__LISTEN=127.0.0.1:8081"
        ))
    })?;
    let addr = listener
        .local_addr()
        .map_err(|error| Failure::Runtime(format!("cannot tell the address: {error}")))?;
    let mut stop = Stop::new()?;
    introduce(addr, &protection);

    let ready = Ready::new();
    let app = routes::router(&config, protection, ready.clone());
    let builder = builder(&config.server);
    let connections = Arc::new(Semaphore::new(config.server.max_connections));
    let graceful = GracefulShutdown::new();
    loop {
        // The permit first: where there is none left, the next connection waits in the listener's queue.
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = accepted => match (permit, accepted) {
                (Ok(permit), Ok((stream, peer))) => {
                    connect(stream, peer, permit, &app, &builder, &graceful);
                }
                (_, Err(error)) => {
                    // As when there are no file descriptors left: it passes, and must not spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
                (Err(_), Ok(_)) => {}
            },
            () = stop.wait() => break,
        }
    }

    ready.stop();
    drop(listener);
    tracing::info!("stopping: requests in flight may end");
    let grace = config.server.shutdown_grace;
    if timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(?grace, "requests in flight were cut off");
    }
    Ok(())
}

fn builder(server: &Server) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(server.header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(100)
        .max_header_list_size(16 * 1024);
    builder
}

fn connect(
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    app: &Router,
    builder: &Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
) {
    // Small answers shall not wait for more to say; where it fails the connection is about to end anyway.
    let _ = stream.set_nodelay(true);
    let service = app.clone().map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddr::from(peer));
        request
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection ended early");
        }
        drop(permit);
    });
}

/// Says on standard error what protects the service and what to try; standard output is for the log.
fn introduce(addr: SocketAddr, protection: &Protection) {
    eprintln!("Listening on http://{addr}. What is protecting it:");
    for line in &protection.summary {
        eprintln!("  - {line}");
    }
    eprintln!("Try:");
    eprintln!("  curl -i http://{addr}/whoami");
    eprintln!(
        "  curl -i http://{addr}/notes -H 'content-type: application/json' -d '{{\"text\":\"hello\"}}'"
    );
    eprintln!(
        "  for i in $(seq 60); do curl -s -o /dev/null -w '%{{http_code}} ' http://{addr}/notes; done; echo"
    );
}

/// The signals that end the service.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind)
                .map_err(|error| Failure::Runtime(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
