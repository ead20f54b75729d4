//! Plain text is redirected: the cases G01 to G28.
use crate::https::support::*;

#[tokio::test]
async fn the_target_is_kept_byte_by_byte() {
    let long = format!("/{}?{}", "p".repeat(4096), "q".repeat(4096));
    let rows = [
        ("G01", "/some/url?query=string"),
        ("G24", "/a%0d%0aSet-Cookie:x"),
        ("G25", long.as_str()),
        ("G36", "/a?"),
        ("slashes", "//evil.test/%2e%2e/a"),
        ("backslash", "/\\evil.test"),
        ("question", "/?a=b?c&d=//x"),
    ];
    for (id, target) in rows {
        let answer = ask(&redirect_any_of("testserver"), get(target)).await;
        assert!(!answer.reached_app, "{id}");
        answer
            .status(308) // G02
            .location(Some(&format!("https://testserver{target}")))
            .actions(&[Action::HttpsRedirected]);
        assert_eq!(answer.response.body(), "");
    }
}

#[tokio::test]
async fn only_what_has_no_body_is_redirected() {
    // G03
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
    ] {
        let request = get("/x").method(method);
        ask(&redirect("testserver"), request)
            .await
            .status(403)
            .location(None)
            .actions(&[Action::HttpsRequired]);
    }
    ask(&redirect("testserver"), get("/x").method(Method::HEAD))
        .await
        .status(308);
}

#[tokio::test]
async fn further_methods_are_redirected_by_choice() {
    // G04
    let query = Method::from_bytes(b"QUERY").unwrap();
    let https = redirect("testserver").with_redirected_methods([Method::GET, query.clone()]);
    ask(&https, get("/b?c=d").method(query))
        .await
        .status(308)
        .location(Some("https://testserver/b?c=d"));
    ask(&https, get("/").method(Method::HEAD)).await.status(403);
}

#[tokio::test]
async fn a_trial_is_not_remembered() {
    ask(&redirect("a.test").with_temporary_redirect(), get("/"))
        .await
        .status(307)
        .location(Some("https://a.test/"));
}

#[tokio::test]
async fn the_port_is_that_of_the_configuration() {
    let any = || RedirectTarget::from("foo".parse::<AllowedHosts>().unwrap());
    let to = |target: RedirectTarget| Https::redirect_to(SchemeSource::Listener, target);
    let fixed = |text: &str| text.parse::<RedirectTarget>().unwrap();
    let rows = [
        // G09
        (
            to(fixed("secure.example.com")),
            "anything:81",
            "https://secure.example.com/",
        ),
        (to(any().with_port(8443)), "foo", "https://foo:8443/"), // G10
        (to(any().with_port(443)), "foo:8080", "https://foo/"),  // G11
        (to(any()), "FOO.:80", "https://foo/"),
        (to(any().with_port(8443)), "foo:8000", "https://foo:8443/"), // G12
        (to(fixed("foo:8443")), "bar", "https://foo:8443/"),
        (
            to(fixed("[2001:DB8::7]:8443")),
            "bar",
            "https://[2001:db8::7]:8443/",
        ),
        (
            to(RedirectTarget::dangerous_requested_host()),
            "bar:80",
            "https://bar/",
        ),
    ];
    for (https, host, location) in rows {
        let request = Request::get("/").header(HOST, host);
        ask(&https, request)
            .await
            .status(308)
            .location(Some(location));
    }
}

#[tokio::test]
async fn no_host_of_the_request_is_followed_blindly() {
    let requested = || {
        let target = RedirectTarget::dangerous_requested_host();
        Https::redirect_to(SchemeSource::Listener, target)
    };
    let listed = || redirect_any_of("testserver");
    // G19
    for https in [listed(), requested()] {
        for version in [Version::HTTP_10, Version::HTTP_11] {
            ask(&https, Request::get("/").version(version))
                .await
                .status(400)
                .location(None)
                .actions(&[Action::HostMalformed]);
        }
        ask(&https, get("/").header(HOST, "testserver"))
            .await
            .status(400)
            .location(None);
        ask(&https, Request::get("/").header(HOST, "a/b@c\""))
            .await
            .status(400)
            .location(None);
        ask(
            &https,
            Request::get("http://evil.test/").header(HOST, "testserver"),
        )
        .await
        .status(400)
        .location(None);
    }
    // E22
    ask(&listed(), Request::get("/").header(HOST, "evil.test"))
        .await
        .status(421)
        .location(None)
        .actions(&[Action::HostNotServed]);
    // A configured host does not depend on the request's.
    ask(&redirect("a.test"), Request::get("/"))
        .await
        .status(308)
        .location(Some("https://a.test/"));
}

