//! Files of lists in any bytes: nothing panics, and a set reads back as itself and covers its own entries.

use palisade::ip_set::{HostBits, IpSet};

pub(crate) fn check(data: &[u8]) {
    let Ok(builder) = IpSet::builder().list_bytes(data) else {
        return;
    };
    let set = builder.build();
    let entries = set.entries();
    assert!(!entries.is_empty());
    let mut text = String::new();
    for net in &entries {
        text.push_str(&net.to_string());
        text.push('\n');
        for end in [net.network(), net.broadcast()] {
            // An IPv6 network like `::/80` has IPv4-mapped addresses in it, which are IPv4 and not covered.
            let mapped = net.addr().is_ipv6() && end.to_canonical().is_ipv4();
            assert!(mapped || set.contains(end));
        }
    }
    let strict = IpSet::builder().with_host_bits(HostBits::Refuse);
    let again = strict.list(&text).expect("canonical entries").build();
    assert_eq!(again, set);
}
