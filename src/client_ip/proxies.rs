//! The proxies whose word is taken.

use std::{
    error::Error,
    fmt,
    num::NonZeroUsize,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    client_ip::peer::PeerAddr,
    event::sink::{EventSink, SharedSink},
    ip_set::{
        error::IpSetError,
        list::IpList,
        set::{HostBitsWarning, IpSet},
    },
};

/// The proxies whose forwarding headers are believed.
///
/// List the proxies themselves and nothing else. Whoever connects from one of these addresses may write any client address it likes, so
/// a whole private network is too much wherever other machines live in it.
///
/// # Example
///
/// ```
/// use palisade::client_ip::TrustedProxies;
///
/// let proxies: TrustedProxies = "10.0.0.0/28, 2001:db8::/64".parse()?;
/// let proxies = proxies.with_max_entries(4);
///
/// assert!("0.0.0.0/0".parse::<TrustedProxies>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    rules: Arc<Rules>,
    /// Whether it has been told that entries were read as the network around them; clones tell it once.
    told: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) trust: Trust,
    pub(crate) unix: bool,
    pub(crate) max_bytes: usize,
    pub(crate) max_entries: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Whoever has one of these addresses.
    Addresses(IpSet),
    /// That many proxies, the peer among them, which has one of these addresses if there are any.
    Hops {
        count: NonZeroUsize,
        peers: Option<IpSet>,
    },
    /// Whoever has one of the addresses that a list holds at the time.
    List(IpList),
}

/// Who vouches for addresses, in one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vouching<'a> {
    Addresses(&'a IpSet),
    Hops {
        count: NonZeroUsize,
        peers: Option<&'a IpSet>,
    },
}

impl Vouching<'_> {
    #[inline]
    pub(crate) fn trusts(self, peer: PeerAddr, rules: &Rules) -> bool {
        let Some(addr) = peer.ip() else {
            return rules.unix;
        };
        match self {
            Self::Addresses(addresses) => addresses.contains(addr),
            Self::Hops { peers, .. } => peers.is_none_or(|peers| peers.contains(addr)),
        }
    }
}

impl TrustedProxies {
    /// Trusts nobody: every forwarding header is ignored.
    #[must_use]
    pub fn none() -> Self {
        Self::from_trust(Trust::Addresses(IpSet::empty()))
    }

    /// Trusts the proxies with the addresses of a set.
    ///
    /// # Errors
    ///
    /// Fails if the set is empty ([`none`](Self::none) says that on purpose), or if it covers all of IPv4 or all of IPv6: then any client
    /// could write its own address.
    pub fn new(addresses: IpSet) -> Result<Self, TrustedProxiesError> {
        check(&addresses)?;
        Ok(Self::from_trust(Trust::Addresses(addresses)))
    }

    /// Trusts the proxies with the addresses of a list, as it is at the time of each request.
    ///
    /// Should the list come to cover all of IPv4 or all of IPv6, nobody is trusted until it is replaced again.
    ///
    /// # Errors
    ///
    /// Fails where [`new`](Self::new) does for what the list holds now.
    pub fn from_list(list: IpList) -> Result<Self, TrustedProxiesError> {
        check(&list.load().set)?;
        Ok(Self::from_trust(Trust::List(list)))
    }

    /// Trusts a fixed number of proxies between the client and this server, the one that connects included.
    ///
    /// The client is then the `count`th entry from the right, whatever the addresses are. This is for proxies whose addresses are not
    /// known, and it is right only if *no* request can reach this server past them: see to that in the network, or name the
    /// addresses of the last one with [`with_peers`](Self::with_peers).
    ///
    /// Products count differently: what is 1 here is `xff_num_trusted_hops: 0` in an Envoy that is asked for the connection's peer, and `depth: 1`
    /// in Traefik.
    ///
    /// # Errors
    ///
    /// Fails if the count is 0, which would be [`ClientIpSource::Peer`](crate::client_ip::ClientIpSource::Peer).
    pub fn hops(count: usize) -> Result<Self, TrustedProxiesError> {
        let count = NonZeroUsize::new(count).ok_or(ErrorKind::NoHops)?;
        Ok(Self::from_trust(Trust::Hops { count, peers: None }))
    }

    /// Trusts every peer, so that any client can write its own address.
    ///
    /// For tests, and for servers that nothing but a proxy can reach; even there [`hops`](Self::hops) says it better.
    #[must_use]
    pub fn dangerous_trust_everyone() -> Self {
        Self::from_trust(Trust::Addresses(IpSet::any()))
    }

    /// Takes the number of hops for true only if the peer has one of these addresses. Otherwise the peer is the client.
    ///
    /// Proxies that are trusted by address are not affected.
    #[must_use]
    pub fn with_peers(mut self, addresses: IpSet) -> Self {
        if let Trust::Hops { peers, .. } = &mut Arc::make_mut(&mut self.rules).trust {
            *peers = Some(addresses);
        }
        self
    }

