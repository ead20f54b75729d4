//! Keyed tokens that stand for addresses.

use std::{
    borrow::Cow,
    error::Error,
    fmt::{self, Write as _},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    clock::{Clock, MonotonicClock},
    event::address::EventAddress,
};

/// A random key that turns addresses into tokens, and is replaced by a new one after a time.
///
/// A token is the first half of an HMAC-SHA-256, in hexadecimal digits. (A hash without a key would hide nothing: all IPv4 addresses
/// can be hashed within minutes.) The key never leaves the process, so that tokens of two processes cannot be compared.
pub struct AddressKey {
    period: Duration,
    clock: Arc<dyn Clock>,
    current: Mutex<Current>,
}

/// The key and when it was made.
struct Current {
    key: [u8; 32],
    since: Instant,
}

impl AddressKey {
    /// Creates a key that is replaced after `period`; a day is usual.
    ///
    /// # Errors
    ///
    /// Returns an error where the operating system has no random numbers.
    pub fn rotating(period: Duration) -> Result<Self, AddressKeyError> {
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
        let current = Current {
            key: random()?,
            since: clock.now(),
        };
        Ok(Self {
            period,
            clock,
            current: Mutex::new(current),
        })
    }

    /// Sets the clock that tells when the key is to be replaced. The default is [`MonotonicClock`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        let since = self.clock.now();
        self.current
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .since = since;
        self
    }

    /// Returns the token of an address or network; none where an old key cannot be replaced.
    pub(crate) fn token(&self, addr: IpAddr, prefix: Option<u8>) -> Option<EventAddress<'static>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key()?).ok()?;
        let bits = match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        mac.update(&bits.octets());
        mac.update(&[prefix.unwrap_or(u8::MAX)]);
        let mut token = String::with_capacity(32);
        for byte in mac.finalize().into_bytes().iter().take(16) {
            // Writing to a `String` cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        Some(EventAddress::Token(Cow::Owned(token)))
    }

    fn key(&self) -> Option<[u8; 32]> {
        let now = self.clock.now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if self.period <= now.saturating_duration_since(current.since) {
            current.key = random().ok()?;
            current.since = now;
        }
        Some(current.key)
    }
}

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressKey")
            .field("period", &self.period)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

fn random() -> Result<[u8; 32], AddressKeyError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(AddressKeyError)?;
    Ok(key)
}

/// The operating system has no random numbers.
#[derive(Debug)]
pub struct AddressKeyError(getrandom::Error);

impl fmt::Display for AddressKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no random numbers for an address key")
    }
}

impl Error for AddressKeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
