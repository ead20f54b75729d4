//! The elements of `Forwarded` (RFC 7239), read from the right.

use std::{iter::Rev, net::IpAddr};

use http::{
    HeaderMap, HeaderValue,
    header::{self, FORWARDED},
};

use crate::client_ip::{node::parse_node, unknown::UnknownReason};

/// The elements of `Forwarded` lines: the last line first, and each line from its right end. Empty elements are left out.
///
/// Every line is taken by itself, so that one which does not end its quotes cannot swallow the line a proxy added behind it.
#[derive(Debug)]
pub(crate) struct ElementsFromRight<'a> {
    lines: Rev<header::ValueIter<'a, HeaderValue>>,
    line: Option<&'a [u8]>,
    /// How many bytes may still be looked at.
    left: usize,
}

impl<'a> ElementsFromRight<'a> {
    pub(crate) fn new(headers: &'a HeaderMap, max_bytes: usize) -> Self {
        Self {
            lines: headers.get_all(FORWARDED).iter().rev(),
            line: None,
            left: max_bytes,
        }
    }

    /// Begins the next line, which has to be looked at as a whole, for only its start tells what is quoted.
    fn begin_line(&mut self, line: &'a [u8]) -> Result<&'a [u8], UnknownReason> {
        let left = self.left.checked_sub(line.len());
        self.left = left.ok_or(UnknownReason::TooLarge)?;
        if is_quoted_well(line) {
            Ok(line)
        } else {
            Err(UnknownReason::Malformed)
        }
    }
}

impl<'a> Iterator for ElementsFromRight<'a> {
    type Item = Result<&'a [u8], UnknownReason>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = if let Some(line) = self.line.take() {
                line
            } else {
                let line = self.lines.next()?;
                match self.begin_line(line.as_bytes()) {
                    Ok(line) => line,
                    Err(reason) => return Some(Err(reason)),
                }
            };
            let element = match last_comma(line) {
                Some(comma) => {
                    self.line = line.get(..comma);
                    line.get(comma + 1..).unwrap_or_default()
                }
                None => line,
            };
            // RFC 9110, section 5.6.1.2: a recipient ignores empty elements.
            match element.trim_ascii() {
                [] => {}
                element => return Some(Ok(element)),
            }
        }
    }
}

/// What one proxy told about the hop before it.
#[derive(Debug, Default)]
pub(crate) struct Element<'a> {
    /// Who made the request, still as text.
    node: Option<&'a [u8]>,
    /// The host the request asked for.
    pub(crate) host: Option<&'a [u8]>,
    /// The scheme the request was made with.
    pub(crate) proto: Option<&'a [u8]>,
}

impl<'a> Element<'a> {
    pub(crate) fn parse(element: &'a [u8]) -> Result<Self, UnknownReason> {
        let mut parsed = Self::default();
        let mut by = None;
        let mut rest = Some(element);
        while let Some(pairs) = rest {
            let (pair, behind) = split_pair(pairs);
            rest = behind;
            let pair = pair.trim_ascii();
            if pair.is_empty() {
                continue;
            }
            let (name, value) = parse_pair(pair).ok_or(UnknownReason::Malformed)?;
            // RFC 7239, section 4: parameter names are case-insensitive and occur at most once per element.
            let slot = match name {
                name if name.eq_ignore_ascii_case(b"by") => &mut by,
                name if name.eq_ignore_ascii_case(b"for") => &mut parsed.node,
                name if name.eq_ignore_ascii_case(b"host") => &mut parsed.host,
                name if name.eq_ignore_ascii_case(b"proto") => &mut parsed.proto,
                _ => continue,
            };
            // An escape is legal in a quoted value, but nothing that these four can mean needs one.
            if slot.is_some() || value.contains(&b'\\') {
                return Err(UnknownReason::Malformed);
            }
            *slot = Some(value);
        }
        if by.is_some_and(|by| parse_node(by) == Err(UnknownReason::Malformed)) {
            return Err(UnknownReason::Malformed);
        }
        Ok(parsed)
    }

    /// Parses an element and returns the address in it.
    pub(crate) fn parse_addr(element: &'a [u8]) -> Result<IpAddr, UnknownReason> {
        let element = Self::parse(element)?;
        parse_node(element.node.ok_or(UnknownReason::MissingAddress)?)
    }
}

/// Returns whether every quote is closed and every backslash quoted, without which nobody knows where an element ends.
fn is_quoted_well(line: &[u8]) -> bool {
    let mut quoted = false;
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            // RFC 9110, section 5.6.4: within quotes, a backslash takes the next byte with it.
            b'\\' if !quoted || bytes.next().is_none() => return false,
            _ => {}
        }
    }
    !quoted
}

