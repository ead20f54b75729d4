//! What happens to a request once: its caller is resolved, its forwarding headers are cleaned, events are raised.

use http::{HeaderMap, HeaderName, Request, header::USER_AGENT};

use crate::{
    client_ip::{
        context::{ClientContext, ClientIp},
        named_host::NamedHost,
        peer::{PeerAddr, PeerSource},
        proxies::TrustedProxies,
        scheme::{SchemeOrigin, SchemeSource},
        source::ClientIpSource,
        unknown::UnknownReason,
    },
    event::{
        model::{Action, SecurityEvent},
        sink::{EventSink, SharedSink},
    },
};

/// How callers are resolved.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(crate) source: ClientIpSource,
    pub(crate) scheme: SchemeSource,
    pub(crate) peer: PeerSource,
    pub(crate) sink: SharedSink,
    pub(crate) clean: Clean,
    pub(crate) missing_peer: MissingPeer,
}

/// Whether a missing peer raises an event here, or a policy further in says it better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MissingPeer {
    Leave,
    Record,
}

/// Whether forwarding headers that nobody vouches for are taken out of requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Clean {
    Keep,
    Remove,
}

impl Resolver {
    pub(crate) fn resolve<B>(&self, request: &mut Request<B>) {
        let peer = self.peer.find(request.extensions());
        let context = self.context(peer, request);
        self.record(&context, request);
        self.leave(context, peer, request);
    }

    /// Does the same and raises no event.
    pub(crate) fn resolve_silently<B>(&self, request: &mut Request<B>) {
        let peer = self.peer.find(request.extensions());
        let context = self.context(peer, request);
        self.leave(context, peer, request);
    }

    fn context<B>(&self, peer: Option<PeerAddr>, request: &Request<B>) -> ClientContext {
        ClientContext::resolved(
            self.source.client(peer, request.headers()),
            peer,
            self.scheme
                .told(peer, request.headers(), request.extensions()),
            NamedHost::of(request.uri(), request.headers(), request.version()),
        )
    }

    fn leave<B>(&self, context: ClientContext, peer: Option<PeerAddr>, request: &mut Request<B>) {
        if self.clean == Clean::Remove {
            let vouched =
                vouches(self.source.header(), peer) || vouches(self.scheme.header(), peer);
            remove(request.headers_mut(), vouched);
        }
        context.leave(request.extensions_mut());
    }

    fn record<B>(&self, context: &ClientContext, request: &Request<B>) {
        let event = |action, reason, header: Option<&HeaderName>, at_will| {
            let event = SecurityEvent::new(action, reason)
                .with_method(request.method())
                .with_path(request.uri().path());
            let event = if at_will { event.at_will() } else { event };
            let event = match header {
                Some(name) => event.with_policy(name.as_str().to_owned()),
                None => event,
            };
            let event = match request.headers().get(USER_AGENT) {
                Some(agent) => event.with_user_agent(agent),
                None => event,
            };
            match context.peer().and_then(PeerAddr::ip) {
                Some(peer) => self.sink.record(&event.with_peer(peer)),
                None => self.sink.record(&event),
            }
        };
        match (context.client(), self.source.header()) {
            (ClientIp::Unknown(unknown), _)
                if unknown.reason() == UnknownReason::MissingPeer
                    && self.missing_peer == MissingPeer::Leave => {}
            (ClientIp::Unknown(unknown), header) => {
                let action = if unknown.reason().is_malformed() {
                    Action::ForwardedHeaderMalformed
                } else {
                    Action::ClientUnknown
                };
                let reason = unknown.reason();
                let at_will = is_at_will(reason, &self.source);
                event(action, reason.sentence(), header.map(|it| it.0), at_will);
            }
            // Where the client is the peer, there was no header, or the peer is not trusted.
            (ClientIp::Known(addr), Some((name, proxies)))
                if context
                    .peer()
                    .is_some_and(|peer| peer.ip() == Some(addr) && !proxies.trusts(peer))
                    && request.headers().contains_key(name) =>
            {
                let reason = "a peer that is no trusted proxy sent a forwarding header";
                event(Action::ForwardedHeaderUntrusted, reason, Some(name), true);
            }
            _ => {}
        }
        if context
            .scheme()
            .is_some_and(|scheme| scheme.origin() == SchemeOrigin::ProxyMalformed)
        {
            let reason = "a trusted proxy sent something that is no scheme";
            let header = self.scheme.header().map(|it| it.0);
            event(Action::ForwardedHeaderMalformed, reason, header, false);
        }
    }
}

/// Returns whether a client can bring it about at will, although every proxy does what it should: with a header of its own, which
/// proxies append to.
fn is_at_will(reason: UnknownReason, source: &ClientIpSource) -> bool {
    match reason {
        UnknownReason::Duplicate | UnknownReason::TooLarge | UnknownReason::TooManyHops => true,
        // What is malformed in a list was written by a proxy. But a quote that a client leaves open in `Forwarded` reaches up to
        // what the proxy appends to the line.
        UnknownReason::Malformed => matches!(source, ClientIpSource::Forwarded(_)),
        _ => false,
    }
}

fn vouches(header: Option<(&HeaderName, &TrustedProxies)>, peer: Option<PeerAddr>) -> bool {
    match (header, peer) {
        (Some((_, proxies)), Some(peer)) => proxies.trusts(peer),
        (None, _) | (_, None) => false,
    }
}

/// Removes forwarding headers; from a peer that vouches for them, only those in disguise.
fn remove(headers: &mut HeaderMap, vouched: bool) {
    // One by one, so that nothing is allocated for what a client sends. A request has a hundred fields at most.
    while let Some(name) = headers
        .keys()
        .find(|name| is_forwarding(name, vouched))
        .cloned()
    {
        headers.remove(name);
    }
}

/// Returns whether a header tells about the way a request came. Underscores count as hyphens: to a program that reads headers out of
/// environment variables they are the same. No proxy writes them, so that one with underscores is always the client's.
fn is_forwarding(name: &HeaderName, vouched: bool) -> bool {
    let name = name.as_str().as_bytes();
    let disguised = name.contains(&b'_');
    if vouched && !disguised {
        return false;
    }
    let is = |other: &str| other.len() == name.len() && starts_with(name, other);
    starts_with(name, "x-forwarded-") || NAMES.iter().any(|other| is(other))
}

fn starts_with(name: &[u8], start: &str) -> bool {
    let hyphen = |byte: u8| if byte == b'_' { b'-' } else { byte };
    start.len() <= name.len()
        && name
            .iter()
            .zip(start.bytes())
            .all(|(byte, other)| hyphen(*byte) == other)
}

const NAMES: [&str; 25] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "cloudfront-viewer-address",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-original-for",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-proto",
    "x-real-ip",
    "x-scheme",
    "x-url-scheme",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, untrusted: bool, trusted: bool) {
        let name = HeaderName::from_static(name);
        assert_eq!(is_forwarding(&name, false), untrusted, "{name}");
        assert_eq!(is_forwarding(&name, true), trusted, "{name}");
    }

    #[test]
    fn forwarding_headers_are_known_in_disguise() {
        check("x-forwarded-for", true, false);
        check("x-forwarded-anything", true, false);
        check("x_forwarded_for", true, true);
        check("x-forwarded_proto", true, true);
        check("forwarded", true, false);
        check("x-real-ip", true, false);
        check("x_real_ip", true, true);
        check("x-real-ips", false, false);
        check("content_type", false, false);
        check("accept", false, false);
    }
}
