//! The section `client_ip`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    client_ip::{proxies::TrustedProxies, scheme::SchemeSource, source::ClientIpSource},
    config::{
        error::Faults,
        files::ListFiles,
        value::{FieldName, Size},
    },
    ip_set::set::IpSet,
};

/// Who is calling, and whose word is taken for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientIpConfig {
    /// Where the client's address is read from. There is no default: no choice is safe everywhere.
    pub source: SourceKind,
    /// The header field of the source `header`, as `cf-connecting-ip`.
    #[serde(default)]
    pub header: Option<FieldName>,
    /// The proxies whose forwarding headers are believed.
    #[serde(default)]
    pub trusted_proxies: IpSet,
    /// A file with the same, an entry a line, read again as those of `ip_filter` are.
    #[serde(default)]
    pub trusted_proxies_file: Option<PathBuf>,
    /// How many proxies stand in front, where their addresses are not known.
    #[serde(default)]
    pub trusted_hops: Option<usize>,
    /// The addresses of the last of those proxies, the one that connects.
    #[serde(default)]
    pub trusted_peers: IpSet,
    /// Whether peers that connect through a Unix socket are trusted, too.
    #[serde(default)]
    pub trust_unix_sockets: bool,
    /// Whether every peer is trusted, so that any client can write its own address.
    #[serde(default)]
    pub dangerous_trust_everyone: bool,
    /// How many entries of a header are read before the client counts as unknown; 32 if nothing is said.
    #[serde(default)]
    pub max_entries: Option<usize>,
    /// How many bytes of a header are read before the client counts as unknown; 8 KiB if nothing is said.
    #[serde(default)]
    pub max_bytes: Option<Size>,
    /// Whether forwarding headers that no trusted proxy vouches for are removed. One vouches for all that it lets pass.
    #[serde(default)]
    pub remove_untrusted_headers: bool,
}

/// Where the client's address is read from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SourceKind {
    /// `Forwarded`, from trusted proxies.
    Forwarded,
    /// One header field with one address, from trusted proxies.
    Header,
    /// The peer of the connection.
    Peer,
    /// `X-Forwarded-For`, from trusted proxies.
    XForwardedFor,
}

impl ClientIpConfig {
    /// Creates the section for a source, with the defaults of all other keys.
    #[must_use]
    pub fn new(source: SourceKind) -> Self {
        Self {
            source,
            header: None,
            trusted_proxies: IpSet::empty(),
            trusted_proxies_file: None,
            trusted_hops: None,
            trusted_peers: IpSet::empty(),
            trust_unix_sockets: false,
            dangerous_trust_everyone: false,
            max_entries: None,
            max_bytes: None,
            remove_untrusted_headers: false,
        }
    }

