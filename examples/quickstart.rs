//! The README's quick start, running: one layer around an axum router.
//!
//! ```sh
//! cargo run --example quickstart --features axum [PORT]
//! ```

use std::net::SocketAddr;

use axum::{Router, routing::get};
use palisade::{SecurityLayer, client_ip::ClientIpSource, rate_limit::Quota};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_minute(2))
        .build();

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(security);

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "Try:
  curl -i {url}/    # 200
  curl -i {url}/    # 200
  curl -i {url}/    # 429, with Retry-After"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}
