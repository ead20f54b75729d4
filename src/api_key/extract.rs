//! The extractor for axum's handlers.

use std::{convert::Infallible, error::Error, fmt};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::api_key::identity::ApiKeyIdentity;

impl<S: Sync> FromRequestParts<S> for ApiKeyIdentity {
    type Rejection = MissingApiKeyIdentity;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::of(parts).cloned().ok_or(MissingApiKeyIdentity(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ApiKeyIdentity {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(Self::of(parts).cloned())
    }
}

/// The request did not pass an [`ApiKeyLayer`](crate::api_key::ApiKeyLayer): the service is put together wrongly, and answers with
/// status 500.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MissingApiKeyIdentity(());

impl fmt::Display for MissingApiKeyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request did not pass the API key layer")
    }
}

impl Error for MissingApiKeyIdentity {}

impl IntoResponse for MissingApiKeyIdentity {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
