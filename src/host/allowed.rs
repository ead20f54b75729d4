//! The hosts that a service is known by.

use std::{error::Error, fmt, net::IpAddr, str::FromStr, sync::Arc};

use http::StatusCode;

use crate::{
    client_ip::{
        authority::{HostError, HostRef, RequestHost},
        context::ClientContext,
        peer::PeerSource,
        proxies::TrustedProxies,
    },
    event::model::Action,
    policy::{
        decision::Check, head::RequestHead, label::PolicyLabel, peek::Peek, rejection::Rejection,
        set::Policy,
    },
};

/// The hosts that a service is known by, and the policy that refuses requests for any other.
///
/// A request whose host is missing, doubled, malformed or contradictory is answered with 400, one for a host that is not in the list with 421
/// (RFC 9110, section 15.5.20).
///
/// A pattern is a host name (`api.example.com`), any name below one (`*.example.com`, which leaves out `example.com` itself), or an address
/// (`192.0.2.7`, `[2001:db8::7]`). It holds for every port unless it names one (`localhost:8080`).
///
/// # Example
///
/// ```
/// use palisade::host::{AllowedHosts, RequestHost};
///
/// let hosts: AllowedHosts = "api.example.com, *.tenants.example.com".parse()?;
///
/// assert!(hosts.contains(&RequestHost::parse(b"API.example.com:443")?));
/// assert!(hosts.contains(&RequestHost::parse(b"acme.tenants.example.com")?));
/// assert!(!hosts.contains(&RequestHost::parse(b"tenants.example.com")?));
/// assert!(!hosts.contains(&RequestHost::parse(b"api.example.com.evil.example")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    patterns: Arc<[HostPattern]>,
    /// Whose `X-Forwarded-Host` takes the place of the request's own host.
    proxies: Option<TrustedProxies>,
    peer: PeerSource,
}

impl AllowedHosts {
    /// Creates a list of patterns.
    ///
    /// # Errors
    ///
    /// Fails if there is no pattern, or if one does not parse.
    pub fn new<T: AsRef<str>>(
        patterns: impl IntoIterator<Item = T>,
    ) -> Result<Self, AllowedHostsError> {
        let patterns = patterns
            .into_iter()
            .map(|pattern| pattern.as_ref().parse())
            .collect::<Result<Arc<[HostPattern]>, _>>()?;
        if patterns.is_empty() {
            return Err(AllowedHostsError(ErrorKind::Empty));
        }
        Ok(Self {
            patterns,
            proxies: None,
            peer: PeerSource::default(),
        })
    }

    /// Checks the host that a trusted proxy sends in `X-Forwarded-Host` instead of the request's own. The default is to ignore the field.
    ///
    /// The value nearest to this server counts: the last one. The request's own host must still be well-formed, and counts where the
    /// field is missing or the peer is no trusted proxy.
    #[must_use]
    pub fn with_forwarded_host(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// Finds the peer of the connection in a way of one's own. The default are the [usual places](PeerSource).
    ///
    /// Where a [`ClientIpLayer`](crate::client_ip::ClientIpLayer) stands outside, the peer it has found is taken.
    #[must_use]
    pub fn with_peer(mut self, peer: PeerSource) -> Self {
        self.peer = peer;
        self
    }

    /// Returns whether a host is in the list.
    #[must_use]
    pub fn contains(&self, host: &RequestHost<'_>) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(host))
    }

    /// Finds the host of a request and checks it against the list.
    pub(crate) fn served<'a>(
        &self,
        request: &RequestHead<'a>,
    ) -> Result<RequestHost<'a>, HostProblem> {
        let host = self.find(request).map_err(HostProblem::Malformed)?;
        if self.contains(&host) {
            Ok(host)
        } else {
            Err(HostProblem::NotServed)
        }
    }

    fn find<'a>(&self, request: &RequestHead<'a>) -> Result<RequestHost<'a>, HostError> {
        let own = RequestHost::named(request.uri(), request.headers(), request.version())?;
        let Some(proxies) = &self.proxies else {
            return Ok(own);
        };
        let peer = request
            .client()
            .and_then(ClientContext::peer)
            .or_else(|| self.peer.find(request.extensions()));
        if !peer.is_some_and(|peer| proxies.trusts(peer)) {
            return Ok(own);
        }
        // The lines and values that stand before the last one are from further away, and may be the client's.
        let lines = request.headers().get_all("x-forwarded-host");
        match lines.iter().next_back() {
            Some(line) => {
                let value = line.as_bytes().rsplit(|b| *b == b',').next();
                RequestHost::parse(value.unwrap_or_default().trim_ascii())
            }
            None => Ok(own),
        }
    }
}

impl Policy for AllowedHosts {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("host", "allowed_hosts")
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        match self.served(request) {
            Ok(_) => Check::admit(),
            Err(problem) => Check::reject(problem.into()),
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        Some(match self.served(request) {
            Ok(_) => Peek::admit("the host is served"),
            Err(problem) => Peek::reject(problem.into()),
        })
    }
}

