//! The host that a request is addressed to.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use http::{HeaderMap, HeaderValue, Uri, Version, header::HOST, request::Parts, uri::Authority};

/// The host and port that a request is addressed to, borrowed from the request.
///
/// The text is what the client wrote: before it is used for anything, it has to pass [`AllowedHosts`](crate::host::AllowedHosts).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestHost<'a> {
    host: HostRef<'a>,
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum HostRef<'a> {
    Address(IpAddr),
    /// A name without the trailing dot, in the case that the client wrote it in.
    Name(&'a str),
}

/// The lines of the field `Host` in a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostField<T> {
    Missing,
    One(T),
    Several,
}

impl<'a> RequestHost<'a> {
    /// Finds the host of a request in `:authority`, in a target in absolute form and in the field `Host`, which must agree.
    ///
    /// [`ClientContext::authority`](crate::client_ip::ClientContext::authority) returns the same for as long as the context is kept.
    ///
    /// # Errors
    ///
    /// Fails if the host is missing, appears twice, does not parse, bears user information, or if the places disagree.
    pub fn of(request: &'a Parts) -> Result<Self, HostError> {
        Self::named(&request.uri, &request.headers, request.version)
    }

    /// Finds the host that the head of a request names.
    pub(crate) fn named(
        uri: &'a Uri,
        headers: &'a HeaderMap,
        version: Version,
    ) -> Result<Self, HostError> {
        let mut lines = headers.get_all(HOST).iter();
        let field = match (lines.next(), lines.next()) {
            (None, _) => HostField::Missing,
            (Some(line), None) => HostField::One(line),
            (Some(_), Some(_)) => HostField::Several,
        };
        Self::agreed(uri.authority(), field, version)
    }

    /// Finds the host in the places that a request may name it in.
    pub(crate) fn agreed(
        target: Option<&'a Authority>,
        field: HostField<&'a HeaderValue>,
        version: Version,
    ) -> Result<Self, HostError> {
        let target = match target {
            Some(authority) => Some(Self::parse(authority.as_str().as_bytes())?),
            None => None,
        };
        let field = match field {
            HostField::Missing => None,
            HostField::One(line) => Some(Self::parse(line.as_bytes())?),
            // RFC 9112, section 3.2: more than one line is answered with 400.
            HostField::Several => return Err(HostError(Kind::Duplicate)),
        };
        match (target, field) {
            // RFC 9112, section 3.2.2, would let the target win, and RFC 9113, section 8.3.1, `:authority`; but what stands in front
            // of this server may have taken the other, so that they are refused where they differ.
            (Some(target), Some(field)) if target != field => Err(HostError(Kind::Disagreeing)),
            (_, Some(field)) => Ok(field),
            // RFC 9112, section 3.2: a request of HTTP/1.1 needs the field whatever its target. RFC 9113, section 8.3.1: not so in HTTP/2.
            (Some(_), None) if version == Version::HTTP_11 => Err(HostError(Kind::Missing)),
            (Some(target), None) => Ok(target),
            (None, None) => Err(HostError(Kind::Missing)),
        }
    }

    /// Parses the value of a `Host` field: a name or an address, with or without a port.
    ///
    /// # Errors
    ///
    /// Fails if the value is empty, does not parse, or bears user information.
    pub fn parse(value: &'a [u8]) -> Result<Self, HostError> {
        let parsed = match value {
            [] => return Err(HostError(Kind::Missing)),
            [b'[', rest @ ..] => Self::parse_bracketed(rest),
            _ => Self::parse_name(value),
        };
        parsed.ok_or_else(|| {
            // RFC 9110, section 4.2.4.
            let user_info = value.contains(&b'@');
            HostError(if user_info {
                Kind::UserInfo
            } else {
                Kind::Malformed
            })
        })
    }

    /// Parses an address of IPv6 behind its bracket.
    fn parse_bracketed(value: &[u8]) -> Option<Self> {
        let (address, rest) = std::str::from_utf8(value).ok()?.split_once(']')?;
        // RFC 3986, section 3.2.2. `Ipv6Addr` takes no zone.
        let address: Ipv6Addr = address.parse().ok()?;
        let port = match rest.as_bytes() {
            [] => None,
            [b':', port @ ..] => parse_port(port)?,
            _ => return None,
        };
        let host = HostRef::Address(IpAddr::V6(address));
        Some(Self { host, port })
    }