/// Finds the last comma outside quotes, in a line that is quoted well.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut end = line.len();
    while let Some((byte, before)) = line.get(..end).and_then(<[u8]>::split_last) {
        match byte {
            b',' if !quoted => return Some(before.len()),
            b'"' => {
                let slashes = before
                    .iter()
                    .rev()
                    .take_while(|byte| **byte == b'\\')
                    .count();
                // Inside quotes, an odd number of backslashes before a quote makes it part of the text. The quote that we meet first
                // from the right closes them, whatever stands before it.
                if !quoted {
                    quoted = true;
                } else if slashes % 2 == 0 {
                    quoted = false;
                }
            }
            _ => {}
        }
        end = before.len();
    }
    None
}

/// Splits off what stands before the first semicolon outside quotes.
fn split_pair(pairs: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut quoted = false;
    let mut escaped = false;
    for (place, byte) in pairs.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                let (pair, rest) = pairs.split_at_checked(place).unwrap_or_default();
                return (pair, rest.get(1..));
            }
            _ => {}
        }
    }
    (pairs, None)
}

/// Parses `name=value`, where the value may be quoted. Both are refused if white space surrounds the sign.
fn parse_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let sign = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (pair.get(..sign)?, pair.get(sign + 1..)?);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    let value = match value {
        [b'"', inner @ .., b'"'] => {
            let mut escaped = false;
            for byte in inner {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => return None,
                    _ => {}
                }
            }
            (!escaped).then_some(inner)?
        }
        // An IPv6 address or a port has to be quoted, but proxies that do not are many, and there is no second way to read it.
        [] => return None,
        bare => bare
            .iter()
            .all(|byte| is_token(*byte) || b"[]:".contains(byte))
            .then_some(bare)?,
    };
    Some((name, value))
}

fn is_token(byte: u8) -> bool {
    // RFC 9110, section 5.6.2.
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[Result<&str, UnknownReason>]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("forwarded", line.parse().unwrap());
        }
        let elements = ElementsFromRight::new(&headers, 8_192);
        let elements: Vec<_> = elements.take(10).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|element| element.map(str::as_bytes))
            .collect();
        assert_eq!(elements, expected);
    }

    #[test]
    fn elements_come_from_the_right() {
        check(&[], &[]);
        check(&["for=a, for=b"], &[Ok("for=b"), Ok("for=a")]);
        check(&["a=1,b=2", ", c=3,,"], &[Ok("c=3"), Ok("b=2"), Ok("a=1")]);
        check(
            &[r#"a="x,y", b="\\\",", c="\\""#],
            &[Ok(r#"c="\\""#), Ok(r#"b="\\\",""#), Ok(r#"a="x,y""#)],
        );
    }

    #[test]
    fn a_line_with_open_quotes_is_malformed_and_alone() {
        const MALFORMED: Result<&str, UnknownReason> = Err(UnknownReason::Malformed);

        check(&[r#"for="evil, for=203.0.113.7"#], &[MALFORMED]);
        check(
            &[r#"for="evil"#, "for=203.0.113.7"],
            &[Ok("for=203.0.113.7"), MALFORMED],
        );
        check(&[r#"for=a", for=b"#], &[MALFORMED]);
        check(&[r#"for="a"#], &[MALFORMED]);
    }

    #[track_caller]
    fn check_element(element: &str, expected: Result<&str, UnknownReason>) {
        let expected = expected.map(|addr| addr.parse().unwrap());
        assert_eq!(
            Element::parse_addr(element.as_bytes()),
            expected,
            "{element}"
        );
    }

    #[test]
    fn elements_are_parsed_strictly() {
        const MALFORMED: Result<&str, UnknownReason> = Err(UnknownReason::Malformed);
        const OBFUSCATED: Result<&str, UnknownReason> = Err(UnknownReason::Obfuscated);
        const MISSING: Result<&str, UnknownReason> = Err(UnknownReason::MissingAddress);

        check_element(
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            Ok("192.0.2.60"),
        );
        check_element(r#"FOR="[::ffff:188.0.2.128]:49428""#, Ok("188.0.2.128"));
        check_element(r#";;for=1.1.1.1 ; x="a;b\"c";"#, Ok("1.1.1.1"));
        check_element("for=_hidden", OBFUSCATED);
        check_element(r#"for="unknown:132""#, OBFUSCATED);
        check_element(r#"fore="unknown:132""#, MISSING);
        check_element("proto=https", MISSING);
        check_element("for =1.1.1.1", MALFORMED);
        check_element("for= 1.1.1.1", MALFORMED);
        check_element("for=", MALFORMED);
        check_element(r#"for="""#, MALFORMED);
        check_element("for", MALFORMED);
        check_element("=1.1.1.1", MALFORMED);
        check_element("for=1.1.1.1;for=2.2.2.2", MALFORMED);
        check_element("for=1.1.1.1;proto=http;PROTO=https", MALFORMED);
        check_element(r#"for="1.1.1.1"x"#, MALFORMED);
        check_element(r#"for="1.1.1.""#, MALFORMED);
        check_element(r#"for=1.1.1.1;by="[::1]:""#, MALFORMED);
        check_element("for=1.1.1.1;by=_hidden", Ok("1.1.1.1"));
        check_element("for=1.1.1.1;a b=c", MALFORMED);
    }
}
