//! Extractors for axum's handlers.

use std::{error::Error, fmt};

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::client_ip::context::{ClientContext, ClientIp};

impl<S: Sync> FromRequestParts<S> for ClientContext {
    type Rejection = MissingClientContext;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::of(&parts.extensions)
            .cloned()
            .ok_or(MissingClientContext(()))
    }
}

impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = MissingClientContext;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let context = ClientContext::of(&parts.extensions);
        context
            .map(ClientContext::client)
            .ok_or(MissingClientContext(()))
    }
}

/// The request did not pass a [`ClientIpLayer`](crate::client_ip::ClientIpLayer): the service is put together wrongly, and answers with
/// status 500.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MissingClientContext(());

impl fmt::Display for MissingClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request did not pass the client address layer")
    }
}

impl Error for MissingClientContext {}

impl IntoResponse for MissingClientContext {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
