//! The scheme of requests: the cases E02 to E21, G07 and G08.
use crate::https::support::*;

/// Asks with lines of `X-Forwarded-Proto`, and says whether the request counted as HTTPS.
async fn is_https(peer: &str, tls: bool, lines: &[&str]) -> (bool, Vec<Action>) {
    let mut request = from(peer, get("/"));
    if tls {
        request = request.extension(TlsConnection::new());
    }
    for line in lines {
        request = request.header("x-forwarded-proto", *line);
    }
    let answer = ask(&Https::reject(x_forwarded_proto()), request).await;
    let https = answer.response.status() == 200;
    assert_eq!(https, answer.reached_app);
    let actions = answer.events.iter().map(SecurityEvent::action).collect();
    (https, actions)
}

#[track_caller]
fn check(id: &str, found: &(bool, Vec<Action>), https: bool, noticed: Option<Action>) {
    assert_eq!(found.0, https, "{id}");
    let mut expected: Vec<_> = noticed.into_iter().collect();
    if !https {
        expected.push(Action::HttpsRequired);
    }
    assert_eq!(found.1, expected, "{id}");
}

#[tokio::test]
#[expect(clippy::type_complexity, reason = "the type of a table")]
async fn the_word_of_a_trusted_proxy_counts() {
    let malformed = Some(Action::ForwardedHeaderMalformed);
    let silent = Some(Action::RedirectLoopSuspected);
    let rows: &[(&str, &str, bool, &[&str], bool, Option<Action>)] = &[
        ("E02", "[::1]:9", false, &["https"], true, None),
        ("E02", PROXY, false, &["HTTPS"], true, None),
        ("wss", PROXY, false, &["wss"], true, None),
        ("E07", PROXY, false, &["bar"], false, malformed),
        ("E08", PROXY, false, &["a b"], false, malformed),
        ("E08", PROXY, false, &["https;q"], false, malformed),
        ("E08", PROXY, false, &["ht\"tp"], false, malformed),
        ("E09", PROXY, false, &["https, http"], false, None),
        ("E10", PROXY, false, &["http, https"], true, None),
        ("E11", PROXY, false, &["https", "http"], false, None),
        ("E12", PROXY, true, &["http"], false, None),
        ("E13", STRANGER, true, &["http"], true, None),
        ("E17", PROXY, true, &[], true, None),
        ("E17", PROXY, false, &[], false, silent),
        ("E19", "[::1]:9", false, &["h2, h1"], false, malformed),
        ("G07", PROXY, false, &["https"], true, None),
        ("G08", STRANGER, false, &["https"], false, None),
    ];
    for (id, peer, tls, lines, https, noticed) in rows {
        let found = is_https(peer, *tls, lines).await;
        check(id, &found, *https, *noticed);
    }
}

#[tokio::test]
async fn an_unknown_peer_is_not_trusted() {
    let request = get("/").header("x-forwarded-proto", "https");
    let answer = ask(&Https::reject(x_forwarded_proto()), request).await;
    answer.status(403).actions(&[Action::HttpsRequired]);
}

#[tokio::test]
async fn the_uri_is_never_asked() {
    let rows = [
        ("E14", Version::HTTP_11, "https://evil/a"),
        ("E15", Version::HTTP_2, "https://testserver/a"),
    ];
    for (id, version, target) in rows {
        let request = Request::get(target).version(version);
        let answer = ask(&Https::reject(SchemeSource::Listener), request).await;
        assert!(!answer.reached_app, "{id}");
        answer.status(403);
    }
}

#[tokio::test]
async fn forwarded_is_read_where_it_is_named() {
    let https = Https::reject(SchemeSource::Forwarded(proxies()));
    // E16
    let request = || get("/").header("forwarded", "for=203.0.113.7;proto=https");
    ask(&https, from(PROXY, request())).await.status(200);
    ask(&https, from(STRANGER, request())).await.status(403);
    // Another header than the one that is named says nothing.
    let request = from(PROXY, get("/").header("x-forwarded-proto", "https"));
    ask(&https, request).await.status(403);
    let other = Https::reject(x_forwarded_proto());
    ask(
        &other,
        from(PROXY, get("/").header("forwarded", "proto=https")),
    )
    .await
    .status(403);
}

#[tokio::test]
async fn an_alias_with_underscores_is_another_header() {
    // E21
    for peer in [PROXY, STRANGER] {
        let request = from(peer, get("/").header("X_Forwarded_Proto", "https"));
        ask(&Https::reject(x_forwarded_proto()), request)
            .await
            .status(403);
    }
}

#[tokio::test]
async fn a_context_outside_saves_asking_again() {
    // The context was resolved by another source than the policy's, so that it shows which of the two was asked.
    let client = ClientIpLayer::new(ClientIpSource::Peer).with_scheme(x_forwarded_proto());
    let own = Https::reject(SchemeSource::Listener);
    for (https, status) in [(own.clone(), 403), (own.with_scheme_from_context(), 200)] {
        let service = ServiceBuilder::new()
            .layer(client.clone())
            .layer(HttpsLayer::new(https))
            .service_fn(|_: Request<()>| async {
                Ok::<_, Infallible>(Response::new(String::new()))
            });
        let request = from(PROXY, get("/").header("x-forwarded-proto", "https"));
        let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
    }
}
