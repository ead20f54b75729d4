//! Times as text.

use std::time::{Duration, SystemTime};

/// The last second of the year 9999: RFC 3339 has four digits for the year.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Writes a time as RFC 3339 in UTC, with milliseconds. A time that RFC 3339 cannot express becomes the nearest one after 1970.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .min(LAST);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(time: Option<SystemTime>, expected: &str) {
        assert_eq!(rfc3339(time.unwrap()), expected);
    }

    #[test]
    fn any_time_can_be_written() {
        let epoch = SystemTime::UNIX_EPOCH;
        check(Some(epoch), "1970-01-01T00:00:00.000Z");
        check(
            epoch.checked_sub(Duration::from_secs(1)),
            "1970-01-01T00:00:00.000Z",
        );
        check(
            epoch.checked_add(Duration::from_millis(1_709_210_096_789)),
            "2024-02-29T12:34:56.789Z",
        );
        check(epoch.checked_add(LAST * 2), "9999-12-31T23:59:59.000Z");
    }
}
