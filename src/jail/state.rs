//! What all clones of a jail share: its tables, and the events about them.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;

use crate::{
    client_ip::context::ClientIp,
    clock::Clock,
    enforce::gate::about,
    event::{
        address::EventAddress,
        model::{Action, SecurityEvent},
        sink::{EventSink, SharedSink},
    },
    ip_set::set::IpSet,
    jail::{
        ban::{Ban, Record},
        ban_time::BanTime,
        bans::{BanTable, Made},
        failures::{FailureTable, Noted},
        file::{BanFile, BanFileError, StoredBan},
        key::BanKey,
        rule::Rule,
        tallies::{Skipped, Tallies},
        trap::TrapPaths,
    },
    policy::head::RequestHead,
};
#[cfg(feature = "redis")]
use crate::{
    jail::shared::outbox::{Change, Outbox, Standing},
    shared_store::script::Script,
};

/// How often it is told at most that the table of failures is full.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// Where the randomness of jitter comes from.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) Arc<dyn Fn() -> u64 + Send + Sync>);

pub(crate) struct State {
    pub(crate) rules: Vec<Rule>,
    pub(crate) traps: TrapPaths,
    pub(crate) ban_time: BanTime,
    pub(crate) exempt: Vec<IpSet>,
    pub(crate) status: StatusCode,
    pub(crate) tells_end: bool,
    pub(crate) bans: BanTable,
    pub(crate) failures: FailureTable,
    pub(crate) file: Option<BanFile>,
    /// What the instances that share the bans have to be told.
    #[cfg(feature = "redis")]
    pub(crate) shared: Option<Outbox>,
    #[cfg(feature = "redis")]
    pub(crate) ban_script: Arc<Script>,
    pub(crate) random: Random,
    pub(crate) sink: SharedSink,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tallies: Tallies,
}

/// Why a client is banned, and for how long.
pub(crate) struct Cause<'a> {
    pub(crate) rule: &'a Arc<str>,
    pub(crate) reason: &'static str,
    pub(crate) ban_time: BanTime,
    pub(crate) enforced: bool,
    /// Whether somebody has ordered it, who knows of the ban that there may be: it takes the place of that one.
    pub(crate) by_hand: bool,
    /// The request that is being decided on.
    pub(crate) request: Option<&'a RequestHead<'a>>,
}

/// What came of a ban.
#[derive(Debug)]
pub(crate) enum Verdict {
    Already,
    Banned(Ban),
    Full,
}

impl State {
    /// Returns whether the client is never banned. Unknown clients are nobody in particular: there is no one to ban.
    pub(crate) fn is_exempt(&self, client: ClientIp) -> bool {
        match client {
            ClientIp::Known(addr) => {
                addr.is_loopback() || self.exempt.iter().any(|it| it.contains(addr))
            }
            // The furthest hop that can be verified is a proxy of ours: whoever failed, it is not the one to ban.
            ClientIp::AllTrusted { .. } | ClientIp::Unknown(_) => true,
        }
    }

    /// Counts a failure of a client under the rule at position `index`, and bans who has too many.
    pub(crate) fn note(&self, client: ClientIp, index: usize, rule: &Rule, enforced: bool) {
        let Some(addr) = client.addr() else {
            return;
        };
        let key = BanKey::new(addr);
        let now = self.clock.now();
        // Requests that were under way when their client was banned neither lengthen the ban nor count towards the next.
        if self.bans.is_active(key, now) {
            return;
        }
        match self
            .failures
            .note(key, index, now, rule.limit(), rule.span())
        {
            Noted::Counted => {}
            Noted::CountedInstead => {
                self.tallies.note_given_up();
                self.tell_full(now);
            }
            Noted::Reached => {
                let cause = Cause {
                    rule: rule.shared_name(),
                    reason: "too many failures",
                    ban_time: rule.ban_time().unwrap_or(self.ban_time),
                    enforced,
                    by_hand: false,
                    request: None,
                };
                if self.is_exempt(client) {
                    self.tallies.note_skipped(Skipped::Exempt);
                    self.tell_skipped(key, &cause, "too many failures, but the client is exempt");
                } else {
                    self.ban(key, now, &cause);
                }
            }
        }
    }

    /// Forgets the failures of a client under the rule at position `index`.
    pub(crate) fn forget(&self, client: ClientIp, index: usize) {
        if let Some(addr) = client.addr() {
            self.failures.forget(BanKey::new(addr), index);
        }
    }

