//! Strict transport security.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::{
    HeaderValue,
    header::{HOST, STRICT_TRANSPORT_SECURITY},
};

use crate::{
    client_ip::authority::RequestHost,
    policy::{
        admission::Admission,
        fields::{FieldMode, FixedField, Numbers},
        head::RequestHead,
    },
};

/// One year, in seconds.
const YEAR: u64 = 31_536_000;

/// The field `Strict-Transport-Security` (RFC 6797): it makes browsers use HTTPS alone for a host.
///
/// It is sent on responses over HTTPS only, not for hosts that are addresses, and only where the application has not set a field of
/// its own. `localhost` is left out unless [`with_localhost`](Self::with_localhost) says otherwise.
///
/// # Example
///
/// ```
/// use palisade::https::Hsts;
/// use std::time::Duration;
///
/// assert_eq!(Hsts::one_year().with_subdomains().value(), "max-age=31536000; includeSubDomains");
/// assert!(Hsts::new(Duration::from_secs(3600)).with_subdomains().with_preload().is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Hsts {
    max_age: u64,
    subdomains: bool,
    preload: bool,
    localhost: bool,
    excluded: Arc<[Box<str>]>,
    field: Arc<FixedField>,
}

impl Hsts {
    /// Makes browsers remember for `max_age`, in whole seconds.
    ///
    /// A zero makes them [forget](Self::off).
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self::from_seconds(max_age.as_secs())
    }

    /// Makes browsers remember for one year.
    #[must_use]
    pub fn one_year() -> Self {
        Self::from_seconds(YEAR)
    }

    /// Makes browsers remember for two years.
    #[must_use]
    pub fn two_years() -> Self {
        Self::from_seconds(2 * YEAR)
    }

    /// Makes browsers forget (RFC 6797, section 6.1.1). This is how to switch it off: a field that is merely gone is remembered.
    #[must_use]
    pub fn off() -> Self {
        Self::from_seconds(0)
    }

    /// Covers the names below the host, too. The default is not to.
    #[must_use]
    pub fn with_subdomains(mut self) -> Self {
        self.subdomains = true;
        self.rendered()
    }

    /// Asks to be listed in browsers. The default is not to, for a listing takes months to undo.
    ///
    /// # Errors
    ///
    /// Fails where the preload list would refuse the field: it wants a year at least, and the subdomains.
    pub fn with_preload(mut self) -> Result<Self, HstsError> {
        if self.max_age < YEAR {
            return Err(HstsError(ErrorKind::TooShort));
        }
        if !self.subdomains {
            return Err(HstsError(ErrorKind::NoSubdomains));
        }
        self.preload = true;
        Ok(self.rendered())
    }

    /// Leaves out a host: it gets no field.
    ///
    /// # Errors
    ///
    /// Fails if the text is no host name.
    pub fn without_host(mut self, host: &str) -> Result<Self, HstsError> {
        let malformed = || HstsError(ErrorKind::Host(host.into()));
        let parsed = RequestHost::parse(host.as_bytes()).map_err(|_| malformed())?;
        if parsed.is_address() || parsed.port().is_some() {
            return Err(malformed());
        }
        self.excluded = self
            .excluded
            .iter()
            .cloned()
            .chain([parsed.host().into()])
            .collect();
        Ok(self)
    }

    /// Sends the field for `localhost`, too. The default is not to: there, a browser would refuse every other service under development.
    #[must_use]
    pub fn with_localhost(mut self) -> Self {
        self.localhost = true;
        self
    }

    /// Returns the value of the field.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.field.value
    }

    /// Puts the field on the way back, unless the host of the request is left out.
    pub(crate) fn admission(&self, request: &RequestHead<'_>) -> Admission {
        let mut admission = Admission::new();
        if self.covers(request) {
            // RFC 6797, section 7.1: one field. Section 8.1: browsers take the first, so that the application's own has to be the only one.
            let field = Arc::clone(&self.field);
            admission.fields.push_prepared(field, Numbers::default());
        }
        admission
    }

    fn covers(&self, request: &RequestHead<'_>) -> bool {
        let host = match request.uri().authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => match request.headers().get(HOST) {
                Some(host) => host.as_bytes(),
                // The host is checked elsewhere; a browser that knows none has nothing to remember.
                None => return true,
            },
        };
        // Every response comes by here, so that what is no address at first sight is not parsed.
        let host = without_port(host);
        if host.last().is_none_or(|last| !last.is_ascii_alphabetic()) {
            // RFC 6797, section 8.1.1.
            return !RequestHost::parse(host).is_ok_and(|host| host.is_address())
                && self.covers_name(host.strip_suffix(b".").unwrap_or(host));
        }
        self.covers_name(host)
    }

    fn covers_name(&self, name: &[u8]) -> bool {
        (self.localhost || !name.eq_ignore_ascii_case(b"localhost"))
            && !self
                .excluded
                .iter()
                .any(|it| it.as_bytes().eq_ignore_ascii_case(name))
    }

    fn from_seconds(max_age: u64) -> Self {
        Self {
            max_age,
            subdomains: false,
            preload: false,
            localhost: false,
            excluded: Arc::new([]),
            field: Arc::new(FixedField {
                name: STRICT_TRANSPORT_SECURITY,
                value: HeaderValue::from_static("max-age=0"),
                mode: FieldMode::IfAbsent,
            }),
        }
        .rendered()
    }

    /// Writes the value of the field down once and for all.
    fn rendered(mut self) -> Self {
        let subdomains = if self.subdomains {
            "; includeSubDomains"
        } else {
            ""
        };
        let preload = if self.preload { "; preload" } else { "" };
        let text = format!("max-age={}{subdomains}{preload}", self.max_age);
        // Digits and constants always make a value.
        if let Ok(value) = HeaderValue::try_from(text) {
            Arc::make_mut(&mut self.field).value = value;
        }
        self
    }
}

