//! The section `events`.

use serde::Deserialize;

#[cfg(feature = "privacy")]
use crate::event::address_key::AddressKey;
#[cfg(feature = "flood-control")]
use crate::event::flood::FloodControl;
use crate::{
    config::{
        error::{ConfigErrors, Faults},
        value::Period,
    },
    event::{
        privacy::{AddressPrivacy, PrivacySink},
        sink::{EventSink, SharedSink},
    },
};

/// What becomes of security events on their way to the sink.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EventsConfig {
    /// How much of an address events show; the whole if nothing is said.
    pub privacy: PrivacyKind,
    /// The length of the prefix that is shown of IPv4 addresses, with `privacy = "truncated"`; 24 if nothing is said.
    pub truncate_ipv4: Option<u8>,
    /// The length of the prefix that is shown of IPv6 addresses, with `privacy = "truncated"`; 48 if nothing is said.
    pub truncate_ipv6: Option<u8>,
    /// How long the key of tokens lives, with `privacy = "keyed"`; a day if nothing is said.
    #[cfg(feature = "privacy")]
    pub key_period: Option<Period>,
    /// Whether repeats are counted instead of recorded; they are if nothing is said.
    #[cfg(feature = "flood-control")]
    pub flood_control: bool,
    /// The time within which an event of the same policy, client and action is a repeat, a minute if nothing is said; `0s` leaves the budget alone.
    #[cfg(feature = "flood-control")]
    pub window: Period,
    /// How many events per second are recorded over all clients; 100 if nothing is said.
    #[cfg(feature = "flood-control")]
    pub per_second: u32,
    /// After how large a burst; 20 if nothing is said.
    #[cfg(feature = "flood-control")]
    pub burst: u32,
    /// How many events are remembered; 8192 if nothing is said.
    #[cfg(feature = "flood-control")]
    pub capacity: usize,
    /// How often summaries that are due are looked for; nothing but further events makes them come if nothing is said.
    pub tick: Option<Period>,
}

#[cfg_attr(
    not(feature = "flood-control"),
    expect(
        clippy::derivable_impls,
        reason = "with flood control, there are defaults to be written down"
    )
)]
impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            privacy: PrivacyKind::default(),
            truncate_ipv4: None,
            truncate_ipv6: None,
            #[cfg(feature = "privacy")]
            key_period: None,
            #[cfg(feature = "flood-control")]
            flood_control: true,
            #[cfg(feature = "flood-control")]
            window: Period::seconds(60),
            #[cfg(feature = "flood-control")]
            per_second: 100,
            #[cfg(feature = "flood-control")]
            burst: 20,
            #[cfg(feature = "flood-control")]
            capacity: 8192,
            tick: None,
        }
    }
}

/// How much of an address events show.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrivacyKind {
    /// The whole address.
    #[default]
    Full,
    /// A token that is the same for the same address as long as its key lives.
    #[cfg(feature = "privacy")]
    Keyed,
    /// Nothing.
    Omitted,
    /// The network that the address is in.
    Truncated,
}

impl EventsConfig {
    /// Puts what the section says in front of a sink: address privacy, and flood control outside of it.
    ///
    /// # Errors
    ///
    /// Fails if keys contradict each other, and if there is no randomness or no thread left.
    pub fn sink(&self, sink: impl EventSink) -> Result<SharedSink, ConfigErrors> {
        let mut faults = Faults::default();
        let privacy = self.privacy(&mut faults);
        self.check(&mut faults);
        let shared = self.shared(PrivacySink::new(privacy, sink));
        let shared = match self.tick {
            Some(Period(every)) if faults.is_empty() => {
                let ticking = shared.clone().with_ticker(every);
                faults.take("events.tick", ticking).unwrap_or(shared)
            }
            _ => shared,
        };
        faults.finish(shared)
    }

    #[cfg(feature = "flood-control")]
    fn shared(&self, sink: impl EventSink) -> SharedSink {
        if !self.flood_control {
            return SharedSink::new(sink);
        }
        SharedSink::new(
            FloodControl::new(sink)
                .with_window(self.window.0)
                .with_budget(self.per_second, self.burst)
                .with_capacity(self.capacity),
        )
    }

    #[cfg(not(feature = "flood-control"))]
    #[expect(clippy::unused_self, reason = "with flood control it is used")]
    fn shared(&self, sink: impl EventSink) -> SharedSink {
        SharedSink::new(sink)
    }

    /// Notes what is wrong with the section.
    pub(crate) fn check(&self, faults: &mut Faults) {
        if self.privacy != PrivacyKind::Truncated {
            for (key, value) in [
                ("truncate_ipv4", self.truncate_ipv4),
                ("truncate_ipv6", self.truncate_ipv6),
            ] {
                if value.is_some() {
                    faults.add(
                        format!("events.{key}"),
                        "is for events.privacy = \"truncated\": leave it out, or choose that",
                    );
                }
            }
        }
        if self.truncate_ipv4.is_some_and(|it| 32 < it) {
            faults.add("events.truncate_ipv4", "must be from 0 to 32");
        }
        if self.truncate_ipv6.is_some_and(|it| 128 < it) {
            faults.add("events.truncate_ipv6", "must be from 0 to 128");
        }
        #[cfg(feature = "privacy")]
        {
            if self.key_period.is_some() && self.privacy != PrivacyKind::Keyed {
                let message = "is for events.privacy = \"keyed\": leave it out, or choose that";
                faults.add("events.key_period", message);
            }
            if self.key_period.is_some_and(|it| it.0.is_zero()) {
                faults.add("events.key_period", "must be longer than \"0s\"");
            }
        }
        #[cfg(feature = "flood-control")]
        for (key, value) in [("per_second", self.per_second), ("burst", self.burst)] {
            if value == 0 {
                faults.add(format!("events.{key}"), "must be at least 1");
            }
        }
        #[cfg(feature = "flood-control")]
        if self.capacity == 0 {
            faults.add("events.capacity", "must be at least 1");
        }
        if self.tick.is_some_and(|it| it.0.is_zero()) {
            faults.add("events.tick", "must be longer than \"0s\"");
        }
    }

    #[cfg_attr(
        not(feature = "privacy"),
        expect(unused_variables, reason = "nothing but keyed addresses can fail")
    )]
    fn privacy(&self, faults: &mut Faults) -> AddressPrivacy {
        match self.privacy {
            PrivacyKind::Full => AddressPrivacy::Full,
            #[cfg(feature = "privacy")]
            PrivacyKind::Keyed => {
                let period = self.key_period.unwrap_or(Period::seconds(24 * 60 * 60));
                let key = faults.take("events.privacy", AddressKey::rotating(period.0));
                // Where there is no key, nothing is built either.
                key.map_or(AddressPrivacy::Omitted, AddressPrivacy::Keyed)
            }
            PrivacyKind::Omitted => AddressPrivacy::Omitted,
            PrivacyKind::Truncated => AddressPrivacy::Truncated {
                v4: self.truncate_ipv4.unwrap_or(24),
                v6: self.truncate_ipv6.unwrap_or(48),
            },
        }
    }
}