    /// Bans a client unless it is banned, and raises exactly one event if it was not.
    pub(crate) fn ban(&self, key: BanKey, now: Instant, cause: &Cause<'_>) -> Verdict {
        let start = self.clock.system_now();
        let random = (self.random.0)();
        let record = |before| {
            let length = cause.ban_time.length(before, random);
            new_record(key, now, start, length, cause, before)
        };
        let mut made = self.bans.make(key, now, cause.by_hand, record);
        if matches!(made, Made::Full) {
            self.tell_expired(&self.bans.make_room(now));
            made = self.bans.make(key, now, cause.by_hand, record);
        }
        match made {
            Made::Already => Verdict::Already,
            Made::Full => {
                self.tallies.note_skipped(Skipped::Full);
                self.tell_skipped(key, cause, "the table of bans is full");
                Verdict::Full
            }
            Made::New { ban, over } => {
                self.tell_expired(over.as_slice());
                self.tallies.note_banned(cause.rule);
                let event = self
                    .event(Action::ClientBanned, cause.reason, key, cause)
                    .with_span(ban.start, Some(ban.end));
                // Before the event: what records it is the application's, and what others have done meanwhile must not come in between.
                #[cfg(feature = "redis")]
                self.share(key, cause.by_hand);
                self.sink.record(&event);
                Verdict::Banned(ban)
            }
        }
    }

    /// Lifts a ban and forgets what the client has done.
    pub(crate) fn unban(&self, key: BanKey) -> Option<Ban> {
        for index in 0..self.rules.len() {
            self.failures.forget(key, index);
        }
        // Here first: the others' answer would lift it untold.
        let lifted = self.bans.lift(key);
        // It may be another instance that has made the ban.
        #[cfg(feature = "redis")]
        if let Some(outbox) = &self.shared {
            outbox.push(key, Change::Lift(self.clock.system_now()));
        }
        let record = lifted?;
        if self.clock.now() < record.end {
            self.tallies.note_lifted();
            self.tell_over(&record, "lifted by hand");
            return Some(record.ban);
        }
        self.tell_expired(&[record]);
        None
    }

    /// Tells the other instances of a new ban.
    #[cfg(feature = "redis")]
    fn share(&self, key: BanKey, by_hand: bool) {
        if let (Some(outbox), Some(record)) = (&self.shared, self.bans.record(key))
            && record.enforced
        {
            let standing = if by_hand {
                Standing::Always
            } else {
                Standing::Longer
            };
            outbox.push(key, Change::Ban(StoredBan::of(record), standing));
            // Somebody may have lifted it just now, and the others would be told of the ban alone.
            if self.bans.record(key).is_none() {
                outbox.push(key, Change::Lift(self.clock.system_now()));
            }
        }
    }

