//! How much of an address events show: I13 and I14.

use std::time::Duration;

use palisade::{
    clock::ManualClock,
    event::{
        Action, AddressKey, AddressPrivacy, EcsLines, EventSink, LineFormat, PrivacySink,
        SecurityEvent, TextLines,
    },
};

use super::support::{
    CLIENT, Collector, Handler, Limit, flood_control, from, layer, request, send,
};

fn event(client: &str) -> SecurityEvent<'static> {
    SecurityEvent::new(Action::ClientBanned, "").with_client(client.parse().unwrap())
}

fn shown(privacy: AddressPrivacy, client: &str) -> Option<String> {
    let events = Collector::default();
    let event = event(client).with_peer("10.0.0.1".parse().unwrap());
    PrivacySink::new(privacy, events.clone()).record(&event);
    let event = events.take().remove(0);
    assert_eq!(
        event.peer_address().is_some(),
        event.client_address().is_some()
    );
    event.client_address().map(ToString::to_string)
}

#[test]
fn i13_addresses_are_cut_in_events_only() {
    let cut = |client| shown(AddressPrivacy::truncated(), client);
    assert_eq!(cut(CLIENT).as_deref(), Some("203.0.113.0/24"));
    assert_eq!(
        cut("2001:db8:1:2:3:4:5:6").as_deref(),
        Some("2001:db8:1::/48")
    );
    assert_eq!(shown(AddressPrivacy::Omitted, CLIENT), None);
    assert_eq!(shown(AddressPrivacy::Full, CLIENT).as_deref(), Some(CLIENT));

    // The limiter still tells the neighbors apart, and so does flood control outside; summaries are cut as well.
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = PrivacySink::new(AddressPrivacy::truncated(), events.clone());
    let layer = layer(Limit::default(), flood_control(&clock, sink));
    let service = Handler::default().behind(&layer);
    for client in [CLIENT, "203.0.113.8"] {
        let statuses = [0; 4].map(|_| send(&service, request(client)));
        assert_eq!(statuses, [200, 200, 429, 429]);
    }
    drop((service, layer));
    let recorded = events.take();
    assert_eq!(recorded.len(), 4);
    for event in recorded {
        assert_eq!(
            event.client_address().unwrap().to_string(),
            "203.0.113.0/24"
        );
        assert_eq!(event.client(), Some("203.0.113.0".parse().unwrap()));
        assert!(!event.owasp().unwrap_or_default().contains(CLIENT));
    }
}

#[test]
fn a_cut_address_is_no_address_to_ban() {
    let events = Collector::default();
    PrivacySink::new(AddressPrivacy::truncated(), events.clone()).record(&event(CLIENT));
    let event = events.take().remove(0);
    let (mut text, mut json) = (String::new(), String::new());
    TextLines.write(&event, std::time::SystemTime::UNIX_EPOCH, &mut text);
    assert!(text.contains(" client=203.0.113.0/24 "), "{text}");
    EcsLines::new().write(&event, std::time::SystemTime::UNIX_EPOCH, &mut json);
    assert!(
        json.contains(r#""client":{"ip":"203.0.113.0","address":"203.0.113.0/24"}"#),
        "{json}"
    );
}

#[test]
fn i14_tokens_live_as_long_as_their_key() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let key = AddressKey::rotating(Duration::from_secs(86_400))
        .unwrap()
        .with_clock(clock.clone());
    assert!(!format!("{key:?}").contains("current"));
    let sink = PrivacySink::new(AddressPrivacy::Keyed(key), events.clone());
    let token = |client: &str| {
        sink.record(&event(client));
        let event = events.take().remove(0);
        assert_eq!(event.client(), None);
        event.client_address().unwrap().to_string()
    };
    let today = token(CLIENT);
    assert_eq!(today.len(), 32);
    assert!(today.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(token(CLIENT), today);
    assert_eq!(token("::ffff:203.0.113.7"), today);
    assert_ne!(token("203.0.113.8"), today);
    clock.advance(Duration::from_secs(86_399));
    assert_eq!(token(CLIENT), today);
    clock.advance(Duration::from_secs(1));
    assert_ne!(token(CLIENT), today);

    // Another process, another key.
    let other = AddressKey::rotating(Duration::from_secs(86_400)).unwrap();
    assert_ne!(shown(AddressPrivacy::Keyed(other), CLIENT).unwrap(), today);
}

#[test]
fn i14_no_unkeyed_hash_is_shown() {
    use sha2::{Digest, Sha256};

    let key = AddressKey::rotating(Duration::from_secs(1)).unwrap();
    let token = shown(AddressPrivacy::Keyed(key), CLIENT).unwrap();
    let mapped: std::net::Ipv6Addr = "::ffff:203.0.113.7".parse().unwrap();
    for bytes in [CLIENT.as_bytes(), &[203, 0, 113, 7], &mapped.octets()] {
        let hash = Sha256::digest(bytes)
            .iter()
            .fold(String::new(), |hex, it| format!("{hex}{it:02x}"));
        assert!(!hash.contains(&token));
    }
}

#[test]
fn the_entry_of_a_list_tells_no_more_than_the_address() {
    let rule = |privacy, rule: &str| {
        let events = Collector::default();
        let event = event(CLIENT).with_rule(rule.parse().unwrap());
        PrivacySink::new(privacy, events.clone()).record(&event);
        events.take()[0].rule().map(|it| it.to_string())
    };
    let truncated = AddressPrivacy::truncated;
    assert_eq!(rule(truncated(), "203.0.113.7/32"), None);
    assert_eq!(
        rule(truncated(), "203.0.113.0/24").as_deref(),
        Some("203.0.113.0/24")
    );
    assert_eq!(rule(truncated(), "2001:db8::/64"), None);
    assert_eq!(rule(AddressPrivacy::Omitted, "203.0.113.0/24"), None);
    assert_eq!(
        rule(AddressPrivacy::Full, "203.0.113.7/32").as_deref(),
        Some("203.0.113.7/32")
    );
}

#[test]
fn a_token_stands_in_no_field_that_wants_an_address() {
    let events = Collector::default();
    let key = AddressKey::rotating(Duration::from_secs(1)).unwrap();
    let sink = PrivacySink::new(AddressPrivacy::Keyed(key), events.clone());
    let layer = layer(Limit::default(), sink);
    let service = Handler::default().behind(&layer);
    for _ in 0..3 {
        send(&service, from(CLIENT, "10.0.0.1", http::Request::new(())));
    }
    let event = events.take().remove(0);
    let mut json = String::new();
    EcsLines::new().write(&event, std::time::SystemTime::UNIX_EPOCH, &mut json);
    assert!(
        !json.contains(CLIENT) && !json.contains("10.0.0.1") && !json.contains("\"ip\""),
        "{json}"
    );
    assert!(json.contains("\"client\":{\"address\":\""), "{json}");
}