#[tokio::test]
async fn the_server_itself_has_no_path() {
    // G20
    let https = redirect("host").with_redirected_methods([Method::OPTIONS]);
    ask(&https, Request::options("*"))
        .await
        .status(308)
        .location(Some("https://host/"));
    ask(&redirect("host"), Request::options("*"))
        .await
        .status(403)
        .location(None);
    // A target in absolute form may have no path.
    ask(&redirect("host"), Request::get("http://host?a=b"))
        .await
        .location(Some("https://host/?a=b"));
}

#[tokio::test]
async fn http_2_is_redirected_by_its_authority() {
    let request = Request::get("http://TestServer:80/a?b").version(Version::HTTP_2);
    ask(&redirect_any_of("testserver"), request)
        .await
        .status(308)
        .location(Some("https://testserver/a?b"));
}

#[tokio::test]
async fn a_forwarded_host_counts_from_a_trusted_proxy_only() {
    let hosts: AllowedHosts = "good.test, bar.com, *.foo.com".parse().unwrap();
    let https = Https::redirect_to(x_forwarded_proto(), hosts.with_forwarded_host(proxies()));
    let request = |peer: &str, lines: &[&str]| {
        let mut request = from(peer, Request::get("/").header(HOST, "good.test"))
            .header("x-forwarded-proto", "http");
        for line in lines {
            request = request.header("x-forwarded-host", *line);
        }
        request
    };
    // G26: the host is well-formed, so that 421 says it better than 400.
    ask(&https, request(PROXY, &["evil.test"]))
        .await
        .status(421)
        .location(None);
    // G27
    ask(&https, request(STRANGER, &["evil.test"]))
        .await
        .status(308)
        .location(Some("https://good.test/"));
    // E33
    for lines in [
        ["stuff:523", "bar.foo.com:432, bar.com:80"].as_slice(),
        &["stuff:523, bar.foo.com:432, bar.com:80"],
    ] {
        ask(&https, request(PROXY, lines))
            .await
            .location(Some("https://bar.com/"));
    }
    ask(&https, request(PROXY, &["bar.com, "]))
        .await
        .status(400)
        .location(None);
    ask(&https, request(PROXY, &[]))
        .await
        .location(Some("https://good.test/"));
}

#[tokio::test]
async fn a_handshake_of_websocket_is_refused() {
    for upgrade in ["websocket", "h2c, WebSocket"] {
        let request = get("/chat").header("upgrade", upgrade);
        ask(&redirect("testserver"), request)
            .await
            .status(403)
            .location(None);
    }
    // Who asks for HTTP/2 goes on over HTTPS like anyone else.
    ask(&redirect("testserver"), get("/").header("upgrade", "h2c"))
        .await
        .status(308);
}

#[tokio::test]
async fn browsers_can_be_told_apart() {
    let https = redirect("testserver").with_redirect_for_browsers_only();
    let browser = get("/").header("upgrade-insecure-requests", "1");
    let answer = ask(&https, browser).await;
    answer.status(308).location(Some("https://testserver/"));
    assert_eq!(answer.response.headers()[VARY], "upgrade-insecure-requests");
    let answer = ask(&https, get("/")).await;
    answer.status(403).location(None);
    assert_eq!(answer.response.headers()[VARY], "upgrade-insecure-requests");
    // Without that choice everybody is redirected, and nothing varies.
    let browser = get("/").header("upgrade-insecure-requests", "1");
    let answer = ask(&redirect("testserver"), browser).await;
    assert!(!answer.response.headers().contains_key(VARY));
}

#[tokio::test]
async fn https_is_not_redirected() {
    // G06
    for https in [
        redirect("testserver"),
        Https::reject(SchemeSource::Listener),
    ] {
        let request = get("/").extension(TlsConnection::new());
        let answer = ask(&https, request).await;
        assert!(answer.reached_app);
        answer.status(200).actions(&[]);
    }
}
