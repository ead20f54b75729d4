//! The policy.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::StatusCode;

use crate::{
    client_ip::context::ClientIp,
    event::model::Action,
    policy::{
        admission::Admission,
        decision::Check,
        fields::ResponseFields,
        head::RequestHead,
        label::PolicyLabel,
        notice::Notice,
        peek::Peek,
        receipt::{Outcome, Until},
        rejection::Rejection,
        set::Policy,
    },
    rate_limit::{
        charge::Charge,
        fields,
        key::Keyed,
        limiter::RateLimiter,
        metered::Metered,
        quota::SECOND,
        reservation::Reservation,
        set::QuotaSet,
        settings::{Costs, Settings},
        store::{
            memory::{Cost, Found, Place, Tightest},
            places::KeyHash,
        },
        told::{Told, Which},
        verdict::{Retry, Verdict},
    },
    respond::problem,
};
#[cfg(feature = "redis")]
use crate::{
    rate_limit::shared::{decide::WideKey, limiter::SharedRateLimiter},
    shared_store::failure::StoreFailure,
};

/// Limits how often clients may come. Clones share the same state.
///
/// # Example
///
/// ```
/// use http::Request;
/// use palisade::{
///     client_ip::PeerAddr,
///     policy::{Check, Decision, Policy, RequestHead},
///     rate_limit::{Quota, RateLimit, StandardFields},
/// };
/// use std::net::SocketAddr;
///
/// let limit = RateLimit::builder(Quota::per_minute(1))
///     .standard_fields(StandardFields::Draft11)
///     .build()?;
///
/// let peer: SocketAddr = "203.0.113.7:50000".parse()?;
/// let (parts, ()) = Request::builder().extension(PeerAddr::from(peer)).body(())?.into_parts();
/// let check = limit.check(&RequestHead::new(&parts));
/// assert!(matches!(check, Check::Ready(Decision::Admit(_))));
/// let check = limit.check(&RequestHead::new(&parts));
/// assert!(matches!(check, Check::Ready(Decision::Reject(_))));
///
/// // An operator may let the client off.
/// if let Some(key) = limit.client_key(peer.ip()) {
///     limit.reset(&key);
/// }
/// let check = limit.check(&RequestHead::new(&parts));
/// assert!(matches!(check, Check::Ready(Decision::Admit(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RateLimit(pub(crate) Arc<Limit>);

pub(crate) struct Limit {
    limiter: RateLimiter,
    /// Has the state where instances share it.
    #[cfg(feature = "redis")]
    pub(crate) shared: Option<SharedRateLimiter>,
    pub(crate) settings: Settings,
    which: Which,
    problems: Problems,
    jitter: RandomState,
    refusals: AtomicU64,
    /// When the table was last reported full, in seconds of the limiter's clock.
    reported_full: AtomicU64,
}

/// What a request is counted under, for looking at and correcting what it has spent.
#[derive(Clone, Debug)]
pub struct RequestKey {
    here: KeyHash,
    /// The quotas of the tier, where it has its own.
    tier: Option<QuotaSet>,
    /// The same in a shared store.
    #[cfg(feature = "redis")]
    wide: Option<WideKey>,
}

impl RateLimit {
    pub(crate) fn of(limiter: RateLimiter, settings: Settings) -> Self {
        Self(Arc::new(Limit {
            #[cfg(feature = "redis")]
            shared: None,
            which: Which::new(&settings),
            problems: Problems::new(&limiter.quotas(), &settings),
            settings,
            limiter,
            jitter: RandomState::new(),
            refusals: AtomicU64::new(0),
            reported_full: AtomicU64::new(0),
        }))
    }

    /// Creates a policy whose state is in a shared store.
    #[cfg(feature = "redis")]
    pub(crate) fn of_shared(shared: SharedRateLimiter, settings: Settings) -> Self {
        Self(Arc::new(Limit {
            limiter: shared.local().clone(),
            which: Which::new(&settings),
            problems: Problems::new(&shared.quotas(), &settings),
            shared: Some(shared),
            settings,
            jitter: RandomState::new(),
            refusals: AtomicU64::new(0),
            reported_full: AtomicU64::new(0),
        }))
    }

    /// Returns the limiter, whose quotas can be replaced while requests are served.
    ///
    /// Where instances share the limit, it is what this one counts with while the store is away; the quotas of both are the same.
    #[must_use]
    pub fn limiter(&self) -> &RateLimiter {
        &self.0.limiter
    }

