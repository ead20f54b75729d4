//! The response fields: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, and numbers for the older ones.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::rate_limit::{metered::Metered, quota::SECOND};

/// Writes `RateLimit-Policy`: a list of all quotas.
pub(crate) fn policy(metered: &[Metered]) -> HeaderValue {
    let mut text = Vec::new();
    for (position, metered) in metered.iter().enumerate() {
        if position != 0 {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(&metered.string);
        // Section 3.1: `q` is required, `w` is in seconds and positive.
        text.extend_from_slice(b";q=");
        let mut digits = itoa::Buffer::new();
        text.extend_from_slice(integer(&mut digits, metered.quota.limit().into()));
        text.extend_from_slice(b";w=");
        text.extend_from_slice(integer(&mut digits, seconds(metered.meter.period).max(1)));
    }
    value(&text)
}

/// Writes `RateLimit-Policy` with a partition key for each quota.
pub(crate) fn policy_of(policy: &HeaderValue, metered: usize, key: &PartitionKey) -> HeaderValue {
    // The names are quoted, but may hold what separates the members of the list: the key goes in front of each but the first, and to the end.
    let mut text = Vec::with_capacity(policy.len() + metered * (key.0.len() + 4));
    let mut quoted = false;
    let mut escaped = false;
    for byte in policy.as_bytes() {
        if *byte == b',' && !quoted {
            key.push_to(&mut text);
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        text.push(*byte);
    }
    key.push_to(&mut text);
    value(&text)
}

/// Writes `RateLimit` for one quota: what remains, and the seconds until more does.
pub(crate) fn limit(
    metered: &Metered,
    remaining: u32,
    seconds: u64,
    key: Option<&PartitionKey>,
) -> HeaderValue {
    let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
    let parts = [
        &*metered.string,
        b";r=",
        integer(&mut first, remaining.into()),
        b";t=",
        integer(&mut second, seconds),
        key.map_or(&[][..], |it| &it.0),
    ];
    // Put together without an allocation: most names, and two numbers. The parts are copied one by one into one array, which took 150 instructions
    // less than a vector that may grow.
    let mut text = [0; TEXT];
    let mut length = 0;
    for part in parts {
        match text.get_mut(length..length + part.len()) {
            Some(room) => room.copy_from_slice(part),
            None => return value(&parts.concat()),
        }
        length += part.len();
    }
    value(text.get(..length).unwrap_or_default())
}

/// The parameter `pk`: a Byte Sequence (RFC 9651, section 3.3.5) of eight bytes.
pub(crate) struct PartitionKey([u8; PARTITION]);

impl PartitionKey {
    pub(crate) fn new(hash: u64) -> Self {
        let mut text = *b";pk=:AAAAAAAAAAA=:";
        // RFC 4648, section 4: eight bytes are eleven characters, the last of which has four bits to say, and one to fill up.
        for (position, character) in text.iter_mut().skip(5).take(11).enumerate() {
            let bits = match 58_usize.checked_sub(6 * position) {
                Some(shift) => hash >> shift,
                None => hash << 2,
            };
            let index = usize::try_from(bits & 63).unwrap_or(0);
            *character = BASE64.get(index).copied().unwrap_or(b'A');
        }
        Self(text)
    }

    fn push_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(&self.0);
    }
}

/// Rounds nanoseconds up to seconds.
pub(crate) fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND)
}

/// Rounds a duration up to seconds.
pub(crate) fn seconds_of(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() != 0))
}

/// Rounds the time until a quota is full again up to seconds.
///
/// The interval of one unit is rounded up to a nanosecond, or in a shared store to a microsecond; what that adds over the whole capacity must not make 61 seconds of a minute.
pub(crate) fn reset_seconds(nanos: u64, rounding: u64) -> u64 {
    seconds(nanos.saturating_sub(rounding))
}

/// Writes an Integer, which has at most 15 digits: RFC 9651, section 3.3.1.
fn integer(digits: &mut itoa::Buffer, number: u64) -> &[u8] {
    digits.format(number.min(999_999_999_999_999)).as_bytes()
}

/// Makes a value of text that is visible ASCII by construction.
fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(crate) const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// What scripts of other origins may read.
pub(crate) const EXPOSED: &str = "RateLimit, RateLimit-Policy, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset";
const PARTITION: usize = 18;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Room for text that is put together without an allocation: most names and two numbers.
const TEXT: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hash: u64, expected: &str) {
        assert_eq!(PartitionKey::new(hash).0, expected.as_bytes());
    }

    #[test]
    fn a_partition_key_is_a_byte_sequence() {
        check(0, ";pk=:AAAAAAAAAAA=:");
        check(u64::MAX, ";pk=://////////8=:");
        check(0x6669_7368_636f_6465, ";pk=:ZmlzaGNvZGU=:");
    }
}
