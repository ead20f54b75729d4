//! Quotas by what a customer pays for: the API key says who it is, its scopes say which tier.
//!
//! ```sh
//! cargo run --example api_tiers --features axum,secrets [PORT]
//! ```

use std::net::SocketAddr;

use axum::{Router, routing::get};
use palisade::{
    SecurityLayer,
    api_key::{ApiKeyIdentity, ApiKeyPolicy, ApiKeys, KeyFormat, NewApiKey},
    client_ip::ClientIpSource,
    policy::RequestHead,
    rate_limit::{Quota, QuotaSet, RateLimit, RateLimitKey, StandardFields},
    secret::ExposeSecret,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A service loads digests from a file with `ApiKeys::load`; this one makes two keys at each start.
    let (alice, bob) = (NewApiKey::generate("demo_")?, NewApiKey::generate("demo_")?);
    let keys = ApiKeys::parse(
        &format!(
            r#"{{ "alice": "{}", "bob": {{ "keys": ["{}"], "scopes": ["gold"] }} }}"#,
            alice.digest().to_text(),
            bob.digest().to_text(),
        ),
        KeyFormat::Json,
    )?;

    let gold = QuotaSet::from(Quota::per_minute(1000).with_name("gold"));
    let by_customer = RateLimit::builder(Quota::per_minute(2).with_name("free"))
        .key(RateLimitKey::extension(ApiKeyIdentity::clone))
        .tiers(move |head: &RequestHead<'_>| {
            let customer = head.extensions().get::<ApiKeyIdentity>()?;
            customer.has_scope("gold").then(|| gold.clone())
        })
        .standard_fields(StandardFields::Draft11)
        .build()?;

    // By address before the keys, so that guessing them is limited; by customer behind them.
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_second(50).with_name("address"))
        .api_keys(ApiKeyPolicy::new(keys))
        .policy(by_customer)
        .build();

    let app = Router::new().route("/", get(hello)).layer(security);

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let curl = format!("curl -i {url} -H 'Authorization: Bearer");
    let alice = alice.key().expose_secret();
    let bob = bob.key().expose_secret();
    println!(
        "Try:
  {curl} {alice}'    # 200, ratelimit: \"free\";r=1
  {curl} {alice}'    # 200
  {curl} {alice}'    # 429
  {curl} {bob}'    # 200, ratelimit: \"gold\";r=999
  curl -i {url}    # 401, no key"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

async fn hello(customer: ApiKeyIdentity) -> String {
    format!("hello {}\n", customer.id())
}
