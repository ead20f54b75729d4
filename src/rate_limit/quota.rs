//! Provisional.
use std::{fmt, str::FromStr};
/// Provisional.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    n: u32,
    secs: u64,
    burst: u32,
}
impl Quota {
    pub const fn per_second(n: u32) -> Self {
        Self {
            n,
            secs: 1,
            burst: n,
        }
    }
    pub const fn per_minute(n: u32) -> Self {
        Self {
            n,
            secs: 60,
            burst: n,
        }
    }
    pub const fn per_hour(n: u32) -> Self {
        Self {
            n,
            secs: 3600,
            burst: n,
        }
    }
    pub const fn with_burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }
    pub(crate) fn interval(&self) -> u64 {
        self.secs * 1_000_000_000 / u64::from(self.n)
    }
    pub(crate) fn burst(&self) -> u64 {
        u64::from(self.burst)
    }
}
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s burst {}", self.n, self.secs, self.burst)
    }
}
impl FromStr for Quota {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || "a quota has the form \"60/minute\" or \"10/s burst 30\"".to_owned();
        let (rate, burst) = s
            .split_once(" burst ")
            .map_or((s, None), |(a, b)| (a, Some(b)));
        let (n, unit) = rate.split_once('/').ok_or_else(bad)?;
        let n: u32 = n.parse().map_err(|_| bad())?;
        if n == 0 {
            return Err("must be at least 1".into());
        }
        let q = match unit {
            "s" | "second" => Self::per_second(n),
            "minute" => Self::per_minute(n),
            "hour" => Self::per_hour(n),
            _ => return Err(bad()),
        };
        Ok(match burst {
            Some(b) => q.with_burst(b.parse().map_err(|_| bad())?),
            None => q,
        })
    }
}
