//! Events with any text of a client in them: each line is one line without control characters, the JSON parses and names every key once,
//! and in a line for fail2ban no such text stands before the client's address.

use std::{borrow::Cow, collections::BTreeSet, fmt, time::SystemTime};

use http::{HeaderValue, Method};
use palisade::event::{Action, EcsLines, LineFormat as _, SecurityEvent, TextLines};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

pub(crate) fn check(data: &[u8]) {
    let mut fields = data.split(|byte| *byte == 0xff);
    let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default());
    let (path, policy, reason, service) = (text(), text(), text(), text());
    let mut field = || fields.next().unwrap_or_default();
    let (agent, id, method) = (field(), field(), field());
    let agent = HeaderValue::from_bytes(agent).ok();
    let id = HeaderValue::from_bytes(id).ok();
    let method = Method::from_bytes(method).ok();

    let bare = SecurityEvent::new(Action::IpBlocked, Cow::Borrowed("reason"))
        .with_client([203, 0, 113, 7].into());
    let mut event = SecurityEvent::new(Action::IpBlocked, reason)
        .with_client([203, 0, 113, 7].into())
        .with_path(&path)
        .with_policy(policy);
    if let Some(agent) = &agent {
        event = event.with_user_agent(agent);
    }
    if let Some(id) = &id {
        event = event.with_request_id(id);
    }
    if let Some(method) = &method {
        event = event.with_method(method);
    }
    for event in [event.clone(), event.into_owned()] {
        let mut line = String::new();
        EcsLines::new().with_service_name(&*service).write(
            &event,
            SystemTime::UNIX_EPOCH,
            &mut line,
        );
        is_one_line(&line);
        let Unique = serde_json::from_str(&line).expect("JSON");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(json["client"]["ip"], "203.0.113.7");
        assert_eq!(json["event"]["action"], "ip_blocked");
        assert_eq!(json["url"]["path"].as_str(), event.path().as_deref());

        let mut line = String::new();
        TextLines.write(&event, SystemTime::UNIX_EPOCH, &mut line);
        is_one_line(&line);
        // All that a filter of fail2ban looks at stands in front of the first quotation mark.
        let mut plain = String::new();
        TextLines.write(&bare, SystemTime::UNIX_EPOCH, &mut plain);
        let until_sequence = |line: &str| {
            let (start, _) = line.split_once(" sequence=").expect("a sequence");
            start.to_owned()
        };
        assert_eq!(until_sequence(&line), until_sequence(&plain));
        let (start, _) = line.split_once('"').expect("a reason");
        assert!(start.ends_with(" policy="), "{start}");
    }
    for text in [event_text(&path), event_text(&service)] {
        assert!(text.len() <= 256 + '…'.len_utf8());
    }
}

/// The text of a path as it stands in an event.
fn event_text(path: &str) -> String {
    let event = SecurityEvent::new(Action::IpBlocked, "reason").with_path(path);
    event.path().unwrap_or_default().into_owned()
}

fn is_one_line(line: &str) {
    assert!(!line.chars().any(char::is_control), "{line:?}");
    // What ends a line or turns the reading direction without being a control character.
    assert!(
        !line.contains(['\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{feff}']),
        "{line:?}"
    );
}

/// Any JSON in which no object has a key twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while let Some(Self) = seq.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, Self)) = map.next_entry::<String, Self>()? {
            assert!(keys.insert(key), "a key stands twice");
        }
        Ok(self)
    }
}
