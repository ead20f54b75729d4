//! The same requests are let in and refused alike, with the same fields and events, whether the state is in the store or in memory.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc};

use http::{HeaderName, Request, Response, StatusCode};
use palisade::{
    client_ip::PeerAddr,
    enforce::EnforceLayer,
    event::SecurityEvent,
    policy::{DryRun, PolicySet},
    rate_limit::{
        Charge, LegacyReset, MissingKey, Quota, QuotaSet, RateLimit, RateLimitBuilder,
        RateLimitKey, RateLimiter, StandardFields,
    },
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Events, Server, denying};

/// Times may differ by so many seconds: the two are not asked at one instant.
const APART: u64 = 20;

/// What a client sends, and what the handler does.
#[derive(Clone, Copy, Debug)]
struct Step {
    client: u8,
    key: Option<&'static str>,
    method: &'static str,
    answer: u16,
    settle: Option<u32>,
    cost: Option<&'static str>,
    dry: bool,
    expected: u16,
}

/// A request that is let in.
const OK: Step = Step {
    client: 7,
    key: None,
    method: "GET",
    answer: 200,
    settle: None,
    cost: None,
    dry: false,
    expected: 200,
};
/// A request that is refused.
const NO: Step = Step {
    expected: 429,
    ..OK
};

impl Step {
    const fn key(self, key: &'static str) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    const fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    const fn of(self, client: u8) -> Self {
        Self { client, ..self }
    }

    /// The handler answers so.
    const fn answered(self, answer: u16) -> Self {
        Self {
            answer,
            expected: answer,
            ..self
        }
    }

    const fn settled(self, cost: u32) -> Self {
        Self {
            settle: Some(cost),
            ..self
        }
    }

    /// The response tells the cost.
    const fn told(self, cost: &'static str) -> Self {
        Self {
            cost: Some(cost),
            ..self
        }
    }

    const fn dry(self) -> Self {
        Self { dry: true, ..self }
    }
}

/// One limit, enforced and in a dry run, which share the state.
struct Bench {
    limits: [Arc<dyn PolicySet>; 2],
    events: Events,
}

/// What can be seen of a request. Times are apart.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    status: u16,
    fields: BTreeMap<String, String>,
    body: String,
    events: Vec<String>,
}

impl Bench {
    fn new(limit: RateLimit) -> Self {
        Self {
            limits: [Arc::new(limit.clone()), Arc::new(DryRun::new(limit))],
            events: Events::default(),
        }
    }

    async fn call(&self, step: Step) -> (Seen, Vec<u64>) {
        let limit = Arc::clone(&self.limits[usize::from(step.dry)]);
        let service = EnforceLayer::shared(limit)
            .with_sink(self.events.clone())
            .layer(service_fn(move |request: Request<()>| async move {
                if let (Some(cost), Some(charge)) = (step.settle, Charge::of(request.extensions()))
                {
                    charge.settle(cost);
                }
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::from_u16(step.answer).unwrap();
                if let Some(cost) = step.cost {
                    let headers = response.headers_mut();
                    headers.insert("x-cost", cost.parse().unwrap());
                }
                Ok::<_, Infallible>(response)
            }));
        // That the layer observes only is told when it is made.
        self.events.take();
        let peer: SocketAddr = ([203, 0, 113, step.client], 50_000).into();
        let mut request = Request::builder()
            .method(step.method)
            .extension(PeerAddr::from(peer));
        if let Some(key) = step.key {
            request = request.header("x-key", key);
        }
        let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        let mut times = Vec::new();
        let mut fields = BTreeMap::new();
        for (name, value) in response.headers() {
            let value = without_times(name, value.to_str().unwrap(), &mut times);
            let _ = fields.insert(name.to_string(), value);
        }
        let seen = Seen {
            status: response.status().as_u16(),
            fields,
            body: without_digits(response.body()),
            events: self.events.take().iter().map(words).collect(),
        };
        (seen, times)
    }
}

