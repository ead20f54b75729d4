//! What every gate keeps to.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt,
    future::{pending, ready},
    io,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, RETRY_AFTER, VARY},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full};
use palisade::{
    clock::{Clock, ManualClock},
    enforce::{EnforceLayer, Refusal, TrackBodyLayer},
    event::{Action, FingerprintKey},
    policy::{
        Admission, Check, Decision, DryRun, FieldMode, Notice, Policy, PolicySet, Rejection,
        RequestHead, Until,
    },
    respond::{ProblemJson, StatusOnly},
};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::support::{
    FnPolicy, Fussy, Hello, OddError, Quota, RecordingSink, Refuse, Settled, gate, later, poll,
    rejection, request,
};

async fn text(response: Response<Full<Bytes>>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// A body that cannot be made from anything, nor sent to another thread.
#[derive(Debug, PartialEq)]
struct OddBody(Rc<str>);

#[tokio::test]
async fn error_and_body_types_pass_through_untouched_for_any_body() {
    let own = |_: &Rejection, _: &Parts| Response::new(OddBody("refused".into()));
    let borrowed = String::from("borrowed");
    let service = service_fn(|request: Request<&str>| {
        // Neither is this future `Send`.
        let text: Rc<str> = Rc::from(*request.body());
        async move {
            tokio::task::yield_now().await;
            if text.is_empty() {
                return Err(OddError(7));
            }
            Ok(Response::new(OddBody(text)))
        }
    });
    let service = gate(Quota::new(2)).with_responder(own).layer(service);

    let answered = service.clone().oneshot(Request::new(&*borrowed)).await;
    assert_eq!(answered.unwrap().body(), &OddBody("borrowed".into()));
    let failed = service.clone().oneshot(Request::new("")).await;
    assert_eq!(failed.unwrap_err(), OddError(7));
    let refused = service.oneshot(Request::new(&*borrowed)).await;
    assert_eq!(refused.unwrap().body(), &OddBody("refused".into()));
}

#[tokio::test(start_paused = true)]
async fn the_readied_inner_service_is_the_one_called() {
    let late = || {
        (
            Quota::new(9),
            later(Decision::admit),
            later(Decision::admit),
        )
    };
    let mut at_once = gate(Quota::new(9)).layer(Fussy::default());
    let mut in_time = gate(late()).layer(Fussy::default());
    let context = &mut Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let is_ready = Service::<Request<()>>::poll_ready(&mut at_once, context);
        assert!(is_ready.is_ready());
        at_once.call(request::<()>("/")).await.unwrap();
        let is_ready = Service::<Request<()>>::poll_ready(&mut in_time, context);
        assert!(is_ready.is_ready());
        in_time.call(request::<()>("/")).await.unwrap();
    }
}

/// A service that is never the same twice: pending, failed, ready.
#[derive(Clone)]
struct Moody(Rc<Cell<u8>>);

