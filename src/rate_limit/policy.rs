//! Provisional.
use crate::{
    event::model::Action,
    policy::{decision::Check, head::RequestHead, rejection::Rejection, set::Policy},
    rate_limit::quota::Quota,
};
use http::StatusCode;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};
/// Provisional.
#[derive(Debug)]
pub struct RateLimit {
    quotas: Vec<Quota>,
    start: Instant,
    map: Mutex<HashMap<IpAddr, Vec<u64>>>,
}
impl RateLimit {
    pub fn new(quotas: Vec<Quota>) -> Self {
        Self {
            quotas,
            start: Instant::now(),
            map: Mutex::default(),
        }
    }
}
impl Policy for RateLimit {
    fn check(&self, request: &RequestHead<'_>) -> Check {
        let Some(ip) = request.client().and_then(|c| c.client().addr()) else {
            return Check::admit();
        };
        let now = u64::try_from(
            request
                .now()
                .saturating_duration_since(self.start)
                .as_nanos(),
        )
        .unwrap_or(0);
        let mut map = self
            .map
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let tats = map.entry(ip).or_insert_with(|| vec![0; self.quotas.len()]);
        let mut wait = 0;
        for (tat, q) in tats.iter().zip(&self.quotas) {
            let ahead = (*tat).max(now) - now;
            wait = wait.max((ahead + q.interval()).saturating_sub(q.interval() * q.burst()));
        }
        if wait > 0 {
            return Check::reject(
                Rejection::new(
                    Action::RateLimitExceeded,
                    StatusCode::TOO_MANY_REQUESTS,
                    "quota exceeded",
                )
                .with_retry_after(Duration::from_nanos(wait)),
            );
        }
        for (tat, q) in tats.iter_mut().zip(&self.quotas) {
            *tat = (*tat).max(now) + q.interval();
        }
        Check::admit()
    }
}
