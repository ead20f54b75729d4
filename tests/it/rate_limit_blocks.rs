//! Clients that stay shut out for longer than their quota takes: the limit with a jail in front, by the blocks of group F of the case tables.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientContext, ClientIp},
    clock::ManualClock,
    enforce::{Enforce, EnforceLayer},
    jail::{BanTime, Jail, JailHandle, Rule},
    rate_limit::{Quota, RateLimit},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

const CLIENT: &str = "203.0.113.7";

/// A limit of one process behind a jail that bans whoever is refused so many times.
struct Bench {
    clock: ManualClock,
    jail: JailHandle,
    service: BoxCloneSyncService<Request<()>, Response<String>, Infallible>,
}

impl Bench {
    fn new(quota: Quota, refusals: u8, ban: Duration) -> Self {
        let clock = ManualClock::new();
        let limit = RateLimit::builder(quota)
            .clock(clock.clone())
            .max_keys(100)
            .build()
            .unwrap();
        let rule = Rule::status(StatusCode::TOO_MANY_REQUESTS)
            .with_limit(refusals)
            .with_ban_time(BanTime::new(ban));
        let jail = Jail::builder()
            .rule(rule)
            .retry_after()
            .clock(clock.clone())
            .build();
        let handle = jail.handle();
        let service: Enforce<_, _> = EnforceLayer::new((jail, limit))
            .with_clock(clock.clone())
            .layer(service_fn(|_: Request<()>| async {
                Ok::<_, Infallible>(Response::new(String::new()))
            }));
        Self {
            clock,
            jail: handle,
            service: BoxCloneSyncService::new(service),
        }
    }

    /// Sends a request this many milliseconds later, and checks its status and `Retry-After`.
    async fn check(&self, id: &str, later: u64, expected: (u16, &str)) {
        self.clock.advance(Duration::from_millis(later));
        let client = ClientIp::Known(CLIENT.parse().unwrap());
        let request = Request::builder()
            .extension(ClientContext::new(client, None))
            .body(())
            .unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        let told = response.headers().get("retry-after");
        let told = told.map_or("", |it| it.to_str().unwrap());
        assert_eq!((response.status().as_u16(), told), expected, "{id}");
    }
}

fn client() -> IpAddr {
    CLIENT.parse().unwrap()
}

#[tokio::test]
async fn a_request_of_a_blocked_client_does_not_lengthen_the_block() {
    let second = Duration::from_secs(1);
    let bench = Bench::new(Quota::per_second(1), 1, 2 * second);
    bench.check("F01", 0, (200, "")).await;
    bench.check("F01", 0, (429, "1")).await;
    // The quota is full again, the block has 0.8 s to go.
    bench.check("F02", 1201, (403, "1")).await;
    bench.check("F03", 809, (200, "")).await;

    // F28: three are let in, the second of those refused blocks, and what comes then does not begin it anew.
    let bench = Bench::new(Quota::per_hour(3), 2, 60 * second);
    for _ in 0..3 {
        bench.check("F28", 0, (200, "")).await;
    }
    bench.check("F28", 0, (429, "1200")).await;
    bench.check("F28", 0, (429, "1200")).await;
    bench.check("F28", 0, (403, "60")).await;
    bench.check("F28", 30_000, (403, "30")).await;
    bench.check("F28", 29_999, (403, "1")).await;
    bench.check("F28", 1, (429, "1140")).await;
}

#[tokio::test]
async fn a_client_can_be_blocked_by_hand() {
    let bench = Bench::new(Quota::per_hour(3), 5, Duration::from_secs(60));
    bench.jail.ban(client(), Duration::from_secs(2)).unwrap();
    bench.check("F04", 0, (403, "2")).await;
    bench.check("F04", 500, (403, "2")).await;
    bench.check("F04", 1500, (200, "")).await;

    // F05: zero is no time, and not for ever; the longest block is ten years, and who is never to come stands in a deny list.
    bench.jail.ban(client(), Duration::ZERO).unwrap();
    bench.check("F05", 0, (200, "")).await;
    bench.jail.ban(client(), Duration::MAX).unwrap();
    bench.check("F05", 1000, (403, "315359999")).await;
}
