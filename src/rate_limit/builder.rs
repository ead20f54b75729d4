//! The builder of the policy.

use std::{fmt, hash::RandomState, sync::Arc, time::Duration};

use http::{StatusCode, response};

use crate::{
    clock::Clock,
    enforce::gate::Refusal,
    ip_set::set::IpSet,
    policy::{head::RequestHead, receipt::Outcome},
    rate_limit::{
        key::{RateLimitKey, client},
        limiter::{RateLimiter, RateLimiterBuilder},
        policy::RateLimit,
        set::{Kind, QuotaSet, RateLimitError},
        settings::{Costs, LegacyReset, Redirects, RetryAfter, Settings, StandardFields},
    },
};
#[cfg(feature = "redis")]
use crate::{
    rate_limit::shared::limiter::{REMEMBERED, SharedName, SharedSettings},
    shared_store::{settings::OnStoreFailure, store::RedisStore},
};

impl RateLimit {
    /// Creates a policy that counts by client address and puts no fields on responses.
    #[must_use]
    pub fn new(quotas: impl Into<QuotaSet>) -> Self {
        Self::builder(quotas).sound()
    }

    /// Returns a builder for a policy with other settings.
    pub fn builder(quotas: impl Into<QuotaSet>) -> RateLimitBuilder {
        RateLimitBuilder::new(quotas.into())
    }
}

/// Builds a [`RateLimit`]. Defaults are written at the setters.
#[must_use]
pub struct RateLimitBuilder {
    limiter: RateLimiterBuilder,
    settings: Settings,
    cost: Option<u32>,
    status: StatusCode,
    near_limit: Option<u8>,
    #[cfg(feature = "redis")]
    shared: Option<(RedisStore, String)>,
    #[cfg(feature = "redis")]
    on_failure: OnStoreFailure,
    #[cfg(feature = "redis")]
    remembered: usize,
}

impl RateLimitBuilder {
    pub(crate) fn new(quotas: QuotaSet) -> Self {
        Self {
            limiter: RateLimiter::builder(quotas),
            settings: Settings {
                key: RateLimitKey::client_ip(),
                cost: Costs::Fixed(1),
                tiers: None,
                exempt: Vec::new(),
                uncount: None,
                settle: None,
                settle_in_handler: false,
                standard: None,
                legacy: None,
                redirects: Redirects::Skip,
                exposed: false,
                partition: None,
                status: StatusCode::TOO_MANY_REQUESTS,
                near_limit: None,
                retry_after: Some(RetryAfter::default()),
            },
            cost: None,
            status: StatusCode::TOO_MANY_REQUESTS,
            near_limit: None,
            #[cfg(feature = "redis")]
            shared: None,
            #[cfg(feature = "redis")]
            on_failure: OnStoreFailure::default(),
            #[cfg(feature = "redis")]
            remembered: REMEMBERED,
        }
    }

    /// Sets what requests are counted under. The default is [`RateLimitKey::client_ip`].
    pub fn key(mut self, key: RateLimitKey) -> Self {
        self.settings.key = key;
        self
    }

    /// Sets what every request costs. The default is 1.
    pub fn cost(mut self, cost: u32) -> Self {
        self.cost = Some(cost);
        self
    }

