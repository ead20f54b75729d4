//! The response fields: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, and numbers for the older ones.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::rate_limit::{metered::Metered, quota::SECOND};

/// Writes `RateLimit-Policy`: a list of all quotas.
pub(crate) fn policy(metered: &[Metered]) -> HeaderValue {
    let mut text = SmallVec::<[u8; TEXT]>::new();
    for (position, metered) in metered.iter().enumerate() {
        if position != 0 {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(&metered.string);
        // Section 3.1: `q` is required, `w` is in seconds and positive.
        text.extend_from_slice(b";q=");
        push_number(&mut text, metered.quota.limit().into());
        text.extend_from_slice(b";w=");
        push_number(&mut text, seconds(metered.meter.period).max(1));
    }
    value(&text)
}

/// Writes `RateLimit` for one quota: what remains, and the seconds until more does.
pub(crate) fn limit(metered: &Metered, remaining: u32, seconds: u64) -> HeaderValue {
    let mut text = SmallVec::<[u8; TEXT]>::from_slice(&metered.string);
    text.extend_from_slice(b";r=");
    push_number(&mut text, remaining.into());
    text.extend_from_slice(b";t=");
    push_number(&mut text, seconds);
    value(&text)
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

fn push_number(text: &mut SmallVec<[u8; TEXT]>, number: u64) {
    // RFC 9651, section 3.3.1: an Integer has at most 15 digits.
    let mut number = number.min(999_999_999_999_999);
    let mut digits = [b'0'; 15];
    let mut first = digits.len();
    for (position, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        first = position;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(first..).unwrap_or_default());
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
/// Room for text that is put together without an allocation: most names and two numbers.
const TEXT: usize = 96;
