//! Plain text is refused: the cases G29 and G30.
use crate::https::support::*;

#[tokio::test]
async fn plain_text_is_refused_with_a_fixed_body() {
    // G29
    let answer = ask(
        &Https::reject(SchemeSource::Listener),
        get("/a?token=secret"),
    )
    .await;
    assert!(!answer.reached_app);
    answer
        .status(403)
        .location(None)
        .actions(&[Action::HttpsRequired]);
    let headers = answer.response.headers();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(!headers.contains_key("connection"));
    assert_eq!(
        answer.response.body(),
        "{\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403,\"detail\":\"HTTPS is required\"}"
    );
}

#[tokio::test]
async fn a_credential_in_plain_text_is_reported_but_not_shown() {
    // G30
    let key = FingerprintKey::new([3; 16]);
    let https = Https::reject(SchemeSource::Listener)
        .with_fingerprint_key(key.clone())
        .with_credential_header(HeaderName::from_static("x-partner-key"));
    let rows = [
        (AUTHORIZATION.as_str(), "Bearer s3cret", "s3cret"),
        (AUTHORIZATION.as_str(), "s3cret", "s3cret"),
        (COOKIE.as_str(), "sid=s3cret", "sid=s3cret"),
        ("x-api-key", "s3cret", "s3cret"),
        ("x-partner-key", "s3cret", "s3cret"),
    ];
    for https in [
        https.clone(),
        redirect("a.test")
            .with_fingerprint_key(key.clone())
            .with_credential_header(HeaderName::from_static("x-partner-key")),
    ] {
        for (name, value, credential) in rows {
            let without = ask(&https, get("/")).await;
            let answer = ask(&https, get("/").header(name, value)).await;
            assert_eq!(answer.response.status(), without.response.status());
            assert_eq!(answer.response.body(), without.response.body());
            let [leaked, refused] = answer.events.as_slice() else {
                panic!("{answer:?}");
            };
            assert_eq!(leaked.action(), Action::CredentialOverPlaintext);
            assert_eq!(
                leaked.fingerprint(),
                Some(key.fingerprint(credential.as_bytes()))
            );
            assert_eq!(refused.fingerprint(), None);
            assert!(!format!("{answer:?} {https:?}").contains("s3cret"));
        }
    }
    let all = get("/")
        .header(AUTHORIZATION, "Basic eA==")
        .header(COOKIE, "a=b")
        .header("x-api-key", "x");
    ask(&https, all).await.actions(&[
        Action::CredentialOverPlaintext,
        Action::CredentialOverPlaintext,
        Action::CredentialOverPlaintext,
        Action::HttpsRequired,
    ]);
    // Over HTTPS a credential is in its place.
    let secure = get("/")
        .header(AUTHORIZATION, "Bearer s3cret")
        .extension(TlsConnection::new());
    ask(&https, secure).await.status(200).actions(&[]);
}

#[tokio::test]
async fn exempt_paths_are_let_through_and_watched() {
    let https = Https::reject(SchemeSource::Listener)
        .with_exempt_path(PathPattern::exact("/healthz"))
        .with_exempt_path(PathPattern::below("/.well-known/acme-challenge/"));
    ask(&https, get("/healthz?verbose"))
        .await
        .status(200)
        .actions(&[]);
    ask(&https, get("/.well-known/acme-challenge/x"))
        .await
        .status(200);
    for path in [
        "/healthz/",
        "//healthz",
        "/healthz/../admin",
        "/health%7a",
        "/.well-known/acme-challenge/../../admin",
        "/.well-known/acme-challenge/%2e%2e/%2e%2e/admin",
        "/.well-known/acme-challenge//admin",
    ] {
        let answer = ask(&https, get(path)).await;
        assert!(!answer.reached_app, "{path}");
        answer.status(403);
    }
    let request = get("/healthz").header(AUTHORIZATION, "Bearer s3cret");
    ask(&https, request)
        .await
        .status(200)
        .actions(&[Action::CredentialOverPlaintext]);
}

#[tokio::test]
async fn a_dry_run_lets_through_and_tells() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let events = Arc::clone(&events);
        move |event: &SecurityEvent<'_>| {
            events
                .lock()
                .unwrap()
                .push((event.action(), event.enforced()));
        }
    };
    let https = Https::reject(SchemeSource::Listener);
    let service = EnforceLayer::new(DryRun::new(https))
        .with_sink(sink)
        .layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    let request = get("/").body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let events = std::mem::take(&mut *events.lock().unwrap());
    let told = (Action::EnforcementDisabled, true);
    assert_eq!(events, [told, (Action::HttpsRequired, false)]);
}