    /// Returns what a request is counted under; nothing where it is not counted at all.
    #[must_use]
    pub fn key_of(&self, request: &RequestHead<'_>) -> Option<RequestKey> {
        let limit = &*self.0;
        let tier = limit.tier(request);
        let hasher = limit.limiter.hasher();
        match limit.settings.key.hash(request, tier.as_ref(), hasher) {
            Keyed::Counted(here) => Some(RequestKey {
                here,
                #[cfg(feature = "redis")]
                wide: self.wide_key_of(request, tier.as_ref()),
                tier,
            }),
            Keyed::Missing | Keyed::Skipped => None,
        }
    }

    /// Returns what the requests of a client are counted under, where its address is all there is to the key.
    ///
    /// Where there are [`tiers`](crate::rate_limit::RateLimitBuilder::tiers), that is so for requests of none; for the others there is [`key_of`](Self::key_of).
    #[must_use]
    pub fn client_key(&self, client: IpAddr) -> Option<RequestKey> {
        let key = &self.0.settings.key;
        let here = key.hash_of_client(ClientIp::Known(client), self.0.limiter.hasher())?;
        Some(RequestKey {
            here,
            tier: None,
            #[cfg(feature = "redis")]
            wide: self.wide_client_key(client),
        })
    }

    /// Returns how a key stands, and charges nothing.
    ///
    /// Where instances share the limit, that is the table this one counts with while the store is away. How the key stands in the store is
    /// what `peek_shared` asks it for.
    pub fn peek(&self, key: &RequestKey) -> Verdict {
        let limiter = &self.0.limiter;
        let now = limiter.now();
        let verdict = |found: Found<'_>| Verdict::new(&found, now);
        limiter
            .table()
            .peek(key.here, 0, now, key.tier.as_ref(), verdict)
    }

    /// Gives units back to a key, at most until its quotas are full.
    pub fn refund(&self, key: &RequestKey, units: u32) {
        #[cfg(feature = "redis")]
        if let (Some(shared), Some(wide)) = (&self.0.shared, key.wide) {
            return shared.refund_later(wide, units, key.tier.as_ref());
        }
        let limiter = &self.0.limiter;
        let now = limiter.now();
        limiter
            .table()
            .refund(key.here, units, now, key.tier.as_ref());
    }

    /// Makes all quotas of a key full again.
    pub fn reset(&self, key: &RequestKey) {
        #[cfg(feature = "redis")]
        if let (Some(shared), Some(key)) = (&self.0.shared, key.wide) {
            return shared.reset_later(key);
        }
        self.0.limiter.table().reset(key.here);
    }

