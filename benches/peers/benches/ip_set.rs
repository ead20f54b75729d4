//! Membership in sets of addresses: this crate beside a linear scan, plain binary search over merged ranges, and tries.
//!
//! ```text
//! cargo bench --manifest-path benches/peers/Cargo.toml --bench ip_set
//! ```
//!
//! Prefixes are random in the mix of a feed of blocked addresses: 70 % IPv4 (mostly `/32`, then `/24`), 30 % IPv6 (`/64`, `/48`, `/128`,
//! …). Half of the probes hit. All answers are compared. Times are medians of interleaved rounds; read them as ratios.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use ip_network_table::IpNetworkTable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use iptrie::{
    IpPrefix, Ipv4LCTrieSet, Ipv4Prefix, Ipv4RTrieSet, Ipv6LCTrieSet, Ipv6Prefix, Ipv6RTrieSet,
};
use palisade::ip_set::IpSet;
use prefix_trie::PrefixSet;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What all the structures can do.
trait Set {
    fn contains(&self, addr: IpAddr) -> bool;
}

impl Set for IpSet {
    fn contains(&self, addr: IpAddr) -> bool {
        IpSet::contains(self, addr)
    }
}

struct Linear(Vec<IpNet>);

impl Set for Linear {
    fn contains(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&addr))
    }
}

/// The yardstick: merged ranges, sorted, and a plain binary search.
struct Merged {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Merged {
    fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: merge(v4),
            v6: merge(v6),
        }
    }
}

fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged.shrink_to_fit();
    merged
}

fn search<T: Copy + Ord>(ranges: &[(T, T)], addr: T) -> bool {
    let before = ranges.partition_point(|range| range.0 <= addr);
    before
        .checked_sub(1)
        .and_then(|range| ranges.get(range))
        .is_some_and(|range| addr <= range.1)
}

impl Set for Merged {
    fn contains(&self, addr: IpAddr) -> bool {
        match addr.to_canonical() {
            IpAddr::V4(addr) => search(&self.v4, addr.to_bits()),
            IpAddr::V6(addr) => search(&self.v6, addr.to_bits()),
        }
    }
}

struct PrefixTrie {
    v4: PrefixSet<Ipv4Net>,
    v6: PrefixSet<Ipv6Net>,
}

impl PrefixTrie {
    fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (PrefixSet::new(), PrefixSet::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.insert(*net),
                IpNet::V6(net) => v6.insert(*net),
            };
        }
        Self { v4, v6 }
    }
}

impl Set for PrefixTrie {
    fn contains(&self, addr: IpAddr) -> bool {
        match addr.to_canonical() {
            IpAddr::V4(addr) => self.v4.get_lpm(&addr.into()).is_some(),
            IpAddr::V6(addr) => self.v6.get_lpm(&addr.into()).is_some(),
        }
    }
}

struct IpTrie {
    v4: Ipv4LCTrieSet,
    v6: Ipv6LCTrieSet,
}

impl IpTrie {
    fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Ipv4RTrieSet::new(), Ipv6RTrieSet::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.insert(Ipv4Prefix::from(*net)),
                IpNet::V6(net) => v6.insert(Ipv6Prefix::from(*net)),
            };
        }
        Self {
            v4: v4.compress(),
            v6: v6.compress(),
        }
    }
}

impl Set for IpTrie {
    fn contains(&self, addr: IpAddr) -> bool {
        // Its root is always there; no prefix of the mix is that short.
        match addr.to_canonical() {
            IpAddr::V4(addr) => self.v4.lookup(&addr).len() != 0,
            IpAddr::V6(addr) => self.v6.lookup(&addr).len() != 0,
        }
    }
}

struct Table(IpNetworkTable<()>);

impl Table {
    fn new(nets: &[IpNet]) -> Self {
        let mut table = IpNetworkTable::new();
        for net in nets {
            let net = ip_network::IpNetwork::new(net.network(), net.prefix_len());
            table.insert(net.expect("masked"), ());
        }
        Self(table)
    }
}

impl Set for Table {
    fn contains(&self, addr: IpAddr) -> bool {
        self.0.longest_match(addr.to_canonical()).is_some()
    }
}

