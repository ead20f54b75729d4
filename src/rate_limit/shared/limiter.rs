//! The limiter over a shared store, without HTTP.

use std::{fmt, hash::Hash, sync::Arc, time::Instant};

use arc_swap::ArcSwap;

use crate::{
    clock::Clock,
    rate_limit::{
        limiter::{RateLimiter, RateLimiterBuilder},
        set::{Kind, MAX_REMEMBERED, QuotaSet, RateLimitError},
        shared::{
            cache::DenyCache,
            decide::{DECIDE, Decided, FORGET, KeyNames, Operation, StoreCharge, WideKey},
        },
        store::{
            memory::{Arrivals, Cost, Found, Place},
            places::KeyHash,
        },
        verdict::Verdict,
    },
    shared_store::{
        failure::{Cause, StoreFailure},
        hash::WideHasher,
        script::Script,
        settings::OnStoreFailure,
        store::{RedisStore, Registration},
    },
};

/// Counts what keys spend in a store that instances share: for messages of a socket, for jobs. Clones share the same state.
///
/// For web requests there is [`RateLimitBuilder::shared`](crate::rate_limit::RateLimitBuilder::shared).
///
/// # Example
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use palisade::{
///     rate_limit::{Quota, SharedRateLimiter},
///     secret::SecretString,
///     shared_store::RedisStore,
/// };
///
/// let hash_key = SecretString::from("0123456789abcdef0123456789abcdef");
/// let store = RedisStore::builder("redis://localhost:6379", hash_key).build()?;
/// let messages = SharedRateLimiter::builder(&store, "messages", Quota::per_second(2)).build()?;
///
/// assert!(messages.check("alice", 2).await?.is_admitted());
/// assert!(!messages.check("alice", 1).await?.is_admitted());
/// assert!(messages.check("bob", 1).await?.is_admitted());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SharedRateLimiter(Arc<Inner>);

struct Inner {
    store: RedisStore,
    names: KeyNames,
    decide: Arc<Script>,
    forget: Arc<Script>,
    /// Has the quotas, and counts where the store is away.
    local: RateLimiter,
    derived: ArcSwap<Derived>,
    on_failure: OnStoreFailure,
    cache: DenyCache,
    clock: Arc<dyn Clock>,
    _name: Arc<Registration>,
}

/// What is made of the quotas.
struct Derived {
    own: QuotaSet,
    forms: Forms,
}

/// Quotas as the store counts them, and as an instance counts them by itself.
#[derive(Clone)]
struct Forms {
    micros: QuotaSet,
    share: QuotaSet,
}

/// Who has decided.
pub(crate) enum By<'a> {
    /// This instance, by its share of the quotas.
    Local,
    /// The store, which has made this charge.
    Store(&'a StoreCharge),
}

/// What has come of a question.
pub(crate) enum Outcome<R> {
    /// The store is away, and the request may pass.
    Allowed,
    Decided(R),
    /// The store is away, and the request is refused.
    Denied(Cause),
}

/// A cost that has been charged in the store.
pub(crate) struct SharedCharge {
    pub(crate) limiter: SharedRateLimiter,
    pub(crate) key: WideKey,
    pub(crate) quotas: QuotaSet,
    /// Whether the quotas are those of the limiter.
    pub(crate) own_quotas: bool,
    pub(crate) charge: StoreCharge,
}

impl SharedRateLimiter {
    /// Returns a builder for a limiter of that name in a store.
    ///
    /// The name must be the same on all instances and in all versions of the service, and another one for every limit.
    pub fn builder(
        store: &RedisStore,
        name: impl Into<String>,
        quotas: impl Into<QuotaSet>,
    ) -> SharedRateLimiterBuilder {
        SharedRateLimiterBuilder {
            local: RateLimiter::builder(quotas),
            name: name.into(),
            shared: SharedSettings::new(store),
        }
    }

    /// Charges `cost` to all quotas of `key`, or to none.
    ///
    /// A cost of zero is always admitted and charges nothing; one above the capacity is refused for ever, and changes nothing either.
    ///
    /// # Errors
    ///
    /// The store is away, and the limiter [denies](OnStoreFailure::Deny) then.
    pub async fn check<K: Hash + ?Sized>(
        &self,
        key: &K,
        cost: u32,
    ) -> Result<Verdict, StoreFailure> {
        self.ask(key, Cost::Exactly(cost)).await
    }

    /// Charges as much of `cost` as is left; [`Verdict::cost`] says how much that was, which may be nothing.
    ///
    /// # Errors
    ///
    /// The store is away, and the limiter [denies](OnStoreFailure::Deny) then.
    pub async fn check_up_to<K: Hash + ?Sized>(
        &self,
        key: &K,
        cost: u32,
    ) -> Result<Verdict, StoreFailure> {
        self.ask(key, Cost::AtMost(cost)).await
    }

    /// Answers what [`check`](Self::check) would, and charges nothing.
    ///
    /// # Errors
    ///
    /// The store is away.
    pub async fn peek<K: Hash + ?Sized>(
        &self,
        key: &K,
        cost: u32,
    ) -> Result<Verdict, StoreFailure> {
        self.peek_key(self.key(key), cost, None).await
    }

    /// Gives `units` back to `key`, at most until its quotas are full.
    ///
    /// # Errors
    ///
    /// The store is away; whether anything has been given back is not known.
    pub async fn refund<K: Hash + ?Sized>(&self, key: &K, units: u32) -> Result<(), StoreFailure> {
        let key = self.key(key);
        let quotas = self.refund_local(key, units, None).micros;
        let refunded = self.decide(key, Operation::Refund, units, &quotas);
        refunded.await.map(drop).map_err(StoreFailure)
    }

    /// Makes all quotas of `key` full again.
    ///
    /// # Errors
    ///
    /// The store is away; whether anything has been made full is not known.
    pub async fn reset<K: Hash + ?Sized>(&self, key: &K) -> Result<(), StoreFailure> {
        let key = self.key(key);
        self.reset_local(key);
        let forget = self.0.names.forget(&self.0.forget, key);
        let forgotten = self.0.store.run(&self.0.forget, forget);
        forgotten.await.map(drop).map_err(StoreFailure)
    }

    /// Replaces the quotas for all keys. What they have spent is kept, quota by quota in their order, and clamped to the new capacities.
    ///
    /// All instances must replace them: until the last has, the larger ones hold.
    ///
    /// # Errors
    ///
    /// Refuses more quotas than the limiter was [built](SharedRateLimiterBuilder::width) for.
    pub fn replace_quotas(&self, quotas: impl Into<QuotaSet>) -> Result<(), RateLimitError> {
        self.0.local.replace_quotas(quotas)
    }

    /// Returns the quotas.
    pub fn quotas(&self) -> QuotaSet {
        self.0.local.quotas()
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &RedisStore {
        &self.0.store
    }

    pub(crate) fn local(&self) -> &RateLimiter {
        &self.0.local
    }

    pub(crate) fn hasher(&self) -> WideHasher {
        self.0.store.hasher()
    }

    pub(crate) fn key<K: Hash + ?Sized>(&self, key: &K) -> WideKey {
        let mut hasher = self.hasher();
        key.hash(&mut hasher);
        WideKey(hasher.finish_wide())
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.clock.now()
    }

    async fn ask<K: Hash + ?Sized>(&self, key: &K, cost: Cost) -> Result<Verdict, StoreFailure> {
        let key = self.key(key);
        let asked = self.now();
        if let Cost::Exactly(cost) = cost
            && let Some(refused) = self.refused(key, cost, asked, None)
        {
            return Ok(refused);
        }
        let outcome = self
            .charge(key, cost, asked, None, |found, now, _| {
                Verdict::new(found, now)
            })
            .await;
        match outcome {
            Outcome::Allowed => Ok(self.allowed(cost)),
            Outcome::Decided(verdict) => Ok(verdict),
            Outcome::Denied(cause) => Err(StoreFailure(cause)),
        }
    }

    /// Returns the refusal of a key that has been refused, where the store would refuse it still.
    pub(crate) fn refused(
        &self,
        key: WideKey,
        cost: u32,
        now: Instant,
        tier: Option<&QuotaSet>,
    ) -> Option<Verdict> {
        if cost == 0 || tier.is_some() || self.0.store.is_away() {
            return None;
        }
        let quotas = self.forms(None).micros;
        let (arrivals, now) = self.0.cache.refuses(key, &quotas, cost, now)?;
        Some(Verdict {
            quotas,
            arrivals,
            now,
            cost,
            admitted: false,
            place: Place::Own,
        })
    }

    /// Charges the cost where the store is, or what stands in for it.
    pub(crate) async fn charge<R>(
        &self,
        key: WideKey,
        cost: Cost,
        asked: Instant,
        tier: Option<&QuotaSet>,
        finish: impl FnOnce(&Found<'_>, u64, By<'_>) -> R,
    ) -> Outcome<R> {
        let forms = self.forms(tier);
        let (operation, units) = match cost {
            Cost::AtMost(units) => (Operation::ChargeUpTo, units),
            Cost::Exactly(units) => (Operation::Charge, units),
        };
        let quotas = &forms.micros;
        if self.0.local.table().width() < quotas.metered().len() {
            // The table refuses it, as it would if the store were away.
            return Outcome::Decided(self.charge_locally(key, cost, quotas, quotas, finish));
        }
        let decided = self.decide(key, operation, units, quotas).await;
        let decided = match decided {
            Ok(decided) => decided,
            Err(cause) => {
                return match self.0.on_failure {
                    OnStoreFailure::Allow => Outcome::Allowed,
                    OnStoreFailure::Deny => Outcome::Denied(cause),
                    OnStoreFailure::Fallback => Outcome::Decided(self.charge_locally(
                        key,
                        cost,
                        quotas,
                        &forms.share,
                        finish,
                    )),
                };
            }
        };
        if !decided.admitted && tier.is_none() {
            self.0
                .cache
                .remember(key, quotas, decided.before, decided.now, asked);
        }
        let after = decided.after(quotas);
        let found = Found {
            quotas,
            before: &decided.before,
            after: &after,
            cost: decided.units,
            charged: decided.admitted,
            place: Place::Own,
            open: None,
        };
        let charge = StoreCharge {
            at: decided.now,
            units: decided.units,
            until: after,
            given: decided.given,
        };
        Outcome::Decided(finish(&found, decided.now, By::Store(&charge)))
    }

    fn charge_locally<R>(
        &self,
        key: WideKey,
        cost: Cost,
        whole: &QuotaSet,
        share: &QuotaSet,
        finish: impl FnOnce(&Found<'_>, u64, By<'_>) -> R,
    ) -> R {
        // Not when the store was asked: others may have been counted while it was waited for, and what is left is told as of now.
        let now = self.0.local.now();
        let cost = match cost {
            // What costs more than the share would never be admitted: it costs the whole share.
            Cost::Exactly(cost) if cost <= whole.max_cost() => {
                Cost::Exactly(cost.min(share.max_cost()))
            }
            // What costs more than all instances have is refused here, too.
            cost @ (Cost::AtMost(_) | Cost::Exactly(_)) => cost,
        };
        self.0
            .local
            .charge(local_key(key), cost, now, Some(share), |found| {
                finish(&found, now, By::Local)
            })
    }

    pub(crate) async fn peek_key(
        &self,
        key: WideKey,
        cost: u32,
        tier: Option<&QuotaSet>,
    ) -> Result<Verdict, StoreFailure> {
        let quotas = self.forms(tier).micros;
        let decided = self
            .decide(key, Operation::Charge, 0, &quotas)
            .await
            .map_err(StoreFailure)?;
        let admitted = decided.before.admit(&quotas, cost, decided.now);
        Ok(Verdict {
            quotas,
            arrivals: decided.before,
            now: decided.now,
            cost,
            admitted,
            place: Place::Own,
        })
    }

    /// Gives units back some time soon.
    pub(crate) fn refund_later(&self, key: WideKey, units: u32, tier: Option<&QuotaSet>) {
        let quotas = self.refund_local(key, units, tier).micros;
        self.post(key, Operation::Refund, units, &quotas, None);
    }

    /// Makes a key full some time soon.
    pub(crate) fn reset_later(&self, key: WideKey) {
        self.reset_local(key);
        let forget = self.0.names.forget(&self.0.forget, key);
        self.0.store.post(&self.0.forget, forget);
    }

    /// Gives units back of what stands in for the store; returns the quotas in their forms.
    fn refund_local(&self, key: WideKey, units: u32, tier: Option<&QuotaSet>) -> Forms {
        self.0.cache.forget(key);
        let forms = self.forms(tier);
        let now = self.0.local.now();
        let table = self.0.local.table();
        table.refund(local_key(key), units, now, Some(&forms.share));
        forms
    }

    fn reset_local(&self, key: WideKey) {
        self.0.cache.forget(key);
        self.0.local.table().reset(local_key(key));
    }

    async fn decide(
        &self,
        key: WideKey,
        operation: Operation,
        units: u32,
        quotas: &QuotaSet,
    ) -> Result<Decided, Cause> {
        let script = &self.0.decide;
        let names = &self.0.names;
        let call = names.call(script, key, operation, units, quotas, None);
        let answer = self.0.store.run(script, call).await?;
        Decided::read(&answer, quotas)
    }

    fn post(
        &self,
        key: WideKey,
        operation: Operation,
        units: u32,
        quotas: &QuotaSet,
        charge: Option<&StoreCharge>,
    ) {
        let script = &self.0.decide;
        let names = &self.0.names;
        let call = names.call(script, key, operation, units, quotas, charge);
        self.0.store.post(script, call);
    }

    /// Returns the verdict about a cost that nobody has counted.
    fn allowed(&self, cost: Cost) -> Verdict {
        let (Cost::AtMost(cost) | Cost::Exactly(cost)) = cost;
        Verdict {
            quotas: self.forms(None).micros,
            arrivals: Arrivals::NONE,
            now: 0,
            cost,
            admitted: true,
            place: Place::Own,
        }
    }

    fn forms(&self, tier: Option<&QuotaSet>) -> Forms {
        let instances = self.0.store.inner().settings.instances;
        let of = |quotas: &QuotaSet| Forms {
            micros: quotas.in_micros(),
            share: quotas.share(instances),
        };
        if let Some(tier) = tier {
            return of(tier);
        }
        let derived = self.0.derived.load();
        let quotas = self.0.local.quotas();
        if derived.own.is(&quotas) {
            return derived.forms.clone();
        }
        // They have been replaced. Of several that notice, one prevails, and all take what it has made: reservations know their quotas by identity.
        let new = Arc::new(Derived {
            forms: of(&quotas),
            own: quotas,
        });
        let before = self.0.derived.compare_and_swap(&derived, Arc::clone(&new));
        if before.own.is(&new.own) {
            before.forms.clone()
        } else {
            new.forms.clone()
        }
    }
}

impl SharedCharge {
    /// Corrects the charge some time soon: nobody waits for it.
    pub(crate) fn settle(&self, reserved: u32, cost: u32) {
        let (operation, units) = match cost.checked_sub(reserved) {
            None => (Operation::GiveBack, reserved - cost),
            Some(0) => return,
            Some(more) => (Operation::Force, more),
        };
        let limiter = &self.limiter;
        if self.own_quotas && !limiter.forms(None).micros.is(&self.quotas) {
            return;
        }
        limiter.0.cache.forget(self.key);
        let charge = Some(&self.charge);
        limiter.post(self.key, operation, units, &self.quotas, charge);
    }
}

impl fmt::Debug for SharedRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRateLimiter")
            .field("names", &self.0.names)
            .field("quotas", &self.quotas())
            .field("on_failure", &self.0.on_failure)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

/// Builds a [`SharedRateLimiter`]. Defaults are written at the setters.
#[derive(Clone, Debug)]
#[must_use]
pub struct SharedRateLimiterBuilder {
    local: RateLimiterBuilder,
    name: String,
    shared: SharedSettings,
}

/// What a limit has to know beside its quotas where they are shared.
#[derive(Clone, Debug)]
pub(crate) struct SharedSettings {
    pub(crate) store: RedisStore,
    pub(crate) on_failure: OnStoreFailure,
    pub(crate) remembered: usize,
}

/// The name of a limit within a store. No other limit has it.
#[derive(Clone)]
pub(crate) struct SharedName {
    name: Arc<str>,
    registration: Arc<Registration>,
}

impl SharedName {
    /// Takes a name.
    pub(crate) fn take(store: &RedisStore, name: &str) -> Result<Self, RateLimitError> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=32).contains(&name.len()) || !name.chars().all(is_letter) {
            return Err(RateLimitError(Kind::SharedName));
        }
        let name: Arc<str> = name.into();
        match store.register(Arc::clone(&name)) {
            Some(registration) => Ok(Self {
                name,
                registration: Arc::new(registration),
            }),
            None => Err(RateLimitError(Kind::DuplicateSharedName((*name).into()))),
        }
    }

    /// Returns the name of another limit of the same owner.
    pub(crate) fn numbered(&self, number: usize) -> Self {
        Self {
            // No name that is taken has a slash.
            name: format!("{}/{number}", self.name).into(),
            registration: Arc::clone(&self.registration),
        }
    }
}

