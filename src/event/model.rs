//! The typed security event.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::event::{
    address::EventAddress,
    fingerprint::Fingerprint,
    sanitize::{sanitize, sanitize_bytes},
};

/// Sequence number of the next event of this process.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// What happened.
///
/// The words of [`Action::as_str`] are stable: dashboards and alerts may rely on them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// A presented API key was accepted that is about to be retired.
    ApiKeyAcceptedPrevious,
    /// A presented API key was missing or wrong.
    ApiKeyRejected,
    /// A valid API key lacks the scope that the request needs.
    ApiKeyScopeMissing,
    /// The file of bans could not be read or written.
    BanFileFailed,
    /// A client that should have been banned was not.
    BanSkipped,
    /// A banned client tried again.
    BannedClientDenied,
    /// A client was banned.
    ClientBanned,
    /// A ban ended.
    ClientUnbanned,
    /// The client's address cannot be known.
    ClientUnknown,
    /// A configuration could not be reloaded; the old one stays.
    ConfigReloadFailed,
    /// A configuration was reloaded.
    ConfigReloaded,
    /// A credential was sent over plain text.
    CredentialOverPlaintext,
    /// An action of the application's own policy.
    Custom(&'static str),
    /// A layer was built with a policy that observes only.
    EnforcementDisabled,
    /// Events were counted instead of recorded.
    EventsSuppressed,
    /// A trusted proxy sent a forwarding header that does not parse.
    ForwardedHeaderMalformed,
    /// A peer that is no trusted proxy sent a forwarding header.
    ForwardedHeaderUntrusted,
    /// The request's host is missing, malformed or contradicts itself.
    HostMalformed,
    /// The request's host is not served here.
    HostNotServed,
    /// A plain-text request was redirected to HTTPS.
    HttpsRedirected,
    /// A plain-text request was refused.
    HttpsRequired,
    /// Too many requests of one key are in flight.
    InFlightExceeded,
    /// The client's address is on the deny list.
    IpBlocked,
    /// An entry of a list has bits set behind its prefix and was read as the network around it.
    IpListEntryMasked,
    /// A list of addresses could not be reloaded; the old one stays.
    IpListReloadFailed,
    /// A list of addresses was reloaded.
    IpListReloaded,
    /// The client's address is not on the allow list.
    IpNotAllowed,
    /// The store of a limiter cannot be reached.
    LimiterStoreFailed,
    /// The key table of a limiter is full.
    LimiterStoreFull,
    /// The store of a limiter can be reached again.
    LimiterStoreRecovered,
    /// A rate limit has charged a request more than once. Debug builds alone tell it.
    RateLimitChargedTwice,
    /// A rate limit was exceeded.
    RateLimitExceeded,
    /// A request has nothing to be counted under.
    RateLimitKeyMissing,
    /// A rate limit is nearly exhausted.
    RateLimitWarning,
    /// A trusted proxy sends plain text and no scheme header: redirecting would loop.
    RedirectLoopSuspected,
    /// A secret could not be loaded.
    SecretLoadFailed,
    /// A secret was loaded.
    SecretLoaded,
    /// A secret's file can be read or written by others.
    SecretPermissionsLoose,
    /// A secret was replaced.
    SecretRotated,
    /// A secret was found in two places.
    SecretShadowed,
}