/// A generator that needs nothing and repeats itself: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from_bits((self.next() >> 32) as u32)
    }

    /// Global unicast, in a few thousand allocations, as real addresses are.
    fn v6(&mut self) -> Ipv6Addr {
        const STARTS: [u128; 6] = [0x2001, 0x2400, 0x2600, 0x2804, 0x2a00, 0x2c0f];
        let start = STARTS[(self.next() % 6) as usize] << 112;
        let allocation = u128::from(self.next() % 4_096) << 96;
        let rest = u128::from(self.next()) << 32 | u128::from(self.next() >> 32);
        Ipv6Addr::from_bits(start | allocation | rest)
    }

    fn net(&mut self) -> IpNet {
        let roll = self.next() % 100;
        if self.next() % 10 < 7 {
            let length = match roll {
                0..60 => 32,
                60..85 => 24,
                85..90 => 28,
                90..94 => 22,
                94..98 => 20,
                _ => 16,
            };
            Ipv4Net::new(self.v4(), length)
                .expect("in range")
                .trunc()
                .into()
        } else {
            let length = match roll {
                0..40 => 64,
                40..65 => 48,
                65..85 => 128,
                85..95 => 56,
                _ => 32,
            };
            Ipv6Net::new(self.v6(), length)
                .expect("in range")
                .trunc()
                .into()
        }
    }

    fn probes(&mut self, nets: &[IpNet], count: usize) -> Vec<IpAddr> {
        let probe = |random: &mut Self| {
            if random.next() % 2 == 0 {
                return if random.next() % 10 < 7 {
                    random.v4().into()
                } else {
                    random.v6().into()
                };
            }
            // An address inside a random prefix.
            match nets[random.next() as usize % nets.len()] {
                IpNet::V4(net) => Ipv4Addr::from_bits(
                    net.network().to_bits() | random.v4().to_bits() & net.hostmask().to_bits(),
                )
                .into(),
                IpNet::V6(net) => Ipv6Addr::from_bits(
                    net.network().to_bits() | random.v6().to_bits() & net.hostmask().to_bits(),
                )
                .into(),
            }
        };
        (0..count).map(|_| probe(self)).collect()
    }
}

struct Measured {
    name: &'static str,
    lookups: Vec<f64>,
    builds: Vec<Duration>,
    drops: Vec<Duration>,
    bytes: usize,
    found: usize,
}

fn measure<S: Set>(
    measured: &mut Measured,
    nets: &[IpNet],
    probes: &[IpAddr],
    build: impl Fn(&[IpNet]) -> S,
) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let start = Instant::now();
    let set = build(nets);
    measured.builds.push(start.elapsed());
    measured.bytes = ALLOCATED.load(Ordering::Relaxed) - before;
    // Once to warm up, and to compare the answers.
    measured.found = probes.iter().filter(|probe| set.contains(**probe)).count();
    let repeat = (200_000 / probes.len()).max(1);
    let start = Instant::now();
    for _ in 0..repeat {
        for probe in probes {
            black_box(set.contains(black_box(*probe)));
        }
    }
    measured
        .lookups
        .push(start.elapsed().as_nanos() as f64 / (repeat * probes.len()) as f64);
    let start = Instant::now();
    drop(set);
    measured.drops.push(start.elapsed());
}

fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    values[values.len() / 2]
}

fn main() {
    println!(
        "| prefixes | structure | lookup ns | x merged | build ms | x prefix-trie | MiB | drop us |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (count, rounds) in [
        (10, 15),
        (1_000, 15),
        (10_000, 9),
        (100_000, 7),
        (1_000_000, 5),
    ] {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ count as u64);
        let nets: Vec<IpNet> = (0..count).map(|_| random.net()).collect();
        let probes = random.probes(&nets, if count < 100_000 { 10_000 } else { 200_000 });
        let names = [
            "IpSet",
            "merged ranges",
            "prefix-trie",
            "iptrie (LC)",
            "ip_network_table",
            "linear scan",
        ];
        let mut all = names.map(|name| Measured {
            name,
            lookups: Vec::new(),
            builds: Vec::new(),
            drops: Vec::new(),
            bytes: 0,
            found: 0,
        });
        for round in 0..rounds {
            let [ours, merged, trie, iptrie, table, linear] = &mut all;
            measure(ours, &nets, &probes, |nets| {
                nets.iter().copied().collect::<IpSet>()
            });
            measure(merged, &nets, &probes, Merged::new);
            measure(trie, &nets, &probes, PrefixTrie::new);
            measure(iptrie, &nets, &probes, IpTrie::new);
            measure(table, &nets, &probes, Table::new);
            if count <= 1_000 || count == 10_000 && round == 0 {
                let probes = &probes[..if count == 10 { probes.len() } else { 1_000 }];
                measure(linear, &nets, probes, |nets| Linear(nets.to_vec()));
            }
        }
        let base = median(&all[1].lookups);
        let build = median(&all[2].builds);
        for measured in all.iter().filter(|measured| !measured.lookups.is_empty()) {
            if measured.name != "linear scan" || count == 10 {
                assert_eq!(
                    measured.found, all[1].found,
                    "{} answers otherwise",
                    measured.name
                );
            }
            println!(
                "| {count} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
                measured.name,
                median(&measured.lookups),
                median(&measured.lookups) / base,
                median(&measured.builds).as_secs_f64() * 1e3,
                median(&measured.builds).as_secs_f64() / build.as_secs_f64(),
                measured.bytes as f64 / 1024.0 / 1024.0,
                median(&measured.drops).as_secs_f64() * 1e6,
            );
        }
    }
}
