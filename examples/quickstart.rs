//! The README's quick start, running: one layer around an axum router.
//!
//! `cargo run --example quickstart --features axum`, then `curl -i http://127.0.0.1:3000/` a few times: the third within a minute gets 429.

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

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("try: curl -i http://{}/", listener.local_addr()?);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}