impl SharedSettings {
    pub(crate) fn new(store: &RedisStore) -> Self {
        Self {
            store: store.clone(),
            on_failure: OnStoreFailure::default(),
            remembered: REMEMBERED,
        }
    }

    /// Refuses what would take more memory than there is.
    pub(crate) fn verify(&self) -> Result<(), RateLimitError> {
        if self.remembered > MAX_REMEMBERED {
            return Err(RateLimitError(Kind::TooManyRemembered));
        }
        Ok(())
    }

    /// Returns a builder for the limiter of this instance, which has room for what it counts.
    pub(crate) fn local(&self, local: RateLimiterBuilder) -> RateLimiterBuilder {
        match self.on_failure {
            OnStoreFailure::Fallback => local,
            // Nothing is counted here.
            OnStoreFailure::Allow | OnStoreFailure::Deny => local.max_keys(1),
        }
    }

    /// Makes the limiter over that of this instance.
    pub(crate) fn over(
        self,
        local: RateLimiter,
        name: SharedName,
        clock: Arc<dyn Clock>,
    ) -> SharedRateLimiter {
        let quotas = local.quotas();
        let instances = self.store.inner().settings.instances;
        SharedRateLimiter(Arc::new(Inner {
            names: KeyNames::new(self.store.prefix(), name.name),
            decide: Arc::new(Script::new(DECIDE)),
            forget: Arc::new(Script::new(FORGET)),
            local,
            derived: ArcSwap::from_pointee(Derived {
                forms: Forms {
                    micros: quotas.in_micros(),
                    share: quotas.share(instances),
                },
                own: quotas,
            }),
            on_failure: self.on_failure,
            cache: DenyCache::new(self.remembered),
            clock,
            store: self.store,
            _name: name.registration,
        }))
    }
}

