//! The section `https`.

use serde::Deserialize;

use crate::{
    client_ip::proxies::TrustedProxies,
    config::{
        client_ip::SchemeKind,
        error::Faults,
        value::{FieldName, RequestMethod},
    },
    from_text::in_full,
    host::allowed::AllowedHosts,
    https::{exempt::PathPattern, hsts::Hsts, policy::Https, target::RedirectTarget},
    security::builder::SecurityBuilder,
};

/// What happens to plain text, and which hosts are served.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "keys of a file, each with a name"
)]
pub struct HttpsConfig {
    /// What happens to requests over plain text; they pass if nothing is said, and then no key that has to do with it may be there.
    pub mode: Option<HttpsMode>,
    /// Where the scheme of a request is read from; from the listener if nothing is said.
    pub scheme: SchemeKind,
    /// The header field of the scheme `header`.
    pub scheme_header: Option<FieldName>,
    /// The hosts the service is known by, as `api.example.com` or `*.example.com`; requests for others are refused. Empty: any.
    pub hosts: Vec<String>,
    /// Whether `X-Forwarded-Host` of a trusted proxy counts instead of the request's own host.
    pub forwarded_host: bool,
    /// The host, and the port where it is not 443, that requests are redirected to.
    pub redirect_host: Option<String>,
    /// Whether requests are redirected to the host they ask for, if it is one of `hosts`.
    pub redirect_to_hosts: bool,
    /// Whether requests are redirected to whatever host they ask for.
    pub dangerous_redirect_to_requested_host: bool,
    /// The methods that are redirected and not refused; `GET` and `HEAD` if nothing is said.
    pub redirected_methods: Option<Vec<RequestMethod>>,
    /// Whether redirects are such that nobody remembers them, while the set-up is being tried out.
    pub temporary_redirect: bool,
    /// Whether only browsers that open a page are redirected, and all others refused.
    pub redirect_browsers_only: bool,
    /// Paths that may be requested over plain text, as `/.well-known/acme-challenge/*`.
    pub exempt_paths: Vec<PathPattern>,
    /// Further header fields that hold credentials, which must not come over plain text.
    pub credential_headers: Vec<FieldName>,
    /// `Strict-Transport-Security`, sent over HTTPS where `mode` is not `off`.
    pub hsts: Option<Hsts>,
}

/// What happens to requests over plain text.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HttpsMode {
    /// They pass.
    Off,
    /// `GET` and `HEAD` are redirected, the rest is refused.
    Redirect,
    /// They are refused.
    Reject,
}

impl HttpsConfig {
    pub(crate) fn assemble(
        &self,
        mut builder: SecurityBuilder,
        proxies: Option<&TrustedProxies>,
        faults: &mut Faults,
    ) -> SecurityBuilder {
        let scheme = self
            .scheme
            .source(self.scheme_header.as_ref(), proxies, faults);
        let hosts = self.hosts(proxies, faults);
        if let Some(hosts) = &hosts {
            builder = builder.hosts(hosts.clone());
        }
        let mut https = match self.mode {
            None => {
                self.ask_for_mode(faults);
                return builder.scheme(scheme);
            }
            Some(HttpsMode::Off) => return builder.scheme(scheme),
            Some(HttpsMode::Reject) => {
                self.refuse_redirects(faults);
                Https::reject(scheme)
            }
            Some(HttpsMode::Redirect) => {
                let Some(target) = self.target(hosts, faults) else {
                    return builder;
                };
                Https::redirect_to(scheme, target)
            }
        };
        if let Some(methods) = &self.redirected_methods {
            https = https.with_redirected_methods(methods.iter().map(|it| it.0.clone()));
        }
        if self.temporary_redirect {
            https = https.with_temporary_redirect();
        }
        if self.redirect_browsers_only {
            https = https.with_redirect_for_browsers_only();
        }
        for path in &self.exempt_paths {
            https = https.with_exempt_path(path.clone());
        }
        for name in &self.credential_headers {
            https = https.with_credential_header(name.get());
        }
        if let Some(hsts) = &self.hsts {
            https = https.with_hsts(hsts.clone());
        }
        builder.https(https)
    }

    /// Returns whether something here takes the word of a trusted proxy.
    pub(crate) fn asks_proxies(&self) -> bool {
        self.scheme != SchemeKind::Listener || self.forwarded_host
    }