    /// Parses a name or an address of IPv4, in one pass: every request goes this way.
    fn parse_name(value: &'a [u8]) -> Option<Self> {
        let Scan { length, last } = scan_name(value)?;
        let (name, rest) = value.split_at_checked(length)?;
        let port = match rest {
            [] | [b'.'] => None,
            [b':', port @ ..] | [b'.', b':', port @ ..] => parse_port(port)?,
            _ => return None,
        };
        let name = std::str::from_utf8(name).ok()?;
        let host = match last {
            b'0'..=b'9' => match name.parse::<Ipv4Addr>() {
                Ok(address) => HostRef::Address(IpAddr::V4(address)),
                // A name that ends in a number is an address or nothing: `010.0.0.1` and `10.1` are read as addresses by some.
                Err(_) if ends_in_number(name) => return None,
                Err(_) => HostRef::Name(name),
            },
            _ => HostRef::Name(name),
        };
        Some(Self { host, port })
    }

    /// Returns the host: lower case, without a trailing dot; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> Cow<'a, str> {
        match self.host {
            HostRef::Address(IpAddr::V4(address)) => Cow::Owned(address.to_string()),
            HostRef::Address(IpAddr::V6(address)) => Cow::Owned(format!("[{address}]")),
            HostRef::Name(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                Cow::Owned(name.to_ascii_lowercase())
            }
            HostRef::Name(name) => Cow::Borrowed(name),
        }
    }

    /// Returns the port, if the client wrote one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns whether the host is an address and not a name.
    #[must_use]
    pub fn is_address(&self) -> bool {
        matches!(self.host, HostRef::Address(_))
    }

    pub(crate) fn host_ref(&self) -> HostRef<'a> {
        self.host
    }
}

/// Writes the host and the port in canonical form.
impl fmt::Display for RequestHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Eq for HostRef<'_> {}

impl PartialEq for HostRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// The host of a request cannot be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostError(Kind);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Disagreeing,
    Duplicate,
    Malformed,
    Missing,
    UserInfo,
}

impl HostError {
    /// Returns why, as a constant phrase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            Kind::Disagreeing => "the request names two hosts",
            Kind::Duplicate => "the request has more than one host field",
            Kind::Malformed => "the host of the request is malformed",
            Kind::Missing => "the request names no host",
            Kind::UserInfo => "the host of the request bears user information",
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for HostError {}

/// Parses what stands behind the colon. RFC 3986, section 3.2.3, allows it to be empty.
#[expect(
    clippy::option_option,
    reason = "a port that is absent and one that is malformed are different things"
)]
fn parse_port(port: &[u8]) -> Option<Option<u16>> {
    if port.is_empty() {
        return Some(None);
    }
    let mut number = 0_u16;
    for byte in port {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add(u16::from(byte - b'0'))?;
    }
    (number != 0).then_some(Some(number))
}

/// What a pass over a host name finds.
struct Scan {
    /// Where the name ends, without a trailing dot.
    length: usize,
    /// The first byte of the last label.
    last: u8,
}

/// Reads a host name, which ends before a colon or a trailing dot: labels of letters, digits, hyphens and underscores.
///
/// RFC 3986 would allow more, but no name that a server is known by has more.
fn scan_name(value: &[u8]) -> Option<Scan> {
    let mut start = 0;
    let mut last = 0;
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                if at == start {
                    last = byte;
                }
            }
            b'.' | b':' => {
                let trailing = byte == b'.' && matches!(value.get(at + 1), None | Some(b':'));
                if at == start || MAX_LABEL < at - start {
                    return None;
                }
                if byte == b':' || trailing {
                    return (at <= MAX_NAME).then_some(Scan { length: at, last });
                }
                start = at + 1;
            }
            _ => return None,
        }
    }
    let length = value.len();
    (start < length && length - start <= MAX_LABEL && length <= MAX_NAME)
        .then_some(Scan { length, last })
}

