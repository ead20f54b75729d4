//! How much of an address events show.

use ipnet::IpNet;

#[cfg(feature = "privacy")]
use crate::event::address_key::AddressKey;
use crate::event::{
    address::EventAddress,
    model::{SecurityEvent, Severity},
    sink::EventSink,
};

/// How much of an address events show.
///
/// It is about events only: decisions are made by the whole address. Cut addresses are still personal data in the eyes of several
/// authorities, and so are tokens as long as their key lives; both only lower what a leaked log tells. fail2ban and its like need
/// [`Full`](Self::Full).
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum AddressPrivacy {
    /// The whole address; the default.
    #[default]
    Full,
    /// A token that is the same for the same address as long as the key lives, and says nothing after it.
    #[cfg(feature = "privacy")]
    Keyed(AddressKey),
    /// No address.
    Omitted,
    /// The network that the address is in.
    Truncated {
        /// Length of the prefix of IPv4 networks; 24 is usual.
        v4: u8,
        /// Length of the prefix of IPv6 networks; 48 is usual.
        v6: u8,
    },
}

impl AddressPrivacy {
    /// Returns the usual networks: /24 and /48.
    #[must_use]
    pub fn truncated() -> Self {
        Self::Truncated { v4: 24, v6: 48 }
    }
}

/// Puts [`AddressPrivacy`] before a sink. It changes the addresses of client and peer in every event, summaries and bans
/// included, and leaves out the entry of a list that decided where it would tell more than they do.
///
/// Flood control belongs outside of it, where it still tells one client from another.
///
/// # Example
///
/// ```
/// use palisade::event::{Action, AddressPrivacy, EventSink, PrivacySink, SecurityEvent};
///
/// let sink = PrivacySink::new(AddressPrivacy::truncated(), |event: &SecurityEvent<'_>| {
///     assert_eq!(event.client_address().map(ToString::to_string).as_deref(), Some("203.0.113.0/24"));
/// });
/// sink.record(&SecurityEvent::new(Action::IpBlocked, "address is blocked").with_client([203, 0, 113, 7].into()));
/// ```
#[derive(Debug)]
pub struct PrivacySink<S> {
    privacy: AddressPrivacy,
    sink: S,
}

impl<S: EventSink> PrivacySink<S> {
    /// Puts privacy before a sink.
    pub fn new(privacy: AddressPrivacy, sink: S) -> Self {
        Self { privacy, sink }
    }

    /// Returns whether so many addresses are in the network that it says no more than a cut address.
    fn hides(&self, network: IpNet) -> bool {
        match (&self.privacy, network) {
            (AddressPrivacy::Truncated { v4, .. }, IpNet::V4(it)) => it.prefix_len() <= *v4,
            (AddressPrivacy::Truncated { v6, .. }, IpNet::V6(it)) => it.prefix_len() <= *v6,
            _ => false,
        }
    }

    fn shown(&self, address: &EventAddress<'_>) -> Option<EventAddress<'static>> {
        match (&self.privacy, address) {
            (AddressPrivacy::Omitted, _) => None,
            #[cfg(feature = "privacy")]
            (AddressPrivacy::Keyed(key), EventAddress::Full(addr)) => key.token(*addr, None),
            #[cfg(feature = "privacy")]
            (AddressPrivacy::Keyed(key), EventAddress::Network { addr, prefix }) => {
                key.token(*addr, Some(*prefix))
            }
            (AddressPrivacy::Truncated { v4, v6 }, EventAddress::Full(addr)) => {
                let prefix = if addr.is_ipv4() { *v4 } else { *v6 };
                Some(EventAddress::network(*addr, prefix))
            }
            (AddressPrivacy::Truncated { v4, v6 }, EventAddress::Network { addr, prefix }) => {
                let most = if addr.is_ipv4() { *v4 } else { *v6 };
                Some(EventAddress::network(*addr, most.min(*prefix)))
            }
            (_, address) => Some(address.clone().into_owned()),
        }
    }
}

impl<S: EventSink> EventSink for PrivacySink<S> {
    fn record(&self, event: &SecurityEvent<'_>) {
        if matches!(self.privacy, AddressPrivacy::Full) {
            return self.sink.record(event);
        }
        let client = event.client_address().and_then(|it| self.shown(it));
        let peer = event.peer_address().and_then(|it| self.shown(it));
        let mut event = event.clone().without_addresses();
        if !event.rule().is_some_and(|rule| self.hides(rule)) {
            event = event.without_rule();
        }
        if let Some(client) = client {
            event = event.with_client_address(client);
        }
        if let Some(peer) = peer {
            event = event.with_peer_address(peer);
        }
        self.sink.record(&event);
    }

    fn wants(&self, severity: Severity) -> bool {
        self.sink.wants(severity)
    }

    fn tick(&self) {
        self.sink.tick();
    }

    fn flush(&self) {
        self.sink.flush();
    }
}
