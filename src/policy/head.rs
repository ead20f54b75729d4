//! The head of a request, as policies see it.

use std::{
    cell::Cell,
    fmt,
    time::{Instant, SystemTime},
};

use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request::Parts};

use crate::{
    client_ip::context::ClientContext,
    clock::{Clock, MonotonicClock},
};

/// The head of a request: what a policy may look at.
///
/// It borrows from the request, which is not taken apart for it: to move the parts out and back in took a fifth of what a rate limit costs.
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    version: Version,
    client: Option<&'a ClientContext>,
    clock: &'a dyn Clock,
    now: Cell<Option<Instant>>,
    enforced: Cell<bool>,
}

impl<'a> RequestHead<'a> {
    /// Creates the head of a request whose time is read from the monotonic clock.
    #[must_use]
    pub fn new(parts: &'a Parts) -> Self {
        Self::with_clock(parts, &MonotonicClock)
    }

    /// Creates the head of a request whose time is read from `clock`.
    #[must_use]
    pub fn with_clock(parts: &'a Parts, clock: &'a dyn Clock) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
            version: parts.version,
            client: ClientContext::of(&parts.extensions),
            clock,
            now: Cell::new(None),
            enforced: Cell::new(true),
        }
    }

    /// Creates the head of a request whose time is read from the monotonic clock.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self::at(request, &MonotonicClock, None)
    }

    /// Creates the head of a request whose time may have been read before.
    #[inline]
    pub(crate) fn at<B>(
        request: &'a Request<B>,
        clock: &'a dyn Clock,
        now: Option<Instant>,
    ) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            version: request.version(),
            client: ClientContext::of(request.extensions()),
            clock,
            now: Cell::new(now),
            enforced: Cell::new(true),
        }
    }

    /// Sets whether a refusal will be carried out, and returns whether it was so far.
    pub(crate) fn set_enforced(&self, enforced: bool) -> bool {
        self.enforced.replace(enforced)
    }

    /// Returns the time, if a policy has asked for it.
    pub(crate) fn time_read(&self) -> Option<Instant> {
        self.now.get()
    }

    /// Returns the request's method.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the request's target.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// Returns the request's version of HTTP.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the request's header fields.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the request's extensions.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// Returns the resolved caller; nothing where no [`ClientIpLayer`](crate::client_ip::ClientIpLayer) ran.
    #[must_use]
    #[inline]
    pub fn client(&self) -> Option<&'a ClientContext> {
        self.client
    }

    /// Returns whether a refusal will be carried out; `false` within a [`DryRun`](crate::policy::DryRun).
    ///
    /// No decision may depend on it. It is there for policies that raise events of their own, which have to be marked.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.enforced.get()
    }

    /// Returns the time of the request, which is the same for all policies: the clock is read once.
    #[must_use]
    pub fn now(&self) -> Instant {
        if let Some(now) = self.now.get() {
            return now;
        }
        let now = self.clock.now();
        self.now.set(Some(now));
        now
    }

    /// Returns the wall-clock time, which is only ever shown.
    #[must_use]
    pub fn system_now(&self) -> SystemTime {
        self.clock.system_now()
    }
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header fields and the query may hold secrets.
        f.debug_struct("RequestHead")
            .field("method", self.method())
            .field("path", &self.uri().path())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_clock_is_read_once() {
        let clock = ManualClock::new();
        let (parts, ()) = Request::new(()).into_parts();
        let head = RequestHead::with_clock(&parts, &clock);
        let now = head.now();
        clock.advance(Duration::from_secs(1));
        assert_eq!(head.now(), now);
    }

    #[test]
    fn the_head_is_that_of_the_request() {
        let (parts, ()) = Request::post("/path?query")
            .version(Version::HTTP_2)
            .header("x-field", "value")
            .extension(7_u8)
            .body(())
            .unwrap()
            .into_parts();
        let head = RequestHead::new(&parts);
        assert_eq!(head.method(), Method::POST);
        assert_eq!(head.uri(), "/path?query");
        assert_eq!(head.version(), Version::HTTP_2);
        assert_eq!(head.headers()["x-field"], "value");
        assert_eq!(head.extensions().get(), Some(&7_u8));
    }

    #[test]
    fn debug_shows_no_query_and_no_header() {
        let (parts, ()) = Request::get("/path?token=secret")
            .header("authorization", "secret")
            .body(())
            .unwrap()
            .into_parts();
        let shown = format!("{:?}", RequestHead::new(&parts));
        assert!(shown.contains("/path"));
        assert!(!shown.contains("secret"));
    }
}