    /// Trusts peers that connect through a Unix socket, too. The default is not to.
    #[must_use]
    pub fn with_unix_sockets(mut self) -> Self {
        Arc::make_mut(&mut self.rules).unix = true;
        self
    }

    /// Sets how many entries of a header are read before the client counts as unknown. The default is 32.
    #[must_use]
    pub fn with_max_entries(mut self, max_entries: usize) -> Self {
        Arc::make_mut(&mut self.rules).max_entries = max_entries;
        self
    }

    /// Sets how many bytes of a header are read before the client counts as unknown. The default is 8 KiB.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        Arc::make_mut(&mut self.rules).max_bytes = max_bytes;
        self
    }

    /// Returns whether the forwarding headers of a peer are believed.
    #[must_use]
    pub fn trusts(&self, peer: PeerAddr) -> bool {
        self.view(|rules, vouching| vouching.trusts(peer, rules))
    }

    /// Calls `look` with who vouches for addresses in one request.
    #[inline]
    pub(crate) fn view<T>(&self, look: impl FnOnce(&Rules, Vouching<'_>) -> T) -> T {
        let rules = &*self.rules;
        match &rules.trust {
            Trust::Addresses(addresses) => look(rules, Vouching::Addresses(addresses)),
            Trust::Hops { count, peers } => {
                let (count, peers) = (*count, peers.as_ref());
                look(rules, Vouching::Hops { count, peers })
            }
            Trust::List(list) => {
                let snapshot = list.load();
                if snapshot.set.is_everything() {
                    return look(rules, Vouching::Addresses(&IpSet::empty()));
                }
                look(rules, Vouching::Addresses(&snapshot.set))
            }
        }
    }

    /// Returns the addresses, if that is what proxies are known by and they cannot be replaced.
    #[inline]
    pub(crate) fn fixed(&self) -> Option<(&IpSet, &Rules)> {
        match &self.rules.trust {
            Trust::Addresses(addresses) => Some((addresses, &self.rules)),
            Trust::Hops { .. } | Trust::List(_) => None,
        }
    }

    /// Records an event if entries were read as the network around them, once for all clones.
    pub(crate) fn tell_host_bits(&self, sink: &SharedSink) {
        const NAME: &str = "trusted_proxies";

        if let Trust::List(list) = &self.rules.trust {
            return tell(list.take_host_bits(), list.name(), sink);
        }
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let first = |set: &IpSet| set.host_bits().first().copied();
        match &self.rules.trust {
            Trust::Addresses(addresses) => tell(first(addresses), NAME, sink),
            Trust::Hops { peers, .. } => tell(peers.as_ref().and_then(first), NAME, sink),
            Trust::List(_) => {}
        }
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.rules.max_bytes
    }

    fn from_trust(trust: Trust) -> Self {
        Self {
            rules: Arc::new(Rules {
                trust,
                unix: false,
                max_bytes: MAX_BYTES,
                max_entries: MAX_ENTRIES,
            }),
            told: Arc::default(),
        }
    }
}

fn tell(first: Option<HostBitsWarning>, list: &str, sink: &SharedSink) {
    if let Some(first) = first {
        sink.record(&first.event(list));
    }
}

fn check(addresses: &IpSet) -> Result<(), ErrorKind> {
    if addresses.is_empty() {
        return Err(ErrorKind::Empty);
    }
    if addresses.is_everything() {
        return Err(ErrorKind::Everyone);
    }
    Ok(())
}

/// Servers take header fields of several hundred kilobytes; no honest chain of proxies writes that much.
const MAX_BYTES: usize = 8 * 1024;

/// More proxies than this are a loop or an attack.
const MAX_ENTRIES: usize = 32;

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        Self::new(list.parse().map_err(ErrorKind::List)?)
    }
}

/// Why proxies cannot be trusted like that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustedProxiesError {
    kind: ErrorKind,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum ErrorKind {
    Empty,
    Everyone,
    List(IpSetError),
    NoHops,
}

impl fmt::Display for TrustedProxiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Empty => "set of trusted proxies is empty",
            ErrorKind::Everyone => "set of trusted proxies covers every address of a family",
            ErrorKind::List(_) => "list of trusted proxies is malformed",
            ErrorKind::NoHops => "number of trusted hops is zero",
        })
    }
}

impl Error for TrustedProxiesError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ErrorKind::List(error) => Some(error),
            ErrorKind::Empty | ErrorKind::Everyone | ErrorKind::NoHops => None,
        }
    }
}

impl From<ErrorKind> for TrustedProxiesError {
    fn from(kind: ErrorKind) -> Self {
        Self { kind }
    }
}
