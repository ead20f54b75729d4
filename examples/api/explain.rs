//! What can be asked without starting the service.

use axum::http::Request;
use palisade::{
    client_ip::{PeerAddr, TlsConnection},
    event::{NullSink, SharedSink},
    security::Explanation,
};

use crate::{
    args::Question,
    config::Config,
    protection::{self, Protection},
};

/// Says what is wrong with the settings, files and secrets included.
///
/// # Errors
///
/// A line for each fault.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    assemble(config).map(drop)
}

/// Says what a request to the address of `[server]` would meet. Bans that are kept in a file count; what a running service has counted since it
/// started is known to it alone.
///
/// # Errors
///
/// A line for each fault of the settings.
pub(crate) fn explain(config: &Config, question: &Question) -> Result<Explanation, String> {
    let protection = assemble(config)?;
    let mut request = Request::new(());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question.path.clone();
    for (name, value) in &question.headers {
        request.headers_mut().append(name, value.clone());
    }
    request
        .extensions_mut()
        .insert(PeerAddr::from(question.from));
    if protection.tls.is_some() {
        request.extensions_mut().insert(TlsConnection::new());
    }
    let (parts, ()) = request.into_parts();
    Ok(protection.layer.explain(&parts))
}

/// Builds the protection where nobody hears of its events.
fn assemble(config: &Config) -> Result<Protection, String> {
    protection::assemble(config, SharedSink::new(NullSink))
}
