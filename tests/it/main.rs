//! The integration tests: one binary, a module per concern.

mod clients;
mod host;
mod https;
mod nginx;
mod response_headers;
mod tls;