    fn hosts(&self, proxies: Option<&TrustedProxies>, faults: &mut Faults) -> Option<AllowedHosts> {
        if self.hosts.is_empty() {
            for (key, is_set) in [
                ("forwarded_host", self.forwarded_host),
                ("redirect_to_hosts", self.redirect_to_hosts),
            ] {
                if is_set {
                    faults.add(
                        format!("https.{key}"),
                        "needs https.hosts, as [\"api.example.com\"]",
                    );
                }
            }
            return None;
        }
        let hosts = faults.take("https.hosts", AllowedHosts::new(&self.hosts))?;
        match (self.forwarded_host, proxies) {
            (false, _) => Some(hosts),
            (true, Some(proxies)) => Some(hosts.with_forwarded_host(proxies.clone())),
            (true, None) => {
                if !faults.have("client_ip.") {
                    let message = "needs client_ip.trusted_proxies, whose word it takes";
                    faults.add("https.forwarded_host", message);
                }
                None
            }
        }
    }

    /// Refuses what is of no use while plain text passes: whoever wrote it expects protection. To have none is said by `mode = "off"`.
    fn ask_for_mode(&self, faults: &mut Faults) {
        let others = [
            ("redirect_host", self.redirect_host.is_some()),
            ("exempt_paths", !self.exempt_paths.is_empty()),
            ("credential_headers", !self.credential_headers.is_empty()),
            ("hsts", self.hsts.is_some()),
        ];
        let set = self.for_redirects().into_iter().chain(others);
        if let Some((key, _)) = set.into_iter().find(|it| it.1) {
            faults.add(
                "https.mode",
                format_args!("is needed by https.{key}: \"reject\", \"redirect\", or \"off\" to let plain text pass"),
            );
        }
    }

    /// Returns which keys that only redirects have a use for are set.
    fn for_redirects(&self) -> [(&'static str, bool); 5] {
        [
            ("redirect_to_hosts", self.redirect_to_hosts),
            (
                "dangerous_redirect_to_requested_host",
                self.dangerous_redirect_to_requested_host,
            ),
            ("redirected_methods", self.redirected_methods.is_some()),
            ("temporary_redirect", self.temporary_redirect),
            ("redirect_browsers_only", self.redirect_browsers_only),
        ]
    }

    /// Refuses what only redirects have a use for: whoever wrote it expects one. The host may stay when the mode is switched.
    fn refuse_redirects(&self, faults: &mut Faults) {
        for (key, is_set) in self.for_redirects() {
            if is_set {
                faults.add(
                    format!("https.{key}"),
                    "is for https.mode = \"redirect\": leave it out, or choose that mode",
                );
            }
        }
    }

    fn target(&self, hosts: Option<AllowedHosts>, faults: &mut Faults) -> Option<RedirectTarget> {
        let named = [
            ("redirect_host", self.redirect_host.is_some()),
            ("redirect_to_hosts", self.redirect_to_hosts),
            (
                "dangerous_redirect_to_requested_host",
                self.dangerous_redirect_to_requested_host,
            ),
        ];
        let named: Vec<_> = named.iter().filter(|it| it.1).map(|it| it.0).collect();
        match named.as_slice() {
            [] => {
                faults.add(
                    "https.redirect_host",
                    "is needed by https.mode = \"redirect\", as \"api.example.com\"",
                );
                None
            }
            ["redirect_to_hosts"] => hosts.map(RedirectTarget::from),
            ["dangerous_redirect_to_requested_host"] => {
                Some(RedirectTarget::dangerous_requested_host())
            }
            [_] => {
                let host = self.redirect_host.as_deref().unwrap_or_default();
                match target(host) {
                    Ok(target) => Some(target),
                    Err(error) => {
                        faults.add("https.redirect_host", error);
                        None
                    }
                }
            }
            [first, second, ..] => {
                faults.add(
                    format!("https.{second}"),
                    format_args!("contradicts https.{first}: leave one of them out"),
                );
                None
            }
        }
    }
}

/// Reads a host with or without a port.
fn target(host: &str) -> Result<RedirectTarget, String> {
    host.parse().map_err(|error| {
        let expected = "expected a host, as \"api.example.com\" or \"api.example.com:8443\"";
        format!("{}; {expected}", in_full(&error))
    })
}