/// Takes the port off a host, which may be an address in brackets.
fn without_port(host: &[u8]) -> &[u8] {
    for (at, byte) in host.iter().enumerate().rev() {
        match byte {
            b'0'..=b'9' => {}
            b':' => return host.get(..at).unwrap_or(host),
            _ => break,
        }
    }
    host
}

/// A field `Strict-Transport-Security` cannot be made.
#[derive(Debug)]
pub struct HstsError(ErrorKind);

#[derive(Debug)]
enum ErrorKind {
    Host(Box<str>),
    NoSubdomains,
    TooShort,
}

impl fmt::Display for HstsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ErrorKind::Host(host) => write!(f, "{host:?} is no host name"),
            ErrorKind::NoSubdomains => f.write_str("preloading takes the subdomains"),
            ErrorKind::TooShort => f.write_str("preloading takes a year at least"),
        }
    }
}

impl Error for HstsError {}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check(hsts: &Hsts, expected: &str) {
        assert_eq!(hsts.value(), expected);
    }

    #[test]
    fn values_are_written_as_in_the_rfc() {
        check(&Hsts::new(Duration::from_secs(3600)), "max-age=3600"); // H01
        check(&Hsts::new(Duration::from_millis(3_600_999)), "max-age=3600");
        check(&Hsts::one_year(), "max-age=31536000");
        check(&Hsts::off(), "max-age=0"); // H06
        check(
            &Hsts::off().with_subdomains(),
            "max-age=0; includeSubDomains",
        ); // H06
        // H07: a negative or fractional age cannot be written down; the largest is a number still.
        check(&Hsts::new(Duration::MAX), "max-age=18446744073709551615");
        let preload = Hsts::two_years().with_subdomains().with_preload().unwrap();
        check(&preload, "max-age=63072000; includeSubDomains; preload");
    }

    #[test]
    fn what_the_preload_list_would_refuse_cannot_be_made() {
        // H08
        assert!(Hsts::one_year().with_preload().is_err());
        assert!(Hsts::off().with_subdomains().with_preload().is_err());
        let short = Hsts::new(Duration::from_secs(YEAR - 1)).with_subdomains();
        assert!(short.with_preload().is_err());
        assert!(Hsts::one_year().with_subdomains().with_preload().is_ok());
    }

    #[track_caller]
    fn check_host(hsts: &Hsts, host: &str, expected: bool) {
        let request = Request::builder().header(HOST, host).body(()).unwrap();
        let (parts, ()) = request.into_parts();
        assert_eq!(hsts.covers(&RequestHead::new(&parts)), expected, "{host}");
    }

    #[test]
    fn some_hosts_are_left_out() {
        let hsts = Hsts::one_year();
        check_host(&hsts, "api.example.com", true);
        check_host(&hsts, "localhost", false);
        check_host(&hsts, "LOCALHOST.:8443", false);
        check_host(&hsts, "localhost:", false);
        check_host(&hsts, "192.0.2.7.:80", false);
        check_host(&hsts, "[2001:db8::7]", false);
        check_host(&hsts, "api1.example.com.:80", true);
        check_host(&hsts, "api.example.c0m0", true);
        check_host(&hsts, "192.0.2.7", false); // H12
        check_host(&hsts, "[2001:db8::7]:8443", false); // H12
        check_host(&hsts.clone().with_localhost(), "localhost", true); // H10
        check_host(&hsts.clone().with_localhost(), "127.0.0.1", false);
        let hsts = hsts.without_host("example.com").unwrap();
        check_host(&hsts, "EXAMPLE.COM", false); // H11
        check_host(&hsts, "www.example.com", true);
        assert!(Hsts::one_year().without_host("a b").is_err());
        assert!(Hsts::one_year().without_host("example.com:80").is_err());
    }
}
