//! The jail in the hands of an administrator.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use crate::{
    client_ip::context::ClientIp,
    jail::{
        ban::{Ban, BanError, Refused},
        ban_time::BanTime,
        file::BanFileError,
        key::BanKey,
        state::{Cause, State, Verdict},
        tallies::MANUAL,
    },
};

/// Lists, makes and lifts bans while the service runs. Clones are handles to the same jail.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use palisade::jail::Jail;
///
/// let handle = Jail::builder().build().handle();
/// let ban = handle.ban("2001:db8::7".parse()?, Duration::from_secs(3600))?;
/// assert_eq!(ban.client().to_string(), "2001:db8::/64");
/// assert_eq!(handle.bans(), [ban]);
///
/// assert!(handle.ban("127.0.0.1".parse()?, Duration::from_secs(3600)).is_err());
///
/// handle.unban("2001:db8::8".parse()?);
/// assert_eq!(handle.counts().active(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JailHandle {
    state: Arc<State>,
}

impl JailHandle {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// Bans a client, an IPv6 client with its /64. A ban that it has is replaced.
    ///
    /// # Errors
    ///
    /// The client is exempt, or the table of bans is full, which raises the event `ban_skipped` too.
    pub fn ban(&self, client: IpAddr, length: Duration) -> Result<Ban, BanError> {
        let client = client.to_canonical();
        if self.state.is_exempt(ClientIp::Known(client)) {
            return Err(BanError(Refused::Exempt));
        }
        #[cfg(feature = "redis")]
        crate::jail::shared::sync::ensure(&self.state);
        let key = BanKey::new(client);
        let cause = Cause {
            rule: &MANUAL.into(),
            reason: "banned by hand",
            ban_time: BanTime::new(length),
            enforced: true,
            by_hand: true,
            request: None,
        };
        match self.state.ban(key, self.state.clock.now(), &cause) {
            Verdict::Banned(ban) => Ok(ban),
            Verdict::Already | Verdict::Full => Err(BanError(Refused::Full)),
        }
    }

    /// Lifts the ban that covers an address, and returns it. All the client has done is forgotten, whether it was banned or not.
    #[expect(
        clippy::must_use_candidate,
        reason = "that there was no ban to lift is no failure"
    )]
    pub fn unban(&self, client: IpAddr) -> Option<Ban> {
        #[cfg(feature = "redis")]
        crate::jail::shared::sync::ensure(&self.state);
        self.state.unban(BanKey::new(client))
    }

    /// Returns the active bans, IPv4 first, in the order of addresses.
    #[must_use]
    pub fn bans(&self) -> Vec<Ban> {
        self.state.sweep();
        let now = self.state.clock.now();
        let mut bans: Vec<_> = self
            .state
            .bans
            .records()
            .into_iter()
            .filter(|record| record.is_active(now))
            .map(|record| record.ban)
            .collect();
        bans.sort_unstable_by_key(Ban::client);
        bans
    }

    /// Counts what there is, and what has happened since the start.
    #[must_use]
    pub fn counts(&self) -> JailCounts {
        self.state.sweep();
        let tallies = &self.state.tallies;
        JailCounts {
            active: self.state.bans.active(),
            counters: self.state.failures.len(),
            banned: tallies.banned(),
            denied: tallies.denied(),
            expired: tallies.expired(),
            given_up: tallies.given_up(),
            lifted: tallies.lifted(),
            skipped: tallies.skipped(),
        }
    }

    /// Drops what is over, and tells of bans that have ended since anybody looked.
    ///
    /// Listing, counting and saving do it too. Nothing depends on it but how soon `client_unbanned` is told of clients that never come back.
    pub fn sweep(&self) {
        self.state.sweep();
    }

    /// Starts to share the bans, and waits until those of the other instances are known here; returns `false` where that takes longer than `patience`, as
    /// when the store is away.
    ///
    /// Sharing starts by itself with the first request. A service that waits before it listens serves no client that is banned elsewhere, not even once.
    /// Without a [store](crate::jail::JailBuilder::shared) it returns `true` at once.
    #[cfg(feature = "redis")]
    pub async fn synchronize(&self, patience: Duration) -> bool {
        let Some(outbox) = &self.state.shared else {
            return true;
        };
        let mut synced = outbox.synced();
        crate::jail::shared::sync::ensure(&self.state);
        outbox.wake.notify_one();
        tokio::time::timeout(patience, synced.changed())
            .await
            .is_ok_and(|changed| changed.is_ok())
    }

    /// Writes the bans to the [file](crate::jail::JailBuilder::file), replacing it as a whole. Without a file nothing is done.
    ///
    /// It waits for the disk: call it from a thread that may. Bans that were made in dry run are not written.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the old one stays. The event `ban_file_failed` is raised too.
    pub fn save(&self) -> Result<(), BanFileError> {
        self.state.save()
    }
}

impl fmt::Debug for JailHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JailHandle")
            .field("active", &self.state.bans.active())
            .finish_non_exhaustive()
    }
}

/// What there is in a jail, and what has happened since the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JailCounts {
    active: usize,
    counters: usize,
    banned: u64,
    denied: u64,
    expired: u64,
    given_up: u64,
    lifted: u64,
    skipped: u64,
}

impl JailCounts {
    /// Returns how many bans are active.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active
    }

    /// Returns how many failure counters there are: clients that have failed, but not too often.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.counters
    }

    /// Returns how many bans have been made.
    #[must_use]
    pub fn banned(&self) -> u64 {
        self.banned
    }

    /// Returns how many requests of banned clients have been refused, or would have been in dry run.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied
    }

    /// Returns how many bans have ended by themselves.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Returns how many failure counters were given up because the table was full.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Returns how many bans have been lifted by hand.
    #[must_use]
    pub fn lifted(&self) -> u64 {
        self.lifted
    }

    /// Returns how many clients were not banned that should have been: they are exempt, or the table was full.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}