    /// Sets what a request costs by a closure. Zero charges nothing; more than the capacity is refused for ever.
    pub fn cost_by(
        mut self,
        cost: impl Fn(&RequestHead<'_>) -> u32 + Send + Sync + 'static,
    ) -> Self {
        self.settings.cost = Costs::By(Box::new(cost));
        self.cost = None;
        self
    }

    /// Gives some requests other quotas, as by what their tenants pay for. Nothing means the quotas of the limit.
    ///
    /// What a key spends of one tier is counted apart from what it spends of another: a client that can choose between tiers has all of them,
    /// and none of them comes back by going to another.
    ///
    /// Where they are more than those of the limit, [`width`](Self::width) must make room for them; else they are refused.
    pub fn tiers(
        mut self,
        tier: impl Fn(&RequestHead<'_>) -> Option<QuotaSet> + Send + Sync + 'static,
    ) -> Self {
        self.settings.tiers = Some(Box::new(tier));
        self
    }

    /// Does not limit the requests that a closure picks. They are not counted, and carry no fields. May be called several times.
    pub fn exempt(
        mut self,
        exempt: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.exempt.push(Box::new(exempt));
        self
    }

    /// Does not limit clients with these addresses; the client is the one that [`RateLimitKey::client_ip`] counts by. An unknown client is never exempt.
    pub fn exempt_addresses(self, addresses: IpSet) -> Self {
        self.exempt(move |head| {
            let client = client(head).addr();
            client.is_some_and(|it| addresses.contains(it))
        })
    }

    /// Takes back the charge of requests whose end a closure picks. It runs once, when the head of the response is known or the client is gone.
    pub fn uncount_if(
        mut self,
        uncount: impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.uncount = Some(Box::new(uncount));
        self
    }

    /// Counts failures alone, as failed logins: responses below 400 are taken back. A client that goes away early stays charged.
    ///
    /// Refusals of this crate further in count with the status that was decided on, whatever a responder made of it for a gRPC request. A gRPC call
    /// whose response says so in its head has failed, too, as unary calls and refused ones do. A stream that fails later, in its trailers, has succeeded:
    /// it is settled by its head.
    pub fn count_failures_only(self) -> Self {
        self.uncount_if(succeeded)
    }

    /// Counts successes alone: responses of 400 and above, gRPC calls that have [failed](Self::count_failures_only), errors, and requests whose
    /// clients have gone away are taken back.
    pub fn count_successes_only(self) -> Self {
        self.uncount_if(|outcome| !succeeded(outcome))
    }

    /// Takes back the charge of requests that a policy further in, of the same layer, refuses.
    pub fn uncount_refused(self) -> Self {
        self.uncount_if(|outcome| matches!(outcome, Outcome::Refused(_)))
    }

    /// Leaves a [`Charge`](crate::rate_limit::Charge) in the request, by which the handler settles the real cost.
    pub fn settle_in_handler(mut self) -> Self {
        self.settings.settle_in_handler = true;
        self
    }

    /// Settles the real cost as the response says; nothing leaves the cost as it was.
    pub fn settle_by(
        mut self,
        cost: impl Fn(&response::Parts) -> Option<u32> + Send + Sync + 'static,
    ) -> Self {
        self.settings.settle = Some(Box::new(cost));
        self
    }

    /// Puts the standard fields on responses, refused or not. The default is none.
    pub fn standard_fields(mut self, fields: StandardFields) -> Self {
        self.settings.standard = Some(fields);
        self
    }

    /// Puts `X-RateLimit-Limit`, `-Remaining` and `-Reset` on responses, refused or not. Of several limits, the innermost's stand. The default is none.
    pub fn legacy_fields(mut self, reset: LegacyReset) -> Self {
        self.settings.legacy = Some(reset);
        self
    }

    /// Puts the fields on responses that redirect, too. The default is not to: a client would slow down for what it gets elsewhere
    /// (draft-ietf-httpapi-ratelimit-headers-11, section 6).
    pub fn fields_on_redirects(mut self) -> Self {
        self.settings.redirects = Redirects::Tell;
        self
    }

    /// Lets scripts of other origins read the fields and `Retry-After`: names them in `Access-Control-Expose-Headers`. The default is not to.
    pub fn exposed_fields(mut self) -> Self {
        self.settings.exposed = true;
        self
    }

    /// Adds the parameter `pk` to the standard fields: what the request was counted under, as a hash. A client that comes from several addresses or
    /// with several keys can tell them apart by it, and learns no more: the hash is keyed, with a key of this process, or with that of the
    /// shared store. The default is to leave it out.
    pub fn partition_key(mut self) -> Self {
        self.settings.partition = Some(RandomState::new());
        self
    }

    /// Leaves `Retry-After` out of refusals. The default is to send it.
    pub fn without_retry_after(mut self) -> Self {
        self.settings.retry_after = None;
        self
    }

    /// Tells refused clients to stay away for at least this long. How long they are refused does not change. The default is zero.
    pub fn retry_after_at_least(mut self, at_least: Duration) -> Self {
        self.settings.retry_after.get_or_insert_default().at_least = at_least;
        self
    }

    /// Adds up to this much to `Retry-After`, at random, so that clients do not come back all at once. The default is zero.
    pub fn retry_jitter(mut self, jitter: Duration) -> Self {
        self.settings.retry_after.get_or_insert_default().jitter = jitter;
        self
    }

    /// Sets the status of refusals. The default is 429.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Raises an event when an admitted request spends past this percentage of a capacity. The default is never.
    pub fn near_limit(mut self, percent: u8) -> Self {
        self.near_limit = Some(percent);
        self
    }

    /// Sets for how many keys there is room. The default is 100,000.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.limiter = self.limiter.max_keys(max_keys);
        self
    }

    /// Sets for how many quotas per key there is room. The default is the number of quotas.
    pub fn width(mut self, quotas: usize) -> Self {
        self.limiter = self.limiter.width(quotas);
        self
    }

    /// Keeps what clients have spent in a store that instances share. The default is the memory of this instance.
    ///
    /// The name must be the same on all instances and in all versions of the service, and another one for every limit: 1 to 32 letters, digits, `-`, `_`
    /// and `.`.
    #[cfg(feature = "redis")]
    pub fn shared(mut self, store: &RedisStore, name: impl Into<String>) -> Self {
        self.shared = Some((store.clone(), name.into()));
        self
    }

    /// Sets what becomes of a request while the [shared](Self::shared) store is away. The default is [`OnStoreFailure::Fallback`].
    #[cfg(feature = "redis")]
    pub fn on_store_failure(mut self, on_failure: OnStoreFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets how many refusals of the [shared](Self::shared) store are remembered, so that it need not be asked again. The default is 4096; 0 asks
    /// always.
    #[cfg(feature = "redis")]
    pub fn remembered_refusals(mut self, entries: usize) -> Self {
        self.remembered = entries;
        self
    }

    /// Sets the clock that settling reads. The default is [`MonotonicClock`](crate::clock::MonotonicClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.limiter = self.limiter.clock(clock);
        self
    }

    /// Sets the clock, shared with the layer.
    pub(crate) fn shared_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.limiter = self.limiter.shared_clock(clock);
        self
    }

