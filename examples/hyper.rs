//! Without a framework: the layer around a service that plain hyper serves.
//!
//! ```sh
//! cargo run --example hyper [PORT]
//! ```

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, PeerAddr},
    rate_limit::Quota,
};
use tower::{ServiceBuilder, ServiceExt as _};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_minute(2))
        .build();
    // Once, outside of the loop: clones of the service share the state of the layer.
    let app = ServiceBuilder::new().layer(security).service_fn(hello);

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "Try:
  curl -i {url}/                            # 200
  curl -i {url}/ --http2-prior-knowledge    # 200
  curl -i {url}/                            # 429, with Retry-After"
    );

    loop {
        let (stream, peer) = listener.accept().await?;
        // hyper does not tell who connected. Without this every request is answered with 500.
        let service = app
            .clone()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr::from(peer));
                request
            });
        tokio::spawn(async move {
            let service = TowerToHyperService::new(service);
            let connection = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = connection
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                eprintln!("connection of {peer}: {error}");
            }
        });
    }
}

async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("hello\n".into()))
}
