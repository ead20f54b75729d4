//! A sink of one's own: security events go to a line on standard error, and to a board that an operator can ask.
//!
//! ```sh
//! cargo run --example custom_sink --features axum [PORT]
//! ```

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, routing::get};
use palisade::{
    SecurityLayer,
    client_ip::ClientIpSource,
    event::{Action, EventSink, FloodControl, LineSink, SecurityEvent, TextLines},
    rate_limit::Quota,
};

/// The last events. A sink must not block, must not grow without bound, and cannot fail the request.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<VecDeque<Seen>>>);

#[derive(Debug)]
struct Seen {
    action: Action,
    client: Option<IpAddr>,
}

impl EventSink for Board {
    fn record(&self, event: &SecurityEvent<'_>) {
        let seen = Seen {
            action: event.action(),
            client: event.client(),
        };
        // Taken and let go of: nothing under the lock waits or fails.
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == 100 {
            events.pop_front();
        }
        events.push_back(seen);
    }
}

impl Board {
    fn show(&self) -> String {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |seen: &Seen| {
            let client = seen.client.map_or("unknown".into(), |it| it.to_string());
            format!("{client} {}\n", seen.action.as_str())
        };
        events.iter().map(line).collect()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let board = Board::default();
    let lines = LineSink::new(TextLines, io::stderr())?;
    let security = SecurityLayer::builder(ClientIpSource::Peer)
        .rate_limit(Quota::per_minute(1))
        // A flood of requests is no flood of events.
        .sink(FloodControl::new((lines, board.clone())))
        .build();

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(security);
    // Behind the layer, so not behind it. In a real service it is on a port of its own.
    let app = app.route("/events", get(move || async move { board.show() }));

    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!(
        "Try:
  curl -i {url}/          # 200
  curl -i {url}/          # 429
  curl -i {url}/events    # 200, 127.0.0.1 rate_limit_exceeded"
    );

    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}
