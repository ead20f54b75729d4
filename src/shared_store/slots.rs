//! Which node of a cluster has which keys.

use redis::Value;

/// The slots of a cluster, and the masters that have them.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Slots(Vec<(u16, u16, (String, u16))>);

impl Slots {
    /// Reads the answer to `CLUSTER SLOTS`. A node that does not know its own name has that of the one who was asked.
    pub(crate) fn read(answer: &Value, asked: &str) -> Option<Self> {
        let mut slots = Vec::new();
        for range in array(answer)? {
            let [first, last, master, ..] = array(range)? else {
                return None;
            };
            let [host, port, ..] = array(master)? else {
                return None;
            };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() => str::from_utf8(host).ok()?,
                _ => asked,
            };
            let place = (host.to_owned(), number(port)?);
            slots.push((number(first)?, number(last)?, place));
        }
        (!slots.is_empty()).then_some(Self(slots))
    }

    pub(crate) fn node(&self, slot: u16) -> Option<&(String, u16)> {
        let found = self
            .0
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot));
        found.map(|(_, _, place)| place)
    }

    /// Returns the addresses of all nodes, some of them more than once.
    pub(crate) fn places(&self) -> impl Iterator<Item = &(String, u16)> {
        self.0.iter().map(|(_, _, place)| place)
    }
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

/// Returns the slot of a key: of what stands between the first braces, which all our keys have but the one of the probe.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key
        .split(|byte| *byte == b'{')
        .nth(1)
        .and_then(|rest| rest.split(|byte| *byte == b'}').next())
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key)) % 16_384
}

/// CRC-16/XMODEM, as the specification of the cluster has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// Reads the address that a redirection names: `MOVED 3999 127.0.0.1:6381` without its first word. Without a host, it is that of the one who was
/// asked.
pub(crate) fn redirection(details: &str, asked: &str) -> Option<(String, u16)> {
    let (host, port) = details.split(' ').nth(1)?.rsplit_once(':')?;
    let host = if host.is_empty() { asked } else { host };
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, expected: u16) {
        assert_eq!(slot(key.as_bytes()), expected, "{key}");
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // The specification's own test of the checksum.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        check("foo", 12182);
        check("{foo}bar", 12182);
        check("x{foo}{bar}", 12182);
        check("{}foo", crc16(b"{}foo") % 16_384);
    }

    #[test]
    fn redirections_are_read() {
        let check = |details, expected: Option<(&str, u16)>| {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(redirection(details, "asked"), expected, "{details}");
        };
        check("3999 127.0.0.1:6381", Some(("127.0.0.1", 6381)));
        check("3999 ::1:6381", Some(("::1", 6381)));
        check("3999 :6381", Some(("asked", 6381)));
        check("3999", None);
        check("3999 host:x", None);
        assert_eq!(redirection("3999 :6381", ""), None);
    }
}
