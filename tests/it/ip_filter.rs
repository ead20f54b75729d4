//! Section F: allow lists and deny lists.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, PeerAddr, TrustedProxies},
    event::SecurityEvent,
    ip_filter::{IpAllowlist, IpDenylist, IpFilterLayer, IpSubject, UnknownClients},
    ip_set::{IpList, IpSet},
};
use tower::{Layer, ServiceExt, service_fn};

fn allow(list: &str) -> IpAllowlist {
    list.parse().unwrap()
}

fn deny(list: &str) -> IpDenylist {
    list.parse().unwrap()
}

fn tcp(addr: &str) -> PeerAddr {
    let addr: std::net::IpAddr = addr.parse().unwrap();
    PeerAddr::Tcp((addr, 1_234).into())
}

fn request(peer: Option<PeerAddr>, x_forwarded_for: Option<&str>) -> Request<()> {
    let mut request = Request::builder();
    if let Some(peer) = peer {
        request = request.extension(peer);
    }
    if let Some(value) = x_forwarded_for {
        request = request.header("x-forwarded-for", value);
    }
    request.body(()).unwrap()
}

/// Sends a request; the service inside answers 200.
async fn send(
    filter: &IpFilterLayer,
    trusted: Option<&str>,
    request: Request<()>,
) -> Response<String> {
    let source = match trusted {
        Some(list) => ClientIpSource::XForwardedFor(list.parse().unwrap()),
        None => ClientIpSource::Peer,
    };
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = ClientIpLayer::new(source).layer(filter.layer(inner));
    let Ok(response) = service.oneshot(request).await;
    response
}

#[track_caller]
fn check(id: &str, filter: &IpFilterLayer, peer: PeerAddr, expected: u16) {
    check_request(id, filter, None, request(Some(peer), None), expected);
}

#[track_caller]
fn check_request(
    id: &str,
    filter: &IpFilterLayer,
    trusted: Option<&str>,
    request: Request<()>,
    expected: u16,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let response = runtime.block_on(send(filter, trusted, request));
    assert_eq!(response.status().as_u16(), expected, "{id}");
}

#[test]
fn an_allow_list_admits_whom_it_covers() {
    let filter = IpFilterLayer::allow(allow("20.20.20.20"));
    check("F01", &filter, tcp("20.20.20.20"), 200);
    check("F01", &filter, tcp("20.20.20.21"), 403);
    let filter = IpFilterLayer::allow(allow("20.20.20.20").with_status(StatusCode::NOT_FOUND));
    check("F03", &filter, tcp("20.20.20.21"), 404);
    let filter = IpFilterLayer::allow(allow("10.0.0.1/8"));
    check("F18", &filter, tcp("10.200.0.1"), 200);
}

#[test]
fn an_empty_allow_list_cannot_be_made() {
    let error = IpAllowlist::new(IpSet::empty()).unwrap_err();
    assert_eq!(error.to_string(), "allow list is empty", "F05");
    assert!("".parse::<IpAllowlist>().is_err(), "F05");
}

#[test]
fn the_deny_list_wins() {
    let filter = IpFilterLayer::new(deny("10.1.2.3"), allow("10.0.0.0/8"));
    check("F07", &filter, tcp("10.1.2.3"), 403);
    check("F07", &filter, tcp("10.1.2.4"), 200);
    check("F07", &filter, tcp("11.1.2.4"), 403);
    let filter = IpFilterLayer::new(deny("10.0.0.0/8"), allow("10.1.2.3"));
    check("F07", &filter, tcp("10.1.2.3"), 403);
}

#[test]
fn families_are_apart() {
    let filter = IpFilterLayer::allow(allow("127.0.0.1"));
    check("F09", &filter, tcp("::ffff:127.0.0.1"), 200);
    let filter = IpFilterLayer::deny(deny("::ffff:10.0.0.0/104"));
    check("F10", &filter, tcp("10.9.9.9"), 403);
    let filter = IpFilterLayer::allow(allow("0.0.0.0/0"));
    check("F11", &filter, tcp("2001:db8::1"), 403);
    let filter = IpFilterLayer::allow(allow("::/0"));
    check("F12", &filter, tcp("203.0.113.7"), 403);
    let filter = IpFilterLayer::allow(allow("::1"));
    check("F13", &filter, tcp("::1"), 200);
    check("F13", &filter, tcp("127.0.0.1"), 403);
    let filter = IpFilterLayer::deny(deny("64:ff9b::/96"));
    check("F14", &filter, tcp("64:ff9b::1.2.3.4"), 403);
    let filter = IpFilterLayer::deny(deny("1.2.3.4"));
    check("F14", &filter, tcp("64:ff9b::1.2.3.4"), 200);
    let filter = IpFilterLayer::deny(deny("0.0.0.0/0 ::/0"));
    check("F17", &filter, tcp("255.255.255.255"), 403);
    check("F17", &filter, tcp("0.0.0.1"), 403);
    check("F17", &filter, tcp("2001:db8::1"), 403);
}

#[test]
fn an_unknown_client_is_refused() {
    let unknown = || request(Some(tcp("10.0.0.1")), Some("nonsense"));
    let trusted = Some("10.0.0.0/8");
    let filter = IpFilterLayer::allow(allow("0.0.0.0/0 ::/0"));
    check_request("F20", &filter, trusted, unknown(), 403);
    let filter = IpFilterLayer::deny(deny("192.0.2.1"));
    check_request("F21", &filter, trusted, unknown(), 403);
    let lenient = deny("192.0.2.1").with_unknown_clients(UnknownClients::Admit);
    check_request(
        "F21",
        &IpFilterLayer::deny(lenient),
        trusted,
        unknown(),
        200,
    );
}

