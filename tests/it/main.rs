//! The integration tests: one binary, a module per concern.

mod host;
mod https;
mod response_headers;
mod tls;