    /// Returns how a key stands in the shared store, and charges nothing; nothing where the limit is not shared.
    ///
    /// # Errors
    ///
    /// The store is away.
    #[cfg(feature = "redis")]
    pub async fn peek_shared(&self, key: &RequestKey) -> Result<Option<Verdict>, StoreFailure> {
        match (&self.0.shared, key.wide) {
            (Some(shared), Some(wide)) => {
                let verdict = shared.peek_key(wide, 0, key.tier.as_ref());
                verdict.await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Policy for RateLimit {
    fn label(&self) -> PolicyLabel {
        // The first quota stands for the limit, as in events.
        let quotas = self.0.limiter.quotas();
        let name = quotas.metered().first().map_or("rate_limit", |it| &it.name);
        PolicyLabel::named("rate_limit", name)
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let limit = &*self.0;
        let outer = || Charge::of(request.extensions()).cloned();
        if limit.settings.exempt.iter().any(|it| it(request)) {
            return Check::Ready(limit.uncharged(outer).into());
        }
        #[cfg(feature = "redis")]
        if let Some(shared) = &limit.shared {
            return self.check_shared(shared, request);
        }
        let tier = limit.tier(request);
        let hasher = limit.limiter.hasher();
        let key = match limit.settings.key.hash(request, tier.as_ref(), hasher) {
            Keyed::Counted(key) => key,
            Keyed::Missing => return Check::reject(limit.uncharging(missing(), outer)),
            Keyed::Skipped => return Check::Ready(limit.uncharged(outer).into()),
        };
        let cost = limit.cost(request);
        let now = limit.limiter.nanos(request.now());

        // Before the table is locked, for the clock is anybody's.
        let since_1970 = limit.since_1970(|| request.system_now());
        let take = |found: Found<'_>| limit.take(key, tier.as_ref(), &found, now, since_1970);
        let table = limit.limiter.table();
        let taken = table.charge(key, Cost::Exactly(cost), now, tier.as_ref(), take);
        let check = match taken {
            Taken::Nothing => Check::admit(),
            Taken::Fields(fields) => Check::Ready(Admission::new().with_fields(fields).into()),
            Taken::All(counted) if counted.verdict.is_admitted() => {
                let admission = self.admit(|| request.system_now(), outer, *counted);
                Check::Ready(admission.into())
            }
            Taken::All(counted) => {
                let rejection = limit.reject(|| request.system_now(), &counted);
                Check::reject(limit.uncharging(rejection, outer))
            }
        };
        limit.telling_twice(check, request, key, cost)
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        let limit = &*self.0;
        if limit.settings.exempt.iter().any(|it| it(request)) {
            return Some(Peek::admit("exempt"));
        }
        #[cfg(feature = "redis")]
        if limit.shared.is_some() {
            // What there is left is known to the store alone.
            return None;
        }
        let tier = limit.tier(request);
        let hasher = limit.limiter.hasher();
        let key = match limit.settings.key.hash(request, tier.as_ref(), hasher) {
            Keyed::Counted(key) => key,
            Keyed::Missing => return Some(Peek::reject(missing())),
            Keyed::Skipped => return Some(Peek::admit("the request is not counted")),
        };
        let cost = limit.cost(request);
        let now = limit.limiter.nanos(request.now());
        let table = limit.limiter.table();
        let verdict = table.peek(key, cost, now, tier.as_ref(), |found| {
            Verdict::new(&found, now)
        });
        let tightest = verdict.tightest();
        let left = tightest.map_or_else(String::new, |it| {
            format!(
                ", {} of {} left in {}",
                it.remaining(),
                it.quota().capacity(),
                it.name()
            )
        });
        if verdict.is_admitted() {
            return Some(Peek::admit(format!("costs {cost}{left}")));
        }
        let retry = verdict.retry();
        let rejection = Rejection::new(
            Action::RateLimitExceeded,
            limit.settings.status,
            limit_reason(retry),
        )
        .with_policy(name(&verdict));
        let rejection = match retry {
            Retry::After(wait) => rejection.with_retry_after(wait),
            Retry::Never | Retry::Now => rejection,
        };
        let reason = format!("{}: costs {cost}{left}", rejection.reason());
        Some(Peek::reject(rejection).with_reason(reason))
    }
}

impl RateLimit {
    pub(crate) fn admit(
        &self,
        system_now: impl FnOnce() -> SystemTime,
        outer: impl FnOnce() -> Option<Charge>,
        counted: Counted,
    ) -> Admission {
        let limit = &*self.0;
        let verdict = &counted.verdict;
        let mut admission =
            Admission::new().with_fields(limit.fields(system_now, &counted, Retry::Now));
        if let Some(name) = counted.near {
            let notice = Notice::new(Action::RateLimitWarning, "rate limit is nearly exhausted");
            admission = admission.with_notice(notice.with_policy(name));
        }
        if let Some(notice) = limit.full(verdict) {
            admission = admission.with_notice(notice);
        }
        let Some(reservation) = counted.reservation else {
            return admission;
        };
        let charge = Charge::new(name(verdict), reservation);
        if limit.settings.uncount.is_some() || limit.settings.settle.is_some() {
            let (this, charge) = (self.clone(), charge.clone());
            let receipt = move |outcome: Outcome<'_>| this.0.settle(&charge, outcome);
            admission = admission.with_receipt(Until::Head, receipt);
        }
        if limit.settings.settle_in_handler {
            admission = admission.with_extension(charge.inside(outer()));
        }
        admission
    }
}

impl Limit {
    pub(crate) fn tier(&self, request: &RequestHead<'_>) -> Option<QuotaSet> {
        self.settings.tiers.as_ref().and_then(|it| it(request))
    }

    pub(crate) fn cost(&self, request: &RequestHead<'_>) -> u32 {
        match &self.settings.cost {
            Costs::By(cost) => cost(request),
            Costs::Fixed(cost) => *cost,
        }
    }

    /// Admits a request that is not charged.
    pub(crate) fn uncharged(&self, outer: impl FnOnce() -> Option<Charge>) -> Admission {
        match self.no_charge(outer) {
            Some(charge) => Admission::new().with_extension(charge),
            None => Admission::new(),
        }
    }

    /// Tells in debug builds that a request is charged twice for one passage, as where the layer stands around a router and again around one nested in it.
    #[inline]
    pub(crate) fn telling_twice(
        &self,
        check: Check,
        request: &RequestHead<'_>,
        key: KeyHash,
        cost: u32,
    ) -> Check {
        #[cfg(debug_assertions)]
        if cost > 0
            && let Some(client) = request.client()
            // Whatever the key, another limit has another mark for it.
            && client.marks().set(self.jitter.hash_one(key))
        {
            let notice = Notice::new(
                Action::RateLimitChargedTwice,
                "the same rate limit charges a request twice: its layer stands around the route more than once",
            );
            let notice = notice.with_policy(first_name(&self.limiter.quotas()));
            return check.map(|decision| decision.with_notice(notice));
        }
        #[cfg(not(debug_assertions))]
        let _ = (self, request, key, cost);
        check
    }

    /// Refuses a request that is not charged, should it pass all the same.
    pub(crate) fn uncharging(
        &self,
        rejection: Rejection,
        outer: impl FnOnce() -> Option<Charge>,
    ) -> Rejection {
        match self.no_charge(outer) {
            Some(charge) => rejection.with_extension(charge),
            None => rejection,
        }
    }

    /// Returns what a handler finds that settles, where nothing is charged.
    fn no_charge(&self, outer: impl FnOnce() -> Option<Charge>) -> Option<Charge> {
        let settles = self.settings.settle_in_handler;
        settles.then(|| Charge::none(first_name(&self.limiter.quotas())).inside(outer()))
    }

    /// Takes along what is needed of a charge when the table is unlocked again.
    #[inline]
    fn take(
        &self,
        key: KeyHash,
        tier: Option<&QuotaSet>,
        found: &Found<'_>,
        now: u64,
        since_1970: u64,
    ) -> Taken {
        let reserves = self.settings.reserves();
        if found.charged
            && found.place == Place::Own
            && !reserves
            && self.settings.near_limit.is_none()
        {
            if !self.which.is_any() {
                return Taken::Nothing;
            }
            let tightest = found.after.tightest(found.quotas, now);
            return match tightest {
                Some(tightest) => {
                    let seconds = reset_seconds(&tightest);
                    let told = self.told(key, &tightest, seconds, since_1970);
                    Taken::Fields(told.fields(found.quotas))
                }
                None => Taken::Nothing,
            };
        }
        let reserves = reserves && found.charged;
        Taken::All(Box::new(Counted {
            key,
            verdict: Verdict::new(found, now),
            near: self.crosses(found, now),
            reservation: reserves.then(|| Reservation::new(self.limiter.clone(), key, tier, found)),
        }))
    }

    /// Returns the name of a quota that this charge has taken past the warning mark.
    pub(crate) fn crosses(&self, found: &Found<'_>, now: u64) -> Option<Arc<str>> {
        let percent = self.settings.near_limit.filter(|_| found.charged)?;
        let before = found.before.iter(found.quotas);
        let after = found.after.iter(found.quotas);
        before
            .zip(after)
            .find_map(|((metered, before), (_, after))| {
                let meter = &metered.meter;
                let mark = u64::from(meter.capacity) * u64::from(percent) / 100;
                let mark = mark.max(1).saturating_mul(meter.interval);
                let spent = |arrival: u64| arrival.saturating_sub(now);
                (spent(before) < mark && mark <= spent(after)).then(|| Arc::clone(&metered.name))
            })
    }

    /// Returns a notice that the table is full, once in a while.
    fn full(&self, verdict: &Verdict) -> Option<Notice> {
        if !verdict.is_shared() {
            return None;
        }
        let now = verdict.now / SECOND;
        let last = self.reported_full.load(Ordering::Relaxed);
        if last != 0 && now < last.saturating_add(FULL_EVERY) {
            return None;
        }
        self.reported_full
            .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        let notice = Notice::new(
            Action::LimiterStoreFull,
            "key table is full: new clients share quotas",
        );
        Some(notice.with_policy(name(verdict)))
    }

    fn settle(&self, charge: &Charge, outcome: Outcome<'_>) {
        if let Some(uncount) = &self.settings.uncount
            && uncount(&outcome)
        {
            charge.settle(0);
        } else if let Some(settle) = &self.settings.settle
            && let Outcome::Answered(head) = outcome
            && let Some(cost) = settle(head)
        {
            charge.settle(cost);
        }
    }

    pub(crate) fn reject(
        &self,
        system_now: impl FnOnce() -> SystemTime,
        counted: &Counted,
    ) -> Rejection {
        let verdict = &counted.verdict;
        let retry = verdict.retry();
        let mut rejection = exceeded(self.settings.status, retry)
            .with_fields(self.fields(system_now, counted, retry));
        for standing in verdict.refusing() {
            rejection = rejection.with_violated_policy(Arc::clone(&standing.metered.name));
        }
        if let Some(document) = self.problems.document(&rejection, retry) {
            rejection = rejection.with_document(Arc::clone(document));
        }
        if let Some(notice) = self.full(verdict) {
            rejection = rejection.with_notice(notice);
        }
        match (retry, &self.settings.retry_after) {
            (Retry::After(wait), Some(told)) => {
                let delay = wait
                    .max(told.at_least)
                    .saturating_add(self.jitter(told.jitter));
                rejection.with_retry_after(delay)
            }
            // A client that can never be admitted is not told to come again.
            _ => rejection,
        }
    }

    /// Returns a random part of `most`.
    fn jitter(&self, most: Duration) -> Duration {
        if most.is_zero() {
            return most;
        }
        let count = self.refusals.fetch_add(1, Ordering::Relaxed);
        let random = self.jitter.hash_one(count) >> 32;
        let nanos = (most.as_nanos() * u128::from(random)) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns what the fields call the key of a request.
    fn partition(&self, key: KeyHash) -> u64 {
        #[cfg(feature = "redis")]
        if self.shared.is_some() {
            // It has been shortened from the store's, in the same way on all instances.
            return key.get();
        }
        // Hashed once more, so that nobody gets to see what the table goes by.
        let hasher = self.settings.partition.as_ref();
        hasher.map_or(0, |it| it.hash_one(key))
    }

    fn fields(
        &self,
        system_now: impl FnOnce() -> SystemTime,
        counted: &Counted,
        retry: Retry,
    ) -> ResponseFields {
        let verdict = &counted.verdict;
        let tightest = verdict.arrivals.tightest(&verdict.quotas, verdict.now);
        let Some(tightest) = tightest.filter(|_| self.which.is_any()) else {
            return ResponseFields::new();
        };
        // A refused client is told when its request would pass, as `Retry-After` does; the draft wants the two not to contradict each other.
        let seconds = match retry {
            Retry::After(wait) => fields::seconds_of(wait),
            Retry::Never | Retry::Now => reset_seconds(&tightest),
        };
        let since_1970 = self.since_1970(system_now);
        self.told(counted.key, &tightest, seconds, since_1970)
            .fields(&verdict.quotas)
    }

    /// Returns what the reset is counted from, in seconds: zero where that is now.
    #[inline]
    fn since_1970(&self, system_now: impl FnOnce() -> SystemTime) -> u64 {
        if self.which.has_epoch() {
            epoch_seconds(system_now())
        } else {
            0
        }
    }

    #[inline]
    fn told(&self, key: KeyHash, tightest: &Tightest<'_>, seconds: u64, since_1970: u64) -> Told {
        let which = self.which;
        Told {
            which,
            tightest: tightest.position,
            remaining: tightest.remaining,
            seconds,
            reset: since_1970.saturating_add(seconds),
            partition: if which.has_partition() {
                self.partition(key)
            } else {
                0
            },
        }
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("limiter", &self.0.limiter)
            .field("settings", &self.0.settings)
            .finish()
    }
}

/// What is taken along of a charge when the table is unlocked again.
enum Taken {
    /// All of it: the charge was refused, or the response may correct it. Apart, because it is large, and few charges come to it.
    All(Box<Counted>),
    /// The fields of an admitted request.
    Fields(ResponseFields),
    /// Nothing: the request is admitted.
    Nothing,
}

/// What counting a request came to.
pub(crate) struct Counted {
    pub(crate) key: KeyHash,
    pub(crate) verdict: Verdict,
    pub(crate) near: Option<Arc<str>>,
    pub(crate) reservation: Option<Reservation>,
}

/// Returns the name of the first quota, which stands for the limit.
fn name(verdict: &Verdict) -> Arc<str> {
    first_name(&verdict.quotas)
}

fn first_name(quotas: &QuotaSet) -> Arc<str> {
    match quotas.metered() {
        [first, ..] => Arc::clone(&first.name),
        [] => Arc::from("rate-limit"),
    }
}

/// Problem documents that are held ready, by the names of the quotas: those of one violated quota, which is what nearly all refusals are.
struct Problems(Box<[(Arc<str>, Arc<str>)]>);

impl Problems {
    fn new(quotas: &QuotaSet, settings: &Settings) -> Self {
        let write = |metered: &Metered| {
            let rejection = exceeded(settings.status, Retry::Now)
                .with_violated_policy(Arc::clone(&metered.name));
            (Arc::clone(&metered.name), problem(&rejection).into())
        };
        Self(quotas.metered().iter().map(write).collect())
    }

    /// Returns the document of a rejection, where there is one: not where it is one of several quotas, of a name that came later, or for ever.
    fn document(&self, rejection: &Rejection, retry: Retry) -> Option<&Arc<str>> {
        let [violated] = rejection.violated_policies() else {
            return None;
        };
        if retry == Retry::Never {
            return None;
        }
        let (_, document) = self.0.iter().find(|(name, _)| name == violated)?;
        Some(document)
    }
}

fn exceeded(status: StatusCode, retry: Retry) -> Rejection {
    Rejection::new(Action::RateLimitExceeded, status, limit_reason(retry))
        .with_problem_type(QUOTA_EXCEEDED)
}

fn limit_reason(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "request costs more than the rate limit ever allows",
        Retry::After(_) | Retry::Now => "rate limit exceeded",
    }
}

pub(crate) fn missing() -> Rejection {
    Rejection::new(
        Action::RateLimitKeyMissing,
        StatusCode::BAD_REQUEST,
        "request lacks what it would be counted under",
    )
}

fn reset_seconds(tightest: &Tightest<'_>) -> u64 {
    let meter = &tightest.metered.meter;
    let rounding = meter.grain.saturating_mul(meter.capacity.into());
    fields::reset_seconds(tightest.reset, rounding)
}

/// Returns the seconds since 1970, rounded up: a client that waits for the time must not be early.
fn epoch_seconds(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    fields::seconds_of(since)
}

/// draft-ietf-httpapi-ratelimit-headers-11, section 5.1.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// A full table is reported every so many seconds.
const FULL_EVERY: u64 = 60;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::{client_ip::peer::PeerAddr, policy::decision::Decision, rate_limit::quota::Quota};

    fn refuse(limit: &RateLimit, admitted: usize) -> Rejection {
        let peer = PeerAddr::Tcp(([203, 0, 113, 7], 50_000).into());
        let request = Request::builder().extension(peer).body(()).unwrap();
        let (parts, ()) = request.into_parts();
        for _ in 0..admitted {
            let check = limit.check(&RequestHead::new(&parts));
            assert!(matches!(check, Check::Ready(Decision::Admit(_))));
        }
        match limit.check(&RequestHead::new(&parts)) {
            Check::Ready(Decision::Reject(rejection)) => rejection,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn documents_held_ready_are_those_that_would_be_written() {
        let named = |quota: Quota, name: &str| quota.try_with_name(name).unwrap();
        let quotas = |first, second| {
            let quotas = [
                named(Quota::per_hour(first), "in \"quotes\""),
                named(Quota::per_day(second), "a day"),
            ];
            QuotaSet::new(quotas).unwrap()
        };
        for (first, second, admitted) in [(2, 3, 2), (9, 9, 9)] {
            let rejection = refuse(&RateLimit::new(quotas(first, second)), admitted);
            // To set anything that the document tells takes it away.
            let written = problem(&rejection.clone().with_problem_type(QUOTA_EXCEEDED));
            match rejection.violated_policies() {
                [_] => assert_eq!(rejection.document().map(|it| &**it), Some(&*written)),
                _ => assert!(rejection.document().is_none()),
            }
        }
        let second = refuse(
            &RateLimit::new(
                QuotaSet::new([
                    named(Quota::per_hour(2).with_burst(9), "an hour"),
                    named(Quota::per_day(3), "a day"),
                ])
                .unwrap(),
            ),
            3,
        );
        let document = second.document().unwrap();
        assert!(document.contains("a day") && !document.contains("an hour"));
    }

    #[test]
    fn quotas_that_came_later_have_no_document() {
        let limit = RateLimit::new(Quota::per_hour(3));
        assert!(refuse(&limit, 3).document().is_some());
        limit.limiter().replace_quotas(Quota::per_hour(2)).unwrap();
        let rejection = refuse(&limit, 0);
        assert!(rejection.document().is_none());
        assert!(problem(&rejection).contains("2-per-hour"));
    }
}
