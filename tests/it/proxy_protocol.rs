//! Section I: connections that begin with a header of the PROXY protocol. The parser's own cases stand beside it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use palisade::{
    client_ip::PeerAddr,
    event::SecurityEvent,
    ip_set::{IpList, IpSet},
    proxy_protocol::ProxyProtocol,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\r\n";

fn protocol(events: &Arc<Mutex<Vec<String>>>) -> ProxyProtocol {
    let events = Arc::clone(events);
    let proxies: IpSet = "10.0.0.0/28".parse().unwrap();
    ProxyProtocol::new(proxies)
        .unwrap()
        .with_sink(move |event: &SecurityEvent<'_>| {
            let event = format!("{} {}", event.action().as_str(), event.peer().unwrap());
            events.lock().unwrap().push(event);
        })
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn only_proxies_may_speak_it() {
    let events = Arc::default();
    let protocol = protocol(&events);
    let accepted = protocol.accept(HEADER, addr("10.0.0.1:40000")).await;
    assert_eq!(
        accepted.unwrap().1,
        PeerAddr::Tcp(addr("203.0.113.7:51000"))
    );
    let accepted = protocol
        .accept(HEADER, addr("[::ffff:10.0.0.1]:40000"))
        .await;
    assert!(accepted.is_ok());
    assert!(events.lock().unwrap().is_empty());

    // I07
    let error = protocol
        .accept(HEADER, addr("198.51.100.66:40000"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(
        *events.lock().unwrap(),
        ["forwarded_header_untrusted 198.51.100.66"]
    );
}

#[tokio::test]
async fn a_connection_without_a_header_is_refused() {
    let events = Arc::default();
    let request = &b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"[..];
    let error = protocol(&events)
        .accept(request, addr("10.0.0.1:40000"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(
        *events.lock().unwrap(),
        ["forwarded_header_malformed 10.0.0.1"]
    );
}

#[test]
fn proxies_have_to_be_named() {
    assert!(ProxyProtocol::new(IpSet::empty()).is_err());
    assert!(ProxyProtocol::new(IpSet::any()).is_err());
    assert!(ProxyProtocol::new(IpSet::any_ipv4()).is_err());
}

#[tokio::test]
async fn a_list_that_covers_everybody_is_trusted_for_nobody() {
    let list = IpList::new("proxies", "10.0.0.0/28".parse().unwrap());
    let protocol = ProxyProtocol::new(list.clone()).unwrap();
    assert!(protocol.accept(HEADER, addr("10.0.0.1:1")).await.is_ok());
    list.replace(IpSet::any());
    assert!(protocol.accept(HEADER, addr("10.0.0.1:1")).await.is_err());
}

/// Case I12. Time is paused, and moves when nothing else can be done.
#[tokio::test(start_paused = true)]
async fn a_header_has_to_be_complete_in_time() {
    let send = async |pause| {
        let (mut client, server) = tokio::io::duplex(256);
        let events = Arc::default();
        // Five seconds are the default.
        let protocol = protocol(&events);
        tokio::spawn(async move {
            for byte in HEADER {
                client.write_all(&[*byte]).await?;
                sleep(pause).await;
            }
            client.write_all(b"rest").await
        });
        let accepted = protocol.accept(server, addr("10.0.0.1:40000")).await;
        let (mut stream, peer) = accepted.map_err(|error| error.kind())?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "rest");
        Ok(peer)
    };
    let expected = PeerAddr::Tcp(addr("203.0.113.7:51000"));
    assert_eq!(send(Duration::from_millis(70)).await, Ok(expected));
    assert_eq!(
        send(Duration::from_millis(200)).await,
        Err(std::io::ErrorKind::TimedOut)
    );
}

#[cfg(feature = "axum")]
mod axum_serve {
    use std::net::SocketAddr;

    use axum::{Router, routing::get};
    use palisade::{
        SecurityLayer,
        client_ip::{ClientIp, ClientIpSource, PeerAddr},
        ip_filter::IpDenylist,
        ip_set::IpSet,
        proxy_protocol::{ProxyProtocol, ProxyProtocolListener},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    async fn serve(source: ClientIpSource, proxies: &str) -> SocketAddr {
        let deny: IpDenylist = "2001:db8::bad/128".parse().unwrap();
        let security = SecurityLayer::builder(source).deny(deny).build();
        let router = Router::new()
            .route("/", get(async |client: ClientIp| client.to_string()))
            .layer(security);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let protocol = ProxyProtocol::new(proxies.parse::<IpSet>().unwrap()).unwrap();
        let listener = ProxyProtocolListener::new(listener, protocol);
        tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<PeerAddr>();
            axum::serve(listener, service).await
        });
        addr
    }

    /// Sends bytes, and returns the status and the last line of what comes back; nothing if the connection was closed.
    async fn talk(addr: SocketAddr, header: &str, fields: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request =
            format!("{header}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        let mut response = String::new();
        // A connection that is refused may be reset while we write or read.
        stream.write_all(request.as_bytes()).await.ok()?;
        stream.read_to_string(&mut response).await.ok()?;
        let status = response.split(' ').nth(1)?.to_owned();
        Some((status, response.lines().last()?.to_owned()))
    }

    #[tokio::test]
    async fn the_header_names_the_peer() {
        let addr = serve(ClientIpSource::Peer, "127.0.0.1").await;
        // A connection that says nothing holds up nobody.
        let _silent = TcpStream::connect(addr).await.unwrap();
        let answer = talk(addr, "PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\r\n", "").await;
        assert_eq!(answer, Some(("200".into(), "203.0.113.7".into())));
        let answer = talk(addr, "PROXY UNKNOWN\r\n", "").await;
        assert_eq!(answer, Some(("200".into(), "127.0.0.1".into())), "I03");
        let answer = talk(addr, "PROXY TCP6 2001:Db8::bad ::1 51000 443\r\n", "").await;
        assert_eq!(answer.map(|answer| answer.0), Some("403".into()), "F33");
        assert_eq!(talk(addr, "", "").await, None, "no header");
    }

    #[tokio::test]
    async fn strangers_are_not_listened_to() {
        let addr = serve(ClientIpSource::Peer, "192.0.2.0/24").await;
        let answer = talk(addr, "PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\r\n", "").await;
        assert_eq!(answer, None, "I07");
    }

    /// Case I14.
    #[tokio::test]
    async fn the_named_peer_may_be_a_proxy_itself() {
        let source = ClientIpSource::XForwardedFor("198.51.100.0/24".parse().unwrap());
        let addr = serve(source, "127.0.0.1").await;
        let fields = "X-Forwarded-For: 203.0.113.7\r\n";
        let answer = talk(
            addr,
            "PROXY TCP4 198.51.100.9 10.0.0.1 51000 443\r\n",
            fields,
        )
        .await;
        assert_eq!(answer, Some(("200".into(), "203.0.113.7".into())));
        let answer = talk(addr, "PROXY TCP4 192.0.2.9 10.0.0.1 51000 443\r\n", fields).await;
        assert_eq!(answer, Some(("200".into(), "192.0.2.9".into())));
    }
}
