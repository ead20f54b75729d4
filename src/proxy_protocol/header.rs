//! The header in front of a connection.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads a header and nothing behind it. Returns the source that it names, if it names one.
///
/// Whoever calls this has to bound the time.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    // No header is shorter than this: `PROXY UNKNOWN` and its line end. What lies behind a header belongs to the connection.
    let mut start = [0; SHORTEST];
    stream.read_exact(&mut start).await?;
    if start.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return read_v1(stream, start).await;
    }
    read_v2(stream, start).await
}

const SHORTEST: usize = 15;

/// Version 1 is a line of at most 107 bytes, and nothing but its end tells how long it is.
async fn read_v1(
    stream: &mut (impl AsyncRead + Unpin),
    start: [u8; SHORTEST],
) -> Result<Option<SocketAddr>, HeaderError> {
    const LONGEST: usize = 107;
    let mut line = Vec::with_capacity(LONGEST);
    line.extend_from_slice(&start);
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST {
            return Err(Kind::Malformed.into());
        }
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line)
}

/// Version 2 tells its length in the last two of sixteen bytes.
async fn read_v2(
    stream: &mut (impl AsyncRead + Unpin),
    start: [u8; SHORTEST],
) -> Result<Option<SocketAddr>, HeaderError> {
    // Room for a certificate's names. The length field would allow 64 KiB.
    const LONGEST: u16 = 4_096;
    if !start.starts_with(v2::PROTOCOL_PREFIX) {
        return Err(Kind::Malformed.into());
    }
    let last = stream.read_u8().await?;
    let [.., length] = start;
    let length = u16::from_be_bytes([length, last]);
    if LONGEST < length {
        return Err(Kind::TooLarge.into());
    }
    let mut header = Vec::with_capacity(start.len() + 1 + usize::from(length));
    header.extend_from_slice(&start);
    header.push(last);
    stream
        .take(u64::from(length))
        .read_to_end(&mut header)
        .await?;
    parse_v2(&header)
}

/// Parses a whole header of version 1.
fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    // PROXY protocol, section 2.1: one space between the parts, no signs, one line end, at the end.
    let content = line.strip_suffix(b"\r\n").ok_or(Kind::Malformed)?;
    if content
        .iter()
        .any(|byte| matches!(byte, b'\r' | b'\n' | b'+'))
    {
        return Err(Kind::Malformed.into());
    }
    if content == UNKNOWN || content.starts_with(b"PROXY UNKNOWN ") {
        // Everything behind the word is to be ignored.
        return Ok(None);
    }
    let header = v1::Header::try_from(line).map_err(|_| Kind::Malformed)?;
    let source = match header.addresses {
        v1::Addresses::Unknown => return Err(Kind::Malformed.into()),
        v1::Addresses::Tcp4(addrs) => (addrs.source_address.into(), addrs.source_port),
        v1::Addresses::Tcp6(addrs) => (addrs.source_address.into(), addrs.source_port),
    };
    known(source).map(Some)
}

const UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// Parses a whole header of version 2.
fn parse_v2(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let header = v2::Header::try_from(header).map_err(|_| Kind::Malformed)?;
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    let source = match (header.addresses, header.protocol) {
        // PROXY protocol, section 2.2: for an unspecified family, the receiver uses the real endpoints.
        (v2::Addresses::Unspecified, _) => return Ok(None),
        (v2::Addresses::IPv4(addrs), v2::Protocol::Stream) => {
            (addrs.source_address.into(), addrs.source_port)
        }
        (v2::Addresses::IPv6(addrs), v2::Protocol::Stream) => {
            (addrs.source_address.into(), addrs.source_port)
        }
        // Neither a datagram nor the path of a socket can be the client of this connection.
        (v2::Addresses::IPv4(_) | v2::Addresses::IPv6(_) | v2::Addresses::Unix(_), _) => {
            return Err(Kind::Unsupported.into());
        }
    };
    known(source).map(Some)
}

fn known((addr, port): (IpAddr, u16)) -> Result<SocketAddr, HeaderError> {
    let addr = addr.to_canonical();
    if addr.is_unspecified() {
        return Err(Kind::Malformed.into());
    }
    Ok(SocketAddr::new(addr, port))
}

/// Why a header cannot be used.
#[derive(Debug)]
pub struct HeaderError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Io(std::io::Error),
    Malformed,
    TooLarge,
    Unsupported,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Io(_) => "header of the PROXY protocol cannot be read",
            Kind::Malformed => "header of the PROXY protocol is malformed",
            Kind::TooLarge => "header of the PROXY protocol is too large",
            Kind::Unsupported => "header of the PROXY protocol names no TCP connection",
        })
    }
}

impl Error for HeaderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Io(error) => Some(error),
            Kind::Malformed | Kind::TooLarge | Kind::Unsupported => None,
        }
    }
}

impl From<Kind> for HeaderError {
    fn from(kind: Kind) -> Self {
        Self { kind }
    }
}

