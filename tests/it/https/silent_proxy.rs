//! A trusted proxy that sends no scheme: the case G34.
use crate::https::support::*;

#[tokio::test]
async fn a_probable_loop_is_told_once_an_hour() {
    // G34
    let clock = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let events = Arc::clone(&events);
        move |event: &SecurityEvent<'_>| {
            if event.action() == Action::RedirectLoopSuspected {
                events.lock().unwrap().push(event.reason().to_owned());
            }
        }
    };
    let target: RedirectTarget = "a.test".parse().unwrap();
    let https = Https::redirect_to(x_forwarded_proto(), target)
        .with_exempt_path(PathPattern::exact("/healthz"));
    let service = HttpsLayer::new(https)
        .with_sink(sink)
        .with_clock(clock.clone())
        .layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    let ask = async |peer: &str, path: &str| {
        let request = from(peer, get(path)).body(()).unwrap();
        service.clone().oneshot(request).await.unwrap().status()
    };
    let told = || std::mem::take(&mut *events.lock().unwrap());

    assert_eq!(ask(STRANGER, "/").await, 308);
    assert_eq!(ask(PROXY, "/healthz").await, 200);
    assert_eq!(told(), [] as [&str; 0]);
    for _ in 0..3 {
        assert_eq!(ask(PROXY, "/").await, 308);
    }
    assert_eq!(
        told(),
        ["probable redirect loop: set X-Forwarded-Proto at the trusted proxy, which sends none"]
    );
    clock.advance(Duration::from_secs(3599));
    ask(PROXY, "/").await;
    assert_eq!(told(), [] as [&str; 0]);
    clock.advance(Duration::from_secs(1));
    ask(PROXY, "/").await;
    assert_eq!(told().len(), 1);
}
