//! What the service answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::get,
};
use palisade::{
    SecurityLayer,
    client_ip::{ClientContext, PeerAddr},
    enforce::TrackBodyLayer,
};
use serde::Serialize;
use serde_json::json;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

use crate::{
    config::Config,
    notes::{NewNote, NotTaken, Note, Notes},
};

/// Whether the service takes new work.
#[derive(Clone, Debug)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn stop(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Builds the router: everything but the two probes is protected.
pub(crate) fn router(config: &Config, layer: SecurityLayer, ready: Ready) -> Router {
    let body_limit = usize::try_from(config.server.body_limit.as_u64()).unwrap_or(usize::MAX);
    let protected = Router::new()
        .route("/notes", get(list).post(create))
        .route("/notes/{id}", get(read).delete(remove))
        .route("/slow", get(slow))
        .route("/whoami", get(whoami))
        .fallback(not_found)
        .layer(RequestBodyLimitLayer::new(body_limit))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            config.server.request_timeout,
        ))
        // Added last, so outermost: whoever may not come costs nothing further in.
        .layer(layer)
        // Requests in flight count to the end of their bodies.
        .layer(TrackBodyLayer::new())
        .with_state(Notes::default());

    // The probes tell nothing but "yes"; an orchestrator must not be refused for asking often.
    let probes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(ready);

    probes.merge(protected)
}

async fn readyz(State(ready): State<Ready>) -> Response {
    if ready.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    }
}

async fn list(State(notes): State<Notes>) -> Json<Vec<Note>> {
    Json(notes.list())
}

async fn create(State(notes): State<Notes>, Json(note): Json<NewNote>) -> Response {
    match notes.create(note) {
        Ok(note) => {
            let location = [(LOCATION, format!("/notes/{}", note.id))];
            (StatusCode::CREATED, location, Json(note)).into_response()
        }
        Err(NotTaken::Empty) => problem(StatusCode::UNPROCESSABLE_ENTITY, "the text is empty"),
        Err(NotTaken::Full) => problem(StatusCode::INSUFFICIENT_STORAGE, "there are enough notes"),
        Err(NotTaken::TooLong) => problem(StatusCode::UNPROCESSABLE_ENTITY, "the text is too long"),
    }
}

async fn read(State(notes): State<Notes>, Path(id): Path<u64>) -> Response {
    match notes.read(id) {
        Some(note) => Json(note).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no such note"),
    }
}

async fn remove(State(notes): State<Notes>, Path(id): Path<u64>) -> Response {
    if notes.delete(id) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        problem(StatusCode::NOT_FOUND, "no such note")
    }
}

/// A handler that takes half a second, to see requests in flight end when the service is told to stop.
async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(500)).await;
    "done\n"
}

#[derive(Serialize)]
struct WhoAmI {
    client: Option<String>,
    peer: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
}

/// Shows what the crate resolved.
async fn whoami(Extension(context): Extension<ClientContext>) -> Json<WhoAmI> {
    Json(WhoAmI {
        client: context.client().addr().map(|addr| addr.to_string()),
        peer: context
            .peer()
            .and_then(PeerAddr::ip)
            .map(|addr| addr.to_string()),
        scheme: context.scheme().map(|it| it.scheme().to_string()),
        authority: context.authority().ok().map(|it| it.to_string()),
    })
}

async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "no such resource")
}

fn problem(status: StatusCode, detail: &'static str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    let content_type = [("content-type", "application/problem+json")];
    (status, content_type, body.to_string()).into_response()
}
