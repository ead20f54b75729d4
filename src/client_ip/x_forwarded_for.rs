//! The lists of `X-Forwarded-For` and its like, read from the right.

use std::iter::Rev;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::client_ip::unknown::UnknownReason;

/// The entries of comma-separated header lines: the last line first, and each line from its right end.
///
/// What stands nearest to us comes first, so whoever stops at the first entry that no trusted proxy wrote has not looked at anything
/// that was written before it. Empty entries are left out.
#[derive(Debug)]
pub(crate) struct FromRight<'a> {
    lines: Rev<header::ValueIter<'a, HeaderValue>>,
    line: Option<&'a [u8]>,
    /// How many bytes may still be looked at.
    left: usize,
}

impl<'a> FromRight<'a> {
    pub(crate) fn new(headers: &'a HeaderMap, name: &HeaderName, max_bytes: usize) -> Self {
        Self {
            lines: headers.get_all(name).iter().rev(),
            line: None,
            left: max_bytes,
        }
    }

    /// Takes the rightmost entry off a line, or nothing if its start lies farther away than may be looked at.
    fn take_entry(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        let hidden = line.len().saturating_sub(self.left);
        let seen = line.get(hidden..)?;
        let (entry, rest) = match seen.iter().rposition(|byte| *byte == b',') {
            Some(comma) => (seen.get(comma + 1..)?, Some(line.get(..hidden + comma)?)),
            None if hidden == 0 => (seen, None),
            None => return None,
        };
        self.line = rest;
        self.left = self.left.saturating_sub(entry.len() + 1);
        Some(entry.trim_ascii())
    }
}

impl<'a> Iterator for FromRight<'a> {
    type Item = Result<&'a [u8], UnknownReason>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.line.take() {
                Some(line) => line,
                None => self.lines.next()?.as_bytes(),
            };
            match self.take_entry(line) {
                // RFC 9110, section 5.6.1.2: a recipient ignores empty elements.
                Some([]) => {}
                Some(entry) => return Some(Ok(entry)),
                None => return Some(Err(UnknownReason::TooLarge)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");

    #[track_caller]
    fn check(lines: &[&str], max_bytes: usize, expected: &[Result<&str, UnknownReason>]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(NAME, line.parse().unwrap());
        }
        let entries = FromRight::new(&headers, &NAME, max_bytes);
        let entries: Vec<_> = entries.take(10).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|entry| entry.map(str::as_bytes))
            .collect();
        assert_eq!(entries, expected);
    }

    #[test]
    fn entries_come_from_the_right() {
        check(&[], 99, &[]);
        check(&[""], 99, &[]);
        check(&["a"], 99, &[Ok("a")]);
        check(&["a, b ,c"], 99, &[Ok("c"), Ok("b"), Ok("a")]);
        check(&["a,b", "c"], 99, &[Ok("c"), Ok("b"), Ok("a")]);
        check(&[",a,, ,\t,", "", ",,"], 99, &[Ok("a")]);
    }

    #[test]
    fn no_more_is_read_than_the_cap_allows() {
        const TOO_LARGE: Result<&str, UnknownReason> = Err(UnknownReason::TooLarge);

        check(&["aaaa"], 4, &[Ok("aaaa")]);
        check(&["aaaaa,bbb"], 4, &[Ok("bbb"), TOO_LARGE]);
        let long = "a".repeat(1_000);
        check(&[&long], 999, &[TOO_LARGE]);
        check(&["a,,,,,,,,,,"], 4, &[TOO_LARGE]);
    }
}
