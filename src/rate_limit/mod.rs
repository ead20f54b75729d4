//! Rate limits: how much each client may spend, and how fast it gets it back.
//!
//! | | |
//! |---|---|
//! | [`Quota`], [`QuotaSet`] | how much, and how fast it comes back; several are decided upon together |
//! | [`RateLimiter`] | counts by any key, without HTTP: for messages of a socket, for jobs |
//! | [`RateLimit`], [`RateLimitLayer`] | the policy and its layer: keys, costs, response fields, outcomes |
//! | [`Charge`] | by which a handler settles what its request has really cost |
//!
//! # How it counts
//!
//! The algorithm is the generic cell rate algorithm. A bucket of the quota's *capacity* refills by one unit every *interval*, which is the period
//! divided by the limit. No timer fills it: the one number that is kept is the time at which the bucket will be full again.
//!
#![doc = include_str!("gcra.svg")]
//!
//! So within any span of time no key spends more than the capacity and what has come back in that span, which is at most twice the limit within one period
//! that begins after a quiet one; there is no edge of a window at which that passes at once. A refusal charges nothing: a client that hammers still gets its
//! steady rate.
//!
//! # Choosing quotas
//!
//! The [guide](crate::guide::quotas) has a table to begin with. In short:
//!
//! - **The capacity defaults to the limit**, for "100 a minute" means to most people that a hundred at once are fine after a quiet minute. Set
//!   [`with_burst`](Quota::with_burst) lower where a burst hurts more than a rate, and higher where pages fetch many things at once.
//! - One quota guards against bursts, a longer one against persistence: `Quota::per_second(20).with_burst(40)` with `Quota::per_hour(5_000)`. All are
//!   charged together or none is, and the wait is the longest.
//! - What costs more should count more: [`cost_by`](RateLimitBuilder::cost_by). What is known only afterwards is reserved first and settled later:
//!   [`settle_in_handler`](RateLimitBuilder::settle_in_handler).
//! - For guessing of passwords count what fails: [`count_failures_only`](RateLimitBuilder::count_failures_only) with a quota such as
//!   `Quota::per_minute(5)`, by client and again by account.
//! - Try a limit with [`DryRun`](crate::policy::DryRun) first: it counts and reports, and refuses nobody.
//!
//! # More than one instance
//!
//! Limits in memory double the day a service runs twice. With the feature `redis`, `RateLimitBuilder::shared` keeps their state in a store that
//! instances share: see `shared_store`.
//!
//! # Memory
//!
//! The table of keys is made once, by default for 100,000 keys, with some 23 bytes per key and quota, and never grows. A new key takes a place that is
//! empty or whose quotas are full again. When there is none, the key shares one of at most 64 rows with others that have none, and one of as many
//! more where the request has a tier. So a flood of addresses
//! neither frees a client that has spent its quota, nor gets more for itself than those places and rows allow, nor makes a check slow; it can
//! make *new* clients share quotas while it lasts, which an event ([`LimiterStoreFull`](crate::event::Action::LimiterStoreFull)) and
//! [`RateLimiter::usage`] tell, and [metrics](crate::metrics).
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use palisade::{
//!     client_ip::PeerAddr,
//!     rate_limit::{Quota, QuotaSet, RateLimit, RateLimitLayer, StandardFields},
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let quotas = QuotaSet::new([
//!     Quota::per_second(1).with_burst(2).with_name("burst"),
//!     Quota::per_hour(1000).with_name("hour"),
//! ])?;
//! let limit = RateLimit::builder(quotas).standard_fields(StandardFields::Draft11).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::from(limit))
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
//!
//! let request = || {
//!     let peer: SocketAddr = ([203, 0, 113, 7], 50_000).into();
//!     Request::builder().extension(PeerAddr::from(peer)).body(())
//! };
//! let response = service.clone().oneshot(request()?).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.headers()["ratelimit"], r#""burst";r=1;t=1"#);
//!
//! assert_eq!(service.clone().oneshot(request()?).await?.status(), 200);
//! let response = service.oneshot(request()?).await?;
//! assert_eq!(response.status(), 429);
//! assert_eq!(response.headers()["retry-after"], "1");
//! # Ok(()) }
//! ```

pub(crate) mod builder;
pub(crate) mod charge;
#[cfg(feature = "serde")]
pub(crate) mod deserialize;
pub(crate) mod fields;
pub(crate) mod gcra;
pub(crate) mod hasher;
pub(crate) mod key;
pub(crate) mod layer;
pub(crate) mod limiter;
pub(crate) mod metered;
pub(crate) mod parse;
pub(crate) mod policy;
pub(crate) mod quota;
pub(crate) mod reservation;
pub(crate) mod set;
pub(crate) mod settings;
#[cfg(feature = "redis")]
pub(crate) mod shared;
pub(crate) mod store;
pub(crate) mod told;
pub(crate) mod usage;
pub(crate) mod verdict;

#[cfg(feature = "redis")]
pub use self::shared::limiter::{SharedRateLimiter, SharedRateLimiterBuilder};
pub use self::{
    builder::RateLimitBuilder,
    charge::Charge,
    key::{MissingKey, RateLimitKey},
    layer::RateLimitLayer,
    limiter::{RateLimiter, RateLimiterBuilder},
    policy::{RateLimit, RequestKey},
    quota::{Quota, QuotaError},
    reservation::Reservation,
    set::{QuotaSet, RateLimitError},
    settings::{LegacyReset, StandardFields},
    usage::TableUsage,
    verdict::{Retry, Standing, Verdict},
};
