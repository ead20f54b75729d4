//! A cost that is known only afterwards: what a request may spend at most is reserved, what it has spent is settled.
//!
//! ```sh
//! cargo run --example token_billing --features axum [PORT]
//! ```

use std::net::SocketAddr;

use axum::{Router, routing::post};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource},
    policy::RequestHead,
    rate_limit::{Charge, Quota, RateLimit, RateLimitLayer, StandardFields},
};

/// What a request reserves that does not say what it needs.
const TOKENS: u32 = 400;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokens = RateLimit::builder(Quota::per_day(1000).with_name("tokens"))
        .cost_by(max_tokens)
        .settle_in_handler()
        .standard_fields(StandardFields::Draft11)
        .build()?;

    let app = Router::new()
        .route("/complete", post(complete))
        .layer(RateLimitLayer::from(tokens))
        .layer(ClientIpLayer::new(ClientIpSource::Peer));

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let curl = format!("curl -i {url}/complete -H 'X-Max-Tokens: 900'");
    println!(
        "Try:
  {curl} -d 'three short words'                        # 200, 3 of 900 tokens spent
  {curl} -d \"$(yes word | head -n 500 | tr '\\n' ' ')\"    # 200, 500 of 900: the first gave 897 back
  {curl} -d 'three short words'                        # 429, less than 900 are left
  curl -i {url}/complete -d 'three short words'    # 200, this one reserves 400 only"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

fn max_tokens(head: &RequestHead<'_>) -> u32 {
    let asked = head.headers().get("x-max-tokens");
    let asked = asked.and_then(|it| it.to_str().ok()?.parse().ok());
    // Nothing is free: zero would be.
    asked.unwrap_or(TOKENS).max(1)
}

/// Stands for a model; it counts words. A handler that fails before it settles leaves the whole reservation charged.
async fn complete(charge: Charge, prompt: String) -> String {
    let words = prompt.split_whitespace().count();
    let spent = u32::try_from(words)
        .unwrap_or(u32::MAX)
        .clamp(1, charge.reserved());
    charge.settle(spent);
    format!("{spent} of {} tokens spent\n", charge.reserved())
}
