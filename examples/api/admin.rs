//! What an operator sees: metrics for Prometheus, and a page with live counts, bans and events.
//!
//! It belongs on a listener of its own that only the operator reaches. The page itself holds no data; what tells or changes anything
//! needs a key with the scope `admin` where there are keys.

mod assets;
mod feed;

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use palisade::{
    SecurityLayer,
    api_key::ApiKeyPolicy,
    enforce::PolicyCounts,
    host::RequestHost,
    jail::{Ban, JailHandle, admin_router},
    metrics::CHECK_DURATION_SECONDS,
    policy::{Check, Policy, PolicyLabel, PolicySet, RequestHead},
};
use serde_json::{Value, json};

pub(crate) use self::feed::EventFeed;

/// The scope that a key of an operator has: a client's key must not lift bans.
pub(crate) const SCOPE: &str = "admin";

/// Where Prometheus asks.
const METRICS: &str = "/metrics";

/// How often histograms are moved out of the buffer they are recorded into.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of how long a check takes, in seconds.
const CHECK_BUCKETS: &[f64] = &[
    250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3,
    0.1, 1.0,
];

/// How many bans the page is told of; it is told how many there are, too.
const LISTED_BANS: usize = 200;

/// Starts recording metrics. To be called before any layer or sink is made: what is made earlier is never recorded.
///
/// # Errors
///
/// Another recorder is there already, or there is no thread left.
pub(crate) fn install_metrics() -> Result<PrometheusHandle, String> {
    let handle = builder()
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("cannot record metrics: {error}"))?;
    let upkept = handle.clone();
    // Without it the buffers grow for as long as nobody asks for the metrics.
    thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(UPKEEP);
                upkept.run_upkeep();
            }
        })
        .map_err(|error| format!("cannot record metrics: {error}"))?;
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let check_duration = Matcher::Full(CHECK_DURATION_SECONDS.to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(check_duration, CHECK_BUCKETS)
}

/// Demands a key for everything but the metrics, which Prometheus asks for without one, and the page, which tells nothing by itself: a
/// browser cannot send a key when it opens one.
pub(crate) fn unless_open(keys: ApiKeyPolicy) -> impl PolicySet {
    UnlessOpen(keys)
}

struct UnlessOpen(ApiKeyPolicy);

impl Policy for UnlessOpen {
    fn label(&self) -> PolicyLabel {
        self.0.label()
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let path = request.uri().path();
        if path == METRICS || assets::is_asset(path) {
            return Check::admit();
        }
        self.0.check(request)
    }
}

/// Builds the operator's router.
///
/// | request | answer |
/// |---|---|
/// | `GET /metrics` | metrics as text for Prometheus |
/// | `GET /admin/security` and its files | the page |
/// | `GET /admin/security/data` | counts and bans, as JSON |
/// | `GET /admin/security/events` | the last events and those to come, as server-sent events |
/// | `GET /admin/bans`, `POST /admin/bans`, `DELETE /admin/bans/{client}` | the [jail](admin_router) |
///
/// The last three answer only requests for an address or `localhost`, and none that a page of another origin makes: where no key is asked
/// for, an operator's browser must not lift bans or take up readers because of what else is open in it. A page whose own name resolves to
/// this machine is of the same origin as far as a browser can tell; the name gives it away.
pub(crate) fn router(layer: &SecurityLayer, feed: EventFeed, metrics: PrometheusHandle) -> Router {
    let mut operator = Router::new()
        .route("/admin/security/data", get(data).with_state(layer.clone()))
        .route("/admin/security/events", get(feed::events).with_state(feed));
    if let Some(jail) = layer.jail() {
        operator = operator.nest("/admin", admin_router(jail));
    }
    Router::new()
        .route(METRICS, get(render).with_state(metrics))
        .merge(assets::router())
        .merge(operator.layer(middleware::from_fn(refuse_strangers)))
}

async fn render(State(metrics): State<PrometheusHandle>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics.render()).into_response()
}

async fn data(State(layer): State<SecurityLayer>) -> Response {
    let policies: Vec<_> = layer.counts().iter().map(policy).collect();
    let data = json!({
        "now": millis(SystemTime::now()),
        "policies": policies,
        "jail": layer.jail().map(|it| jail(&it)),
    });
    ([(CACHE_CONTROL, "no-store")], Json(data)).into_response()
}

fn policy(counts: &PolicyCounts) -> Value {
    let label = counts.label();
    json!({
        "layer": label.layer(),
        "policy": label.policy(),
        "enforced": label.enforced(),
        "allowed": counts.allowed(),
        "denied": counts.denied(),
        "redirected": counts.redirected(),
        "unkeyed": counts.unkeyed(),
        "would_deny": counts.would_deny(),
    })
}

fn jail(handle: &JailHandle) -> Value {
    let mut bans = handle.bans();
    // The latest first: whoever looks is after what happens now.
    bans.sort_by_key(|ban| std::cmp::Reverse(ban.start()));
    bans.truncate(LISTED_BANS);
    let counts = handle.counts();
    json!({
        "bans": bans.iter().map(ban).collect::<Vec<_>>(),
        "active": counts.active(),
        "banned": counts.banned(),
        "denied": counts.denied(),
        "expired": counts.expired(),
        "lifted": counts.lifted(),
    })
}

fn ban(ban: &Ban) -> Value {
    json!({
        "client": ban.client().to_string(),
        "rule": ban.rule(),
        "start": millis(ban.start()),
        "end": millis(ban.end()),
        "count": ban.count(),
    })
}

/// Turns a time into milliseconds since 1970, as browsers count.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn refuse_strangers(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let is_local = RequestHost::of(&parts)
        .is_ok_and(|it| it.is_address() || it.host().eq_ignore_ascii_case("localhost"));
    if !is_local {
        let error = "ask by address or as localhost";
        return refuse(StatusCode::MISDIRECTED_REQUEST, error);
    }
    // Browsers that send it do not let pages choose it; whoever is no browser does not send it.
    let site = parts.headers.get("sec-fetch-site");
    if site.is_some_and(|it| it != "same-origin" && it != "none") {
        return refuse(StatusCode::FORBIDDEN, "ask from the page itself");
    }
    next.run(Request::from_parts(parts, body)).await
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

#[cfg(test)]
mod tests;
