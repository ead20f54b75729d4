//! API keys: who is calling, by a long random secret that the client presents.
//!
//! The store holds SHA-256 digests and no usable key. A presented key is looked up by its digest, which no client can choose; the last
//! comparison takes constant time, and a key that there is not takes the work of one that there is. A key comes in
//! `Authorization: Bearer` or in a header field, never in the query.
//!
//! [`NewApiKey`] makes keys, [`ApiKeys`] holds them, [`ApiKeyLayer`] demands one, [`RequireScope`] demands that it may be used for something. Refusals are
//! answered with 401 and `WWW-Authenticate`, or with 403 where a scope is missing. Whom a request comes from is an
//! [`ApiKeyIdentity`] in its extensions, which further layers can limit by.
//!
//! # What it does not do
//!
//! It is for keys that machines present. A password is not one: SHA-256 of what people make up is guessed in no time. A presented key lies
//! in the read buffers of the server, whence nobody wipes it. Over plain text it can be read by everybody on the way: demand
//! HTTPS further out. A browser's preflight request carries no key: answer it further out as well.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use palisade::{
//!     api_key::{ApiKeyIdentity, ApiKeyLayer, ApiKeys, KeyFormat},
//!     secret::SecretLoader,
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! // In place of the environment of the process, which `SecretLoader::new()` asks:
//! let loader = SecretLoader::new()
//!     .with_environment(|name| (name == "API_KEYS").then(|| r#"{"alice": "a-long-random-key-of-alice"}"#.into()));
//! let keys = ApiKeys::load(&loader.secret("API_KEYS"), KeyFormat::Json)?;
//!
//! let service = ServiceBuilder::new()
//!     .layer(ApiKeyLayer::new(keys))
//!     .service(service_fn(|request: Request<()>| async move {
//!         let (parts, ()) = request.into_parts();
//!         let who = ApiKeyIdentity::of(&parts).map(|it| it.id().to_owned());
//!         Ok::<_, Infallible>(Response::new(who.unwrap_or_default()))
//!     }));
//!
//! let request = Request::get("/").header("authorization", "Bearer a-long-random-key-of-alice");
//! let response = service.clone().oneshot(request.body(())?).await?;
//! assert_eq!(response.body(), "alice");
//!
//! let response = service.oneshot(Request::get("/").body(())?).await?;
//! assert_eq!(response.status(), 401);
//! assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"api\"");
//! # Ok(()) }
//! ```

pub(crate) mod error;
#[cfg(feature = "axum")]
pub(crate) mod extract;
pub(crate) mod generate;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod layer;
pub(crate) mod parse;
pub(crate) mod policy;
pub(crate) mod record;
pub(crate) mod table;

#[cfg(feature = "axum")]
pub use self::extract::MissingApiKeyIdentity;
pub use self::{
    error::ApiKeysError,
    generate::{NewApiKey, NewApiKeyError},
    identity::ApiKeyIdentity,
    keys::{ApiKeys, KeyMatch},
    layer::ApiKeyLayer,
    parse::KeyFormat,
    policy::{ApiKeyPolicy, RequireScope},
};