    /// Makes the trusted proxies, if any are named.
    pub(crate) fn proxies(
        &self,
        files: &mut ListFiles,
        faults: &mut Faults,
    ) -> Option<TrustedProxies> {
        let named = [
            ("trusted_proxies", !self.trusted_proxies.is_empty()),
            ("trusted_proxies_file", self.trusted_proxies_file.is_some()),
            ("trusted_hops", self.trusted_hops.is_some()),
            ("dangerous_trust_everyone", self.dangerous_trust_everyone),
        ];
        let named: Vec<_> = named.iter().filter(|it| it.1).map(|it| it.0).collect();
        if let [first, second, ..] = named.as_slice() {
            faults.add(
                format!("client_ip.{second}"),
                format_args!("contradicts client_ip.{first}: leave one of them out"),
            );
            return None;
        }
        if !self.trusted_peers.is_empty() && self.trusted_hops.is_none() {
            faults.add(
                "client_ip.trusted_peers",
                "is for client_ip.trusted_hops: name that too, or use client_ip.trusted_proxies",
            );
        }
        let mut proxies = if self.dangerous_trust_everyone {
            TrustedProxies::dangerous_trust_everyone()
        } else if let Some(hops) = self.trusted_hops {
            let proxies = faults.take("client_ip.trusted_hops", TrustedProxies::hops(hops))?;
            if self.trusted_peers.is_empty() {
                proxies
            } else {
                proxies.with_peers(self.trusted_peers.clone())
            }
        } else if let Some(path) = &self.trusted_proxies_file {
            let key = "client_ip.trusted_proxies_file";
            let list = files.open(key, "trusted_proxies", path, None, None, faults)?;
            faults.take(key, TrustedProxies::from_list(list))?
        } else if !self.trusted_proxies.is_empty() {
            let proxies = TrustedProxies::new(self.trusted_proxies.clone());
            faults.take("client_ip.trusted_proxies", proxies)?
        } else if self.trust_unix_sockets {
            TrustedProxies::none()
        } else {
            return None;
        };
        if self.trust_unix_sockets {
            proxies = proxies.with_unix_sockets();
        }
        if let Some(entries) = self.max_entries {
            if entries == 0 {
                faults.add("client_ip.max_entries", "must be at least 1");
            }
            proxies = proxies.with_max_entries(entries);
        }
        if let Some(Size(bytes)) = self.max_bytes {
            if bytes == 0 {
                faults.add("client_ip.max_bytes", "must be at least \"1 B\"");
            }
            proxies = proxies.with_max_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        Some(proxies)
    }

    /// Refuses trust that nothing asks for: whoever wrote it expects that the client's address is read from a header.
    pub(crate) fn refuse_idle_trust(&self, faults: &mut Faults) {
        if self.source != SourceKind::Peer {
            return;
        }
        for (key, is_set) in [
            ("trusted_proxies", !self.trusted_proxies.is_empty()),
            ("trusted_proxies_file", self.trusted_proxies_file.is_some()),
            ("trusted_hops", self.trusted_hops.is_some()),
            ("trust_unix_sockets", self.trust_unix_sockets),
            ("dangerous_trust_everyone", self.dangerous_trust_everyone),
        ] {
            if is_set {
                faults.add(
                    format!("client_ip.{key}"),
                    "has no use with client_ip.source = \"peer\": leave it out, or choose another source, as \"x_forwarded_for\"",
                );
            }
        }
    }

    /// Makes the source.
    pub(crate) fn source(
        &self,
        proxies: Option<&TrustedProxies>,
        faults: &mut Faults,
    ) -> ClientIpSource {
        if self.header.is_some() && self.source != SourceKind::Header {
            faults.add(
                "client_ip.header",
                "is for client_ip.source = \"header\": leave it out, or choose that source",
            );
        }
        if self.source == SourceKind::Peer {
            return ClientIpSource::Peer;
        }
        let Some(proxies) = proxies else {
            // A fault of the proxies' own has been told already.
            if !faults.have("client_ip.") {
                faults.add(
                    "client_ip.trusted_proxies",
                    "must name the proxies whose headers are believed, as [\"10.0.0.2\"]; \
                     without a proxy in front choose client_ip.source = \"peer\"",
                );
            }
            return ClientIpSource::Peer;
        };
        let proxies = proxies.clone();
        match (self.source, &self.header) {
            (SourceKind::Forwarded, _) => ClientIpSource::Forwarded(proxies),
            (SourceKind::XForwardedFor, _) => ClientIpSource::XForwardedFor(proxies),
            (SourceKind::Header, Some(header)) => ClientIpSource::Header(header.get(), proxies),
            (SourceKind::Header, None) => {
                faults.add(
                    "client_ip.header",
                    "is needed by client_ip.source = \"header\", as \"cf-connecting-ip\"",
                );
                ClientIpSource::Peer
            }
            (SourceKind::Peer, _) => ClientIpSource::Peer,
        }
    }
}

/// Where the scheme of a request is read from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SchemeKind {
    /// `Forwarded`, from trusted proxies.
    Forwarded,
    /// One header field, from trusted proxies.
    Header,
    /// The connection itself.
    #[default]
    Listener,
    /// `X-Forwarded-Proto`, from trusted proxies.
    XForwardedProto,
}

impl SchemeKind {
    pub(crate) fn source(
        self,
        header: Option<&FieldName>,
        proxies: Option<&TrustedProxies>,
        faults: &mut Faults,
    ) -> SchemeSource {
        if header.is_some() && self != Self::Header {
            faults.add(
                "https.scheme_header",
                "is for https.scheme = \"header\": leave it out, or choose that scheme",
            );
        }
        if self == Self::Listener {
            return SchemeSource::Listener;
        }
        let Some(proxies) = proxies else {
            if !faults.have("client_ip.") {
                faults.add(
                    "https.scheme",
                    "needs client_ip.trusted_proxies, whose word it takes; without a proxy choose \"listener\"",
                );
            }
            return SchemeSource::Listener;
        };
        let proxies = proxies.clone();
        match (self, header) {
            (Self::Forwarded, _) => SchemeSource::Forwarded(proxies),
            (Self::XForwardedProto, _) => SchemeSource::XForwardedProto(proxies),
            (Self::Header, Some(header)) => SchemeSource::Header(header.get(), proxies),
            (Self::Header, None) => {
                let message = "is needed by https.scheme = \"header\", as \"x-scheme\"";
                faults.add("https.scheme_header", message);
                SchemeSource::Listener
            }
            (Self::Listener, _) => SchemeSource::Listener,
        }
    }
}
