//! The policy that lets no plain text in.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{LOCATION, UPGRADE, UPGRADE_INSECURE_REQUESTS, VARY},
};

use crate::{
    client_ip::{
        context::ClientContext,
        peer::PeerSource,
        scheme::{ResolvedScheme, SchemeOrigin, SchemeSource},
    },
    event::{fingerprint::FingerprintKey, model::Action},
    https::{credential::Credentials, exempt::PathPattern, hsts::Hsts, target::RedirectTarget},
    policy::{
        admission::Admission, decision::Check, fields::FieldMode, head::RequestHead,
        label::PolicyLabel, notice::Notice, peek::Peek, rejection::Rejection, set::Policy,
    },
};

/// Lets no plain text in: refuses it, or redirects it to HTTPS.
///
/// See the [module](crate::https) for which of the two to choose.
#[derive(Clone, Debug)]
pub struct Https {
    scheme: SchemeReader,
    mode: Mode,
    exempt: Vec<PathPattern>,
    credentials: Credentials,
    hsts: Option<Hsts>,
    silent_proxy: Arc<SilentProxy>,
}

#[derive(Clone, Debug)]
enum Mode {
    Redirect(Redirect),
    Reject,
}

#[derive(Clone, Debug)]
struct Redirect {
    target: RedirectTarget,
    status: StatusCode,
    methods: Vec<Method>,
    audience: Audience,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Audience {
    /// Whoever sends `Upgrade-Insecure-Requests`, which is browsers that open a page.
    Browsers,
    Everyone,
}

impl Https {
    /// Refuses plain text with 403 and a fixed body. Right for APIs.
    #[must_use]
    pub fn reject(scheme: SchemeSource) -> Self {
        Self::new(scheme, Mode::Reject)
    }

    /// Redirects plain-text `GET` and `HEAD` requests with 308 and refuses the others with 403. Right for what browsers open.
    ///
    /// Handshakes of WebSocket are refused, too: nobody follows a redirect there.
    #[must_use]
    pub fn redirect_to(scheme: SchemeSource, target: impl Into<RedirectTarget>) -> Self {
        let redirect = Redirect {
            target: target.into(),
            status: StatusCode::PERMANENT_REDIRECT,
            methods: vec![Method::GET, Method::HEAD],
            audience: Audience::Everyone,
        };
        Self::new(scheme, Mode::Redirect(redirect))
    }

    /// Sets which methods are redirected and not refused. The default is `GET` and `HEAD`.
    ///
    /// A redirect keeps the method and makes the client send the body once more, by then for the second time over the network and the first
    /// time safely. It does nothing where plain text is refused.
    #[must_use]
    pub fn with_redirected_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        if let Mode::Redirect(redirect) = &mut self.mode {
            redirect.methods = methods.into_iter().collect();
        }
        self
    }

    /// Redirects with 307, which nobody remembers, as long as the set-up is being tried out. The default is 308, which browsers keep.
    ///
    /// It does nothing where plain text is refused.
    #[must_use]
    pub fn with_temporary_redirect(mut self) -> Self {
        if let Mode::Redirect(redirect) = &mut self.mode {
            redirect.status = StatusCode::TEMPORARY_REDIRECT;
        }
        self
    }

    /// Redirects only requests with `Upgrade-Insecure-Requests: 1`, which browsers send when they open a page, and refuses the others,
    /// which are the API's clients. The default is to redirect both.
    ///
    /// It does nothing where plain text is refused.
    #[must_use]
    pub fn with_redirect_for_browsers_only(mut self) -> Self {
        if let Mode::Redirect(redirect) = &mut self.mode {
            redirect.audience = Audience::Browsers;
        }
        self
    }

    /// Sends `Strict-Transport-Security` on responses over HTTPS. The default is not to.
    #[must_use]
    pub fn with_hsts(mut self, hsts: Hsts) -> Self {
        self.hsts = Some(hsts);
        self
    }

    /// Lets plain text through to a path, or to all below one. The default is no path.
    #[must_use]
    pub fn with_exempt_path(mut self, path: PathPattern) -> Self {
        self.exempt.push(path);
        self
    }

    /// Adds a header field that holds an API key: plain-text requests that carry it raise `credential_over_plaintext`.
    ///
    /// `Authorization`, `Cookie` and `X-API-Key` are looked at always.
    #[must_use]
    pub fn with_credential_header(mut self, name: HeaderName) -> Self {
        self.credentials.add_header(name);
        self
    }