    /// Builds the policy.
    ///
    /// # Errors
    ///
    /// Refuses a name in a shared store that is malformed or taken, more than 2^24 remembered refusals, a cost above the capacity, a status outside of 400 to 599, a percentage outside of 1 to 100, and what
    /// [`RateLimiterBuilder::build`] refuses.
    pub fn build(mut self) -> Result<RateLimit, RateLimitError> {
        if let Some(cost) = self.cost {
            let capacity = self.limiter.quotas().max_cost();
            if cost > capacity {
                return Err(RateLimitError(Kind::CostAboveCapacity { cost, capacity }));
            }
            self.settings.cost = Costs::Fixed(cost);
        }
        if !(400..600).contains(&self.status.as_u16()) {
            return Err(RateLimitError(Kind::Status(self.status.as_u16())));
        }
        if let Some(percent) = self.near_limit
            && !(1..=100).contains(&percent)
        {
            return Err(RateLimitError(Kind::NearLimit));
        }
        self.settings.status = self.status;
        self.settings.near_limit = self.near_limit;
        #[cfg(feature = "redis")]
        if let Some((store, name)) = self.shared {
            let shared = SharedSettings {
                store,
                on_failure: self.on_failure,
                remembered: self.remembered,
            };
            shared.verify()?;
            let clock = self.limiter.clock_of();
            let local = shared.local(self.limiter).build()?;
            let name = SharedName::take(&shared.store, &name)?;
            let limiter = shared.over(local, name, clock);
            return Ok(RateLimit::of_shared(limiter, self.settings));
        }
        Ok(RateLimit::of(self.limiter.build()?, self.settings))
    }

    /// Builds the policy of sound settings over a shared store.
    #[cfg(feature = "redis")]
    pub(crate) fn sound_shared(self, shared: SharedSettings, name: SharedName) -> RateLimit {
        let clock = self.limiter.clock_of();
        let local = shared.local(self.limiter).sound();
        RateLimit::of_shared(shared.over(local, name, clock), self.settings)
    }

    /// Builds the policy of settings that are the defaults or known to be sound.
    pub(crate) fn sound(self) -> RateLimit {
        RateLimit::of(self.limiter.sound(), self.settings)
    }
}

impl fmt::Debug for RateLimitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitBuilder")
            .field("limiter", &self.limiter)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn succeeded(outcome: &Outcome<'_>) -> bool {
    let Outcome::Answered(head) = outcome else {
        return outcome.status().is_some_and(is_success);
    };
    // A refusal of a gRPC request has status 200, and the client chooses whether its request looks like one.
    if let Some(refusal) = head.extensions.get::<Refusal>() {
        return is_success(refusal.status());
    }
    // What a gRPC call has come to stands in the trailers, or in the head where there is nothing else.
    let grpc = head.headers.get("grpc-status");
    is_success(head.status) && grpc.is_none_or(|it| it.as_bytes() == b"0")
}

fn is_success(status: StatusCode) -> bool {
    status.as_u16() < 400
}
