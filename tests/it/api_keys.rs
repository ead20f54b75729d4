//! API keys: who is let in, how the others are refused, and what is told of it.

use std::{
    convert::Infallible,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderName, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use palisade::{
    api_key::{ApiKeyIdentity, ApiKeyLayer, ApiKeyPolicy, ApiKeys, KeyFormat, RequireScope},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::SecurityEvent,
    policy::{Decision, Policy as _, RequestHead},
    secret::{Reload, SecretErrorKind as Kind, SecretLoader, SecretNotice},
};
use tower::{Layer, ServiceExt, service_fn};

const ALICE: &str = "key-of-alice-hunter2";
const BOB_NEW: &str = "key-of-bob-new-hunter2";
const BOB_OLD: &str = "key-of-bob-old-hunter2";

fn keys() -> ApiKeys {
    let text = format!(
        r#"{{
            "alice": "{ALICE}",
            "bob": {{"keys": ["{BOB_NEW}", "{BOB_OLD}"], "scopes": ["read", "write"]}}
        }}"#
    );
    ApiKeys::parse(&text, KeyFormat::Json).unwrap()
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A service behind a layer, and the events it raises.
struct Gate {
    layer: ApiKeyLayer,
    clock: ManualClock,
    events: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    fn new(policy: ApiKeyPolicy) -> Self {
        let events: Arc<Mutex<Vec<String>>> = Arc::default();
        let recording = Arc::clone(&events);
        let clock = ManualClock::new();
        let layer = ApiKeyLayer::from(policy)
            .with_clock(clock.clone())
            .with_sink(move |event: &SecurityEvent<'_>| {
                let shown = format!("{event:?}");
                assert!(!shown.contains("hunter2"), "{shown}");
                recording
                    .lock()
                    .unwrap()
                    .push(event.action().as_str().to_owned());
            });
        Self {
            layer,
            clock,
            events,
        }
    }

    /// Sends a request with these fields; the response's body says who was let in.
    async fn send(&self, target: &str, fields: &[(&str, &str)]) -> Response<String> {
        let mut request = Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let inner = service_fn(|request: Request<()>| async move {
            let (parts, ()) = request.into_parts();
            let who = ApiKeyIdentity::of(&parts).map(|it| it.id().to_owned());
            Ok::<_, Infallible>(Response::new(who.unwrap_or_default()))
        });
        let service = self.layer.layer(inner);
        service.oneshot(request.body(()).unwrap()).await.unwrap()
    }

    /// A key that lets in says whose it is, and one that does not, why.
    #[track_caller]
    fn check(&self, fields: &[(&str, &str)], expected: Result<&str, &str>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let response = runtime.block_on(self.send("/", fields));
        match expected {
            Ok(id) => {
                assert_eq!(response.status(), StatusCode::OK, "{fields:?}");
                assert_eq!(response.body(), id);
                assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
            }
            Err(challenge) => {
                let missing_scope = challenge.contains("insufficient_scope");
                let status = if missing_scope { 403 } else { 401 };
                assert_eq!(response.status(), status, "{fields:?}");
                assert_eq!(response.headers()[WWW_AUTHENTICATE], challenge);
                assert!(!response.body().contains("hunter2"));
            }
        }
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

const NOTHING: Result<&str, &str> = Err(r#"Bearer realm="api""#);
const INVALID: Result<&str, &str> = Err(r#"Bearer realm="api", error="invalid_token""#);
const AMBIGUOUS: Result<&str, &str> = Err(r#"Bearer realm="api", error="invalid_request""#);

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[test]
fn a_bearer_of_a_key_is_let_in() {
    let gate = Gate::new(ApiKeyPolicy::new(keys()));
    gate.check(&[("authorization", &bearer(ALICE))], Ok("alice"));
    gate.check(
        &[("authorization", &format!("bearer  {BOB_NEW}"))],
        Ok("bob"),
    );
    assert!(gate.events().is_empty(), "H22");

    gate.check(&[], NOTHING);
    gate.check(&[("authorization", &format!("Basic {ALICE}"))], NOTHING);
    gate.check(&[("x-api-key", ALICE)], NOTHING);
    for wrong in [
        "",
        "x",
        "key-of-alice-hunter",
        "key-of-alice-hunter2x",
        &"a".repeat(9000),
    ] {
        gate.check(&[("authorization", &bearer(wrong))], INVALID);
    }
    let twice = bearer(ALICE);
    gate.check(
        &[("authorization", &twice), ("authorization", &twice)],
        AMBIGUOUS,
    );
    assert_eq!(gate.events(), vec!["api_key_rejected"; 9], "H21");
}

#[test]
fn a_key_may_come_in_another_field() {
    let both = Gate::new(ApiKeyPolicy::new(keys()).with_header(X_API_KEY));
    both.check(&[("x-api-key", ALICE)], Ok("alice"));
    both.check(&[("authorization", &bearer(ALICE))], Ok("alice"));
    both.check(
        &[("authorization", "Basic eDp5"), ("x-api-key", ALICE)],
        Ok("alice"),
    );
    both.check(
        &[("authorization", &bearer(ALICE)), ("x-api-key", ALICE)],
        AMBIGUOUS,
    );
    both.check(&[("x-api-key", ALICE), ("x-api-key", BOB_NEW)], AMBIGUOUS);

    let only = Gate::new(ApiKeyPolicy::new(keys()).with_header_only(X_API_KEY));
    only.check(&[("x-api-key", ALICE)], Ok("alice"));
    only.check(
        &[("authorization", &bearer(ALICE))],
        Err(r#"ApiKey realm="api""#),
    );
    only.check(
        &[("x-api-key", "wrong")],
        Err(r#"ApiKey realm="api", error="invalid_token""#),
    );
}

#[tokio::test]
async fn a_key_in_the_query_is_not_looked_at() {
    let gate = Gate::new(ApiKeyPolicy::new(keys()).with_header(X_API_KEY));
    for target in [
        "/?api_key=",
        "/?access_token=",
        "/?x-api-key=",
        "/?authorization=Bearer%20",
    ] {
        let response = gate.send(&format!("{target}{ALICE}"), &[]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn a_key_is_good_for_its_scopes() {
    let policy = ApiKeyPolicy::new(keys()).with_scope("write").unwrap();
    let gate = Gate::new(policy.with_realm("the notes").unwrap());
    gate.check(&[("authorization", &bearer(BOB_NEW))], Ok("bob"));
    let missing = r#"Bearer realm="the notes", error="insufficient_scope", scope="write""#;
    gate.check(&[("authorization", &bearer(ALICE))], Err(missing));
    gate.check(&[], Err(r#"Bearer realm="the notes""#));
    assert_eq!(gate.events(), ["api_key_scope_missing", "api_key_rejected"]);

    for bad in ["", "a\"b", "a b", "ä", "a\n"] {
        assert!(ApiKeyPolicy::new(keys()).with_scope(bad).is_err(), "{bad}");
        assert!(RequireScope::new(bad).is_err(), "{bad}");
    }
    for bad in ["", "a\"b", "a\\", "ä", "a\n"] {
        assert!(ApiKeyPolicy::new(keys()).with_realm(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_is_verified_without_a_request() {
    let keys = keys();
    for (key, id, is_previous) in [
        (ALICE, "alice", false),
        (BOB_NEW, "bob", false),
        (BOB_OLD, "bob", true),
    ] {
        let found = keys.verify(key.as_bytes()).unwrap();
        let found = (found.identity().id(), found.is_previous());
        assert_eq!(found, (id, is_previous));
    }
    assert!(keys.verify(b"key-of-nobody-hunter2").is_none());
}

#[test]
fn a_text_that_holds_no_keys_is_told_why() {
    for (text, expected) in [
        ("", "no key"),
        ("short", "neither 16 to 512 visible ASCII characters"),
    ] {
        let error = ApiKeys::parse(text, KeyFormat::Lines)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_scope_is_required_further_in() {
    let inner =
        service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let write = EnforceLayer::new(RequireScope::new("write").unwrap()).layer(inner);
    let service = ApiKeyLayer::new(keys()).layer(write.clone());
    let request = |key: &str| {
        let request = Request::get("/").header("authorization", bearer(key));
        request.body(()).unwrap()
    };
    let status = |response: Response<String>| response.status();
    let send = |key| service.clone().oneshot(request(key));
    assert_eq!(status(send(BOB_NEW).await.unwrap()), StatusCode::OK);
    assert_eq!(status(send(ALICE).await.unwrap()), StatusCode::FORBIDDEN);
    // And so says who only asks.
    let required = RequireScope::new("write").unwrap();
    for (key, expected) in [(BOB_NEW, true), (ALICE, false)] {
        let (mut parts, ()) = request(key).into_parts();
        let who = keys().verify(key.as_bytes()).unwrap();
        parts.extensions.insert(who.identity().clone());
        let peek = required.peek(&RequestHead::new(&parts)).unwrap();
        let is_admitted = matches!(peek.decision(), Decision::Admit(_));
        assert_eq!(is_admitted, expected);
    }
    // Without a layer that finds out who it is, nobody is let in.
    let response = write.oneshot(request(BOB_NEW)).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[test]
fn g11_a_previous_key_is_told_of_once_a_minute() {
    let gate = Gate::new(ApiKeyPolicy::new(keys()));
    let send = || gate.check(&[("authorization", &bearer(BOB_OLD))], Ok("bob"));
    send();
    send();
    gate.clock.advance(Duration::from_secs(59));
    send();
    assert_eq!(gate.events(), ["api_key_accepted_previous"]);
    gate.clock.advance(Duration::from_secs(1));
    send();
    send();
    assert_eq!(gate.events(), ["api_key_accepted_previous"]);
    gate.check(&[("authorization", &bearer(BOB_NEW))], Ok("bob"));
    assert!(gate.events().is_empty());
}

#[test]
fn keys_are_reloaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let told: Arc<Mutex<Vec<Kind>>> = Arc::default();
    let telling = Arc::clone(&told);
    let loader = SecretLoader::new()
        .with_environment(|_| None)
        .with_directory(directory.path())
        .with_observer(move |notice| {
            assert!(!format!("{notice:?}").contains("hunter2"));
            if let SecretNotice::LoadFailed { error } = notice {
                telling.lock().unwrap().push(error.kind());
            }
        });
    let request = loader.secret("keys");

    let missing = ApiKeys::load(&request, KeyFormat::Lines).unwrap_err();
    assert_eq!(missing.kind(), Kind::Missing);
    fs::write(&path, "hunter2").unwrap();
    let bad = ApiKeys::load(&request, KeyFormat::Lines).unwrap_err();
    assert_eq!(bad.kind(), Kind::Unparsable);
    assert!(!bad.to_string().contains("hunter2"), "{bad}");

    fs::write(&path, format!("{ALICE}\n")).unwrap();
    let keys = ApiKeys::load(&request, KeyFormat::Lines).unwrap();
    let is_valid = |key: &str| keys.verify(key.as_bytes()).is_some();
    assert!(is_valid(ALICE) && !is_valid(BOB_NEW));
    assert_eq!(keys.reload().unwrap(), Reload::Unchanged);

    fs::write(&path, format!("{ALICE}\n{BOB_NEW}\n")).unwrap();
    assert_eq!(keys.reload().unwrap(), Reload::Rotated);
    assert!(is_valid(ALICE) && is_valid(BOB_NEW));
    assert_eq!(keys.count(), 2);

    for content in ["", "hunter2", "# all gone"] {
        fs::write(&path, content).unwrap();
        assert!(keys.reload().is_err(), "{content}");
        assert!(is_valid(ALICE) && is_valid(BOB_NEW));
    }
    fs::write(&path, format!("{BOB_NEW}\n")).unwrap();
    assert_eq!(keys.reload().unwrap(), Reload::Rotated);
    assert!(!is_valid(ALICE) && is_valid(BOB_NEW));

    let expected = [
        Kind::Missing,
        Kind::Unparsable,
        Kind::Empty,
        Kind::Unparsable,
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    assert!(!format!("{keys:?}").contains("hunter2"));
}

#[test]
fn what_shows_keys_shows_none() {
    let policy = ApiKeyPolicy::new(keys()).with_header(X_API_KEY);
    let layer = ApiKeyLayer::from(policy.clone());
    for shown in [
        format!("{policy:?}"),
        format!("{layer:?}"),
        format!("{:?}", keys()),
    ] {
        assert!(
            !shown.contains("hunter2") && !shown.contains("sha256"),
            "E08: {shown}"
        );
    }
    for text in [
        r#"{"x": "hunter2"}"#,
        r#"{"hunter2 ": "hunter2-hunter2-hunter2"}"#,
        "hunter2",
        r#"{"x": hunter2}"#,
    ] {
        for format in [KeyFormat::Json, KeyFormat::Lines, KeyFormat::Toml] {
            let error = ApiKeys::parse(text, format).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_extract_whose_key_it_is() {
    use axum::{Router, body::Body, extract::FromRequestParts as _, routing::get};

    let name = |who: Option<ApiKeyIdentity>| who.map_or("nobody".into(), |it| it.id().to_owned());
    let routes = || {
        Router::new()
            .route(
                "/",
                get(|who: ApiKeyIdentity| async move { who.id().to_owned() }),
            )
            .route(
                "/optional",
                get(move |who: Option<ApiKeyIdentity>| async move { name(who) }),
            )
    };
    let request = |path| {
        let request = Request::get(path).header("authorization", bearer(ALICE));
        request.body(Body::empty()).unwrap()
    };
    for (app, path, expected) in [
        (routes().layer(ApiKeyLayer::new(keys())), "/", "alice"),
        (
            routes().layer(ApiKeyLayer::new(keys())),
            "/optional",
            "alice",
        ),
        (routes(), "/optional", "nobody"),
    ] {
        let response = app.oneshot(request(path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), 100)
            .await
            .unwrap();
        assert_eq!(body, expected);
    }

    let without = routes().oneshot(request("/")).await.unwrap();
    assert_eq!(without.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let (mut parts, ()) = Request::new(()).into_parts();
    let error = ApiKeyIdentity::from_request_parts(&mut parts, &()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("API key layer"), "{error}");
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn identities_are_limited_one_by_one() {
    use palisade::rate_limit::{Quota, RateLimit, RateLimitKey, RateLimitLayer};

    let key = RateLimitKey::extension(ApiKeyIdentity::clone);
    let limit = RateLimit::builder(Quota::per_hour(1))
        .key(key)
        .build()
        .unwrap();
    let inner =
        service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let service = ApiKeyLayer::new(keys()).layer(RateLimitLayer::from(limit).layer(inner));
    let mut statuses = vec![];
    for key in [ALICE, ALICE, BOB_NEW, BOB_OLD] {
        let request = Request::get("/").header("authorization", bearer(key));
        let response = service
            .clone()
            .oneshot(request.body(()).unwrap())
            .await
            .unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 200, 429]);
}
