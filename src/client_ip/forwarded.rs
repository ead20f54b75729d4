//! The elements of `Forwarded` (RFC 7239), read from the right.

use std::{iter::Rev, net::IpAddr};

use http::{
    HeaderMap, HeaderValue,
    header::{self, FORWARDED},
};

use crate::client_ip::{
    ipv4::take_ipv4,
    node::{parse_node, parse_quoted_ipv6},
    unknown::UnknownReason,
};

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

/// A line that is one element as nearly every proxy writes it.
#[derive(Debug, Default)]
pub(crate) struct PlainElement<'a> {
    pub(crate) addr: Option<IpAddr>,
    pub(crate) proto: Option<&'a [u8]>,
}

impl<'a> PlainElement<'a> {
    /// Reads the only element of a line in one pass, or nothing if there is anything unusual about it: then it is for
    /// [`ElementsFromRight`] and [`Element`] to say what it means, and what is found here is what they would find.
    ///
    /// Usual are `for` with an address, `by` with an address, `proto` and `host`, in any order and each at most once.
    #[inline]
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parsed = Self::default();
        let (mut by, mut host) = (false, false);
        let mut pairs = line;
        loop {
            let rest = match pairs {
                [b'f' | b'F', b'o' | b'O', b'r' | b'R', b'=', value @ ..] => {
                    let (addr, rest) = split_addr(value)?;
                    if parsed.addr.replace(addr).is_some() {
                        return None;
                    }
                    rest
                }
                [b'p', b'r', b'o', b't', b'o', b'=', value @ ..] => {
                    let (proto, rest) = split_value(value)?;
                    if parsed.proto.replace(proto).is_some() {
                        return None;
                    }
                    rest
                }
                [b'b', b'y', b'=', value @ ..] if !by => {
                    by = true;
                    split_addr(value)?.1
                }
                [b'h', b'o', b's', b't', b'=', value @ ..] if !host => {
                    host = true;
                    split_value(value)?.1
                }
                _ => return None,
            };
            pairs = match rest {
                [] => return Some(parsed),
                // What follows an address most often.
                b";proto=https" if parsed.proto.is_none() => {
                    parsed.proto = Some(b"https");
                    return Some(parsed);
                }
                [b';', rest @ ..] => rest,
                _ => return None,
            };
        }
    }
}

/// Splits off an address without a port: IPv4 as it is, or IPv6 in brackets and quotes.
#[inline]
fn split_addr(value: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (addr, rest) = match value {
        [b'"', b'[', quoted @ ..] => {
            let end = quoted.iter().position(|byte| *byte == b']')?;
            let (addr, rest) = quoted.split_at_checked(end)?;
            (parse_quoted_ipv6(addr)?, rest.strip_prefix(b"]\"")?)
        }
        bare => {
            let (addr, rest) = take_ipv4(bare)?;
            (addr.into(), rest)
        }
    };
    (!addr.is_unspecified()).then_some((addr, rest))
}

/// Splits off a value that is not empty and has no escapes.
#[inline]
fn split_value(value: &[u8]) -> Option<(&[u8], &[u8])> {
    match value {
        [b'h', b't', b't', b'p', b's'] | [b'h', b't', b't', b'p', b's', b';', ..] => {
            value.split_at_checked(5)
        }
        [b'"', quoted @ ..] => {
            let end = quoted
                .iter()
                .position(|byte| *byte == b'"' || *byte == b'\\')?;
            let (value, rest) = quoted.split_at_checked(end)?;
            Some((value, rest.strip_prefix(b"\"")?))
        }
        bare => {
            let end = bare.iter().position(|byte| !is_bare(*byte));
            let (value, rest) = bare.split_at_checked(end.unwrap_or(bare.len()))?;
            (!value.is_empty()).then_some((value, rest))
        }
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
        bare => bare.iter().all(|byte| is_bare(*byte)).then_some(bare)?,
    };
    Some((name, value))
}

/// Returns whether a value without quotes may have this byte.
fn is_bare(byte: u8) -> bool {
    byte < 128 && BARE >> byte & 1 != 0
}

fn is_token(byte: u8) -> bool {
    byte < 128 && TOKEN >> byte & 1 != 0
}

const BARE: u128 = TOKEN | mask(b"[]:");