    /// Sets the key for the fingerprints of leaked credentials. The default is a random key, with which nobody but this process
    /// can compare.
    #[must_use]
    pub fn with_fingerprint_key(mut self, key: FingerprintKey) -> Self {
        self.credentials.set_key(key);
        self
    }

    /// Finds the peer of the connection in a way of one's own. The default are the [usual places](PeerSource).
    ///
    /// Where a [`ClientIpLayer`](crate::client_ip::ClientIpLayer) stands outside, the peer it has found is taken.
    #[must_use]
    pub fn with_peer(mut self, peer: PeerSource) -> Self {
        self.scheme.peer = peer;
        self
    }

    /// Takes the scheme from the [`ClientContext`] of the request, where there is one.
    ///
    /// It saves resolving it a second time, and is right only if the [`ClientIpLayer`](crate::client_ip::ClientIpLayer) outside was given the
    /// same [source](Self::scheme_source). The default is to resolve it here.
    #[must_use]
    pub fn with_scheme_from_context(mut self) -> Self {
        self.scheme.from_context = true;
        self
    }

    /// Returns where the scheme of requests is read from.
    #[must_use]
    pub fn scheme_source(&self) -> &SchemeSource {
        &self.scheme.source
    }

    /// Takes the sending of `Strict-Transport-Security` out into a policy of its own.
    ///
    /// A policy's fields stand on the refusals of those behind it, not on those before it: in a stack where others check first, this one belongs
    /// to the front.
    #[must_use]
    pub fn split_hsts(mut self) -> (Option<HstsPolicy>, Self) {
        let hsts = self.hsts.take().map(|hsts| HstsPolicy {
            scheme: self.scheme.clone(),
            hsts,
        });
        (hsts, self)
    }

    fn new(source: SchemeSource, mode: Mode) -> Self {
        Self {
            scheme: SchemeReader {
                source,
                peer: PeerSource::default(),
                from_context: false,
            },
            mode,
            exempt: Vec::new(),
            credentials: Credentials::new(),
            hsts: None,
            silent_proxy: Arc::default(),
        }
    }

    /// Answers a request over plain text.
    fn refuse(&self, request: &RequestHead<'_>, scheme: &ResolvedScheme) -> Rejection {
        let mut rejection = self.answer(request);
        for notice in self.credentials.leaked(request) {
            rejection = rejection.with_notice(notice);
        }
        match scheme.origin() {
            SchemeOrigin::ProxyMalformed => rejection.with_notice(Notice::new(
                Action::ForwardedHeaderMalformed,
                "the scheme that a trusted proxy sent does not parse",
            )),
            SchemeOrigin::ProxySilent if self.silent_proxy.is_news(request.now()) => {
                rejection.with_notice(self.silence())
            }
            _ => rejection,
        }
    }

    fn answer(&self, request: &RequestHead<'_>) -> Rejection {
        match &self.mode {
            Mode::Redirect(redirect) => redirect.answer(request),
            Mode::Reject => https_required(),
        }
    }

    /// Says what to do about a trusted proxy that sends no scheme.
    fn silence(&self) -> Notice {
        let reason = match (&self.mode, &self.scheme.source) {
            (Mode::Redirect(_), SchemeSource::Forwarded(_)) => {
                "probable redirect loop: set Forwarded with proto=https at the trusted proxy, which sends none"
            }
            (Mode::Redirect(_), SchemeSource::Header(..)) => {
                "probable redirect loop: set the configured scheme header at the trusted proxy, which sends none"
            }
            (Mode::Redirect(_), _) => {
                "probable redirect loop: set X-Forwarded-Proto at the trusted proxy, which sends none"
            }
            (Mode::Reject, SchemeSource::Forwarded(_)) => {
                "requests over HTTPS are probably refused: set Forwarded with proto=https at the trusted proxy, which sends none"
            }
            (Mode::Reject, SchemeSource::Header(..)) => {
                "requests over HTTPS are probably refused: set the configured scheme header at the trusted proxy, which sends none"
            }
            (Mode::Reject, _) => {
                "requests over HTTPS are probably refused: set X-Forwarded-Proto at the trusted proxy, which sends none"
            }
        };
        Notice::new(Action::RedirectLoopSuspected, reason)
    }
}