impl SharedRateLimiterBuilder {
    /// Sets what becomes of a decision that the store has not made. The default is [`OnStoreFailure::Fallback`].
    pub fn on_failure(mut self, on_failure: OnStoreFailure) -> Self {
        self.shared.on_failure = on_failure;
        self
    }

    /// Sets how many refusals are remembered, at some 120 bytes each, so that the store need not be asked again. There is room for as many as the next
    /// power of two. The default is 4096; 0 asks the store always.
    pub fn remembered_refusals(mut self, entries: usize) -> Self {
        self.shared.remembered = entries;
        self
    }

    /// Sets for how many keys there is room where the store is away. The default is 100,000.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.local = self.local.max_keys(max_keys);
        self
    }

    /// Sets for how many quotas per key there is room. The default is the number of quotas.
    pub fn width(mut self, quotas: usize) -> Self {
        self.local = self.local.width(quotas);
        self
    }

    /// Sets the clock of this instance; limits are measured by that of the store. The default is
    /// [`MonotonicClock`](crate::clock::MonotonicClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.local = self.local.clock(clock);
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// Refuses a name that is not 1 to 32 letters, digits, `-`, `_` and `.` or that another limiter of the store has, more than 2^24 remembered
    /// refusals, and what [`RateLimiterBuilder::build`] refuses.
    pub fn build(self) -> Result<SharedRateLimiter, RateLimitError> {
        self.shared.verify()?;
        let clock = self.local.clock_of();
        let local = self.shared.local(self.local).build()?;
        let name = SharedName::take(&self.shared.store, &self.name)?;
        Ok(self.shared.over(local, name, clock))
    }
}

