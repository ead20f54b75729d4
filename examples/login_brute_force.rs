//! Guessing of passwords: only what fails is counted, by client in a layer and by account in the handler.
//!
//! ```sh
//! cargo run --example login_brute_force --features axum [PORT]
//! ```

use std::net::SocketAddr;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource},
    rate_limit::{Quota, RateLimit, RateLimitLayer, RateLimiter, Retry},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One client that tries many accounts. The charge of a login that succeeds is taken back.
    let by_client = RateLimit::builder(Quota::per_hour(20).with_name("failed-logins"))
        .count_failures_only()
        .build()?;

    // Many clients that try one account. Only the body says which, so the handler asks.
    let by_account = RateLimiter::new(Quota::per_hour(3).with_name("failed-logins-of-account"));

    let app = Router::new()
        .route("/login", post(login))
        .with_state(by_account)
        .layer(RateLimitLayer::from(by_client))
        .layer(ClientIpLayer::new(ClientIpSource::Peer));

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "Try:
  curl -i {url}/login -d alice:secret    # 200, as often as you like
  curl -i {url}/login -d alice:1234      # 401
  curl -i {url}/login -d alice:12345     # 401
  curl -i {url}/login -d alice:secret    # 200, and forgives nothing
  curl -i {url}/login -d alice:123456    # 401
  curl -i {url}/login -d alice:secret    # 429: it might be the fourth guess
  curl -i {url}/login -d bob:secret      # 200, nobody has guessed at bob"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

async fn login(
    State(by_account): State<RateLimiter>,
    body: String,
) -> Result<&'static str, Response> {
    let bad_request = || StatusCode::BAD_REQUEST.into_response();
    let (account, password) = body.split_once(':').ok_or_else(bad_request)?;

    // Charged before the password is looked at: a thousand guesses at once are a thousand charges.
    let guess = by_account.reserve(account, 1).map_err(|refused| {
        let seconds = match refused.retry() {
            Retry::After(wait) => wait.as_secs() + 1,
            _ => 60,
        };
        let wait = [(RETRY_AFTER, seconds.to_string())];
        (StatusCode::TOO_MANY_REQUESTS, wait).into_response()
    })?;

    if !is_right(account, password) {
        // A reservation that is dropped stays charged.
        return Err(StatusCode::UNAUTHORIZED.into_response());
    }
    guess.cancel();
    Ok("welcome\n")
}

/// Stands for a lookup of the account and a check with Argon2.
fn is_right(account: &str, password: &str) -> bool {
    matches!(account, "alice" | "bob") && password == "secret"
}