/// RFC 9110, section 5.6.2.
const TOKEN: u128 =
    mask(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

/// Returns one bit for each of some ASCII characters: what would be a search per byte is a shift.
const fn mask(mut chars: &[u8]) -> u128 {
    let mut mask = 0;
    while let [first, rest @ ..] = chars {
        mask |= 1 << *first;
        chars = rest;
    }
    mask
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
        check(&[r#"a=1,b="\",x""#], &[Ok(r#"b="\",x""#), Ok("a=1")]);
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
        check_element("for=1.1.1.1;host=a;Host=b", MALFORMED);
        check_element(r#"for="1.1.1.1"x"#, MALFORMED);
        check_element(r#"for="1.1.1.""#, MALFORMED);
        check_element(r#"for=1.1.1.1;by="[::1]:""#, MALFORMED);
        check_element("for=1.1.1.1;by=_hidden", Ok("1.1.1.1"));
        check_element("for=1.1.1.1;a b=c", MALFORMED);
        check_element(r#"for=1.1.1.1;host="a""b""#, MALFORMED);
        for no_ascii in [&b"for=1.1.1.1;x=\x80"[..], b"for=1.1.1.1;\x80=x"] {
            assert_eq!(Element::parse_addr(no_ascii), Err(UnknownReason::Malformed));
        }
    }

    /// What the careful way finds in the same line, if it is one element with an address.
    fn carefully(line: &[u8]) -> Option<(IpAddr, Option<Vec<u8>>)> {
        let mut headers = HeaderMap::new();
        headers.append("forwarded", HeaderValue::from_bytes(line).ok()?);
        let mut elements = ElementsFromRight::new(&headers, 8_192);
        let (Some(Ok(element)), None) = (elements.next(), elements.next()) else {
            return None;
        };
        let proto = Element::parse(element).ok()?.proto.map(<[u8]>::to_vec);
        Some((Element::parse_addr(element).ok()?, proto))
    }

    #[track_caller]
    fn check_plain(line: &str, addr: &str, proto: Option<&str>) {
        let plain = PlainElement::parse(line.as_bytes()).unwrap();
        assert_eq!(plain.addr, Some(addr.parse().unwrap()));
        assert_eq!(plain.proto, proto.map(str::as_bytes));
    }

    #[test]
    fn usual_elements_are_read_in_one_pass() {
        const V6: &str = "2001:db8::1";

        check_plain("for=192.0.2.1", "192.0.2.1", None);
        check_plain("For=192.0.2.1;proto=https", "192.0.2.1", Some("https"));
        check_plain("proto=http;for=192.0.2.1", "192.0.2.1", Some("http"));
        check_plain(r#"for="[2001:db8::1]""#, V6, None);
        check_plain(
            r#"for="[2001:db8::1]";by=10.0.0.1;proto=https;host="a.example:8443""#,
            V6,
            Some("https"),
        );
        for unusual in [
            "",
            "for=192.0.2.1, for=192.0.2.2",
            "for=192.0.2.1;",
            "for=192.0.2.1 ;proto=https",
            "for=192.0.2.1;for=192.0.2.1",
            "for=192.0.2.1;by=10.0.0.1;by=10.0.0.1",
            "for=192.0.2.1;host=a;host=b",
            "proto=http;for=192.0.2.1;proto=https",
            "for=0.0.0.0",
            "for=unknown",
            "for=_hidden",
            "for=192.0.2.1:80",
            r#"for="[2001:db8::1]:80""#,
            r#"for="[2001:db8::1]"#,
            r#"for=192.0.2.1;host="a\"b""#,
            "for=192.0.2.1;x=y",
        ] {
            assert!(
                PlainElement::parse(unusual.as_bytes()).is_none(),
                "{unusual}"
            );
        }
    }

    /// Pieces that make up elements, and some that break them.
    const PIECES: [&str; 32] = [
        "for=",
        "For=",
        "by=",
        "proto=",
        "host=",
        "PROTO=",
        "x=",
        ";",
        ",",
        "\"",
        "\"[",
        "]\"",
        "[",
        "]",
        ":",
        "=",
        " ",
        "\\",
        "192.0.2.1",
        "010.0.0.1",
        "0.0.0.0",
        "2001:db8::1",
        "::ffff:1.2.3.4",
        "::",
        "::1%eth0",
        "fe80::1",
        "https",
        "httpsx",
        "a.example",
        "_hidden",
        "unknown",
        ":80",
    ];

    proptest::proptest! {
        /// Whatever one pass finds is what the careful way finds.
        #[test]
        fn one_pass_agrees_with_the_careful_way(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..12),
        ) {
            agree(pieces.concat().as_bytes());
        }

        /// The same for elements that are right but for one byte.
        #[test]
        fn one_pass_agrees_about_damaged_elements(
            node in proptest::sample::select(&["1.2.3.4", "\"[2001:db8::1]\"", "\"[::ffff:1.2.3.4]\""][..]),
            proto in proptest::sample::select(&["", ";proto=https", ";proto=http"][..]),
            rest in proptest::sample::select(&["", ";by=10.0.0.1", ";host=a", ";by=\"[::1]\";host=\"b:1\""][..]),
            place: proptest::sample::Index,
            byte in proptest::option::of(0x20_u8..=0xff),
        ) {
            let mut line = format!("for={node}{proto}{rest}").into_bytes();
            if let Some(byte) = byte {
                let place = place.index(line.len());
                line[place] = byte;
            } else {
                assert!(PlainElement::parse(&line).is_some());
            }
            agree(&line);
        }
    }

    #[track_caller]
    fn agree(line: &[u8]) {
        // A server hands over nothing else.
        if HeaderValue::from_bytes(line).is_err() {
            return;
        }
        let Some(plain) = PlainElement::parse(line) else {
            return;
        };
        let Some(addr) = plain.addr else {
            return;
        };
        let found = (addr, plain.proto.map(<[u8]>::to_vec));
        assert_eq!(carefully(line), Some(found), "{}", line.escape_ascii());
    }
}