/// The part of the hash that the table of this instance has room for.
pub(crate) fn local_key(key: WideKey) -> KeyHash {
    KeyHash::new(u64::try_from(key.0 & u128::from(u64::MAX)).unwrap_or_default())
}

/// So many refusals are remembered unless somebody says otherwise.
pub(crate) const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use secrecy::SecretString;

    use super::*;
    use crate::{event::sink::NullSink, rate_limit::quota::Quota};

    /// A reservation whose quotas are not those of the limiter would not be settled.
    #[test]
    fn all_who_notice_replaced_quotas_have_the_same() {
        let hash_key = SecretString::from("0123456789abcdef");
        let store = RedisStore::builder("redis://127.0.0.1:1", hash_key).sink(NullSink);
        let store = store.build().unwrap();
        let limiter = SharedRateLimiter::builder(&store, "quotas", Quota::per_hour(1));
        let limiter = limiter.build().unwrap();
        for limit in 1..500 {
            limiter.replace_quotas(Quota::per_hour(limit)).unwrap();
            let barrier = Barrier::new(4);
            let notice = || {
                barrier.wait();
                limiter.forms(None).micros
            };
            let found = thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(notice));
                threads.map(|it| it.join().unwrap())
            });
            let of_later = limiter.forms(None).micros;
            assert!(found.iter().all(|it| it.is(&of_later)), "{limit}");
        }
    }
}