impl Policy for Https {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("https", "https")
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        let scheme = self.scheme.read(request);
        if scheme.is_https() {
            return match &self.hsts {
                Some(hsts) => Check::Ready(hsts.admission(request).into()),
                None => Check::admit(),
            };
        }
        if self
            .exempt
            .iter()
            .any(|it| it.matches(request.uri().path()))
        {
            let mut admission = Admission::new();
            for notice in self.credentials.leaked(request) {
                admission = admission.with_notice(notice);
            }
            return Check::Ready(admission.into());
        }
        Check::reject(self.refuse(request, &scheme))
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        if self.scheme.read(request).is_https() {
            return Some(Peek::admit("it comes over HTTPS"));
        }
        let path = request.uri().path();
        if self.exempt.iter().any(|it| it.matches(path)) {
            return Some(Peek::admit("the path may be requested over plain text"));
        }
        Some(Peek::reject(self.answer(request)))
    }
}

impl Redirect {
    fn answer(&self, request: &RequestHead<'_>) -> Rejection {
        let rejection = if self.applies(request) {
            match self.target.location(request) {
                Ok(location) => Rejection::new(
                    Action::HttpsRedirected,
                    self.status,
                    "plain text is redirected to HTTPS",
                )
                .with_field(LOCATION, location, FieldMode::Replace),
                Err(problem) => problem.into(),
            }
        } else {
            https_required()
        };
        match self.audience {
            Audience::Browsers => rejection.with_field(
                VARY,
                HeaderValue::from_static("upgrade-insecure-requests"),
                FieldMode::Append,
            ),
            Audience::Everyone => rejection,
        }
    }

    fn applies(&self, request: &RequestHead<'_>) -> bool {
        let headers = request.headers();
        self.methods.contains(request.method())
            && !headers.get_all(UPGRADE).iter().any(names_websocket)
            && match self.audience {
                Audience::Browsers => headers
                    .get(UPGRADE_INSECURE_REQUESTS)
                    .is_some_and(|value| value == "1"),
                Audience::Everyone => true,
            }
    }
}

/// The policy that sends `Strict-Transport-Security`: it refuses nothing.
#[derive(Clone, Debug)]
pub struct HstsPolicy {
    scheme: SchemeReader,
    hsts: Hsts,
}

impl HstsPolicy {
    /// Creates a policy that sends a field on responses over HTTPS.
    #[must_use]
    pub fn new(scheme: SchemeSource, hsts: Hsts) -> Self {
        let scheme = SchemeReader {
            source: scheme,
            peer: PeerSource::default(),
            from_context: false,
        };
        Self { scheme, hsts }
    }
}

impl Policy for HstsPolicy {
    fn label(&self) -> PolicyLabel {
        PolicyLabel::named("https", "hsts")
    }

    fn check(&self, request: &RequestHead<'_>) -> Check {
        // RFC 6797, section 7.2: never over plain text.
        if self.scheme.read(request).is_https() {
            Check::Ready(self.hsts.admission(request).into())
        } else {
            Check::admit()
        }
    }

    fn peek(&self, request: &RequestHead<'_>) -> Option<Peek> {
        Some(if self.scheme.read(request).is_https() {
            Peek::admit_with(self.hsts.admission(request), "refuses nobody")
        } else {
            Peek::admit("refuses nobody, and sends nothing over plain text")
        })
    }
}

/// How the policies come by the scheme of a request.
#[derive(Clone, Debug)]
struct SchemeReader {
    source: SchemeSource,
    peer: PeerSource,
    from_context: bool,
}

impl SchemeReader {
    fn read(&self, request: &RequestHead<'_>) -> ResolvedScheme {
        if self.from_context
            && let Some(scheme) = request.client().and_then(ClientContext::scheme)
        {
            return scheme.clone();
        }
        let peer = match self.source {
            // The connection alone tells, whoever is at its other end.
            SchemeSource::Listener => None,
            _ => request
                .client()
                .and_then(ClientContext::peer)
                .or_else(|| self.peer.find(request.extensions())),
        };
        self.source
            .told(peer, request.headers(), request.extensions())
    }
}

/// When it was last said that a trusted proxy sends no scheme.
#[derive(Debug, Default)]
struct SilentProxy(Mutex<Option<Instant>>);

impl SilentProxy {
    /// Returns whether it is time to say it again. A health check without a scheme must neither fill the log nor hide the real fault for good.
    fn is_news(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_duration_since(last) < SILENCE) {
            return false;
        }
        *last = Some(now);
        true
    }
}

const SILENCE: Duration = Duration::from_secs(3600);

fn https_required() -> Rejection {
    Rejection::new(
        Action::HttpsRequired,
        StatusCode::FORBIDDEN,
        "HTTPS is required",
    )
}

fn names_websocket(value: &HeaderValue) -> bool {
    // RFC 9110, section 7.8: a list of protocols, whose names are case-insensitive.
    value
        .as_bytes()
        .split(|b| *b == b',')
        .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}
