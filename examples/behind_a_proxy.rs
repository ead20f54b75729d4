//! A service behind a proxy that terminates TLS: the proxy's word is taken for the client's address and the scheme, and nobody else's.
//!
//! ```sh
//! cargo run --example behind_a_proxy --features axum [PORT]
//! ```
//!
//! For nginx on the same machine:
//!
//! ```nginx
//! location / {
//!     proxy_pass http://127.0.0.1:3000;
//!     proxy_set_header Host $host;
//!     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
//!     proxy_set_header X-Forwarded-Proto $scheme;
//! }
//! ```
//!
//! `curl` from the same machine has the proxy's address, so that it can play the proxy.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use palisade::{
    SecurityLayer,
    client_ip::{ClientContext, ClientIpSource, SchemeSource, TrustedProxies},
    https::{Hsts, Https},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proxies: TrustedProxies = "127.0.0.1".parse()?;
    let security = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies.clone()))
        .deny("198.51.100.0/24".parse()?)
        .https(Https::reject(SchemeSource::XForwardedProto(proxies)).with_hsts(Hsts::one_year()))
        // What the proxy does not vouch for is gone before a handler could read it.
        .without_untrusted_headers()
        .build();

    let app = Router::new().route("/", get(hello)).layer(security);

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let proxy = "-H 'Host: api.example.com' -H 'X-Forwarded-Proto: https' -H 'X-Forwarded-For:";
    println!(
        "Try:
  curl -i {url} {proxy} 203.0.113.7'             # 200, hello 203.0.113.7, and HSTS
  curl -i {url} {proxy} 6.6.6.6, 203.0.113.7'    # 200, still 203.0.113.7: the client wrote the rest
  curl -i {url} {proxy} 198.51.100.9'            # 403, it is on the deny list
  curl -i {url}    # 403, no proxy says that it came over HTTPS"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

async fn hello(context: ClientContext) -> String {
    format!("hello {}\n", context.client())
}