impl Service<Request<()>> for Moody {
    type Response = Response<String>;
    type Error = OddError;
    type Future = std::future::Ready<Result<Response<String>, OddError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OddError>> {
        match self.0.replace(self.0.get() + 1) {
            0 => Poll::Pending,
            1 => Poll::Ready(Err(OddError(1))),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

#[test]
fn readiness_is_forwarded() {
    let mut context = Context::from_waker(Waker::noop());
    let moods = Rc::new(Cell::new(0));
    let mut service = TrackBodyLayer::new().layer(gate(Refuse).layer(Moody(moods.clone())));
    assert!(service.poll_ready(&mut context).is_pending());
    assert_eq!(
        service.poll_ready(&mut context),
        Poll::Ready(Err(OddError(1)))
    );
    assert_eq!(service.poll_ready(&mut context), Poll::Ready(Ok(())));
    assert_eq!(moods.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_later_decision_admits_and_refuses() {
    let hello = Hello::default();
    let layer = gate((
        later(Decision::admit),
        Quota::new(1),
        later(|| rejection().into()),
    ));
    let service = layer.layer(hello.clone());
    let start = tokio::time::Instant::now();
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(hello.calls(), 0);

    let service = gate(later(Decision::admit)).layer(hello.clone());
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(text(response).await, "hello");
    assert_eq!(hello.calls(), 1);
}

#[derive(Clone, Debug, PartialEq)]
struct Found(u8);

#[tokio::test(start_paused = true)]
async fn policies_after_a_later_one_run_and_see_its_extensions() {
    let sees = |expected: Option<u8>| {
        FnPolicy(move |request: &RequestHead<'_>| {
            let found = request.extensions().get::<Found>().cloned();
            assert_eq!(found, expected.map(Found));
            Check::admit()
        })
    };
    let finds = |found: u8| {
        FnPolicy(move |_: &RequestHead<'_>| {
            Check::Ready(Admission::new().with_extension(Found(found)).into())
        })
    };
    let layer = gate((
        sees(None),
        later(|| Admission::new().with_extension(Found(1)).into()),
        sees(Some(1)),
        finds(2),
        sees(Some(2)),
    ));
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        assert_eq!(request.extensions().get(), Some(&Found(2)));
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.extensions().get::<Found>(), None);
}

#[tokio::test(start_paused = true)]
async fn a_later_decision_gives_up_where_the_client_goes_away() {
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (hello, settled) = (Hello::default(), Settled::default());
    let drops = Arc::new(AtomicUsize::new(0));
    let never = FnPolicy({
        let drops = Arc::clone(&drops);
        move |_: &RequestHead<'_>| {
            let guard = OnDrop(Arc::clone(&drops));
            Check::later(async move {
                let _guard = guard;
                pending().await
            })
        }
    });
    let service = gate((
        settled.policy(Until::Head),
        settled.policy(Until::BodyEnd),
        never,
        Refuse,
    ))
    .layer(hello.clone());
    let future = service.oneshot(request::<()>("/"));
    let gone = tokio::time::timeout(Duration::from_secs(5), future).await;
    assert!(gone.is_err());
    assert_eq!(settled.take(), ["dropped", "dropped"]);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(hello.calls(), 0);
}

#[tokio::test]
async fn a_response_future_dropped_early_settles_each_receipt_once() {
    let settled = Settled::default();
    let policies = (settled.policy(Until::Head), settled.policy(Until::BodyEnd));

    // Never polled, and dropped while the inner service works.
    let stuck = service_fn(|_: Request<()>| pending::<Result<Response<String>, Infallible>>());
    let mut service = gate(policies).layer(stuck);
    drop(service.call(request("/")));
    assert_eq!(settled.take(), ["dropped", "dropped"]);
    {
        let mut future = pin!(service.call(request("/")));
        assert!(poll(future.as_mut()).is_pending());
        assert!(settled.take().is_empty());
    }
    assert_eq!(settled.take(), ["dropped", "dropped"]);

    // Dropped after it was ready: nothing is left to settle.
    let mut service = gate(settled.policy(Until::Head)).layer(Hello::default());
    let response = service.call(request::<()>("/")).await.unwrap();
    assert_eq!(settled.take(), ["answered 200"]);
    drop((response, service));
    assert!(settled.take().is_empty());
}

#[tokio::test]
async fn state_lives_in_the_layer() {
    let layer = gate(Quota::new(3));
    let (one, other) = (layer.layer(Hello::default()), layer.clone());
    let other = other.layer(Hello::default());
    let mut statuses = Vec::new();
    for service in [
        one.clone(),
        one,
        other.clone(),
        other,
        layer.layer(Hello::default()),
    ] {
        let response = service.oneshot(request::<()>("/")).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_keeps_the_same_state_and_events_and_lets_pass() {
    let warned = Notice::new(Action::RateLimitWarning, "nearly exhausted");
    let policy = || {
        let warned = warned.clone();
        let quota = Quota::new(1);
        FnPolicy(
            move |request: &RequestHead<'_>| match quota.check(request) {
                Check::Ready(Decision::Reject(it)) => Check::reject(it.with_notice(warned.clone())),
                admitted => admitted,
            },
        )
    };
    let sink = RecordingSink::default();
    let run = async |policies: Arc<dyn PolicySet>| {
        let service = EnforceLayer::shared(policies)
            .with_sink(sink.clone())
            .layer(Hello::default());
        let mut seen = Vec::new();
        // What is told of a dry run itself has a test of its own.
        sink.take_words();
        for _ in 0..2 {
            let response = service.clone().oneshot(request::<()>("/")).await.unwrap();
            seen.push((response.status().as_u16(), sink.take_words()));
        }
        seen
    };
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        run(Arc::new(policy())).await,
        [
            (200, words(&[])),
            (429, words(&["rate_limit_warning", "refused"]))
        ]
    );
    assert_eq!(
        run(Arc::new(DryRun::new((None::<Refuse>, policy())))).await,
        [
            (200, words(&[])),
            (200, words(&["rate_limit_warning", "refused?"]))
        ]
    );
    assert_eq!(
        run(Arc::new(DryRun::new(later(|| rejection().into())))).await,
        [(200, words(&["refused?"])), (200, words(&["refused?"]))]
    );
    // All of several that would refuse are heard.
    let both = words(&["refused?", "refused?"]);
    assert_eq!(
        run(Arc::new(DryRun::new((Refuse, Refuse)))).await,
        [(200, both.clone()), (200, both)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_decision_raises_one_event() {
    let sink = RecordingSink::default();
    let fingerprint = FingerprintKey::new([7; 16]).fingerprint(b"a credential");
    let noticed = FnPolicy(move |_: &RequestHead<'_>| {
        let notice = Notice::new(Action::RateLimitWarning, "nearly exhausted")
            .with_policy("noticed".into())
            .with_fingerprint(fingerprint);
        assert_eq!(notice.fingerprint(), Some(fingerprint));
        Check::Ready(Admission::new().with_notice(notice).into())
    });
    let layer = EnforceLayer::new((noticed, later(Decision::admit), Quota::new(1)));
    let service = layer.with_sink(sink.clone()).layer(Hello::default());
    for expected in [
        &["rate_limit_warning"][..],
        &["rate_limit_warning", "refused"],
    ] {
        let request = Request::get("/path?token=secret")
            .header("user-agent", "test/1")
            .header("x-request-id", "id-1")
            .body(())
            .unwrap();
        service.clone().oneshot(request).await.unwrap();
        let events = sink.take();
        let actions: Vec<_> = events.iter().map(|it| it.action().as_str()).collect();
        assert_eq!(actions, expected);
        assert!(events.is_sorted_by(|a, b| a.sequence() < b.sequence()));
        for event in events {
            assert_eq!(event.method().as_deref(), Some("GET"));
            assert_eq!(event.path().as_deref(), Some("/path"));
            assert_eq!(event.user_agent().as_deref(), Some("test/1"));
            assert_eq!(event.request_id().as_deref(), Some("id-1"));
            assert!(event.enforced());
            let is_refusal = event.action().as_str() == "refused";
            assert_eq!(
                event.status(),
                is_refusal.then_some(StatusCode::TOO_MANY_REQUESTS)
            );
            let policy = if is_refusal { "test" } else { "noticed" };
            assert_eq!(event.policy(), Some(policy));
            assert_eq!(event.fingerprint(), (!is_refusal).then_some(fingerprint));
        }
    }
    let quiet = FnPolicy(|_: &RequestHead<'_>| Check::reject(rejection().unrecorded()));
    let service = EnforceLayer::new(quiet).with_sink(sink.clone());
    let response = service.layer(Hello::default());
    let response = response.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(sink.take().is_empty());
}

#[tokio::test]
async fn a_refusal_says_so_in_its_extensions() {
    let service = gate(Quota::new(1)).layer(Hello::default());
    let admitted = service.clone().oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(admitted.extensions().get::<Refusal>(), None);
    let refused = service.oneshot(request::<()>("/")).await.unwrap();
    let refusal = refused.extensions().get::<Refusal>().unwrap();
    assert_eq!(refusal.status(), 429);
    assert_eq!(refusal.action().as_str(), "refused");
}

#[tokio::test]
async fn retry_after_never_replaces_one_of_the_responder() {
    let service = gate(Refuse).layer(Hello::default());
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(response.headers()[RETRY_AFTER], "2");

    let own = |_: &Rejection, _: &Parts| {
        let mut response = Response::new(Full::default());
        let date = HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT");
        response.headers_mut().insert(RETRY_AFTER, date);
        response
    };
    let service = gate(Refuse).with_responder(own).layer(Hello::default());
    let response = service.oneshot(request::<()>("/")).await.unwrap();
    let values: Vec<_> = response.headers().get_all(RETRY_AFTER).iter().collect();
    assert_eq!(values, ["Fri, 31 Dec 1999 23:59:59 GMT"]);
}

#[tokio::test]
async fn fields_of_earlier_admissions_stand_on_responses_and_refusals() {
    let adds = |name: &'static str| {
        let field = (VARY, HeaderValue::from_static(name), FieldMode::Append);
        FnPolicy(move |_: &RequestHead<'_>| {
            let (name, value, mode) = field.clone();
            Check::Ready(Admission::new().with_field(name, value, mode).into())
        })
    };
    let refusing = FnPolicy({
        let quota = Quota::new(1);
        move |request: &RequestHead<'_>| match quota.check(request) {
            Check::Ready(Decision::Reject(it)) => Check::reject(it.with_field(
                HeaderName::from_static("x-own"),
                HeaderValue::from_static("1"),
                FieldMode::Replace,
            )),
            admitted => admitted,
        }
    });
    let layer = gate((adds("a"), adds("b"), refusing, adds("c")));
    let service = layer.layer(Hello::default());
    let fields = |response: Response<Full<Bytes>>| {
        let values = response.headers().get_all(VARY).iter();
        let values: Vec<_> = values.map(|it| it.to_str().unwrap().to_owned()).collect();
        (values, response.headers().contains_key("x-own"))
    };
    let admitted = service.clone().oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(
        fields(admitted),
        (vec!["a".into(), "b".into(), "c".into()], false)
    );
    let refused = service.oneshot(request::<()>("/")).await.unwrap();
    assert_eq!(fields(refused), (vec!["a".into(), "b".into()], true));
}

#[tokio::test]
async fn a_refused_head_request_has_the_fields_of_a_get_and_no_body() {
    let service = gate(Refuse).layer(Hello::default());
    let got = service.clone().oneshot(request::<()>("/")).await.unwrap();
    let kind = got.headers()["content-type"].clone();
    let length = text(got).await.len().to_string();
    assert_ne!(length, "0");

    let mut head = request::<()>("/");
    *head.method_mut() = http::Method::HEAD;
    let response = service.oneshot(head).await.unwrap();
    assert_eq!(response.headers()["content-type"], kind);
    assert_eq!(response.headers()[CONTENT_LENGTH], length.as_str());
    assert!(text(response).await.is_empty());
}

#[tokio::test]
async fn responders_are_exchangeable() {
    let service = gate(Refuse).with_responder(StatusOnly);
    let response = service
        .layer(Hello::default())
        .oneshot(request::<()>("/"))
        .await;
    let response = response.unwrap();
    assert_eq!(response.status(), 429);
    assert!(text(response).await.is_empty());

    let service = gate(Refuse).with_responder(ProblemJson);
    let response = service
        .layer(Hello::default())
        .oneshot(request::<()>("/"))
        .await;
    let body = text(response.unwrap()).await;
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["detail"], "too many requests");
}