#[test]
fn the_address_of_a_proxy_allows_nobody_behind_it() {
    let trusted = Some("172.16.0.0/12");
    let filter = IpFilterLayer::allow(allow("172.16.0.0/12"));
    let behind = request(Some(tcp("172.18.0.3")), Some("6.6.6.6"));
    check_request("F22", &filter, trusted, behind, 403);
    let direct = request(Some(tcp("172.20.0.9")), None);
    check_request("F23", &filter, trusted, direct, 200);

    let written = || request(Some(tcp("172.20.0.9")), Some("172.16.0.1"));
    check_request("AllTrusted", &filter, trusted, written(), 403);
    let believing = allow("172.16.0.0/12").with_proxies_behind_proxies();
    check_request(
        "AllTrusted",
        &IpFilterLayer::allow(believing),
        trusted,
        written(),
        200,
    );
}

#[test]
fn the_peer_can_be_judged_instead() {
    let trusted = Some("10.0.0.0/8");
    let behind = || request(Some(tcp("10.0.0.1")), Some("203.0.113.7"));
    let filter = IpFilterLayer::allow(allow("10.0.0.0/8").with_subject(IpSubject::Peer));
    check_request("peer", &filter, trusted, behind(), 200);
    let filter = IpFilterLayer::deny(deny("203.0.113.7").with_subject(IpSubject::Peer));
    check_request("peer", &filter, trusted, behind(), 200);
    let filter = IpFilterLayer::deny(deny("203.0.113.7"));
    check_request("client", &filter, trusted, behind(), 403);
}

#[test]
fn sockets_without_an_address_are_a_choice() {
    for subject in [IpSubject::Client, IpSubject::Peer] {
        let list = deny("192.0.2.1").with_subject(subject);
        check(
            "F31",
            &IpFilterLayer::deny(list.clone()),
            PeerAddr::Unix,
            200,
        );
        let filter = IpFilterLayer::deny(list.with_unix_sockets());
        check("F31", &filter, PeerAddr::Unix, 403);
        check("F31", &filter, tcp("203.0.113.7"), 200);
        let list = allow("192.0.2.1").with_subject(subject);
        check(
            "F31",
            &IpFilterLayer::allow(list.clone()),
            PeerAddr::Unix,
            403,
        );
        check(
            "F31",
            &IpFilterLayer::allow(list.with_unix_sockets()),
            PeerAddr::Unix,
            200,
        );
    }
}

#[test]
fn a_service_that_is_wired_wrongly_refuses_everybody() {
    let any = || allow("0.0.0.0/0 ::/0");
    let filters = [
        IpFilterLayer::allow(any()),
        IpFilterLayer::allow(any().with_subject(IpSubject::Peer)),
        IpFilterLayer::deny(deny("192.0.2.1")),
        IpFilterLayer::deny(deny("192.0.2.1").with_unknown_clients(UnknownClients::Admit)),
    ];
    for filter in filters {
        check_request("no peer", &filter, None, request(None, None), 500);
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let alone = filter
            .layer(inner)
            .oneshot(request(Some(tcp("203.0.113.7")), None));
        let Ok(response) = runtime.block_on(alone);
        assert_eq!(response.status(), 500, "no layer");
    }
}

/// Case F30.
#[tokio::test]
async fn only_the_event_tells_why() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&events);
    let list = IpList::new("feed", "198.51.100.0/24 198.51.100.7".parse().unwrap());
    let filter = IpFilterLayer::new(IpDenylist::new(list.clone()), allow("0.0.0.0/0"));
    let filter = filter.with_sink(move |event: &SecurityEvent<'_>| {
        let event = format!(
            "{} {} {:?} {:?} client {} peer {}",
            event.action().as_str(),
            event.policy().unwrap_or_default(),
            event.rule().map(|rule| rule.to_string()),
            event.generation(),
            event.client().unwrap(),
            event.peer().unwrap(),
        );
        recorded.lock().unwrap().push(event);
    });
    let ask = async |client| {
        let request = request(Some(tcp("10.0.0.1")), Some(client));
        let response = send(&filter, Some("10.0.0.0/8"), request).await;
        format!("{response:?}")
    };
    let told = ask("198.51.100.7").await;
    list.replace("198.51.100.0/24".parse().unwrap());
    let told = told + &ask("198.51.100.7").await;
    for secret in ["198.51.100", "10.0.0.1", "feed", "generation"] {
        assert!(!told.contains(secret), "{told}");
    }
    assert_eq!(
        *events.lock().unwrap(),
        [
            r#"ip_blocked feed Some("198.51.100.7/32") Some(1) client 198.51.100.7 peer 10.0.0.1"#,
            r#"ip_blocked feed Some("198.51.100.0/24") Some(2) client 198.51.100.7 peer 10.0.0.1"#,
        ]
    );
}

#[test]
fn the_facade_has_both() {
    use palisade::SecurityLayer;

    let trusted: TrustedProxies = "10.0.0.0/8".parse().unwrap();
    let security = SecurityLayer::builder(ClientIpSource::XForwardedFor(trusted))
        .deny(deny("198.51.100.0/24"))
        .allow(allow("198.51.100.0/24, 203.0.113.0/24"))
        .build();
    let ask = |client| {
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let request = request(Some(tcp("10.0.0.1")), Some(client));
        let Ok(response) = runtime.block_on(security.layer(inner).oneshot(request));
        response.status().as_u16()
    };
    assert_eq!(ask("203.0.113.7"), 200);
    assert_eq!(ask("198.51.100.7"), 403);
    assert_eq!(ask("192.0.2.1"), 403);
    assert_eq!(ask("nonsense"), 403);
}
