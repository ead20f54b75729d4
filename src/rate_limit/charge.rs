//! The handle by which a handler settles what its request costs.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::Extensions;

use crate::rate_limit::reservation::Reservation;

/// What a request has been charged, to be settled when its real cost is known: an extension of requests to a limit that
/// [reserves](crate::rate_limit::RateLimitBuilder::settle_in_handler).
///
/// It is settled once; further calls change nothing. Clones are the same charge. With the feature `axum` it is an extractor.
///
/// Where the limit lets a request pass and charges nothing, there is a charge all the same, of which [`reserved`](Self::reserved) is zero: to settle it
/// changes nothing. That is so for what is [exempt](crate::rate_limit::RateLimitBuilder::exempt), for a
/// [key](crate::rate_limit::MissingKey::Skip) that is not there, for a refusal in a [dry run](crate::policy::DryRun), and where a shared store is away and
/// requests pass then.
#[derive(Clone)]
pub struct Charge {
    policy: Arc<str>,
    cost: u32,
    /// Nothing where it is settled, or there is nothing to settle.
    reservation: Arc<Mutex<Option<Reservation>>>,
    /// The charge of a limit further out.
    outer: Option<Arc<Charge>>,
}

impl Charge {
    pub(crate) fn new(policy: Arc<str>, reservation: Reservation) -> Self {
        Self {
            policy,
            cost: reservation.cost(),
            reservation: Arc::new(Mutex::new(Some(reservation))),
            outer: None,
        }
    }

    /// Makes what stands in the place of a charge where a limit has not charged.
    pub(crate) fn none(policy: Arc<str>) -> Self {
        Self {
            policy,
            cost: 0,
            reservation: Arc::default(),
            outer: None,
        }
    }

    pub(crate) fn inside(mut self, outer: Option<Self>) -> Self {
        self.outer = outer.map(Arc::new);
        self
    }

    /// Returns the charge of a request; of several limits, that of the innermost.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Returns the charge of the limit whose first quota has this name, which may be further out.
    #[must_use]
    pub fn named(&self, policy: &str) -> Option<&Self> {
        if &*self.policy == policy {
            return Some(self);
        }
        self.outer.as_ref()?.named(policy)
    }

    /// Returns the name of the limit's first quota.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Returns the cost that was reserved: zero where nothing was.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        self.cost
    }

    /// Settles at the real cost: the difference is given back, or charged.
    pub fn settle(&self, cost: u32) {
        // Nothing that could panic runs under the lock.
        let reservation = self
            .reservation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reservation) = reservation {
            reservation.settle(cost);
        }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("policy", &self.policy)
            .field("reserved", &self.cost)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Charge {
    type Rejection = http::StatusCode;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        // A handler that settles a cost which no limit has reserved is wired wrongly: that is no fault of the client.
        Self::of(&parts.extensions)
            .cloned()
            .ok_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::OptionalFromRequestParts<S> for Charge {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Option<Self>, Self::Rejection> {
        Ok(Self::of(&parts.extensions).cloned())
    }
}
