//! gRPC: a refusal is a status that gRPC clients understand, in a response of headers alone.
//!
//! ```sh
//! cargo run --example tonic --features tonic [PORT]
//! ```
//!
//! The service is written by hand, so that the example needs no `protoc`; one that `tonic-build` has made goes in its place.

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{Request, Response};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource},
    rate_limit::{Quota, RateLimitLayer},
    respond::StatusOnly,
};
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService},
    transport::{Server, server::TcpIncoming},
};
use tower::{Service, service_fn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limit = RateLimitLayer::new(Quota::per_minute(2))
        // tonic's body cannot be made from text; gRPC has no use for one anyway.
        .with_responder(StatusOnly);

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let curl = "curl -i --http2-prior-knowledge -X POST -H 'Content-Type: application/grpc'";
    // Five bytes are an empty message: a flag and a length, both zero. A refused call is answered before it is read.
    let message = "printf '\\0\\0\\0\\0\\0' |";
    println!(
        "Try:
  {message} {curl} --data-binary @- {url}/demo.Echo/Echo    # 200, grpc-status: 0
  {message} {curl} --data-binary @- {url}/demo.Echo/Echo    # 200, grpc-status: 0
  {curl} {url}/demo.Echo/Echo    # 200, grpc-status: 8, which is RESOURCE_EXHAUSTED"
    );

    Server::builder()
        .layer(ClientIpLayer::new(ClientIpSource::Peer))
        .layer(limit)
        .add_service(Echo)
        .serve_with_incoming(TcpIncoming::from(listener))
        .await?;
    Ok(())
}

/// Says the same back.
#[derive(Clone, Debug)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "demo.Echo";
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let echo = service_fn(|request: tonic::Request<Bytes>| {
                ready(Ok::<_, Status>(tonic::Response::new(request.into_inner())))
            });
            Ok(Grpc::new(Raw).unary(echo, request).await)
        })
    }
}

/// Messages as they are; a generated service has prost's codec here.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