/// A clock that counts how often it is read.
#[derive(Clone, Default)]
struct CountingClock(ManualClock, Arc<AtomicUsize>);

impl Clock for CountingClock {
    fn now(&self) -> Instant {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.now()
    }
}

impl fmt::Debug for CountingClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountingClock")
    }
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_read_once_and_again_after_a_wait() {
    let reads = || {
        FnPolicy(|request: &RequestHead<'_>| {
            let now = request.now();
            Check::Ready(Admission::new().with_extension(now).into())
        })
    };
    let clock = CountingClock::default();
    let run = async |policies: Arc<dyn PolicySet>| {
        let layer = EnforceLayer::shared(policies).with_clock(clock.clone());
        let service = layer.layer(Hello::default());
        service.oneshot(request::<()>("/")).await.unwrap();
        clock.1.swap(0, Ordering::SeqCst)
    };
    assert_eq!(run(Arc::new(Quota::new(1))).await, 0);
    assert_eq!(run(Arc::new((reads(), reads(), reads()))).await, 1);
    assert_eq!(
        run(Arc::new((reads(), later(Decision::admit), reads()))).await,
        2
    );
}

#[tokio::test]
async fn an_inner_error_of_any_type_is_the_gates_error() {
    let service = gate(Quota::new(1)).layer(service_fn(|_: Request<()>| async {
        Err::<Response<String>, _>(io::Error::other("own"))
    }));
    let error: io::Error = service.oneshot(request("/")).await.unwrap_err();
    assert_eq!(error.to_string(), "own");
}
