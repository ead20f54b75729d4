//! Clients that cannot be known.

use std::net::IpAddr;

/// Why a client is unknown, and how far it could be traced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UnknownClient {
    pub(crate) reason: UnknownReason,
    pub(crate) last_verified: Option<IpAddr>,
}

impl UnknownClient {
    /// Returns why the client is unknown.
    #[must_use]
    pub fn reason(self) -> UnknownReason {
        self.reason
    }

    /// Returns the last hop that could be verified: the peer or a trusted proxy, never the client.
    #[must_use]
    pub fn last_verified(self) -> Option<IpAddr> {
        self.last_verified
    }
}

/// Why a client is unknown.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum UnknownReason {
    /// A header that holds one address came more than once.
    Duplicate,
    /// A trusted proxy sent something that is no address.
    Malformed,
    /// A trusted proxy sent no address.
    MissingAddress,
    /// The server did not hand the connection's peer to the service.
    MissingPeer,
    /// A trusted proxy hides the address: `unknown`, or an obfuscated identifier.
    Obfuscated,
    /// There are fewer entries than trusted hops.
    TooFewHops,
    /// The walk was given up before it met an entry that no trusted proxy wrote, for the header is too large.
    TooLarge,
    /// The walk was given up before it met an entry that no trusted proxy wrote, for the entries are too many.
    TooManyHops,
    /// The peer is a Unix socket, which has no address.
    UnixPeer,
    /// A trusted proxy sent `0.0.0.0` or `::`, which is nobody's address.
    Unspecified,
}

impl UnknownReason {
    /// Returns the reason as one constant word. Events tell it as a sentence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::MissingAddress => "missing_address",
            Self::MissingPeer => "missing_peer",
            Self::Obfuscated => "obfuscated",
            Self::TooFewHops => "too_few_hops",
            Self::TooLarge => "too_large",
            Self::TooManyHops => "too_many_hops",
            Self::UnixPeer => "unix_peer",
            Self::Unspecified => "unspecified",
        }
    }

    /// Returns the reason as one constant sentence for events.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Duplicate => "a header that holds one address came more than once",
            Self::Malformed => "a trusted proxy sent something that is no address",
            Self::MissingAddress => "a trusted proxy sent no address",
            Self::MissingPeer => "the server did not hand over the peer of the connection",
            Self::Obfuscated => "a trusted proxy hides the address",
            Self::TooFewHops => "there are fewer entries than trusted hops",
            Self::TooLarge => "the header of a trusted proxy is too large",
            Self::TooManyHops => "the header of a trusted proxy has too many entries",
            Self::UnixPeer => "the peer is a Unix socket, which has no address",
            Self::Unspecified => "a trusted proxy sent an unspecified address",
        }
    }

    /// Returns whether a header is to blame, and not how the proxies or the server are set up.
    pub(crate) const fn is_malformed(self) -> bool {
        matches!(
            self,
            Self::Duplicate
                | Self::Malformed
                | Self::TooLarge
                | Self::TooManyHops
                | Self::Unspecified
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_a_word_and_a_sentence_of_its_own() {
        let reasons = [
            UnknownReason::Duplicate,
            UnknownReason::Malformed,
            UnknownReason::MissingAddress,
            UnknownReason::MissingPeer,
            UnknownReason::Obfuscated,
            UnknownReason::TooFewHops,
            UnknownReason::TooLarge,
            UnknownReason::TooManyHops,
            UnknownReason::UnixPeer,
            UnknownReason::Unspecified,
        ];
        let words: HashSet<_> = reasons.iter().map(|it| it.as_str()).collect();
        let sentences: HashSet<_> = reasons.iter().map(|it| it.sentence()).collect();
        assert_eq!((words.len(), sentences.len()), (10, 10));
        assert!(sentences.iter().all(|it| it.contains(' ')));
    }
}
