//! Strict transport security: the cases H01 to H13, and G37.
use crate::https::support::*;

fn secure() -> http::request::Builder {
    get("/").extension(TlsConnection::new())
}

fn with(hsts: Hsts) -> Https {
    Https::reject(SchemeSource::Listener).with_hsts(hsts)
}

#[tokio::test]
async fn the_field_is_sent_over_https_only() {
    // H01
    let https = with(Hsts::new(Duration::from_secs(3600)));
    assert_eq!(ask(&https, secure()).await.hsts(), ["max-age=3600"]);
    // H04
    assert!(ask(&https, get("/")).await.hsts().is_empty());
    let https = redirect("a.test").with_hsts(Hsts::one_year());
    let answer = ask(&https, get("/")).await;
    assert!(answer.status(308).hsts().is_empty());
    let https = with(Hsts::one_year()).with_exempt_path(PathPattern::exact("/"));
    let answer = ask(&https, get("/")).await;
    assert!(answer.status(200).hsts().is_empty());
}

#[tokio::test]
async fn the_field_of_the_application_is_kept() {
    // H05
    let https = with(Hsts::one_year());
    let answer = ask_app(&https, secure(), |_| {
        Response::builder()
            .header(STRICT_TRANSPORT_SECURITY, "max-age=1")
            .body(String::new())
            .unwrap()
    });
    assert_eq!(answer.await.hsts(), ["max-age=1"]);
}

#[tokio::test]
async fn browsers_can_be_made_to_forget() {
    // H06
    let https = with(Hsts::off().with_subdomains());
    let answer = ask(&https, secure()).await;
    assert_eq!(answer.hsts(), ["max-age=0; includeSubDomains"]);
}

#[tokio::test]
async fn addresses_get_no_field() {
    // H12
    for host in ["192.0.2.7", "[2001:db8::7]:8443", "localhost:8443"] {
        let request = Request::get("/")
            .header(HOST, host)
            .extension(TlsConnection::new());
        assert!(
            ask(&with(Hsts::one_year()), request)
                .await
                .hsts()
                .is_empty()
        );
    }
}

struct Refuse(u16);

impl Policy for Refuse {
    fn check(&self, _: &RequestHead<'_>) -> Check {
        let status = self.0.try_into().unwrap();
        Check::reject(Rejection::new(Action::Custom("no"), status, "no"))
    }
}

#[tokio::test]
async fn refusals_bear_the_field_too() {
    // H13
    for status in [404, 500, 503] {
        let https = with(Hsts::one_year());
        let answer = ask_app(&https, secure(), |_| {
            let response = Response::builder().status(status);
            response.body(String::new()).unwrap()
        });
        assert_eq!(answer.await.hsts(), ["max-age=31536000"]);
    }
    for status in [403, 429] {
        // Behind the check, and before it where the field is sent by a policy of its own.
        let (hsts, https) = with(Hsts::one_year()).split_hsts();
        let service = ServiceBuilder::new()
            .layer(EnforceLayer::new((hsts, Refuse(status), https)))
            .service_fn(|_: Request<()>| async {
                Ok::<_, Infallible>(Response::new(String::new()))
            });
        for (request, expected) in [(secure(), ["max-age=31536000"].as_slice()), (get("/"), &[])] {
            let request = request.body(()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            let fields = response.headers().get_all(STRICT_TRANSPORT_SECURITY);
            assert!(fields.iter().eq(expected.iter()));
        }
        let service = ServiceBuilder::new()
            .layer(HttpsLayer::new(with(Hsts::one_year())))
            .layer(EnforceLayer::new(Refuse(status)))
            .service_fn(|_: Request<()>| async {
                Ok::<_, Infallible>(Response::new(String::new()))
            });
        let response = service.oneshot(secure().body(()).unwrap()).await.unwrap();
        assert!(response.headers().contains_key(STRICT_TRANSPORT_SECURITY));
    }
}

#[tokio::test]
async fn what_stands_first_refuses_first() {
    // G37: the order of the policies is the order of the tuple, and no code of the application runs either way.
    let https = || Https::reject(SchemeSource::Listener);
    let service = |policies: Arc<dyn palisade::policy::PolicySet>| {
        EnforceLayer::shared(policies).layer(service_fn(|_: Request<()>| async {
            Err::<Response<String>, _>("the application was reached")
        }))
    };
    for (service, expected) in [
        (service(Arc::new((Refuse(451), https()))), 451),
        (service(Arc::new((https(), Refuse(451)))), 403),
    ] {
        let request = get("/").body(()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap().status(), expected);
    }
}
