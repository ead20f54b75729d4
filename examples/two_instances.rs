//! Two instances of a service that count together, in Redis: what a client spends at one, it has spent at the other.
//!
//! ```sh
//! cargo run --example two_instances --features axum,redis [PORT]
//! ```
//!
//! It asks the Redis that `REDIS_URL` names, or the one on this machine. Without any it works all the same: each instance counts for itself,
//! half of the quota.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{Router, routing::get};
use palisade::{
    SecurityLayer,
    client_ip::ClientIpSource,
    rate_limit::{Quota, RateLimit},
    secret::SecretString,
    shared_store::RedisStore,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (a, b) = (first.local_addr()?, second.local_addr()?);
    println!(
        "Try:
  curl -si http://{a}/    # 200, from the first
  curl -si http://{b}/    # 200, from the second
  curl -si http://{a}/    # 429
  curl -si http://{b}/    # 429"
    );
    tokio::try_join!(serve(first, app()?), serve(second, app()?))?;
    Ok(())
}

/// What each instance does at its start; in a real service in a process of its own.
fn app() -> Result<Router, Box<dyn std::error::Error>> {
    let address = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    // The same secret everywhere, or the instances would not find each other's keys. A service loads it with `SecretLoader`.
    let hash_key = SecretString::from("a-long-random-key-of-this-service");
    let store = RedisStore::builder(address, hash_key)
        .expected_instances(2)
        .build()?;

    let limit = RateLimit::builder(Quota::per_minute(2))
        .shared(&store, "by-client")
        .build()?;
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .policy(limit)
        .build();
    Ok(Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(security))
}

async fn serve(listener: TcpListener, app: Router) -> std::io::Result<()> {
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await
}
