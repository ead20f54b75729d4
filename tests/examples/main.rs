//! The examples, each of them started, and everything done that it says to try.
//!
//! An example prints command lines, each with the status that it leads to behind a `#`. The tests run these very lines, so that neither
//! an example nor what it promises can rot.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod list;
mod nginx;
mod redis;
mod support;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::support::{Example, try_all};

#[tokio::test]
async fn api_tiers() {
    let answers = try_all("api_tiers", &[200, 200, 429, 200, 401]).await;
    assert!(answers[0].contains("ratelimit: \"free\";r=1"));
    assert!(answers[0].contains("hello alice"));
    assert!(answers[3].contains("ratelimit: \"gold\";r=999"));
    assert!(answers[3].contains("hello bob"));
}

#[tokio::test]
async fn behind_a_proxy() {
    let answers = try_all("behind_a_proxy", &[200, 200, 403, 403]).await;
    for answer in &answers[..2] {
        assert!(answer.contains("hello 203.0.113.7"));
        assert!(answer.contains("strict-transport-security: max-age=31536000"));
    }
    assert!(answers[2].contains("address is blocked"), "{}", answers[2]);
    assert!(answers[3].contains("HTTPS"), "{}", answers[3]);
}

#[tokio::test]
async fn custom_policy() {
    let answers = try_all("custom_policy", &[201, 200, 503, 200]).await;
    assert!(answers[2].contains("retry-after: 60"));
    assert!(answers[2].contains("read-only during maintenance"));
}

#[tokio::test]
async fn custom_sink() {
    let answers = try_all("custom_sink", &[200, 429, 200]).await;
    assert!(answers[2].ends_with("\r\n127.0.0.1 rate_limit_exceeded\n"));
}

#[tokio::test]
async fn hyper() {
    let answers = try_all("hyper", &[200, 200, 429]).await;
    assert!(answers[1].starts_with("HTTP/2 200"));
    assert!(answers[2].contains("retry-after: "));
}

#[tokio::test]
async fn login_brute_force() {
    let answers = try_all("login_brute_force", &[200, 401, 401, 200, 401, 429, 200]).await;
    assert!(answers[0].contains("welcome"));
    assert!(answers[5].contains("retry-after: "));
}

#[tokio::test]
async fn quickstart() {
    let answers = try_all("quickstart", &[200, 200, 429]).await;
    assert!(answers[0].ends_with("\r\nhello\n"));
    assert!(answers[2].contains("retry-after: "));
}

#[tokio::test]
async fn token_billing() {
    let answers = try_all("token_billing", &[200, 200, 429, 200]).await;
    assert!(answers[0].contains("3 of 900 tokens spent"));
    assert!(answers[1].contains("500 of 900 tokens spent"));
    assert!(
        answers[2].contains("ratelimit: \"tokens\";r=497"),
        "{}",
        answers[2]
    );
    assert!(answers[3].contains("3 of 400 tokens spent"));
}

#[tokio::test]
async fn tonic() {
    // A refusal has status 200 as well: gRPC's own status says what it is.
    let answers = try_all("tonic", &[200, 200, 200]).await;
    assert!(answers[0].contains("grpc-status: 0"));
    assert!(answers[2].contains("grpc-status: 8"));
    assert!(
        answers[2].contains("grpc-message: rate limit exceeded"),
        "{}",
        answers[2]
    );
}

#[tokio::test]
async fn two_instances() {
    const EXPECTED: [u16; 4] = [200, 200, 429, 429];

    let redis = redis::Server::start().await;
    let store = [("REDIS_URL", &*redis.url())];
    let example = Example::start_with("two_instances", EXPECTED.len(), &store).await;
    let answers = example.try_all(&EXPECTED).await;
    assert!(answers[2].contains("retry-after: "));
    assert!(answers[3].contains("retry-after: "));
}

/// Each of the two then has half of the quota for itself, which leads to the same answers here.
#[tokio::test]
async fn two_instances_without_redis() {
    const EXPECTED: [u16; 4] = [200, 200, 429, 429];

    let nobody = [("REDIS_URL", "redis://127.0.0.1:1")];
    let example = Example::start_with("two_instances", EXPECTED.len(), &nobody).await;
    example.try_all(&EXPECTED).await;
}

#[tokio::test]
async fn websocket() {
    let example = Example::start("websocket", 4).await;
    let url = example.lines[0].command.split(' ').nth(1).unwrap();

    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for text in ["a", "b", "c"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    check_closed(socket).await;
    // The messages are those of the client, whatever socket they come through.
    for _ in 0..2 {
        check_closed(tokio_tungstenite::connect_async(url).await.unwrap().0).await;
    }
    match tokio_tungstenite::connect_async(url).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("{other:?}"),
    }
}

async fn check_closed<S>(mut socket: tokio_tungstenite::WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(Message::text("one too many")).await.unwrap();
    let frame = CloseFrame {
        code: CloseCode::Again,
        reason: "too many messages".into(),
    };
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Close(Some(frame)));
}
