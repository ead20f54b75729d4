//! A ban, as it is shown.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use ipnet::IpNet;

use crate::jail::key::BanKey;

/// A ban, as [`JailHandle::bans`](crate::jail::JailHandle::bans) lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ban {
    pub(crate) key: BanKey,
    pub(crate) rule: Arc<str>,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) count: u32,
}

impl Ban {
    /// Returns who is banned: one IPv4 address, or an IPv6 network.
    #[must_use]
    pub fn client(&self) -> IpNet {
        self.key.net()
    }

    /// Returns the name of the rule that bans, `trap` for a trap path or `manual`.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns when the ban began.
    #[must_use]
    pub fn start(&self) -> SystemTime {
        self.start
    }

    /// Returns when the ban will end.
    #[must_use]
    pub fn end(&self) -> SystemTime {
        self.end
    }

    /// Returns the how manieth ban of this client it is, as far as is remembered.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// A ban as the table holds it. What is measured is monotonic; what is shown and stored is not.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) ban: Ban,
    pub(crate) end: Instant,
    /// When the client's former bans are forgotten; not before `end`.
    pub(crate) forget: Instant,
    /// `false` where it was made in dry run.
    pub(crate) enforced: bool,
    /// Whether its end has been noticed, and told.
    pub(crate) is_over: bool,
}

impl Record {
    pub(crate) fn is_active(&self, now: Instant) -> bool {
        !self.is_over && now < self.end
    }
}

/// A ban could not be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BanError(pub(crate) Refused);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    Exempt,
    Full,
}

impl fmt::Display for BanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Refused::Exempt => "the client is exempt from bans",
            Refused::Full => "the table of bans is full",
        })
    }
}

impl std::error::Error for BanError {}
