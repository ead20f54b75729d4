//! The jail for administrators: a router that speaks JSON.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State},
    routing::{delete, get},
};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::{Value, json};

use crate::jail::{ban::Ban, handle::JailHandle, key::BanKey};

/// No request for a ban is larger.
const MAX_BODY: usize = 1024;

/// Creates a router with which administrators list, make and lift bans.
///
/// | request | answer |
/// |---|---|
/// | `GET /bans` | 200 `{"bans": […], "counts": {…}}` |
/// | `POST /bans` with `{"client": "203.0.113.7", "seconds": 600}` | 201 and the ban; 409 where the client is exempt or the table is full |
/// | `DELETE /bans/203.0.113.7`, or `…/203.0.113.7%2F32` as listed | 200 and the ban that was lifted; 404 where there was none, though what the client has done is forgotten |
///
/// A ban is `{"client": "203.0.113.7/32", "rule": "status-401", "start": …, "end": …, "count": 1}` with times in seconds since 1970. A request
/// that makes no sense is answered with 400, and `{"error": "…"}`.
///
/// **It lets everybody in.** Mount it behind an allow list and an API key, on a listener of its own if possible. A `POST` without
/// `content-type: application/json` is refused with 415, so that no page of another origin can make an administrator's browser ban somebody.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, body::Body};
/// use http::Request;
/// use palisade::jail::{Jail, admin_router};
/// use tower::ServiceExt;
///
/// let jail = Jail::builder().build();
/// let app = Router::new().nest("/admin", admin_router(jail.handle()));
///
/// let ban = Request::post("/admin/bans")
///     .header("content-type", "application/json")
///     .body(Body::from(r#"{"client": "203.0.113.7", "seconds": 600}"#))?;
/// assert_eq!(app.clone().oneshot(ban).await?.status(), 201);
/// assert_eq!(jail.handle().counts().active(), 1);
///
/// let loopback = Request::post("/admin/bans")
///     .header("content-type", "application/json")
///     .body(Body::from(r#"{"client": "127.0.0.1", "seconds": 600}"#))?;
/// assert_eq!(app.oneshot(loopback).await?.status(), 409);
/// # Ok(()) }
/// ```
pub fn admin_router(handle: JailHandle) -> Router {
    Router::new()
        .route("/bans", get(list).post(ban))
        .route("/bans/{client}", delete(unban))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(handle)
}

async fn list(State(handle): State<JailHandle>) -> Response<Body> {
    let bans: Vec<_> = handle.bans().iter().map(ban_json).collect();
    let counts = handle.counts();
    let counts = json!({
        "active": counts.active(),
        "banned": counts.banned(),
        "counters": counts.counters(),
        "denied": counts.denied(),
        "expired": counts.expired(),
        "given_up": counts.given_up(),
        "lifted": counts.lifted(),
        "skipped": counts.skipped(),
    });
    answer(StatusCode::OK, &json!({"bans": bans, "counts": counts}))
}

async fn ban(State(handle): State<JailHandle>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if !is_json(&headers) {
        return error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type is not application/json",
        );
    }
    let Ok(wish) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let client = wish.get("client").and_then(Value::as_str);
    let Some(client) = client.and_then(|it| it.parse::<IpAddr>().ok()) else {
        return error(StatusCode::BAD_REQUEST, "client is not an address");
    };
    let seconds = wish.get("seconds").and_then(Value::as_u64);
    let Some(seconds) = seconds.filter(|it| *it != 0) else {
        return error(
            StatusCode::BAD_REQUEST,
            "seconds is not a positive whole number",
        );
    };
    match handle.ban(client, Duration::from_secs(seconds)) {
        Ok(ban) => answer(StatusCode::CREATED, &ban_json(&ban)),
        Err(refused) => error(StatusCode::CONFLICT, &refused.to_string()),
    }
}

async fn unban(State(handle): State<JailHandle>, Path(client): Path<String>) -> Response<Body> {
    // As an address, or as the list shows it.
    let net = client.parse().ok().and_then(BanKey::of_net);
    let Some(client) = net
        .map(|key| key.net().addr())
        .or_else(|| client.parse().ok())
    else {
        return error(StatusCode::BAD_REQUEST, "client is not an address");
    };
    match handle.unban(client) {
        Some(ban) => answer(StatusCode::OK, &ban_json(&ban)),
        None => error(StatusCode::NOT_FOUND, "the client is not banned"),
    }
}

fn ban_json(ban: &Ban) -> Value {
    json!({
        "client": ban.client().to_string(),
        "rule": ban.rule(),
        "start": seconds(ban.start()),
        "end": seconds(ban.end()),
        "count": ban.count(),
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let essence = value.and_then(|it| it.split(';').next()).map(str::trim);
    essence.is_some_and(|it| it.eq_ignore_ascii_case("application/json"))
}

fn error(status: StatusCode, problem: &str) -> Response<Body> {
    answer(status, &json!({"error": problem}))
}

fn answer(status: StatusCode, json: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
