//! A policy of one's own: while the service is in maintenance, it is read-only.
//!
//! ```sh
//! cargo run --example custom_policy --features axum [PORT]
//! ```

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{Method, StatusCode},
    routing::{get, put},
};
use palisade::{
    SecurityLayer,
    client_ip::ClientIpSource,
    event::Action,
    policy::{Check, Policy, Rejection, RequestHead},
};

/// Refuses what would change something, while the switch is on. Clones are the same switch.
#[derive(Clone, Debug, Default)]
struct Maintenance(Arc<AtomicBool>);

impl Policy for Maintenance {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if reads || !self.0.load(Ordering::Relaxed) {
            return Check::admit();
        }
        // The gate makes the response and the event of it.
        let rejection = Rejection::new(
            Action::Custom("refused_in_maintenance"),
            StatusCode::SERVICE_UNAVAILABLE,
            "read-only during maintenance",
        );
        Check::reject(rejection.with_retry_after(Duration::from_secs(60)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let maintenance = Maintenance::default();
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .policy(maintenance.clone())
        .build();

    let notes = get(|| async { "notes\n" }).post(|| async { StatusCode::CREATED });
    let app = Router::new().route("/notes", notes).layer(security);

    // Routes that are added behind the layer are not behind it. In a real service they are on a port of their own.
    let begin = move || async move { maintenance.0.store(true, Ordering::Relaxed) };
    let app = app.route("/maintenance", put(begin));

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "Try:
  curl -i {url}/notes -d milk           # 201
  curl -i {url}/maintenance -X PUT      # 200
  curl -i {url}/notes -d bread          # 503, with Retry-After
  curl -i {url}/notes                   # 200"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}
