//! The policy.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};
use http::StatusCode;

use crate::{
    event::model::Action,
    policy::{
        admission::Admission,
        decision::Check,
        head::RequestHead,
        label::PolicyLabel,
        peek::Peek,
        receipt::{Outcome, Until},
        rejection::Rejection,
        set::Policy,
    },
    rate_limit::key::{MissingKey, RateLimitKey},
};

/// Limits how many requests of a client are being served at the same time. Clones share the same state.
///
/// The layer of a policy that is used without [`InFlightLayer`](crate::in_flight::InFlightLayer) needs a
/// [`TrackBodyLayer`](crate::enforce::TrackBodyLayer) outside.
#[derive(Clone)]
#[must_use]
pub struct InFlight {
    limit: u32,
    key: RateLimitKey,
    overload: Overload,
    max_keys: usize,
    state: Arc<State>,
}

/// How a request that is too many is refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Overload {
    /// With 503: the service is at its limit.
    ServiceUnavailable,
    /// With 429: the client is at its limit. The default.
    #[default]
    TooManyRequests,
}

impl InFlight {
    /// Creates a policy that counts by client address.
    ///
    /// A limit of zero means one: a policy that admits nothing is written as a deny list.
    pub fn new(limit: u32) -> Self {
        Self {
            limit: NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN).get(),
            key: RateLimitKey::client_ip(),
            overload: Overload::default(),
            max_keys: MAX_KEYS,
            state: Arc::default(),
        }
    }

    /// Sets what requests are counted under. The default is [`RateLimitKey::client_ip`].
    pub fn with_key(mut self, key: RateLimitKey) -> Self {
        self.key = key;
        self
    }

    /// Sets how a request that is too many is refused. The default is [`Overload::TooManyRequests`].
    pub fn with_overload(mut self, overload: Overload) -> Self {
        self.overload = overload;
        self
    }

    /// Sets how many keys may have requests in flight; those of further keys are refused with 503. The default is 100,000; zero
    /// means one.
    pub fn with_max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys.max(1);
        self
    }

    /// Returns how many keys have requests in flight.
    #[must_use]
    pub fn keys_in_flight(&self) -> usize {
        self.state.keys.load(Ordering::Relaxed)
    }

    fn rejection(&self) -> Rejection {
        let status = match self.overload {
            Overload::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Overload::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        };
        rejection(status, "too many requests at the same time")
    }
}

impl Policy for InFlight {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::new("in_flight", "in-flight")
            .unwrap_or_else(|_| PolicyLabel::of_type::<Self>())
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let mut hasher = self.state.hash.build_hasher();
        if !self.key.write(request, &mut hasher) {
            match self.key.missing() {
                MissingKey::Refuse => {
                    return Check::reject(key_missing());
                }
                MissingKey::Share => {}
                MissingKey::Skip => return Check::admit(),
            }
        }
        let permit = match self
            .state
            .acquire(hasher.finish(), self.limit, self.max_keys)
        {
            Ok(permit) => permit,
            Err(Full::Key) => return Check::reject(self.rejection()),
            Err(Full::Table) => {
                return Check::reject(table_full());
            }
        };
        // The receipt is settled or dropped in the end, and the permit with it.
        let receipt = move |_: Outcome<'_>| drop(permit);
        Check::Ready(
            Admission::new()
                .with_receipt(Until::BodyEnd, receipt)
                .into(),
        )
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        let mut hasher = self.state.hash.build_hasher();
        if !self.key.write(request, &mut hasher) {
            match self.key.missing() {
                MissingKey::Refuse => return Some(Peek::reject(key_missing())),
                MissingKey::Share => {}
                MissingKey::Skip => return Some(Peek::admit("the request is not counted")),
            }
        }
        let count = self.state.counts.get(&hasher.finish()).map(|it| *it);
        Some(match count {
            Some(count) if self.limit <= count => Peek::reject(self.rejection()),
            None if self.max_keys <= self.keys_in_flight() => Peek::reject(table_full()),
            count => Peek::admit(format!(
                "{} of {} in flight",
                count.unwrap_or(0),
                self.limit
            )),
        })
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("limit", &self.limit)
            .field("key", &self.key)
            .field("overload", &self.overload)
            .field("max_keys", &self.max_keys)
            .field("keys_in_flight", &self.keys_in_flight())
            .finish_non_exhaustive()
    }
}

/// The counts of the keys that have requests in flight. A key with none has no entry.
#[derive(Default)]
struct State {
    hash: RandomState,
    counts: DashMap<u64, u32>,
    /// How many entries there are: the map would have to lock all of its shards to tell.
    keys: AtomicUsize,
}

enum Full {
    Key,
    Table,
}

impl State {
    fn acquire(self: &Arc<Self>, key: u64, limit: u32, max_keys: usize) -> Result<Permit, Full> {
        match self.counts.entry(key) {
            Entry::Occupied(mut count) if *count.get() < limit => *count.get_mut() += 1,
            Entry::Occupied(_) => return Err(Full::Key),
            Entry::Vacant(entry) => {
                let claimed =
                    self.keys
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |keys| {
                            (keys < max_keys).then_some(keys + 1)
                        });
                if claimed.is_err() {
                    return Err(Full::Table);
                }
                entry.insert(1);
            }
        }
        Ok(Permit {
            state: Arc::clone(self),
            key,
        })
    }
}

/// A place among the requests in flight, given back when dropped.
struct Permit {
    state: Arc<State>,
    key: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.state.counts.entry(self.key) {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
                self.state.keys.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn key_missing() -> Rejection {
    Rejection::new(
        Action::RateLimitKeyMissing,
        StatusCode::BAD_REQUEST,
        "request lacks what it would be counted under",
    )
}

fn table_full() -> Rejection {
    rejection(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many clients at the same time",
    )
}

fn rejection(status: StatusCode, reason: &'static str) -> Rejection {
    Rejection::new(Action::InFlightExceeded, status, reason).with_retry_after(RETRY_AFTER)
}

const MAX_KEYS: usize = 100_000;
/// When a request ends, nobody knows: this only keeps clients from coming again at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);
