//! What operators look at: on a listener of its own, which few can reach.

use axum::Router;
use palisade::{
    SecurityLayer,
    api_key::ApiKeyPolicy,
    event::{EventSink, SecurityEvent},
    jail::admin_router,
    policy::{Check, Policy, PolicySet, RequestHead},
};

/// Receives security events for the page.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFeed;

impl EventSink for EventFeed {
    fn record(&self, _: &SecurityEvent<'_>) {}
}

/// Demands a key for everything but the metrics, which Prometheus asks for without one, and the page itself, which tells nothing without a key.
pub(crate) fn unless_open(keys: ApiKeyPolicy) -> impl PolicySet {
    UnlessOpen(keys)
}

struct UnlessOpen(ApiKeyPolicy);

impl Policy for UnlessOpen {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        match request.uri().path() {
            path if OPEN.contains(&path) => Check::admit(),
            _ => self.0.check(request),
        }
    }
}

/// What can be had without a key.
const OPEN: [&str; 4] = [
    "/metrics",
    "/admin/security",
    "/admin/security/page.css",
    "/admin/security/page.js",
];

/// Builds the router of the listener for administration.
pub(crate) fn router(layer: &SecurityLayer, _: EventFeed) -> Router {
    match layer.jail() {
        Some(jail) => Router::new().nest("/admin", admin_router(jail)),
        None => Router::new(),
    }
}
