//! Connections that begin with any bytes: nothing panics, and a header that is taken names a canonical address or nobody.

use palisade::{
    client_ip::PeerAddr, event::NullSink, ip_set::IpSet, proxy_protocol::ProxyProtocol,
};

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
}

pub(crate) fn check(data: &[u8]) {
    let proxies: IpSet = "10.0.0.0/28".parse().expect("a list");
    let protocol = ProxyProtocol::new(proxies)
        .expect("a few proxies")
        .with_sink(NullSink);
    // Version 2 begins with bytes that are hard to find.
    let second = [b"\r\n\r\n\0\r\nQUIT\n", data].concat();
    for bytes in [data, &second] {
        let accepted = RUNTIME
            .with(|runtime| runtime.block_on(protocol.accept(bytes, ([10, 0, 0, 1], 80).into())));
        if let Ok((rest, peer)) = accepted {
            assert!(bytes.ends_with(rest));
            assert!(matches!(peer, PeerAddr::Tcp(addr) if !addr.ip().is_unspecified()));
        }
    }
}
