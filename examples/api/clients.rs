//! How many connections each client has open, so that one alone cannot take all there are.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use palisade::{
    config::{ClientIpConfig, SourceKind},
    event::{NullSink, SharedSink},
    ip_set::IpListFile,
};

/// What an IPv6 client has: a /56, as for the rate limit.
const NETWORK: u128 = u128::MAX << 72;

/// The connections of each client. Each entry is that of an open connection, so there are never more than those.
#[derive(Debug)]
pub(crate) struct Clients {
    most: usize,
    /// Who is behind a proxy has no connection of its own, and the proxy has those of all.
    proxies: ClientIpConfig,
    /// The file that lists them, if one does.
    file: Option<Mutex<IpListFile>>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    pub(crate) fn new(most: usize, proxies: &ClientIpConfig) -> Arc<Self> {
        Arc::new(Self {
            most,
            proxies: proxies.clone(),
            file: proxies.trusted_proxies_file.as_ref().and_then(|path| {
                // The layer reads the same file, and tells what is wrong with it.
                let file = IpListFile::open("trusted_proxies", path).ok()?;
                Some(Mutex::new(file.with_sink(SharedSink::new(NullSink))))
            }),
            open: Mutex::default(),
        })
    }

    /// Counts a connection; nothing where its client has too many.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let client = match peer.to_canonical() {
            IpAddr::V4(addr) => IpAddr::V4(addr),
            IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & NETWORK)),
        };
        let mut open = self.lock();
        let count = open.entry(client).or_default();
        if self.most <= *count && !self.may_be_proxy(peer) {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place {
            clients: Arc::clone(self),
            client,
        })
    }

    /// Returns whether the peer is a proxy, or may be one for all that is known.
    fn may_be_proxy(&self, peer: IpAddr) -> bool {
        let proxies = &self.proxies;
        if proxies.source == SourceKind::Peer {
            return false;
        }
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.poll();
            return file.list().contains(peer);
        }
        let mut named = [&proxies.trusted_proxies, &proxies.trusted_peers]
            .into_iter()
            .filter(|it| !it.is_empty())
            .peekable();
        named.peek().is_none() || named.any(|it| it.contains(peer))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that could panic runs under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.clients.lock().entry(self.client) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(most: usize, config: &str) -> Arc<Clients> {
        Clients::new(most, &toml::from_str(config).unwrap())
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_so_many_and_another_its_own() {
        let clients = clients(2, "source = \"peer\"");
        let mut places: Vec<_> = ["203.0.113.7", "::ffff:203.0.113.7"]
            .map(|it| clients.admit(addr(it)).unwrap())
            .into();
        assert!(clients.admit(addr("203.0.113.7")).is_none());
        places.push(clients.admit(addr("203.0.113.8")).unwrap());
        places.push(clients.admit(addr("2001:db8::1")).unwrap());
        places.push(clients.admit(addr("2001:db8:0:ff::1")).unwrap());
        assert!(clients.admit(addr("2001:db8::2")).is_none());
        places.push(clients.admit(addr("2001:db8:0:100::1")).unwrap());
        assert_eq!(clients.lock().len(), 4);
        places.remove(0);
        places.push(clients.admit(addr("203.0.113.7")).unwrap());
        assert!(clients.admit(addr("203.0.113.7")).is_none());
        // Nobody who has gone is remembered.
        drop(places);
        assert!(clients.lock().is_empty());
    }

    #[test]
    fn a_proxy_has_the_connections_of_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxies.txt");
        std::fs::write(&file, "10.0.0.0/8\n").unwrap();
        for proxies in [
            "trusted_proxies = \"10.0.0.0/8\"",
            "trusted_hops = 1\ntrusted_peers = \"10.0.0.0/8\"",
            &format!("trusted_proxies_file = {file:?}"),
        ] {
            let clients = clients(1, &format!("source = \"x_forwarded_for\"\n{proxies}"));
            for (peer, expected) in [("10.0.0.1", true), ("203.0.113.7", false)] {
                let _first = clients.admit(addr(peer)).unwrap();
                assert_eq!(clients.admit(addr(peer)).is_some(), expected, "{peer}");
            }
            // Whoever refuses leaves nothing behind.
            assert!(clients.lock().is_empty());
        }
        // Where nobody is named, anybody may be one.
        let clients = clients(1, "source = \"x_forwarded_for\"\ntrusted_hops = 1");
        let _first = clients.admit(addr("203.0.113.7")).unwrap();
        assert!(clients.admit(addr("203.0.113.7")).is_some());
    }
}