impl Action {
    /// Returns the stable word for the action, as in ECS `event.action`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKeyAcceptedPrevious => "api_key_accepted_previous",
            Self::ApiKeyRejected => "api_key_rejected",
            Self::ApiKeyScopeMissing => "api_key_scope_missing",
            Self::BanFileFailed => "ban_file_failed",
            Self::BanSkipped => "ban_skipped",
            Self::BannedClientDenied => "banned_client_denied",
            Self::ClientBanned => "client_banned",
            Self::ClientUnbanned => "client_unbanned",
            Self::ClientUnknown => "client_unknown",
            Self::ConfigReloadFailed => "config_reload_failed",
            Self::ConfigReloaded => "config_reloaded",
            Self::CredentialOverPlaintext => "credential_over_plaintext",
            Self::Custom(word) => word,
            Self::EnforcementDisabled => "enforcement_disabled",
            Self::EventsSuppressed => "events_suppressed",
            Self::ForwardedHeaderMalformed => "forwarded_header_malformed",
            Self::ForwardedHeaderUntrusted => "forwarded_header_untrusted",
            Self::HostMalformed => "host_malformed",
            Self::HostNotServed => "host_not_served",
            Self::HttpsRedirected => "https_redirected",
            Self::HttpsRequired => "https_required",
            Self::InFlightExceeded => "in_flight_exceeded",
            Self::IpBlocked => "ip_blocked",
            Self::IpListEntryMasked => "ip_list_entry_masked",
            Self::IpListReloadFailed => "ip_list_reload_failed",
            Self::IpListReloaded => "ip_list_reloaded",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::LimiterStoreFailed => "limiter_store_failed",
            Self::LimiterStoreFull => "limiter_store_full",
            Self::LimiterStoreRecovered => "limiter_store_recovered",
            Self::RateLimitChargedTwice => "rate_limit_charged_twice",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::RateLimitKeyMissing => "rate_limit_key_missing",
            Self::RateLimitWarning => "rate_limit_warning",
            Self::RedirectLoopSuspected => "redirect_loop_suspected",
            Self::SecretLoadFailed => "secret_load_failed",
            Self::SecretLoaded => "secret_loaded",
            Self::SecretPermissionsLoose => "secret_permissions_loose",
            Self::SecretRotated => "secret_rotated",
            Self::SecretShadowed => "secret_shadowed",
        }
    }

    /// Returns the layer the action belongs to, as in ECS `rule.ruleset`.
    #[must_use]
    pub const fn layer(self) -> &'static str {
        match self {
            Self::ApiKeyAcceptedPrevious | Self::ApiKeyRejected | Self::ApiKeyScopeMissing => {
                "api_key"
            }
            Self::BanFileFailed
            | Self::BanSkipped
            | Self::BannedClientDenied
            | Self::ClientBanned
            | Self::ClientUnbanned => "jail",
            Self::ClientUnknown
            | Self::ForwardedHeaderMalformed
            | Self::ForwardedHeaderUntrusted => "client_ip",
            Self::ConfigReloadFailed | Self::ConfigReloaded => "config",
            Self::Custom(_) => "custom",
            Self::EnforcementDisabled => "enforce",
            Self::EventsSuppressed => "event",
            Self::CredentialOverPlaintext
            | Self::HttpsRedirected
            | Self::HttpsRequired
            | Self::RedirectLoopSuspected => "https",
            Self::HostMalformed | Self::HostNotServed => "host",
            Self::InFlightExceeded => "in_flight",
            Self::IpBlocked
            | Self::IpListEntryMasked
            | Self::IpListReloadFailed
            | Self::IpListReloaded
            | Self::IpNotAllowed => "ip_filter",
            Self::LimiterStoreFailed
            | Self::LimiterStoreFull
            | Self::LimiterStoreRecovered
            | Self::RateLimitChargedTwice
            | Self::RateLimitExceeded
            | Self::RateLimitKeyMissing
            | Self::RateLimitWarning => "rate_limit",
            Self::SecretLoadFailed
            | Self::SecretLoaded
            | Self::SecretPermissionsLoose
            | Self::SecretRotated
            | Self::SecretShadowed => "secret",
        }
    }

    /// Returns how urgent the action is where it is enforced.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::ForwardedHeaderUntrusted | Self::HttpsRedirected => Severity::Debug,
            Self::ApiKeyAcceptedPrevious
            | Self::BannedClientDenied
            | Self::ClientUnbanned
            | Self::ConfigReloaded
            | Self::IpListReloaded
            | Self::LimiterStoreRecovered
            | Self::RateLimitWarning
            | Self::SecretLoaded => Severity::Info,
            Self::BanFileFailed
            | Self::ClientUnknown
            | Self::ConfigReloadFailed
            | Self::IpListReloadFailed
            | Self::LimiterStoreFailed
            | Self::LimiterStoreFull
            | Self::SecretLoadFailed => Severity::Error,
            _ => Severity::Warn,
        }
    }
}

/// How urgent an event is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Severity {
    /// Of interest when something is being traced.
    Debug,
    /// Worth a line.
    Info,
    /// Worth a look.
    Warn,
    /// Something does not work as configured.
    Error,
}

impl Severity {
    /// Returns the lower-case word of the level.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Returns the numeric severity of syslog (RFC 5424, section 6.2.1), as in ECS `event.severity`: less is more urgent.
    #[must_use]
    pub const fn syslog(self) -> u8 {
        match self {
            Self::Debug => 7,
            Self::Info => 6,
            Self::Warn => 4,
            Self::Error => 3,
        }
    }
}

/// One security event.
///
/// Events borrow from the request they are about, so that an event nobody wants costs next to nothing;
/// [`into_owned`](Self::into_owned) makes one that can be kept or sent elsewhere.
#[derive(Clone, Debug)]
#[must_use]
pub struct SecurityEvent<'a> {
    action: Action,
    sequence: u64,
    enforced: bool,
    /// Whether any client can cause the event at will.
    at_will: bool,
    reason: Cow<'a, str>,
    policy: Option<Cow<'a, str>>,
    client: Option<EventAddress<'a>>,
    peer: Option<EventAddress<'a>>,
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    rule: Option<IpNet>,
    generation: Option<u64>,
    user_agent: Option<Cow<'a, [u8]>>,
    request_id: Option<Cow<'a, [u8]>>,
    status: Option<StatusCode>,
    fingerprint: Option<Fingerprint>,
    count: Option<u64>,
    start: Option<SystemTime>,
    end: Option<SystemTime>,
    suppressed: Option<Action>,
}

