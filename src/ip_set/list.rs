//! A named list whose content can be replaced while it is in use.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;

use crate::ip_set::set::{HostBitsWarning, IpSet};

/// A named list of addresses that can be replaced as a whole while requests are asking it. Clones are handles on the same list.
///
/// Whoever asks sees the old list or the new one, never a mixture. The memory of an old list is freed by whoever replaces, never by a
/// request that happened to be the last to look at it.
///
/// # Example
///
/// ```
/// use palisade::ip_set::IpList;
///
/// let blocked = IpList::new("blocked", "198.51.100.0/24".parse()?);
/// let handle = blocked.clone();
/// assert!(!blocked.contains("203.0.113.7".parse()?));
///
/// handle.replace("203.0.113.0/24".parse()?);
/// assert!(blocked.contains("203.0.113.7".parse()?));
/// assert_eq!(blocked.generation(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct IpList {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    current: ArcSwap<Snapshot>,
    /// Replaced lists that somebody was still looking at. Also keeps replacements one behind the other.
    retired: Mutex<Vec<Arc<Snapshot>>>,
    /// The generation whose entries with bits behind their prefix have been told of, so that only one of all who look does.
    told: AtomicU64,
}

/// A list as it was at one time.
pub(crate) struct Snapshot {
    pub(crate) set: IpSet,
    pub(crate) generation: u64,
}

impl IpList {
    /// Creates a list; events call it by its name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, set: IpSet) -> Self {
        let generation = 1;
        let snapshot = Snapshot { set, generation };
        Self {
            shared: Arc::new(Shared {
                name: name.into(),
                current: ArcSwap::from_pointee(snapshot),
                retired: Mutex::new(Vec::new()),
                told: AtomicU64::new(0),
            }),
        }
    }

    /// Replaces the whole list, and returns the number of its new generation.
    ///
    /// Build the set first, on a thread that may take its time.
    pub fn replace(&self, set: IpSet) -> u64 {
        let retired = self.shared.retired.lock();
        // A panic between these lines is not possible, and the vector would be sound all the same.
        let mut retired = retired.unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation().saturating_add(1);
        let snapshot = Snapshot { set, generation };
        retired.push(self.shared.current.swap(Arc::new(snapshot)));
        // After the swap no request can find the old list any more, and those that have found it hold a count of their own. While this
        // one is held, too, none of theirs can be the last.
        retired.retain(|old| Arc::strong_count(old) != 1);
        generation
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// Returns the number of the current generation; the first is 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.load().generation
    }

    /// Returns whether the list covers an address.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.load().set.contains(addr)
    }

    /// Returns the most specific entry that covers an address.
    #[must_use]
    pub fn find(&self, addr: IpAddr) -> Option<IpNet> {
        self.load().set.find(addr)
    }

    /// Returns whether the list covers no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load().set.is_empty()
    }

    /// Returns a copy of the current set.
    #[must_use]
    pub fn to_set(&self) -> IpSet {
        self.load().set.clone()
    }

    /// Returns the first entry that was read as the network around it, once for each generation.
    pub(crate) fn take_host_bits(&self) -> Option<HostBitsWarning> {
        let snapshot = self.load();
        let told = self
            .shared
            .told
            .swap(snapshot.generation, Ordering::Relaxed);
        if told == snapshot.generation {
            return None;
        }
        snapshot.set.host_bits().first().copied()
    }

    /// Returns the current list, to be asked and let go at once.
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.shared.current.load()
    }
}

impl From<IpSet> for IpList {
    fn from(set: IpSet) -> Self {
        Self::new("ip list", set)
    }
}

impl fmt::Debug for IpList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.load();
        f.debug_struct("IpList")
            .field("name", &self.shared.name)
            .field("generation", &snapshot.generation)
            .field("set", &snapshot.set)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_old_list_is_freed_by_whoever_replaces_it() {
        let list = IpList::new("list", IpSet::loopback());
        let weak = Arc::downgrade(&list.load());
        let reader = list.load();
        list.replace(IpSet::private());
        drop(reader);
        assert!(weak.upgrade().is_some());
        list.replace(IpSet::private());
        assert!(weak.upgrade().is_none());
        assert_eq!(list.generation(), 3);
    }

    /// Case F28.
    #[test]
    fn nobody_sees_a_mixture() {
        let sets: [IpSet; 2] = [
            "192.0.2.1 198.51.100.1".parse().unwrap(),
            "192.0.2.2 198.51.100.2".parse().unwrap(),
        ];
        let list = IpList::new("list", sets[0].clone());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let snapshot = list.load();
                        let first = snapshot.set.contains([192, 0, 2, 1].into());
                        let second = snapshot.set.contains([198, 51, 100, 1].into());
                        assert_eq!(first, second);
                        assert_eq!(first, snapshot.generation % 2 == 1);
                    }
                });
            }
            for turn in 1..=2_000 {
                list.replace(sets[turn % 2].clone());
            }
        });
        assert_eq!(list.generation(), 2_001);
    }
}
