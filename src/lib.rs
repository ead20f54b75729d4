//! The security layer of an API service.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod client_ip;
pub mod clock;
pub mod enforce;
pub mod event;
pub mod policy;
pub mod respond;
#[cfg(feature = "secrets")]
pub mod secret;
