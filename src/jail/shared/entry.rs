//! Bans as the store has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::jail::{ban::Ban, file::StoredBan, key::BanKey};

/// What the store says about a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    Ban(StoredBan),
    Lifted,
}

/// Reads the entry of a client, and tells its times by the clock of this instance. An entry that is none is nobody's fault here, and nothing.
pub(crate) fn read(
    client: &str,
    entry: &str,
    store_now: u64,
    now: SystemTime,
) -> Option<(BanKey, Entry)> {
    let key = BanKey::of_net(client.parse().ok()?)?;
    if entry == "lifted" {
        return Some((key, Entry::Lifted));
    }
    let mut columns = entry.strip_prefix("ban ")?.splitn(5, ' ');
    // The clocks of instances may differ: what counts is how long before or after the time of the store.
    let mut time = || -> Option<SystemTime> {
        let millis: u64 = columns.next()?.parse().ok()?;
        match millis.checked_sub(store_now) {
            Some(later) => now.checked_add(Duration::from_millis(later)),
            None => now.checked_sub(Duration::from_millis(store_now - millis)),
        }
    };
    let (start, end, forget) = (time()?, time()?, time()?);
    let count = columns.next()?.parse().ok()?;
    let rule = columns.next()?;
    let is_name = !rule.is_empty() && rule.len() <= 64 && !rule.chars().any(char::is_control);
    if !is_name || end < start || forget < end || end < UNIX_EPOCH {
        return None;
    }
    let ban = Ban {
        key,
        rule: rule.into(),
        start,
        end,
        count,
    };
    Some((key, Entry::Ban(StoredBan { ban, forget })))
}

/// Returns the milliseconds from one time to another; none where it is not later.
pub(crate) fn millis(from: SystemTime, to: SystemTime) -> u64 {
    let between = to.duration_since(from).unwrap_or_default();
    u64::try_from(between.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(client: &str, entry: &str, expected: Option<(i64, i64)>) {
        let now = UNIX_EPOCH + Duration::from_secs(5000);
        let found = read(client, entry, 2_000_000, now).map(|(_, entry)| match entry {
            Entry::Ban(stored) => {
                let of = |time: SystemTime| match time.duration_since(now) {
                    Ok(after) => i64::try_from(after.as_secs()).unwrap(),
                    Err(before) => -i64::try_from(before.duration().as_secs()).unwrap(),
                };
                (of(stored.ban.start), of(stored.ban.end))
            }
            Entry::Lifted => (0, 0),
        });
        assert_eq!(found, expected, "{client} {entry}");
    }

    #[test]
    fn times_are_told_by_the_clock_of_the_instance() {
        check(
            "203.0.113.7/32",
            "ban 1990000 2060000 2060000 1 a rule",
            Some((-10, 60)),
        );
        check(
            "2001:db8::/64",
            "ban 1000000 1500000 3000000 2 trap",
            Some((-1000, -500)),
        );
        check(
            "203.0.113.7/32",
            "ban 2010000 2010000 2010000 1 of no time",
            Some((10, 10)),
        );
        check("203.0.113.7/32", "lifted", Some((0, 0)));
    }

    #[test]
    fn what_ended_before_there_was_time_is_nothing() {
        let now = UNIX_EPOCH + Duration::from_secs(10);
        for (entry, expected) in [
            ("ban 1989000 1990000 2000000 1 x", true),
            ("ban 1989000 1989999 2000000 1 x", false),
        ] {
            let found = read("203.0.113.7/32", entry, 2_000_000, now);
            assert_eq!(found.is_some(), expected, "{entry}");
        }
    }

    #[test]
    fn what_is_no_entry_is_nothing() {
        for (client, entry) in [
            ("203.0.113.0/24", "lifted"),
            ("x", "lifted"),
            ("203.0.113.7/32", ""),
            ("203.0.113.7/32", "ban 2 1 3 1 x"),
            ("203.0.113.7/32", "ban 1 2 3 1 "),
            ("203.0.113.7/32", "ban 1 2 3 1 a\nb"),
            ("203.0.113.7/32", "ban 1 2 99999999999999999999 1 x"),
        ] {
            check(client, entry, None);
        }
        for (length, expected) in [(64, Some((0, 60))), (65, None)] {
            let entry = format!("ban 2000000 2060000 2060000 1 {}", "a".repeat(length));
            check("203.0.113.7/32", &entry, expected);
        }
    }
}
