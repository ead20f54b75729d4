//! Where plain-text requests are redirected to.

use std::{error::Error, fmt, fmt::Write as _, str::FromStr};

use http::{HeaderValue, StatusCode, uri::PathAndQuery};

use crate::{
    client_ip::authority::RequestHost,
    event::model::Action,
    host::allowed::{AllowedHosts, HostProblem},
    policy::{head::RequestHead, rejection::Rejection},
};

/// The host and port that plain-text requests are redirected to.
///
/// It is one host, parsed from text such as `api.example.com` or `api.example.com:8443`, or whichever the request names of
/// [`AllowedHosts`]. The port is 443 unless another is set; the port of the plain-text request is never kept.
///
/// # Example
///
/// ```
/// use palisade::{host::AllowedHosts, https::RedirectTarget};
///
/// let one: RedirectTarget = "api.example.com".parse()?;
/// let several = RedirectTarget::from("api.example.com, *.example.org".parse::<AllowedHosts>()?).with_port(8443);
///
/// assert!("https://api.example.com/".parse::<RedirectTarget>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedirectTarget {
    host: TargetHost,
    port: u16,
}

#[derive(Clone, Debug)]
enum TargetHost {
    Fixed(Box<str>),
    OneOf(AllowedHosts),
    Requested,
}

impl RedirectTarget {
    /// Redirects to whatever host the request names, as long as it is well-formed.
    ///
    /// That is an open redirect wherever something other than the client can choose the host of a request, as a cache or a proxy that keys by another
    /// one. Name the host, or a list of them.
    #[must_use]
    pub fn dangerous_requested_host() -> Self {
        Self {
            host: TargetHost::Requested,
            port: HTTPS_PORT,
        }
    }

    /// Sets the port that the HTTPS listener is reached at from outside. The default is 443, which is not written out; 0, which is no port, is as if
    /// nothing had been said.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = if port == 0 { HTTPS_PORT } else { port };
        self
    }

    /// Writes the `Location` for a request.
    pub(crate) fn location(
        &self,
        request: &RequestHead<'_>,
    ) -> Result<HeaderValue, RedirectProblem> {
        let host = match &self.host {
            TargetHost::Fixed(host) => host.as_ref().into(),
            TargetHost::OneOf(hosts) => hosts.served(request)?.host(),
            TargetHost::Requested => {
                RequestHost::named(request.uri(), request.headers(), request.version())
                    .map_err(HostProblem::Malformed)?
                    .host()
            }
        };
        let path = request.uri().path_and_query();
        // `*` is the server itself (RFC 9112, section 3.2.4), whose target elsewhere has an empty path.
        let path = path.map_or("/", PathAndQuery::as_str);
        let path = if path == "*" { "/" } else { path };

        let mut location = String::with_capacity(16 + host.len() + path.len());
        location.push_str("https://");
        location.push_str(&host);
        if self.port != HTTPS_PORT {
            // Writing to a `String` cannot fail.
            let _ = write!(location, ":{}", self.port);
        }
        if !path.starts_with('/') {
            location.push('/');
        }
        location.push_str(path);
        HeaderValue::try_from(location).map_err(|_| RedirectProblem::Target)
    }
}

/// Why a request cannot be redirected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RedirectProblem {
    Host(HostProblem),
    Target,
}

impl From<HostProblem> for RedirectProblem {
    fn from(problem: HostProblem) -> Self {
        Self::Host(problem)
    }
}

impl From<RedirectProblem> for Rejection {
    fn from(problem: RedirectProblem) -> Self {
        match problem {
            RedirectProblem::Host(problem) => problem.into(),
            RedirectProblem::Target => Self::new(
                Action::HttpsRequired,
                StatusCode::BAD_REQUEST,
                "the target cannot be redirected",
            ),
        }
    }
}

const HTTPS_PORT: u16 = 443;

impl From<AllowedHosts> for RedirectTarget {
    fn from(hosts: AllowedHosts) -> Self {
        Self {
            host: TargetHost::OneOf(hosts),
            port: HTTPS_PORT,
        }
    }
}

/// Parses one host, with or without a port.
impl FromStr for RedirectTarget {
    type Err = RedirectTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host =
            RequestHost::parse(text.as_bytes()).map_err(|_| RedirectTargetError(text.into()))?;
        Ok(Self {
            host: TargetHost::Fixed(host.host().into()),
            port: host.port().unwrap_or(HTTPS_PORT),
        })
    }
}

/// A text is no host to redirect to.
#[derive(Debug)]
pub struct RedirectTargetError(Box<str>);

impl fmt::Display for RedirectTargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no host to redirect to", self.0)
    }
}

impl Error for RedirectTargetError {}
