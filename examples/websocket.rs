//! A WebSocket: the layer limits how many are opened, a limiter without HTTP what is sent through them.
//!
//! ```sh
//! cargo run --example websocket --features axum [PORT]
//! ```

use std::net::{IpAddr, SocketAddr};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::any,
};
use palisade::{
    SecurityLayer,
    client_ip::{ClientContext, ClientIpSource},
    rate_limit::{Quota, RateLimiter},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_minute(3).with_name("sockets"))
        .build();
    // By client and not by socket: opening another one gives no more messages.
    let messages = RateLimiter::new(Quota::per_minute(3).with_name("messages"));

    let app = Router::new()
        .route("/ws", any(upgrade))
        .with_state(messages)
        .layer(security);

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!(
        "Try, with any WebSocket client:
  websocat ws://{address}/ws    # three lines come back, the fourth ends the connection
  websocat ws://{address}/ws    # the first line ends it
  websocat ws://{address}/ws    # the first line ends it
  websocat ws://{address}/ws    # 429, no more sockets for now"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}

async fn upgrade(
    State(messages): State<RateLimiter>,
    context: ClientContext,
    socket: WebSocketUpgrade,
) -> Response {
    let Some(client) = context.client().addr() else {
        return StatusCode::FORBIDDEN.into_response();
    };
    // A limit of messages is worth little without one of their size.
    socket
        .max_message_size(64 * 1024)
        .on_upgrade(move |socket| echo(socket, line_of(client), messages))
}

/// An IPv6 client has the whole /56 of its line, and would be another one with each message.
fn line_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(client) => {
            let [a, b, c, d, ..] = client.segments();
            IpAddr::from([a, b, c, d & 0xff00, 0, 0, 0, 0])
        }
    }
}

async fn echo(mut socket: WebSocket, client: IpAddr, messages: RateLimiter) {
    // Pings count, too: they make the server work as well.
    while let Some(Ok(message)) = socket.recv().await {
        let answer = if !messages.check(&client, 1).is_admitted() {
            Message::Close(Some(CloseFrame {
                code: close_code::AGAIN,
                reason: "too many messages".into(),
            }))
        } else if let Message::Binary(_) | Message::Text(_) = message {
            message
        } else {
            continue;
        };
        let ends = matches!(answer, Message::Close(_));
        if socket.send(answer).await.is_err() || ends {
            return;
        }
    }
}
