//! The policy over a shared store.

use std::{
    hash::{DefaultHasher, Hasher},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::StatusCode;
use tokio::runtime::Handle;

use crate::{
    client_ip::context::ClientIp,
    event::model::Action,
    policy::{
        decision::{Check, Decision, LaterDecision},
        head::RequestHead,
        rejection::Rejection,
    },
    rate_limit::{
        charge::Charge,
        key::Keyed,
        policy::{Counted, RateLimit, missing},
        reservation::Reservation,
        set::QuotaSet,
        settings::LegacyReset,
        shared::{
            decide::WideKey,
            limiter::{By, Outcome, SharedRateLimiter},
        },
        store::{
            memory::{Cost, Found},
            places::KeyHash,
        },
        verdict::Verdict,
    },
};

impl RateLimit {
    /// Returns the limiter over the shared store; nothing where the limit is not shared.
    #[must_use]
    pub fn shared(&self) -> Option<&SharedRateLimiter> {
        self.0.shared.as_ref()
    }

    pub(crate) fn wide_key_of(
        &self,
        request: &RequestHead<'_>,
        tier: Option<&QuotaSet>,
    ) -> Option<WideKey> {
        let hasher = self.shared()?.hasher();
        match self.0.settings.key.hashed(request, tier, hasher) {
            Keyed::Counted(hasher) => Some(WideKey(hasher.finish_wide())),
            Keyed::Missing | Keyed::Skipped => None,
        }
    }

    pub(crate) fn wide_client_key(&self, client: IpAddr) -> Option<WideKey> {
        let mut hasher = self.shared()?.hasher();
        let key = &self.0.settings.key;
        key.write_client(ClientIp::Known(client), &mut hasher)
            .then(|| WideKey(hasher.finish_wide()))
    }

    /// Decides where the state is in a shared store.
    pub(crate) fn check_shared(
        &self,
        shared: &SharedRateLimiter,
        request: &RequestHead<'_>,
    ) -> Check {
        let limit = &*self.0;
        let outer = || Charge::of(request.extensions()).cloned();
        let tier = limit.tier(request);
        let key = match limit
            .settings
            .key
            .hashed(request, tier.as_ref(), shared.hasher())
        {
            Keyed::Counted(hasher) => WideKey(hasher.finish_wide()),
            Keyed::Missing => return Check::reject(limit.uncharging(missing(), outer)),
            Keyed::Skipped => return Check::Ready(limit.uncharged(outer).into()),
        };
        let cost = limit.cost(request);
        let asked = request.now();
        if let Some(refused) = shared.refused(key, cost, asked, tier.as_ref()) {
            let counted = Counted {
                key: partition(key),
                verdict: refused,
                near: None,
                reservation: None,
            };
            let rejection = limit.reject(|| request.system_now(), &counted);
            return Check::reject(limit.uncharging(rejection, outer));
        }
        // The request is not there any more when the store has answered.
        let system_now = match limit.settings.legacy {
            Some(LegacyReset::Epoch) => request.system_now(),
            Some(LegacyReset::Delta) | None => SystemTime::UNIX_EPOCH,
        };
        let outer = if limit.settings.settle_in_handler {
            outer()
        } else {
            None
        };
        let (this, shared) = (self.clone(), shared.clone());
        let check = Check::later(async move {
            let limit = &*this.0;
            let reserves = limit.settings.reserves();
            let finish = |found: &Found<'_>, now, by: By<'_>| Counted {
                key: partition(key),
                verdict: Verdict::new(found, now),
                near: limit.crosses(found, now),
                reservation: (reserves && found.charged)
                    .then(|| Reservation::by(&shared, &by, key, tier.as_ref(), found)),
            };
            let cost = Cost::Exactly(cost);
            match shared.charge(key, cost, asked, tier.as_ref(), finish).await {
                Outcome::Allowed => limit.uncharged(|| outer).into(),
                Outcome::Decided(counted) if counted.verdict.is_admitted() => {
                    this.admit(|| system_now, || outer, counted).into()
                }
                Outcome::Decided(counted) => {
                    let rejection = limit.reject(|| system_now, &counted);
                    limit.uncharging(rejection, || outer).into()
                }
                Outcome::Denied(_) => limit.uncharging(unavailable(&shared), || outer).into(),
            }
        });
        let check = match check {
            // What becomes of the charge, the end of the request decides, be it that the client goes away while the store is asked.
            Check::Later(decision) if limit.settings.uncount.is_some() => {
                Check::later(ToTheEnd::new(decision))
            }
            check => check,
        };
        limit.telling_twice(check, request, partition(key), cost)
    }
}

/// A decision that is made even where whoever waits for it goes away: it is dropped then, and its receipt with it.
struct ToTheEnd {
    decision: Option<LaterDecision>,
    /// Where it is made, once somebody has asked for it.
    runtime: Option<Handle>,
}

impl ToTheEnd {
    fn new(decision: LaterDecision) -> Self {
        Self {
            decision: Some(decision),
            runtime: None,
        }
    }
}

impl Future for ToTheEnd {
    type Output = Decision;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Decision> {
        if self.runtime.is_none() {
            self.runtime = Handle::try_current().ok();
        }
        let Some(decision) = &mut self.decision else {
            return Poll::Pending;
        };
        let decided = ready!(Pin::new(decision).poll(cx));
        self.decision = None;
        Poll::Ready(decided)
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        // What nobody has begun to wait for has charged nothing.
        if let (Some(decision), Some(runtime)) = (self.decision.take(), self.runtime.take()) {
            // No longer than until the deadline.
            runtime.spawn(async move { drop(decision.await) });
        }
    }
}

/// Shortens a key for the partition of response fields, in the same way on all instances.
fn partition(key: WideKey) -> KeyHash {
    let mut hasher = DefaultHasher::new();
    hasher.write_u128(key.0);
    KeyHash::new(hasher.finish())
}

/// Refuses because nobody can say whether the request may pass. The event that the store is away has been recorded.
fn unavailable(shared: &SharedRateLimiter) -> Rejection {
    let rejection = Rejection::new(
        Action::LimiterStoreFailed,
        StatusCode::SERVICE_UNAVAILABLE,
        "the rate limit cannot be decided at the moment",
    )
    .with_problem_type(TEMPORARY_REDUCED_CAPACITY)
    .with_retry_after(RETRY_AFTER)
    .unrecorded();
    match shared.quotas().metered() {
        [first, ..] => rejection.with_policy(Arc::clone(&first.name)),
        [] => rejection,
    }
}

/// draft-ietf-httpapi-ratelimit-headers-11, section 5.2.
const TEMPORARY_REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
/// The store is asked again as often as this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