    /// Drops what is over from all tables, and tells of bans that have ended.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.failures.sweep(now);
        self.tell_expired(&self.bans.sweep(now));
    }

    /// Takes over a ban that was made before: it is not told of again, and replaces none that is there.
    pub(crate) fn take_over(&self, stored: StoredBan, now: Instant, system_now: SystemTime) {
        if let Some(record) = self.record_of(stored, now, system_now) {
            self.bans.restore(record);
        }
    }

    /// Takes over a ban that was made elsewhere, in the place of the one that is here. It is not told of again.
    #[cfg(feature = "redis")]
    pub(crate) fn take_over_anew(&self, stored: StoredBan, now: Instant, system_now: SystemTime) {
        let (key, rule) = (stored.ban.key, Arc::clone(&stored.ban.rule));
        let Some(record) = self.record_of(stored, now, system_now) else {
            self.bans.lift(key);
            return;
        };
        if self.bans.replace(record.clone()) {
            return;
        }
        self.tell_expired(&self.bans.make_room(now));
        if !self.bans.replace(record) {
            self.tallies.note_skipped(Skipped::Full);
            let cause = Cause {
                rule: &rule,
                reason: "banned by another instance",
                ban_time: self.ban_time,
                enforced: true,
                by_hand: false,
                request: None,
            };
            self.tell_skipped(
                key,
                &cause,
                "banned by another instance, but the table of bans is full",
            );
        }
    }

    /// Returns what a ban is here and now; nothing where the client is exempt, or all is over and forgotten.
    fn record_of(&self, stored: StoredBan, now: Instant, system_now: SystemTime) -> Option<Record> {
        let net = stored.ban.key.net();
        // Of a network, some addresses may be exempt and others not: each request is looked at by itself.
        if net.prefix_len() == net.max_prefix_len() && self.is_exempt(ClientIp::Known(net.addr())) {
            return None;
        }
        let length = since(stored.ban.start, stored.ban.end);
        // The wall clock may have been set back since: no ban becomes longer than it was.
        let left = since(system_now, stored.ban.end).min(length);
        let memory =
            since(system_now, stored.forget).min(length + since(stored.ban.end, stored.forget));
        let (end, forget) = (now.checked_add(left)?, now.checked_add(memory)?);
        (now < forget).then(|| Record {
            ban: stored.ban,
            end,
            forget: forget.max(end),
            enforced: true,
            is_over: left.is_zero(),
        })
    }

    /// Tells that bans have ended by themselves.
    pub(crate) fn tell_expired(&self, records: &[Record]) {
        for record in records {
            self.tallies.note_expired();
            self.tell_over(record, "expired");
        }
    }

    /// Tells that a client that should have been banned was not.
    pub(crate) fn tell_skipped(&self, key: BanKey, cause: &Cause<'_>, reason: &'static str) {
        self.sink
            .record(&self.event(Action::BanSkipped, reason, key, cause));
    }

    /// Tells that the file of bans could not be used.
    fn tell_file_failed(&self, error: &BanFileError, aside: Option<&Path>) {
        let reason = match aside {
            Some(aside) => format!("{error}; it was set aside as {}", aside.display()),
            None => error.to_string(),
        };
        self.sink
            .record(&SecurityEvent::new(Action::BanFileFailed, reason));
    }

    /// Reads the file of bans, if there is one.
    pub(crate) fn load(&self) {
        let Some(file) = &self.file else {
            return;
        };
        match file.read() {
            Ok(stored) => {
                let now = self.clock.now();
                let system_now = self.clock.system_now();
                for ban in stored {
                    self.take_over(ban, now, system_now);
                }
            }
            Err(error) => {
                // Or the next save would write over bans that somebody can still read.
                let aside = file.set_aside(&error);
                self.tell_file_failed(&error, aside.as_deref());
            }
        }
    }

    /// Writes the file of bans, if there is one.
    pub(crate) fn save(&self) -> Result<(), BanFileError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        // Under the lock of the file: of two that save at once, the later one has the newer bans.
        file.write(|| self.to_be_kept())
            .inspect_err(|error| self.tell_file_failed(error, None))
    }

    /// Returns what the file of bans is to hold.
    fn to_be_kept(&self) -> Vec<StoredBan> {
        self.sweep();
        let now = self.clock.now();
        let system_now = self.clock.system_now();
        self.bans
            .records()
            .into_iter()
            .filter(|record| record.enforced)
            .map(|record| {
                let memory = record.forget.saturating_duration_since(record.end);
                // A ban whose end was noticed early, by a clock that has stepped back since, must not come back to life.
                let end = if record.is_active(now) {
                    record.ban.end
                } else {
                    record.ban.end.min(system_now)
                };
                StoredBan {
                    forget: end.checked_add(memory).unwrap_or(end),
                    ban: Ban { end, ..record.ban },
                }
            })
            .collect()
    }

    fn tell_over(&self, record: &Record, reason: &'static str) {
        let event = SecurityEvent::new(Action::ClientUnbanned, reason)
            .with_policy(&*record.ban.rule)
            .with_client_address(address(record.ban.key))
            .with_span(record.ban.start, Some(record.ban.end));
        self.sink.record(&marked(event, record.enforced));
    }

    fn tell_full(&self, now: Instant) {
        let mut told = self
            .tallies
            .told_full
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.saturating_duration_since(told) < FULL_PAUSE) {
            return;
        }
        *told = Some(now);
        drop(told);
        self.sink.record(&SecurityEvent::new(
            Action::BanSkipped,
            "the table of failures is full: the longest quiet client was forgotten",
        ));
    }

    fn event<'a>(
        &self,
        action: Action,
        reason: &'static str,
        key: BanKey,
        cause: &Cause<'a>,
    ) -> SecurityEvent<'a> {
        let mut event = SecurityEvent::new(action, reason).with_policy(&**cause.rule);
        if let Some(request) = cause.request {
            event = about(event, Some(cause.rule), request).with_status(self.status);
        }
        marked(event.with_client_address(address(key)), cause.enforced)
    }
}

fn new_record(
    key: BanKey,
    now: Instant,
    start: SystemTime,
    length: Duration,
    cause: &Cause<'_>,
    before: u32,
) -> Record {
    // Ten years fit; where they do not, the ban is over at once rather than a reason to panic.
    let end = now.checked_add(length).unwrap_or(now);
    let forget = end.checked_add(cause.ban_time.memory()).unwrap_or(end);
    Record {
        ban: Ban {
            key,
            rule: Arc::clone(cause.rule),
            start,
            end: start.checked_add(length).unwrap_or(start),
            count: before.saturating_add(1),
        },
        end,
        forget,
        enforced: cause.enforced,
        is_over: false,
    }
}

/// Returns the address as events show it: a network where that is what is banned.
fn address(key: BanKey) -> EventAddress<'static> {
    let net = key.net();
    if net.prefix_len() == net.max_prefix_len() {
        EventAddress::Full(net.addr())
    } else {
        EventAddress::network(net.addr(), net.prefix_len())
    }
}

fn marked(event: SecurityEvent<'_>, enforced: bool) -> SecurityEvent<'_> {
    if enforced { event } else { event.observed() }
}

/// Returns the time from one wall-clock time to another; none where it is not later.
fn since(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}
