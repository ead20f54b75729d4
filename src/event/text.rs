//! Events as lines of text, for tools that ban by log lines.

use std::{fmt::Write as _, time::SystemTime};

use crate::event::{lines::LineFormat, model::SecurityEvent, sanitize::is_harmful, time::rfc3339};

/// Writes events as lines of text for fail2ban, `CrowdSec` and eyes.
///
/// ```text
/// 2026-11-24T02:30:00.000Z palisade: denied client=203.0.113.7 action=ip_blocked policy="deny" … path="/" agent="curl"
/// ```
///
/// After the time stand a fixed prefix and at once the client's address, so that a filter anchored there meets no text of a client's
/// choice; all such text comes last, in quotes and escaped. The first word is `denied` where a request was refused or a client banned,
/// `observed` where it would have been but for a dry run, and `noted` for everything else. The client is `-` where it is not known.
/// A network that an address was cut to has a `/` in it: nobody gets banned for a neighbor.
///
/// The repository has a filter for fail2ban beside the example service.
///
/// # Example
///
/// ```
/// use std::time::SystemTime;
/// use palisade::event::{Action, LineFormat, SecurityEvent, TextLines};
///
/// let mut line = String::new();
/// let event = SecurityEvent::new(Action::IpBlocked, "address is blocked")
///     .with_client([203, 0, 113, 7].into())
///     .with_path("/\" client=9.9.9.9\n");
/// TextLines.write(&event, SystemTime::UNIX_EPOCH, &mut line);
/// assert!(line.starts_with("1970-01-01T00:00:00.000Z palisade: denied client=203.0.113.7 action=ip_blocked "));
/// assert!(line.ends_with(r#"path="/\" client=9.9.9.9\\u{a}""#));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TextLines;

impl LineFormat for TextLines {
    fn write(&self, event: &SecurityEvent<'_>, time: SystemTime, line: &mut String) {
        line.push_str(&rfc3339(time));
        line.push_str(" palisade: ");
        line.push_str(word(event));
        line.push_str(" client=");
        // Writing to a `String` cannot fail, here and below.
        let _ = match event.client_address() {
            Some(client) => write!(line, "{client}"),
            None => write!(line, "-"),
        };
        let _ = write!(
            line,
            " action={} level={} sequence={}",
            event.action().as_str(),
            event.severity().as_str(),
            event.sequence()
        );
        if let Some(peer) = event.peer_address() {
            let _ = write!(line, " peer={peer}");
        }
        if let Some(status) = event.status() {
            let _ = write!(line, " status={}", status.as_str());
        }
        if let Some(action) = event.suppressed() {
            let _ = write!(line, " suppressed={}", action.as_str());
        }
        if let Some(count) = event.count() {
            let _ = write!(line, " count={count}");
        }
        for (name, time) in [("start", event.start()), ("end", event.end())] {
            if let Some(time) = time {
                let _ = write!(line, " {name}={}", rfc3339(time));
            }
        }
        if let Some(rule) = event.rule() {
            let _ = write!(line, " rule={rule}");
        }
        if let Some(generation) = event.generation() {
            let _ = write!(line, " generation={generation}");
        }
        if let Some(fingerprint) = event.fingerprint() {
            let _ = write!(line, " fingerprint={fingerprint}");
        }
        quote(line, "policy", event.policy());
        quote(line, "reason", Some(event.reason()));
        quote(line, "method", event.method());
        quote(line, "path", event.path());
        quote(line, "agent", event.user_agent());
        quote(line, "id", event.request_id());
    }
}

fn word(event: &SecurityEvent<'_>) -> &'static str {
    match event.action().refuses() {
        true if event.enforced() => "denied",
        true => "observed",
        false => "noted",
    }
}

fn quote(line: &mut String, name: &str, text: Option<impl AsRef<str>>) {
    let Some(text) = text else {
        return;
    };
    let _ = write!(line, " {name}=\"");
    for c in text.as_ref().chars() {
        match c {
            '"' | '\\' => {
                line.push('\\');
                line.push(c);
            }
            c if is_harmful(c) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}