impl From<std::io::Error> for HeaderError {
    fn from(error: std::io::Error) -> Self {
        Self::from(Kind::Io(error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REST: &[u8] = b"GET / HTTP/1.1\r\n";

    /// Reads a header with a request behind it, and checks that the request is untouched.
    fn read_all(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
        let bytes = [header, REST].concat();
        let mut stream = &*bytes;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let source = runtime.block_on(read(&mut stream))?;
        assert_eq!(stream, REST);
        Ok(source)
    }

    #[track_caller]
    fn check(header: &[u8], expected: Option<&str>) {
        let source = read_all(header).unwrap();
        assert_eq!(source, expected.map(|addr| addr.parse().unwrap()));
    }

    #[track_caller]
    fn check_refused(header: &[u8], expected: &str) {
        let error = read_all(header).unwrap_err().to_string();
        assert_eq!(error, format!("header of the PROXY protocol {expected}"));
    }

    /// A header of version 2.
    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [
            &b"\r\n\r\n\0\r\nQUIT\n"[..],
            &[command, family],
            &length,
            payload,
        ]
        .concat()
    }

    const TCP4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0xc7, 0x38, 1, 187];

    fn tcp6() -> Vec<u8> {
        let source: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0xc7, 0x38, 1, 187]].concat()
    }

    /// Case I03.
    #[test]
    fn a_proxy_may_speak_for_itself() {
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN 1 2 3 4 5 6\r\n", None);
    }

    #[test]
    fn version_1_names_the_source() {
        check(
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\r\n",
            Some("203.0.113.7:51000"),
        );
        check(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", Some("1.1.1.1:1"));
        check(
            b"PROXY TCP6 2001:Db8::1 ::1 51000 443\r\n",
            Some("[2001:db8::1]:51000"),
        );
        check(
            b"PROXY TCP6 ::ffff:1.2.3.4 ::1 9 443\r\n",
            Some("1.2.3.4:9"),
        );
    }

    /// Case I09, and its like.
    #[test]
    fn version_1_is_strict() {
        for header in [
            &b"PROXY TCP4 010.0.0.1 10.0.0.1 51000 443\r\n"[..],
            b"PROXY  TCP4 203.0.113.7 10.0.0.1 51000 443\r\n",
            b"PROXY TCP4  203.0.113.7 10.0.0.1 51000 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51000 443 \r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51000\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 051000 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +51000 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 51000 443\r\n",
            b"PROXY TCP6 203.0.113.7 10.0.0.1 51000 443\r\n",
            b"PROXY TCP4 0.0.0.0 10.0.0.1 51000 443\r\n",
            b"PROXY TCP5 203.0.113.7 10.0.0.1 51000 443\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXYTCP4 203.0.113.7 10.0.0.1 51000 443\r\n",
            b"PROXY-TCP4 203.0.113.7 10.0.0.1 51000 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\n\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51000\r443\r\n",
            b"proxy TCP4 203.0.113.7 10.0.0.1 51000 443\r\n",
            b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\n",
        ] {
            check_refused(header, "is malformed");
        }
        check_refused(
            &[b"PROXY UNKNOWN ", &[b'x'; 107][..]].concat(),
            "is malformed",
        );
    }

    /// Cases I04, I05.
    #[test]
    fn version_2_names_the_source() {
        check(&v2(0x20, 0x00, b""), None);
        check(&v2(0x20, 0x11, &TCP4), None);
        check(&v2(0x20, 0x00, &[7; 300]), None);
        check(&v2(0x21, 0x00, b""), None);
        check(&v2(0x21, 0x11, &TCP4), Some("203.0.113.7:51000"));
        check(&v2(0x21, 0x21, &tcp6()), Some("[2001:db8::1]:51000"));
        let tlvs = [&TCP4[..], b"\x04\x00\x03abc\x20\x00\x05xyzzy"].concat();
        check(&v2(0x21, 0x11, &tlvs), Some("203.0.113.7:51000"));
    }

    /// Case I10, and its like.
    #[test]
    fn version_2_is_strict() {
        check_refused(&v2(0x31, 0x11, &TCP4), "is malformed");
        check_refused(&v2(0x2f, 0x11, &TCP4), "is malformed");
        check_refused(&v2(0x21, 0x41, &TCP4), "is malformed");
        check_refused(&v2(0x21, 0x13, &TCP4), "is malformed");
        check_refused(&v2(0x21, 0x11, &TCP4[..11]), "is malformed");
        check_refused(&v2(0x21, 0x21, &TCP4), "is malformed");
        check_refused(&v2(0x21, 0x12, &TCP4), "names no TCP connection");
        check_refused(&v2(0x21, 0x10, &TCP4), "names no TCP connection");
        check_refused(&v2(0x21, 0x31, &[0; 216]), "names no TCP connection");
        check_refused(&v2(0x21, 0x11, &[0; 4_097]), "is too large");
        check_refused(&v2(0x21, 0x11, &[0; 12]), "is malformed");
        let cut = v2(0x21, 0x11, &TCP4);
        let mut stream = &cut[..20];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert!(runtime.block_on(read(&mut stream)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(start in 0..3_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let start = [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21"][start];
            let bytes = [start, &bytes].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&mut &*bytes));
        }
    }
}