/// Parses a list of patterns with commas between them.
impl FromStr for AllowedHosts {
    type Err = AllowedHostsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.split(',').map(str::trim))
    }
}

/// Why a request is not for one of the hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostProblem {
    Malformed(HostError),
    NotServed,
}

impl From<HostProblem> for Rejection {
    fn from(problem: HostProblem) -> Self {
        match problem {
            HostProblem::Malformed(error) => Self::new(
                Action::HostMalformed,
                StatusCode::BAD_REQUEST,
                error.as_str(),
            ),
            HostProblem::NotServed => Self::new(
                Action::HostNotServed,
                StatusCode::MISDIRECTED_REQUEST,
                "the host is not served here",
            ),
        }
    }
}

/// One pattern of the list, in canonical form.
#[derive(Clone, Debug)]
struct HostPattern {
    host: PatternHost,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum PatternHost {
    Address(IpAddr),
    /// Whatever ends in this text, which begins with a dot.
    Below(Box<str>),
    Name(Box<str>),
}

impl HostPattern {
    fn matches(&self, host: &RequestHost<'_>) -> bool {
        if self.port.is_some() && self.port != host.port() {
            return false;
        }
        match (&self.host, host.host_ref()) {
            (PatternHost::Address(own), HostRef::Address(address)) => *own == address,
            (PatternHost::Below(suffix), HostRef::Name(name)) => {
                // The names have no empty labels, so that what stands before the dot is a name, too.
                name.len() > suffix.len()
                    && name
                        .get(name.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            (PatternHost::Name(own), HostRef::Name(name)) => own.eq_ignore_ascii_case(name),
            _ => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = AllowedHostsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (text, below) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let malformed = || AllowedHostsError(ErrorKind::Malformed(text.into()));
        let host = RequestHost::parse(text.as_bytes()).map_err(|_| malformed())?;
        let port = host.port();
        let host = match (host.host_ref(), below) {
            (HostRef::Address(address), false) => PatternHost::Address(address),
            (HostRef::Address(_), true) => return Err(malformed()),
            (HostRef::Name(_), false) => PatternHost::Name(host.host().into()),
            (HostRef::Name(_), true) => PatternHost::Below(format!(".{}", host.host()).into()),
        };
        Ok(Self { host, port })
    }
}

/// A list of hosts cannot be made.
#[derive(Debug)]
pub struct AllowedHostsError(ErrorKind);

#[derive(Debug)]
enum ErrorKind {
    Empty,
    Malformed(Box<str>),
}

impl fmt::Display for AllowedHostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ErrorKind::Empty => f.write_str("the list of hosts is empty"),
            ErrorKind::Malformed(text) => write!(f, "{text:?} is no pattern of a host"),
        }
    }
}

impl Error for AllowedHostsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &str, allowed: &[&str], refused: &[&str]) {
        let hosts: AllowedHosts = patterns.parse().unwrap();
        let contains = |host: &&str| {
            RequestHost::parse(host.as_bytes()).is_ok_and(|host| hosts.contains(&host))
        };
        for host in allowed {
            assert!(contains(host), "{patterns} must allow {host}");
        }
        for host in refused {
            assert!(!contains(host), "{patterns} must refuse {host}");
        }
    }

    #[test]
    fn names_match_whole() {
        check(
            "api.example.com",
            &[
                "api.example.com",
                "API.EXAMPLE.COM.",
                "api.example.com:8080",
            ],
            &["example.com", "x.api.example.com", "api.example.com.evil"],
        );
        check("example.com", &["EXAMPLE.com."], &["evil.test"]); // E35
    }

    #[test]
    fn a_pattern_with_a_port_takes_that_port_only() {
        check(
            "www.example.com:80",
            &["www.example.com:80"],
            &[
                "www.example.com",
                "www.example.com:81",
                "www.example.com:80:80",
            ], // E29
        );
    }

    #[test]
    fn a_wildcard_takes_what_is_below() {
        check(
            "*.example.com", // E31
            &["foo.eXample.com:443", "a.b.example.com"],
            &[
                "example.com:443",
                "foo.example.com.bar:443",
                ".example.com:443",
                "fooexample.com",
                "192.0.2.7",
            ],
        );
    }

    #[test]
    fn addresses_are_compared_as_such() {
        check(
            "192.0.2.7, [2001:DB8::7]",
            &["192.0.2.7:80", "[2001:db8:0::7]"],
            &["192.0.2.8", "[::ffff:192.0.2.7]", "[2001:db8::8]"],
        );
    }

    #[test]
    fn nonsense_is_no_list() {
        for patterns in [
            "",
            ",",
            "a,,b",
            "*",
            "*.",
            "*.*.example.com",
            "*example.com",
            "a.*.example.com",
            "https://example.com",
            "example.com/",
            "u@example.com",
            "*.192.0.2.7",
            "example.com:0",
        ] {
            assert!(patterns.parse::<AllowedHosts>().is_err(), "{patterns:?}");
        }
        assert!(AllowedHosts::new(<[&str; 0]>::default()).is_err());
    }
}
