//! The jail's builder.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::StatusCode;

use crate::{
    clock::{Clock, MonotonicClock},
    event::sink::{EventSink, SharedSink},
    ip_set::set::IpSet,
    jail::{
        ban_time::BanTime,
        bans::BanTable,
        failures::FailureTable,
        file::BanFile,
        policy::Jail,
        rule::Rule,
        state::{Random, State},
        tallies::Tallies,
        trap::TrapPaths,
    },
};
#[cfg(feature = "redis")]
use crate::{
    jail::shared::{outbox::Outbox, sync::BANS},
    shared_store::{script::Script, store::RedisStore},
};

/// Gathers what a [`Jail`] bans for, and how. What is not asked for is not done: without rules and traps there are only bans by hand.
#[must_use]
pub struct JailBuilder {
    rules: Vec<Rule>,
    traps: TrapPaths,
    ban_time: BanTime,
    exempt: Vec<IpSet>,
    status: StatusCode,
    tells_end: bool,
    max_bans: usize,
    max_counters: usize,
    file: Option<PathBuf>,
    #[cfg(feature = "redis")]
    shared: Option<RedisStore>,
    random: Random,
    sink: Option<SharedSink>,
    clock: Option<Arc<dyn Clock>>,
}

impl Jail {
    /// Starts a jail that bans nobody yet.
    pub fn builder() -> JailBuilder {
        JailBuilder::new()
    }
}

impl JailBuilder {
    pub(crate) fn new() -> Self {
        Self {
            rules: Vec::new(),
            traps: TrapPaths::new(),
            ban_time: BanTime::default(),
            exempt: Vec::new(),
            status: StatusCode::FORBIDDEN,
            tells_end: false,
            max_bans: 65_536,
            max_counters: 16_384,
            file: None,
            #[cfg(feature = "redis")]
            shared: None,
            random: Random(Arc::new(keyed_numbers())),
            sink: None,
            clock: None,
        }
    }

    /// Bans who breaks a rule. Called several times, each rule counts for itself.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Bans who touches one of these paths. The default is none.
    pub fn traps(mut self, traps: TrapPaths) -> Self {
        self.traps = traps;
        self
    }

    /// Sets how long a ban lasts, where a rule or the traps say nothing else. The default is ten minutes.
    pub fn ban_time(mut self, ban_time: BanTime) -> Self {
        self.ban_time = ban_time;
        self
    }

    /// Never bans these addresses, such as an office or a monitor. Called several times, all of them are exempt.
    ///
    /// Loopback addresses are always exempt, and requests whose client is a trusted proxy: to ban that proxy [by hand](crate::jail::JailHandle::ban)
    /// bans nobody, unless its addresses are named here, where it is refused.
    pub fn exempt(mut self, addresses: IpSet) -> Self {
        self.exempt.push(addresses);
        self
    }

    /// Sets the status that banned clients are answered with. The default, also where `status` is no error, is 403.
    pub fn status(mut self, status: StatusCode) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        self.status = if is_error {
            status
        } else {
            StatusCode::FORBIDDEN
        };
        self
    }

    /// Tells banned clients in `Retry-After` when the ban ends. The default is that they are not told.
    pub fn retry_after(mut self) -> Self {
        self.tells_end = true;
        self
    }

    /// Sets how many bans there may be, remembered ones included. The default is 65536; 0 is read as 1.
    ///
    /// A full table refuses new bans and says so with the event `ban_skipped`; it never gives up an active one.
    pub fn max_bans(mut self, max: usize) -> Self {
        self.max_bans = max.max(1);
        self
    }

    /// Sets how many failure counters there may be, about one per client and rule. The default is 16384; 0 is read as 1.
    ///
    /// A full table gives up the counter whose last failure is the longest ago, or nearly so.
    pub fn max_counters(mut self, max: usize) -> Self {
        self.max_counters = max.max(1);
        self
    }

    /// Keeps the bans in a file. It is read by [`build`](Self::build) and written by [`JailHandle::save`](crate::jail::JailHandle::save).
    ///
    /// A file that is not there is none yet. One that cannot be read starts the jail empty, and is told with the event
    /// `ban_file_failed`; it is set aside under its name with `.corrupt` behind it, so that the next save does not write over it. The default is no file.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Shares the bans with the other instances of a [store](crate::shared_store): what one bans or lifts, all do. The default is no store.
    ///
    /// Failures are counted by each instance for itself. The store then knows the addresses of banned clients, as a file of bans does.
    #[cfg(feature = "redis")]
    pub fn shared(mut self, store: &RedisStore) -> Self {
        self.shared = Some(store.clone());
        self
    }

    /// Sets where the randomness of jitter comes from: each call returns any number. The default is keyed by the operating system.
    pub fn random(mut self, random: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.random = Random(Arc::new(random));
        self
    }

    /// Sets who receives the security events. The default is [`SharedSink::default`].
    pub fn sink(mut self, sink: impl EventSink) -> Self {
        self.sink = Some(SharedSink::new(sink));
        self
    }

    /// Sets the clock. The default is [`MonotonicClock`].
    ///
    /// The service that the jail stands in must have the same, as [`JailLayer`](crate::jail::JailLayer) sees to.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Sets the sink, shared with other layers, unless one is set.
    pub(crate) fn or_sink(mut self, sink: &SharedSink) -> Self {
        self.sink.get_or_insert_with(|| sink.clone());
        self
    }

    /// Sets the clock, shared with other layers, unless one is set.
    pub(crate) fn or_clock(mut self, clock: &Arc<dyn Clock>) -> Self {
        self.clock.get_or_insert_with(|| Arc::clone(clock));
        self
    }

    /// Makes the jail, and reads the file of bans if there is one.
    #[must_use]
    pub fn build(self) -> Jail {
        let state = State {
            tallies: Tallies::new(&self.rules),
            rules: self.rules,
            traps: self.traps,
            ban_time: self.ban_time,
            exempt: self.exempt,
            status: self.status,
            tells_end: self.tells_end,
            bans: BanTable::new(self.max_bans),
            failures: FailureTable::new(self.max_counters),
            file: self.file.map(|path| BanFile::new(path, self.max_bans)),
            #[cfg(feature = "redis")]
            shared: self.shared.map(|store| Outbox::new(store, self.max_bans)),
            #[cfg(feature = "redis")]
            ban_script: Arc::new(Script::new(BANS)),
            random: self.random,
            sink: self.sink.unwrap_or_default(),
            clock: self.clock.unwrap_or_else(|| Arc::new(MonotonicClock)),
        };
        state.load();
        Jail::new(Arc::new(state))
    }
}

impl fmt::Debug for JailBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JailBuilder")
            .field("rules", &self.rules)
            .field("traps", &self.traps)
            .field("ban_time", &self.ban_time)
            .field("exempt", &self.exempt)
            .field("status", &self.status)
            .field("max_bans", &self.max_bans)
            .field("max_counters", &self.max_counters)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Numbers that nobody can foretell who does not know the key.
fn keyed_numbers() -> impl Fn() -> u64 + Send + Sync {
    let key = RandomState::new();
    let next = AtomicU64::new(0);
    move || key.hash_one(next.fetch_add(1, Ordering::Relaxed))
}