impl<'a> SecurityEvent<'a> {
    /// Creates an event; `reason` is text of the service's own, never of a client's.
    pub fn new(action: Action, reason: impl Into<Cow<'a, str>>) -> Self {
        Self {
            action,
            sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
            enforced: true,
            at_will: false,
            reason: reason.into(),
            policy: None,
            client: None,
            peer: None,
            method: None,
            path: None,
            rule: None,
            generation: None,
            user_agent: None,
            request_id: None,
            status: None,
            fingerprint: None,
            count: None,
            start: None,
            end: None,
            suppressed: None,
        }
    }

    /// Marks the event as observed only: the policy is in dry run.
    pub fn observed(mut self) -> Self {
        self.enforced = false;
        self
    }

    /// Marks the event as one that any client can cause at will and that nothing is wrong with the service's set-up: its severity is
    /// [`Severity::Debug`], so that no log fills with it.
    pub fn at_will(mut self) -> Self {
        self.at_will = true;
        self
    }

    /// Names the policy that decided.
    pub fn with_policy(mut self, policy: impl Into<Cow<'a, str>>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Sets the client's address: the one the decision was made by. An IPv4-mapped address is shown as IPv4.
    pub fn with_client(self, client: IpAddr) -> Self {
        self.with_client_address(EventAddress::Full(client.to_canonical()))
    }

    /// Sets what is shown of the client's address.
    pub fn with_client_address(mut self, client: EventAddress<'a>) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the address of the other end of the connection. An IPv4-mapped address is shown as IPv4.
    pub fn with_peer(self, peer: IpAddr) -> Self {
        self.with_peer_address(EventAddress::Full(peer.to_canonical()))
    }

    /// Sets what is shown of the address of the other end of the connection.
    pub fn with_peer_address(mut self, peer: EventAddress<'a>) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Leaves out both addresses.
    pub fn without_addresses(mut self) -> Self {
        self.client = None;
        self.peer = None;
        self
    }

    /// Sets the request's method.
    pub fn with_method(mut self, method: &'a Method) -> Self {
        self.method = Some(Cow::Borrowed(method.as_str()));
        self
    }

    /// Sets the request's path, which must not include the query.
    pub fn with_path(mut self, path: &'a str) -> Self {
        self.path = Some(Cow::Borrowed(path));
        self
    }

    /// Sets the entry of a list that decided.
    pub fn with_rule(mut self, rule: IpNet) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Leaves out the entry of a list that decided.
    pub fn without_rule(mut self) -> Self {
        self.rule = None;
        self
    }

    /// Sets the generation of the list that decided, which a reload counts up.
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Sets the request's user agent.
    pub fn with_user_agent(mut self, user_agent: &'a HeaderValue) -> Self {
        self.user_agent = Some(Cow::Borrowed(user_agent.as_bytes()));
        self
    }

    /// Sets the request's identifier.
    pub fn with_request_id(mut self, request_id: &'a HeaderValue) -> Self {
        self.request_id = Some(Cow::Borrowed(request_id.as_bytes()));
        self
    }

    /// Sets the status the request was answered with.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the fingerprint of the credential that the event is about.
    pub fn with_fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Sets how many occurrences a summary stands for.
    pub fn with_count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets the time span the event is about.
    pub fn with_span(mut self, start: SystemTime, end: Option<SystemTime>) -> Self {
        self.start = Some(start);
        self.end = end;
        self
    }

    /// Sets the action whose occurrences a summary counts.
    pub fn with_suppressed(mut self, action: Action) -> Self {
        self.suppressed = Some(action);
        self
    }

    /// Returns what happened.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Returns the number of the event in this process, without gaps.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether the decision was enforced; `false` in dry run.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// Returns why, in one constant sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the name of the policy that decided.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Returns the client's address, the one the decision was made by, or the first address of its network.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.client.as_ref().and_then(EventAddress::addr)
    }

    /// Returns what is shown of the client's address.
    #[must_use]
    pub fn client_address(&self) -> Option<&EventAddress<'a>> {
        self.client.as_ref()
    }

    /// Returns the address of the other end of the connection, or the first address of its network.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer.as_ref().and_then(EventAddress::addr)
    }

