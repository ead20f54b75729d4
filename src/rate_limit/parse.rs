//! Quotas written as text.

use std::{str::FromStr, time::Duration};

use crate::rate_limit::quota::{DAY, HOUR, Kind, MINUTE, Quota, QuotaError, SECOND};

/// Reads a quota as people write it: `60/minute`, `10/s burst 30`, `100/15m`, `2000-D`.
impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rate, burst) = match text.trim().split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(number(burst.trim())?)),
            None => (text.trim(), None),
        };
        let (limit, period) = rate.split_once(['/', '-']).ok_or(SYNTAX)?;
        let quota = Self::new(number(limit)?, duration(period)?)?;
        match burst {
            Some(burst) => quota.try_with_burst(burst),
            None => Ok(quota),
        }
    }
}

fn duration(text: &str) -> Result<Duration, QuotaError> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let count = match text.strip_suffix(unit) {
        None | Some("") => 1,
        Some(count) => number(count)?,
    };
    let unit = match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => MINUTE,
        "h" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        _ => return Err(SYNTAX),
    };
    match unit.checked_mul(count.into()) {
        Some(nanos) => Ok(Duration::from_nanos(nanos)),
        None => Err(QuotaError(Kind::PeriodTooLong)),
    }
}

fn number(text: &str) -> Result<u32, QuotaError> {
    // `parse` would take a leading plus sign.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    text.parse().map_err(|_| SYNTAX)
}

const SYNTAX: QuotaError = QuotaError(Kind::Syntax);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Quota, Kind>) {
        assert_eq!(text.parse(), expected.map_err(QuotaError), "{text}");
    }

    #[test]
    fn quotas_are_read_as_people_write_them() {
        check("60/minute", Ok(Quota::per_minute(60)));
        check("10/s burst 30", Ok(Quota::per_second(10).with_burst(30)));
        check(" 10/Sec ", Ok(Quota::per_second(10)));
        check(
            "100/15m",
            Quota::new(100, Duration::from_secs(900)).map_err(|it| it.0),
        );
        // U04.
        check("10-S", Ok(Quota::per_second(10)));
        check("356-M", Ok(Quota::per_minute(356)));
        check("3-H", Ok(Quota::per_hour(3)));
        check("2000-D", Ok(Quota::per_day(2000)));
    }

    #[test]
    fn quotas_are_written_as_they_are_read() {
        for text in [
            "60/minute",
            "10/second burst 30",
            "100/900s",
            "7/hour",
            "1/day burst 2",
        ] {
            let quota: Quota = text.parse().unwrap();
            assert_eq!(quota.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        // U04.
        for text in ["10 S", "10:S", "AZERTY", "H-10"] {
            check(text, Err(Kind::Syntax));
        }
        for text in [
            "",
            "/",
            "10",
            "10/",
            "/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "10/week",
            "4294967296/s",
            "10/s burst",
            "10/s burst x",
            "10/s 30",
            "10/s burst 30 x",
            "10//s",
            "1/\u{661}s",
        ] {
            check(text, Err(Kind::Syntax));
        }
        check("0/s", Err(Kind::ZeroLimit));
        check("10/0s", Err(Kind::ZeroPeriod));
        check("10/s burst 0", Err(Kind::ZeroBurst));
        check("10/400d", Err(Kind::PeriodTooLong));
        check("10/4294967295d", Err(Kind::PeriodTooLong));
        check("1/d burst 4000", Err(Kind::BurstTooLarge));
    }
}