/// Longest host name and longest label, in bytes. RFC 1035, section 2.3.4, less the length octets and the root.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Returns whether a name would be read as an IPv4 address by whoever follows the URL standard: its last label is a number.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Result<&str, Kind>) {
        let found = RequestHost::parse(value.as_bytes()).map(|it| it.to_string());
        assert_eq!(
            found.as_deref().map_err(|e| e.0),
            expected,
            "host {value:?}"
        );
    }

    #[test]
    fn hosts_are_canonical() {
        check("api.example.com", Ok("api.example.com"));
        check("API.Example.com:8443", Ok("api.example.com:8443"));
        check("EXAMPLE.com.", Ok("example.com")); // E35
        check("example.com.:80", Ok("example.com:80"));
        check("example.com:", Ok("example.com"));
        check("under_score.internal", Ok("under_score.internal"));
        check("192.0.2.7:80", Ok("192.0.2.7:80"));
        check("[2001:DB8:0::7]:80", Ok("[2001:db8::7]:80"));
        check("[::1]", Ok("[::1]"));
    }

    #[test]
    fn labels_are_as_long_as_they_may_be() {
        let label = "a".repeat(63);
        for name in [
            label.clone(),
            format!("{label}.{label}.{label}"),
            format!("{label}.{label}.{label}.example"),
        ] {
            check(&name, Ok(&name));
        }
    }

    #[test]
    fn a_name_in_lower_case_is_not_copied() {
        for (value, is_copied) in [("example.com:80", false), ("Example.com", true)] {
            let host = RequestHost::parse(value.as_bytes()).unwrap();
            assert_eq!(matches!(host.host(), Cow::Owned(_)), is_copied, "{value}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        check("", Err(Kind::Missing));
        check("u:p@evil", Err(Kind::UserInfo)); // E28
        check("a/b@c\"", Err(Kind::UserInfo)); // E25
        check("example.com@", Err(Kind::UserInfo));
        for value in [
            "a/b",
            "a\"b",
            "a b",
            " example.com",
            "example.com ",
            "a,b",
            "a%2eb",
            "a\\b",
            "a?b",
            "a#b",
            "www.example.com:80:80", // E29
            ".example.com:443",      // E31
            "a..b",
            ".",
            "..",
            "example.com..",
            ":80",
            "example.com:x",
            "example.com:+80",
            "example.com:0",
            "example.com:65536",
            "example.com: 80",
            "::1",
            "[::1",
            "[::1]80",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "010.0.0.1",
            "10.1",
            "0x7f.1",
            "0x7f000001",
            "1.2.3.4.5",
            "bücher.example",
        ] {
            check(value, Err(Kind::Malformed));
        }
        check(&"a".repeat(64), Err(Kind::Malformed));
        check(&format!("{}.example", "a".repeat(64)), Err(Kind::Malformed));
        check(&["abcdefg"; 32].join("."), Err(Kind::Malformed));
        let latin_1 = RequestHost::parse(b"b\xfccher.example");
        assert_eq!(latin_1, Err(HostError(Kind::Malformed)));
    }

    #[track_caller]
    fn check_request(version: Version, target: &str, lines: &[&str], expected: Result<&str, Kind>) {
        let mut request = Request::builder().version(version).uri(target);
        for line in lines {
            request = request.header(HOST, *line);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let found = RequestHost::of(&parts).map(|it| it.to_string());
        assert_eq!(
            found.as_deref().map_err(|e| e.0),
            expected,
            "{target} {lines:?}"
        );
    }

    #[test]
    fn the_places_must_agree() {
        use Version as V;
        check_request(V::HTTP_11, "/", &["good"], Ok("good"));
        check_request(V::HTTP_11, "/", &[], Err(Kind::Missing)); // E23
        check_request(V::HTTP_10, "/", &[], Err(Kind::Missing));
        check_request(V::HTTP_11, "/", &[""], Err(Kind::Missing));
        check_request(V::HTTP_11, "/", &["a", "b"], Err(Kind::Duplicate)); // E24
        check_request(V::HTTP_11, "/", &["a", "a"], Err(Kind::Duplicate)); // E24
        check_request(
            V::HTTP_11,
            "http://evil/a",
            &["good"],
            Err(Kind::Disagreeing),
        ); // E26
        check_request(V::HTTP_11, "http://good/a", &["GOOD."], Ok("good"));
        check_request(
            V::HTTP_11,
            "http://good:80/a",
            &["good:81"],
            Err(Kind::Disagreeing),
        );
        check_request(V::HTTP_11, "http://good/a", &[], Err(Kind::Missing));
        check_request(
            V::HTTP_2,
            "http://good/a",
            &["evil"],
            Err(Kind::Disagreeing),
        ); // E27
        check_request(V::HTTP_2, "https://good/a", &[], Ok("good"));
        check_request(V::HTTP_2, "https://good/a", &["good"], Ok("good"));
        check_request(
            V::HTTP_11,
            "http://u:p@evil/a",
            &["evil"],
            Err(Kind::UserInfo),
        ); // E28
        check_request(V::HTTP_2, "http://u@evil/a", &[], Err(Kind::UserInfo)); // E28
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_stable(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(host) = RequestHost::parse(&value) {
                let text = host.to_string();
                let again = RequestHost::parse(text.as_bytes());
                prop_assert_eq!(again.as_ref().ok(), Some(&host));
            }
        }

        #[test]
        fn plausible_hosts_never_panic(value in "[a-c0-9.:\\[\\]@-]{0,20}") {
            if let Ok(host) = RequestHost::parse(value.as_bytes()) {
                let text = host.to_string();
                prop_assert_eq!(RequestHost::parse(text.as_bytes()).ok(), Some(host));
            }
        }
    }
}
