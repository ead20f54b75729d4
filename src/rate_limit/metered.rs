//! A quota with its arithmetic.

use std::sync::Arc;

use crate::rate_limit::{gcra::Meter, quota::Quota};

/// A quota, ready for use.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) quota: Quota,
    pub(crate) name: Arc<str>,
    /// The name as header fields have it.
    pub(crate) string: Box<[u8]>,
    pub(crate) meter: Meter,
}

impl From<Quota> for Metered {
    fn from(quota: Quota) -> Self {
        Self {
            name: quota.name().into(),
            string: sf_string(&quota.name()).into(),
            meter: Meter::new(&quota),
            quota,
        }
    }
}

/// Writes an RFC 9651 String: section 4.1.6.
fn sf_string(string: &str) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in string.bytes() {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
    text
}
