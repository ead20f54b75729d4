//! Policies: decisions about requests, apart from everything that carries them out.
//!
//! A [`Policy`] looks at the head of a request and returns a [`Decision`]. It knows no tower, does no blocking I/O and is given its time.
//! [`Enforce`](crate::enforce::Enforce) is the one service that turns decisions into responses, response fields and security events.
//!
//! Policies compose as values: an `Option`, a tuple, a `Vec` or an `Arc` of policies is a [`PolicySet`], which is checked in order;
//! the first rejection ends it. [`DryRun`] makes any of them observe only.
//!
//! # Example
//!
//! A policy of one's own that refuses requests without a user agent:
//!
//! ```
//! use http::{Request, StatusCode, header::USER_AGENT};
//! use palisade::{
//!     event::Action,
//!     policy::{Check, Decision, Policy, PolicySet, Rejection, RequestHead},
//! };
//!
//! #[derive(Debug)]
//! struct NeedsUserAgent;
//!
//! impl Policy for NeedsUserAgent {
//!     fn check(&self, request: &RequestHead<'_>) -> Check {
//!         if request.headers().contains_key(USER_AGENT) {
//!             return Check::admit();
//!         }
//!         Check::reject(Rejection::new(
//!             Action::Custom("user_agent_missing"),
//!             StatusCode::BAD_REQUEST,
//!             "a user agent is required",
//!         ))
//!     }
//! }
//!
//! let (admitted, ()) = Request::builder().header(USER_AGENT, "curl").body(())?.into_parts();
//! let check = NeedsUserAgent.check(&RequestHead::new(&admitted));
//! assert!(matches!(check, Check::Ready(Decision::Admit(_))));
//!
//! let (refused, ()) = Request::new(()).into_parts();
//! let check = NeedsUserAgent.check(&RequestHead::new(&refused));
//! assert!(matches!(check, Check::Ready(Decision::Reject(_))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod admission;
pub(crate) mod decision;
pub(crate) mod dry_run;
pub(crate) mod evidence;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod label;
pub(crate) mod notice;
pub(crate) mod peek;
pub(crate) mod receipt;
pub(crate) mod rejection;
pub(crate) mod set;

pub use self::{
    admission::Admission,
    decision::{Check, Decision, LaterDecision},
    dry_run::DryRun,
    fields::{FieldMode, ResponseFields},
    head::RequestHead,
    label::{PolicyLabel, PolicyLabelError},
    notice::Notice,
    peek::Peek,
    receipt::{Outcome, Receipt, Receipts, Until},
    rejection::Rejection,
    set::{Policy, PolicySet},
};
