//! The guide: what to choose, why, and what to do when something is wrong.
//!
//! The pages of the modules say what each part does. These say how to put a service behind them.
//!
//! | page | answers |
//! |---|---|
//! | [`threat_model`] | Who attacks, with what, and what stops it? |
//! | [`client_address`] | Where does the client's address come from? |
//! | [`quotas`] | How much may a client do, and how is it counted? |
//! | [`https`] | Refuse plain text, or redirect it? |
//! | [`secrets`] | How do keys and passwords reach the service? |
//! | [`events`] | What is told, to whom, and what should wake somebody? |
//! | [`bans`] | Whom to ban by itself, and for how long? |
//! | [`instances`] | What changes when there is more than one? |
//! | [`deployment`] | What stands around the process? |
//! | [`limits`] | What does the crate not do? |
//! | [`troubleshooting`] | Why is it 401, 403, 421, 429, 500? |
//! | [`migration`] | What is it called here? |
//! | [`comparison`] | How does it differ from others? |
//!
//! The examples of the repository are whole programs: quick start, proxies, logins, tiers, costs, sockets, hyper, tonic, policies and sinks of
//! one's own.

#[doc = include_str!("bans.md")]
pub mod bans {}

#[doc = include_str!("client_address.md")]
pub mod client_address {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("events.md")]
pub mod events {}

#[doc = include_str!("https.md")]
pub mod https {}

#[doc = include_str!("instances.md")]
pub mod instances {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("migration.md")]
pub mod migration {}

#[doc = include_str!("quotas.md")]
#[doc = include_str!("../rate_limit/gcra.svg")]
#[doc = include_str!("quotas_capacity.md")]
#[doc = include_str!("../rate_limit/burst.svg")]
#[doc = include_str!("quotas_choice.md")]
pub mod quotas {}

#[doc = include_str!("secrets.md")]
pub mod secrets {}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