    /// Returns what is shown of the address of the other end of the connection.
    #[must_use]
    pub fn peer_address(&self) -> Option<&EventAddress<'a>> {
        self.peer.as_ref()
    }

    /// Returns the request's method, sanitized.
    #[must_use]
    pub fn method(&self) -> Option<Cow<'_, str>> {
        self.method.as_deref().map(sanitize)
    }

    /// Returns the request's path without the query, sanitized.
    #[must_use]
    pub fn path(&self) -> Option<Cow<'_, str>> {
        self.path.as_deref().map(sanitize)
    }

    /// Returns the entry of a list that decided.
    #[must_use]
    pub fn rule(&self) -> Option<IpNet> {
        self.rule
    }

    /// Returns the generation of the list that decided.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Returns the request's user agent, sanitized.
    #[must_use]
    pub fn user_agent(&self) -> Option<Cow<'_, str>> {
        self.user_agent.as_deref().map(sanitize_bytes)
    }

    /// Returns the request's identifier, sanitized.
    #[must_use]
    pub fn request_id(&self) -> Option<Cow<'_, str>> {
        self.request_id.as_deref().map(sanitize_bytes)
    }

    /// Returns the status the request was answered with.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the fingerprint of the credential that the event is about.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Returns how many occurrences the event stands for, where it is a summary.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// Returns when the time span of the event began.
    #[must_use]
    pub fn start(&self) -> Option<SystemTime> {
        self.start
    }

    /// Returns when the time span of the event ends.
    #[must_use]
    pub fn end(&self) -> Option<SystemTime> {
        self.end
    }

    /// Returns the action whose occurrences a summary counts.
    #[must_use]
    pub fn suppressed(&self) -> Option<Action> {
        self.suppressed
    }

    /// Returns the ECS `event.type` values: what was only observed was not denied.
    #[must_use]
    pub fn ecs_types(&self) -> &'static [&'static str] {
        self.action.types_where(self.enforced)
    }

    /// Returns the ECS `event.outcome`: a refusal that was only observed has none.
    #[must_use]
    pub fn ecs_outcome(&self) -> Option<&'static str> {
        self.action.ecs_outcome().filter(|_| self.enforced)
    }

    /// Returns how urgent the event is: a refusal that was only observed is no more than information, and what a client can cause
    /// at will no more than a trace.
    #[must_use]
    pub fn severity(&self) -> Severity {
        if self.at_will {
            Severity::Debug
        } else if self.enforced {
            self.action.severity()
        } else {
            self.action.severity().min(Severity::Info)
        }
    }

    /// Detaches the event from the request.
    pub fn into_owned(self) -> SecurityEvent<'static> {
        SecurityEvent {
            rule: self.rule,
            generation: self.generation,
            action: self.action,
            sequence: self.sequence,
            enforced: self.enforced,
            at_will: self.at_will,
            reason: Cow::Owned(self.reason.into_owned()),
            policy: self.policy.map(|it| Cow::Owned(it.into_owned())),
            client: self.client.map(EventAddress::into_owned),
            peer: self.peer.map(EventAddress::into_owned),
            // Text of a client's choice is cut here, so that a kept event is no larger than a shown one.
            method: self.method.map(|it| Cow::Owned(sanitize(&it).into_owned())),
            path: self.path.map(|it| Cow::Owned(sanitize(&it).into_owned())),
            user_agent: self
                .user_agent
                .map(|it| Cow::Owned(sanitize_bytes(&it).into_owned().into_bytes())),
            request_id: self
                .request_id
                .map(|it| Cow::Owned(sanitize_bytes(&it).into_owned().into_bytes())),
            status: self.status,
            fingerprint: self.fingerprint,
            count: self.count,
            start: self.start,
            end: self.end,
            suppressed: self.suppressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_rise() {
        let first = SecurityEvent::new(Action::IpBlocked, "").sequence();
        let second = SecurityEvent::new(Action::IpBlocked, "").sequence();
        assert!(first < second);
    }

    #[test]
    fn a_dry_run_is_no_more_than_information() {
        let event = SecurityEvent::new(Action::RateLimitExceeded, "");
        assert_eq!(event.severity(), Severity::Warn);
        assert_eq!(event.observed().severity(), Severity::Info);
    }

    #[test]
    fn an_owned_event_says_the_same() {
        let agent = HeaderValue::from_bytes(b"curl\xff\xe2\x80\xae").unwrap();
        let path = "\u{1}".repeat(200);
        let event = SecurityEvent::new(Action::IpBlocked, "reason")
            .with_policy("deny")
            .with_path(&path)
            .with_user_agent(&agent)
            .with_count(3);
        let owned = event.clone().into_owned();
        assert_eq!(owned.path(), event.path());
        assert_eq!(owned.user_agent(), event.user_agent());
        assert_eq!(owned.policy(), Some("deny"));
        assert_eq!(owned.count(), Some(3));
        assert_eq!(owned.sequence(), event.sequence());
    }
}
