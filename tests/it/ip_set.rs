//! Sets of addresses against the plainest thing that could be right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade::ip_set::{IpList, IpSet};
use proptest::{collection::vec, prelude::*};

/// The most specific of all entries that cover an address, found by looking at each.
fn naive(nets: &[IpNet], addr: IpAddr) -> Option<IpNet> {
    let covering = nets.iter().filter(|net| net.contains(&addr));
    covering.max_by_key(|net| net.prefix_len()).copied()
}

/// Few bits vary, so that prefixes lie in each other and meet at their ends.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        any::<u32>(),
        (0..4_u32, 0..8_u32).prop_map(|(high, low)| (high << 30) | low),
        Just(0),
        Just(u32::MAX),
    ]
    .prop_map(Ipv4Addr::from_bits)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        any::<u128>(),
        (0..4_u128, 0..8_u128).prop_map(|(high, low)| (high << 126) | low),
        (0..1_000_u128).prop_map(|low| (0x2001_0db8 << 96) | low),
        Just(u128::MAX),
    ]
    .prop_map(Ipv6Addr::from_bits)
    // What is IPv4-mapped is IPv4, which the naive search does not know.
    .prop_filter("mapped", |addr| addr.to_ipv4_mapped().is_none())
}

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (v4(), 0..=32_u8)
            .prop_map(|(addr, length)| Ipv4Net::new(addr, length).unwrap().trunc().into()),
        (v6(), 0..=128_u8)
            .prop_map(|(addr, length)| Ipv6Net::new(addr, length).unwrap().trunc().into()),
    ]
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)]
}

/// The ends of an entry and their neighbors, where mistakes are made.
fn edges(net: &IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(net) => [net.network().to_bits(), net.broadcast().to_bits()]
            .into_iter()
            .flat_map(|end| [end.wrapping_sub(1), end, end.wrapping_add(1)])
            .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
            .collect(),
        IpNet::V6(net) => [net.network().to_bits(), net.broadcast().to_bits()]
            .into_iter()
            .flat_map(|end| [end.wrapping_sub(1), end, end.wrapping_add(1)])
            .map(Ipv6Addr::from_bits)
            .filter(|addr| addr.to_ipv4_mapped().is_none())
            .map(IpAddr::V6)
            .collect(),
    }
}

proptest! {
    #[test]
    fn a_set_agrees_with_a_naive_search(nets in vec(net(), 0..40), addrs in vec(addr(), 0..40)) {
        let set: IpSet = nets.iter().copied().collect();
        let edges = nets.iter().flat_map(edges);
        for addr in addrs.into_iter().chain(edges) {
            prop_assert_eq!(set.find(addr), naive(&nets, addr), "{}", addr);
            prop_assert_eq!(set.contains(addr), naive(&nets, addr).is_some());
        }
    }

    #[test]
    fn a_set_reads_back_as_itself(nets in vec(net(), 1..40)) {
        let set: IpSet = nets.iter().copied().collect();
        let text: Vec<_> = set.entries().iter().map(ToString::to_string).collect();
        prop_assert_eq!(text.join("\n").parse::<IpSet>(), Ok(set));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9a-fA-F:./,;# \n%+-]{0,60}", bytes in vec(any::<u8>(), 0..60)) {
        if let Ok(set) = text.parse::<IpSet>() {
            prop_assert!(!set.is_empty());
        }
        let _ = IpSet::builder().list_bytes(&bytes);
    }
}

/// Case F29, on a scale that a test can pay for; sets of this size have an index.
#[test]
fn a_large_set_agrees_with_a_naive_search() {
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number
    };
    let nets: Vec<IpNet> = (0..3_000)
        .map(|n| {
            let bits = u32::try_from(next() >> 32).unwrap();
            if n % 3 == 0 {
                let addr = Ipv6Addr::from_bits((0x2001 << 112) | (u128::from(next()) << 40));
                let length = 24 + u8::try_from(next() % 100).unwrap();
                Ipv6Net::new(addr, length).unwrap().trunc().into()
            } else {
                let length = 8 + u8::try_from(next() % 25).unwrap();
                Ipv4Net::new(Ipv4Addr::from_bits(bits), length)
                    .unwrap()
                    .trunc()
                    .into()
            }
        })
        .collect();
    let set: IpSet = nets.iter().copied().collect();
    for net in &nets[..500] {
        for addr in edges(net) {
            assert_eq!(set.find(addr), naive(&nets, addr), "{addr}");
        }
    }
    for _ in 0..2_000 {
        let addr = IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(next() >> 32).unwrap()));
        assert_eq!(set.find(addr), naive(&nets, addr), "{addr}");
    }
}

#[test]
fn a_builder_keeps_what_was_added_before() {
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let set = IpSet::builder()
        .entry("192.0.2.1")
        .unwrap()
        .net(net("198.51.100.0/24"))
        .net(net("203.0.113.0/24"))
        .set(&IpSet::loopback())
        .build();
    for addr in [
        "192.0.2.1",
        "198.51.100.7",
        "203.0.113.7",
        "127.0.0.1",
        "::1",
    ] {
        assert!(set.contains(addr.parse().unwrap()), "{addr}");
    }
    assert!(!set.contains("192.0.2.2".parse().unwrap()));
}

#[test]
fn an_empty_list_is_told_from_a_bad_one() {
    let is_empty = |list: &str| list.parse::<IpSet>().unwrap_err().is_empty();
    assert!(is_empty("") && is_empty("# nobody\n"));
    assert!(!is_empty("192.0.2.x"));
}

#[cfg(feature = "serde")]
#[test]
fn words_are_the_sets_that_they_name() {
    for (word, set) in [
        ("any", IpSet::any()),
        ("any_ipv4", IpSet::any_ipv4()),
        ("any_ipv6", IpSet::any_ipv6()),
        ("carrier_shared", IpSet::carrier_shared()),
        ("documentation", IpSet::documentation()),
        ("link_local", IpSet::link_local()),
        ("loopback", IpSet::loopback()),
        ("multicast", IpSet::multicast()),
        ("private", IpSet::private()),
    ] {
        let read: IpSet = serde_json::from_str(&format!("[\"{word}\"]")).unwrap();
        assert_eq!(read, set, "{word}");
    }
}

#[test]
fn sets_and_lists_are_made_of_what_is_put_in() {
    let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|it| it.parse::<IpAddr>().unwrap());
    let net: IpNet = "192.0.2.0/24".parse().unwrap();
    assert_eq!(IpSet::from(one), "192.0.2.1".parse().unwrap());
    assert_eq!(IpSet::from(net), "192.0.2.0/24".parse().unwrap());
    let both: IpSet = [one, other].into_iter().collect();
    assert_eq!(both, "192.0.2.1, 2001:db8::1".parse().unwrap());
    let list = IpList::new("list", net.into());
    assert_eq!(list.to_set(), net.into());
    assert_eq!((list.find(one), list.find(other)), (Some(net), None));
}

#[test]
fn a_set_takes_at_least_the_memory_of_its_entries() {
    let set: IpSet = (0..1000_u32)
        .map(|it| IpAddr::V4(Ipv4Addr::from_bits(it * 7919)))
        .collect();
    let size = set.heap_size();
    assert!((4_000..100_000).contains(&size), "{size}");
}
