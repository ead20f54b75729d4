//! The limiter as a policy, keyed by the client's address.

use http::StatusCode;

use crate::{
    client_ip::context::ClientContext,
    event::model::Action,
    policy::{decision::Check, head::RequestHead, rejection::Rejection, set::Policy},
    rate_limit::{limiter::RateLimiter, set::QuotaSet, verdict::Retry},
};

/// Refuses the requests of clients that have spent their quotas.
#[derive(Clone, Debug)]
pub struct RateLimit(RateLimiter);

impl RateLimit {
    /// Creates a policy that counts by client address.
    #[must_use]
    pub fn new(quotas: impl Into<QuotaSet>) -> Self {
        Self(RateLimiter::new(quotas))
    }
}

impl Policy for RateLimit {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        let key = request.client().map(ClientContext::client);
        let verdict = self.0.check_at(&key, 1, request.now());
        if verdict.is_admitted() {
            return Check::admit();
        }
        let mut rejection = Rejection::new(
            Action::RateLimitExceeded,
            StatusCode::TOO_MANY_REQUESTS,
            "quota exceeded",
        );
        for standing in verdict.refusing() {
            rejection = rejection.with_violated_policy(standing.name().into());
        }
        Check::reject(match verdict.retry() {
            Retry::After(delay) => rejection.with_retry_after(delay),
            _ => rejection,
        })
    }
}
