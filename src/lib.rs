//! The security layer of an API service.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod client_ip;
pub mod clock;
pub mod enforce;
pub mod event;
pub mod ip_set;
pub mod policy;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod respond;
pub mod security;

pub use self::security::SecurityLayer;