/// Takes the times out of a field.
fn without_times(name: &HeaderName, value: &str, times: &mut Vec<u64>) -> String {
    if name == "retry-after" || name == "x-ratelimit-reset" {
        times.push(value.parse().unwrap());
        return String::new();
    }
    if name != "ratelimit" {
        return value.to_owned();
    }
    let mut parts = value.split(";t=");
    let mut rest = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|it: char| !it.is_ascii_digit());
        let (time, more) = part.split_at(end.unwrap_or(part.len()));
        times.push(time.parse().unwrap());
        rest.push_str(";t=");
        rest.push_str(more);
    }
    rest
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|it| !it.is_ascii_digit()).collect()
}

fn words(event: &SecurityEvent<'static>) -> String {
    format!(
        "{} enforced={} policy={:?} client={:?} status={:?} reason={}",
        event.action().as_str(),
        event.enforced(),
        event.policy(),
        event.client(),
        event.status(),
        without_digits(event.reason()),
    )
}

/// Asks both the same, and returns the words of the events of each step.
async fn check(
    quotas: impl Into<QuotaSet>,
    configure: impl Fn(RateLimitBuilder) -> RateLimitBuilder,
    steps: impl IntoIterator<Item = Step>,
) -> Vec<Seen> {
    let server = Server::start();
    let store = server.store();
    let quotas = quotas.into();
    let builder = || configure(RateLimit::builder(quotas.clone()));
    let local = Bench::new(builder().build().unwrap());
    let shared = Bench::new(builder().shared(&store, "equal").build().unwrap());
    let mut all = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let (expected, expected_times) = local.call(step).await;
        let (found, found_times) = shared.call(step).await;
        assert_eq!(expected.status, step.expected, "{number}: {step:?}");
        assert_eq!(found, expected, "{number}: {step:?}");
        assert_eq!(found_times.len(), expected_times.len(), "{number}");
        for (found, expected) in found_times.iter().zip(&expected_times) {
            assert!(
                found.abs_diff(*expected) <= APART,
                "{number}: {found_times:?} {expected_times:?}"
            );
        }
        all.push(found);
    }
    assert_eq!(store.failures(), 0, "the store has decided");
    all
}

/// A quota that gives nothing back while a test runs.
fn slow(capacity: u32) -> Quota {
    Quota::per_day(1).with_burst(capacity)
}

