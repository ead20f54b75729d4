//! The policy.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{HeaderValue, StatusCode};

use crate::{
    client_ip::context::ClientIp,
    event::model::Action,
    policy::{
        admission::Admission,
        decision::Check,
        fields::{FieldMode, ResponseFields},
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
        key::MissingKey,
        limiter::RateLimiter,
        quota::SECOND,
        reservation::Reservation,
        set::QuotaSet,
        settings::{Costs, LegacyReset, Settings, StandardFields},
        store::{
            memory::{Cost, Found, Place},
            places::KeyHash,
        },
        verdict::{Retry, Verdict},
    },
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
///     limit.reset(key);
/// }
/// let check = limit.check(&RequestHead::new(&parts));
/// assert!(matches!(check, Check::Ready(Decision::Admit(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RateLimit(Arc<Limit>);

struct Limit {
    limiter: RateLimiter,
    settings: Settings,
    /// Whether admitted requests need nothing but to be counted.
    lean: bool,
    jitter: RandomState,
    refusals: AtomicU64,
    /// When the table was last reported full, in seconds of the limiter's clock.
    reported_full: AtomicU64,
}

/// What a request is counted under, for looking at and correcting what it has spent.
#[derive(Clone, Copy, Debug)]
pub struct RequestKey(KeyHash);

impl RateLimit {
    pub(crate) fn of(limiter: RateLimiter, settings: Settings) -> Self {
        let lean = settings.standard.is_none()
            && settings.legacy.is_none()
            && settings.near_limit.is_none()
            && !settings.reserves();
        Self(Arc::new(Limit {
            limiter,
            settings,
            lean,
            jitter: RandomState::new(),
            refusals: AtomicU64::new(0),
            reported_full: AtomicU64::new(0),
        }))
    }

    /// Returns the limiter, whose quotas can be replaced while requests are served.
    #[must_use]
    pub fn limiter(&self) -> &RateLimiter {
        &self.0.limiter
    }

    /// Returns what a request is counted under; nothing where it is not counted at all.
    #[must_use]
    pub fn key_of(&self, request: &RequestHead<'_>) -> Option<RequestKey> {
        match self.0.key(request, self.0.tier(request).as_ref()) {
            Keyed::Counted(key) => Some(RequestKey(key)),
            Keyed::Missing | Keyed::Skipped => None,
        }
    }

    /// Returns what the requests of a client are counted under, where its address is all there is to the key.
    ///
    /// Where there are [`tiers`](crate::rate_limit::RateLimitBuilder::tiers), that is so for requests of none; for the others there is [`key_of`](Self::key_of).
    #[must_use]
    pub fn client_key(&self, client: IpAddr) -> Option<RequestKey> {
        let mut hasher = self.0.limiter.hasher();
        let key = &self.0.settings.key;
        key.write_client(ClientIp::Known(client), &mut hasher)
            .then(|| RequestKey(KeyHash::new(hasher.finish())))
    }

    /// Returns how a key stands, and charges nothing.
    pub fn peek(&self, key: RequestKey) -> Verdict {
        let now = self.0.limiter.now();
        self.0
            .limiter
            .charge(key.0, Cost::Exactly(0), now, None, |found| {
                Verdict::new(&found, now)
            })
    }

    /// Gives units back to a key, at most until its quotas are full.
    pub fn refund(&self, key: RequestKey, units: u32) {
        let now = self.0.limiter.now();
        self.0.limiter.table().refund(key.0, units, now);
    }

    /// Makes all quotas of a key full again.
    pub fn reset(&self, key: RequestKey) {
        self.0.limiter.table().reset(key.0);
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
        if limit.settings.exempt.iter().any(|it| it(request)) {
            return Check::admit();
        }
        let tier = limit.tier(request);
        let key = match limit.key(request, tier.as_ref()) {
            Keyed::Counted(key) => key,
            Keyed::Missing => return Check::reject(missing()),
            Keyed::Skipped => return Check::admit(),
        };
        let cost = match &limit.settings.cost {
            Costs::By(cost) => cost(request),
            Costs::Fixed(cost) => *cost,
        };
        let now = limit.limiter.nanos(request.now());

        if limit.lean
            && tier.is_none()
            && let Some(cost) = NonZeroU32::new(cost)
            && limit.limiter.table().charge_simply(key, cost, now)
        {
            return Check::admit();
        }

        let counted = limit
            .limiter
            .charge(key, Cost::Exactly(cost), now, tier.as_ref(), |found| {
                if limit.lean && found.charged && found.place == Place::Own {
                    return None;
                }
                let reserves = limit.settings.reserves() && found.charged;
                Some(Counted {
                    verdict: Verdict::new(&found, now),
                    near: limit.crosses(&found, now),
                    reservation: reserves.then(|| {
                        Reservation::new(limit.limiter.clone(), key, tier.as_ref(), &found)
                    }),
                })
            });
        match counted {
            None => Check::admit(),
            Some(counted) if counted.verdict.is_admitted() => {
                Check::Ready(self.admit(request, counted).into())
            }
            Some(counted) => Check::reject(limit.reject(request, &counted.verdict)),
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        let limit = &*self.0;
        if limit.settings.exempt.iter().any(|it| it(request)) {
            return Some(Peek::admit("exempt"));
        }
        let tier = limit.tier(request);
        let key = match limit.key(request, tier.as_ref()) {
            Keyed::Counted(key) => key,
            Keyed::Missing => return Some(Peek::reject(missing())),
            Keyed::Skipped => return Some(Peek::admit("the request is not counted")),
        };
        let cost = match &limit.settings.cost {
            Costs::By(cost) => cost(request),
            Costs::Fixed(cost) => *cost,
        };
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
    fn admit(&self, request: &RequestHead<'_>, counted: Counted) -> Admission {
        let limit = &*self.0;
        let verdict = &counted.verdict;
        let mut admission = Admission::new().with_fields(limit.fields(request, verdict));
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
            admission = admission.with_extension(charge.inside(request.extensions()));
        }
        admission
    }
}

impl Limit {
    fn tier(&self, request: &RequestHead<'_>) -> Option<QuotaSet> {
        self.settings.tiers.as_ref().and_then(|it| it(request))
    }

    fn key(&self, request: &RequestHead<'_>, tier: Option<&QuotaSet>) -> Keyed {
        let mut hasher = self.limiter.hasher();
        let complete = self.settings.key.write(request, &mut hasher);
        // Tiers have rows of their own: in a shared one, the arrival times would be clamped to the smallest capacity.
        for quota in tier.into_iter().flat_map(QuotaSet::iter) {
            quota.hash(&mut hasher);
        }
        match (complete, self.settings.key.missing()) {
            (true, _) | (false, MissingKey::Share) => Keyed::Counted(KeyHash::new(hasher.finish())),
            (false, MissingKey::Refuse) => Keyed::Missing,
            (false, MissingKey::Skip) => Keyed::Skipped,
        }
    }

    /// Returns the name of a quota that this charge has taken past the warning mark.
    fn crosses(&self, found: &Found<'_>, now: u64) -> Option<Arc<str>> {
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

    fn reject(&self, request: &RequestHead<'_>, verdict: &Verdict) -> Rejection {
        let retry = verdict.retry();
        let reason = limit_reason(retry);
        let mut rejection = Rejection::new(Action::RateLimitExceeded, self.settings.status, reason)
            .with_problem_type(QUOTA_EXCEEDED)
            .with_fields(self.fields(request, verdict));
        for standing in verdict.refusing() {
            rejection = rejection.with_violated_policy(Arc::clone(&standing.metered.name));
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

    fn fields(&self, request: &RequestHead<'_>, verdict: &Verdict) -> ResponseFields {
        let mut found = ResponseFields::new();
        if self.settings.standard.is_none() && self.settings.legacy.is_none() {
            return found;
        }
        let Some(tightest) = verdict.tightest() else {
            return found;
        };
        let capacity = tightest.metered.meter.capacity;
        // A refused client is told when its request would pass, as `Retry-After` does; the draft wants the two not to contradict each other.
        let seconds = match verdict.retry() {
            Retry::After(wait) => fields::seconds_of(wait),
            Retry::Never | Retry::Now => fields::reset_seconds(tightest.reset, capacity),
        };
        if self.settings.standard == Some(StandardFields::Draft11) {
            let limit = fields::limit(tightest.metered, tightest.remaining, seconds);
            // Limits further in and out add their own: the fields are lists.
            let policy = verdict.quotas.policy_field().clone();
            found.push(fields::POLICY, policy, FieldMode::Append);
            found.push(fields::LIMIT, limit, FieldMode::Append);
        }
        if let Some(reset) = self.settings.legacy {
            let reset = match reset {
                LegacyReset::Delta => seconds,
                LegacyReset::Epoch => epoch_seconds(request.system_now()).saturating_add(seconds),
            };
            // These cannot be lists: the innermost limit speaks.
            let mut push = |name, number: u64| {
                found.push(name, HeaderValue::from(number), FieldMode::IfAbsent);
            };
            push(fields::LEGACY_LIMIT, tightest.metered.quota.limit().into());
            push(fields::LEGACY_REMAINING, tightest.remaining.into());
            push(fields::LEGACY_RESET, reset);
        }
        found
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

/// What a request is counted under.
enum Keyed {
    Counted(KeyHash),
    Missing,
    Skipped,
}

/// What counting a request came to.
struct Counted {
    verdict: Verdict,
    near: Option<Arc<str>>,
    reservation: Option<Reservation>,
}

/// Returns the name of the first quota, which stands for the limit.
fn name(verdict: &Verdict) -> Arc<str> {
    match verdict.quotas.metered() {
        [first, ..] => Arc::clone(&first.name),
        [] => Arc::from("rate-limit"),
    }
}

fn limit_reason(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "request costs more than the rate limit ever allows",
        Retry::After(_) | Retry::Now => "rate limit exceeded",
    }
}

fn missing() -> Rejection {
    Rejection::new(
        Action::RateLimitKeyMissing,
        StatusCode::BAD_REQUEST,
        "request lacks what it would be counted under",
    )
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