#[tokio::test]
async fn fields_of_several_quotas() {
    for reset in [LegacyReset::Delta, LegacyReset::Epoch] {
        let quotas = QuotaSet::new([
            Quota::per_hour(4).with_name("small"),
            Quota::per_day(6).with_name("large"),
        ])
        .unwrap();
        let seen = check(
            quotas,
            |it| {
                it.standard_fields(StandardFields::Draft11)
                    .legacy_fields(reset)
                    .exposed_fields()
            },
            [
                OK,
                OK.answered(404),
                OK.answered(302),
                OK,
                NO,
                NO,
                OK.of(8),
                OK.of(8).answered(500),
            ],
        )
        .await;
        assert!(seen[0].fields.contains_key("x-ratelimit-reset"));
        assert!(!seen[2].fields.contains_key("x-ratelimit-reset"));
        assert!(seen[4].fields.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn refusals_by_the_settings() {
    let refused = Step {
        expected: 503,
        ..OK
    };
    check(
        slow(1),
        |it| {
            it.status(StatusCode::SERVICE_UNAVAILABLE)
                .without_retry_after()
                .fields_on_redirects()
                .legacy_fields(LegacyReset::Epoch)
        },
        [OK.answered(302), refused, refused],
    )
    .await;
    let long = std::time::Duration::from_secs(400_000);
    let seen = check(slow(1), |it| it.retry_after_at_least(long), [OK, NO, NO]).await;
    assert!(seen[1].fields.contains_key("retry-after"));
}

#[tokio::test]
async fn a_dry_run_charges_and_reports_and_refuses_nobody() {
    let seen = check(
        slow(2),
        |it| it.standard_fields(StandardFields::Draft11),
        [
            OK.dry(),
            OK.dry(),
            OK.dry(),
            OK.dry(),
            // The same state, enforced.
            NO,
            OK.dry(),
            OK.of(8),
            OK.of(8).dry(),
            NO.of(8),
        ],
    )
    .await;
    for step in [2, 3, 5] {
        let [event] = seen[step].events.as_slice() else {
            panic!("{:?}", seen[step].events);
        };
        assert!(
            event.starts_with("rate_limit_exceeded enforced=false"),
            "{event}"
        );
    }
    assert!(seen[4].events[0].starts_with("rate_limit_exceeded enforced=true"));
    assert_eq!(seen[0].events, [""; 0]);
}

#[tokio::test]
async fn a_warning_when_the_mark_is_passed() {
    let quotas = QuotaSet::new([slow(10).with_name("small"), slow(20).with_name("large")]).unwrap();
    let steps = [OK; 10].into_iter().chain([NO, NO]).chain([OK.of(8); 9]);
    let seen = check(quotas, |it| it.near_limit(75), steps).await;
    let warned: Vec<_> = (0..seen.len())
        .filter(|step| {
            let mut events = seen[*step].events.iter();
            events.any(|it| it.starts_with("rate_limit_warning"))
        })
        .collect();
    assert_eq!(warned, [7, 19]);
}

#[tokio::test]
async fn tiers() {
    let paid = QuotaSet::new([slow(3).with_name("paid"), slow(5).with_name("more")]).unwrap();
    let key = || RateLimitKey::header(HeaderName::from_static("x-key"));
    let seen = check(
        slow(1),
        |it| {
            let paid = paid.clone();
            it.width(2)
                .near_limit(50)
                .standard_fields(StandardFields::Draft11)
                .legacy_fields(LegacyReset::Epoch)
                .tiers(move |head| (head.headers().get("x-key")? == "paid").then(|| paid.clone()))
        },
        [
            OK,
            NO,
            OK.key("paid"),
            NO,
            OK.key("paid"),
            OK.key("paid"),
            NO.key("paid"),
            NO.key("paid"),
            NO,
            OK.of(8).key("paid"),
            OK.of(8),
        ],
    )
    .await;
    let field = &seen[6].fields["ratelimit"];
    assert!(field.contains("paid"), "{field}");
    // Tiers by what the key says, and too wide for the limit.
    check(
        slow(1),
        |it| {
            let paid = paid.clone();
            it.key(key())
                .tiers(move |head| (head.headers().get("x-key")? == "p").then(|| paid.clone()))
        },
        [OK.key("f"), NO.key("f"), NO.key("p"), NO.key("p")],
    )
    .await;
}

#[tokio::test]
async fn keys_costs_and_exemptions() {
    let key =
        |missing| RateLimitKey::header(HeaderName::from_static("x-key")).when_missing(missing);
    let by_method = |it: RateLimitBuilder| {
        it.cost_by(|head| match head.method().as_str() {
            "POST" => 8,
            "PUT" => 11,
            "HEAD" => 0,
            _ => 1,
        })
        .legacy_fields(LegacyReset::Delta)
    };
    let seen = check(
        slow(10),
        by_method,
        [
            OK.method("HEAD"),
            OK.method("POST"),
            NO.method("POST"),
            NO.method("PUT"),
            OK,
            OK,
            NO,
            OK.method("HEAD"),
            NO.method("PUT"),
        ],
    )
    .await;
    assert!(!seen[3].fields.contains_key("retry-after"));
    check(
        slow(1),
        |it| it.key(key(MissingKey::Skip)),
        [OK, OK, OK.key("a"), NO.key("a"), OK.key("b")],
    )
    .await;
    check(
        slow(1),
        |it| it.key(key(MissingKey::Share)),
        [OK, NO.of(8), OK.key("a")],
    )
    .await;
    let missing = Step {
        expected: 400,
        ..OK
    };
    check(
        slow(1),
        |it| {
            it.key(key(MissingKey::Refuse).and(RateLimitKey::method()))
                .exempt(|head| head.method() == "OPTIONS")
        },
        [
            OK.key("a"),
            NO.key("a"),
            OK.key("a").method("POST"),
            OK.method("OPTIONS"),
            missing,
        ],
    )
    .await;
}

#[tokio::test]
async fn costs_that_are_settled() {
    let settle = |it: RateLimitBuilder| {
        it.cost(40)
            .settle_in_handler()
            .settle_by(|head| head.headers.get("x-cost")?.to_str().ok()?.parse().ok())
            .standard_fields(StandardFields::Draft11)
            .legacy_fields(LegacyReset::Epoch)
    };
    let seen = check(
        slow(100).with_name("tokens"),
        settle,
        [
            // 90 are left, then 50, then none.
            OK.settled(10),
            OK,
            OK.settled(50),
            NO,
            NO,
            // 95 are left, then 55, then 15.
            OK.of(8).told("5"),
            OK.of(8).told("no number"),
            OK.of(8).settled(40),
            NO.of(8),
            // All is left.
            OK.of(9).settled(0),
            OK.of(9).settled(0).dry(),
            OK.of(9).settled(100),
            NO.of(9),
            NO.of(9).dry().answered(200),
        ],
    )
    .await;
    assert!(seen[1].fields["ratelimit"].contains("r=50"), "{seen:?}");
}

#[tokio::test]
async fn charges_that_are_taken_back_by_outcome() {
    let seen = check(
        slow(2),
        |it| it.count_failures_only().legacy_fields(LegacyReset::Epoch),
        [
            OK,
            OK.answered(302),
            OK,
            OK.answered(401),
            OK,
            OK.answered(204),
            OK.answered(500),
            NO,
            NO,
            OK.of(8),
        ],
    )
    .await;
    assert!(seen[4].fields.contains_key("x-ratelimit-limit"));
    check(
        slow(2),
        RateLimitBuilder::count_successes_only,
        [
            OK.answered(401),
            OK.answered(500),
            OK.answered(404),
            OK,
            OK.answered(404),
            OK,
            NO,
            OK.dry(),
        ],
    )
    .await;
}

/// What is done between reservations and their settlement.
#[derive(Clone, Copy, Debug)]
enum Between {
    Charge,
    Nothing,
    Refund(u32),
    Reset,
}

/// What was given back whoever had charged it, or all at once, is not given back again with a reservation, or it would be credited to a later charge.
#[tokio::test]
async fn reservations_with_refunds_and_resets_between() {
    const ALL: [Between; 5] = [
        Between::Charge,
        Between::Nothing,
        Between::Refund(1),
        Between::Refund(4),
        Between::Reset,
    ];
    let server = Server::start();
    let quotas = QuotaSet::new([slow(10).with_name("small"), slow(20).with_name("large")]).unwrap();
    let local = RateLimiter::new(quotas.clone());
    let shared = denying(&server.store(), "between", quotas);
    let mut programs = Vec::new();
    for one in ALL {
        for two in ALL {
            programs.extend(ALL.map(|three| [one, two, three]));
        }
    }
    let programs = programs.iter().flat_map(|it| [(it, 0), (it, 1)]);
    for (number, program @ (between, first)) in programs.enumerate() {
        let change = async |between: Between| match between {
            Between::Charge => {
                let _ = local.check(&number, 2);
                let _ = shared.check(&number, 2).await.unwrap();
            }
            Between::Nothing => {}
            Between::Refund(units) => {
                local.refund(&number, units);
                shared.refund(&number, units).await.unwrap();
            }
            Between::Reset => {
                local.reset(&number);
                shared.reset(&number).await.unwrap();
            }
        };
        let mut open = Vec::new();
        for (cost, between) in [(5, between[0]), (3, between[1])] {
            let reserved = shared.reserve(&number, cost).await.unwrap();
            open.push((local.reserve(&number, cost).ok(), reserved.ok()));
            change(between).await;
        }
        let mut settle = |position: usize| {
            let (local, shared) = std::mem::take(&mut open[position]);
            assert_eq!(local.is_some(), shared.is_some(), "{program:?}");
            if let (Some(local), Some(shared)) = (local, shared) {
                local.settle(1);
                shared.settle(1);
            }
        };
        settle(first);
        change(between[2]).await;
        // What would be credited to it is charged.
        let expected = local.check_up_to(&number, 10);
        let found = shared.check_up_to(&number, 10).await.unwrap();
        assert_eq!(found.cost(), expected.cost(), "{program:?}");
        settle(1 - first);
        let expected = local.peek(&number, 0).remaining();
        let found = shared.peek(&number, 0).await.unwrap().remaining();
        assert_eq!(found, expected, "{program:?}");
    }
}
