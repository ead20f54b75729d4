//! The names of the keys, which all versions of the service must agree on.

use std::{convert::Infallible, net::IpAddr};

use http::{Request, Response};
use palisade::{
    client_ip::PeerAddr,
    event::NullSink,
    rate_limit::{Quota, RateLimit, RateLimitLayer, SharedRateLimiter},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::Server;

async fn check<K: std::hash::Hash + ?Sized>(key: &K, expected: &str) {
    let server = Server::start();
    let limiter = SharedRateLimiter::builder(&server.store(), "pinned", Quota::per_hour(3))
        .build()
        .unwrap();
    assert!(limiter.check(key, 1).await.unwrap().is_admitted());
    assert_eq!(
        server.cli(&["keys", "*"]),
        format!("palisade:{{{expected}}}:pinned:0")
    );
}

/// The key is the first half of the SHA-256 of `palisade shared store 1`, a zero and the secret; the hash, as `openssl mac -macopt size:16 SIPHASH` has
/// it, is read as a little-endian number.
#[tokio::test]
async fn hashes_are_those_of_every_version() {
    // The text and 255.
    check("key", "dce1b0e4c58777258bc0977bfbf8f7f9").await;
    // A little-endian number of 64 bits, the text and 255.
    check(&(7_u64, "x"), "b1468bdfb93315df7ef2f7cb7954cc75").await;
}

async fn check_client(client: &str, expected: &str) {
    let server = Server::start();
    let limit = RateLimit::builder(Quota::per_hour(3))
        .shared(&server.store(), "pinned")
        .build()
        .unwrap();
    let service = RateLimitLayer::from(limit)
        .with_sink(NullSink)
        .layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    let client: IpAddr = client.parse().unwrap();
    let request = Request::builder()
        .extension(PeerAddr::from(std::net::SocketAddr::from((client, 50_000))))
        .body(())
        .unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(
        server.cli(&["keys", "*"]),
        format!("palisade:{{{expected}}}:pinned:0")
    );
}

/// An IPv4 address is one number of 64 bits with a mark; the /56 network of an IPv6 address follows a mark of 64 bits, with 128 bits.
#[tokio::test]
async fn the_hashes_of_clients_are_those_of_every_version() {
    check_client("203.0.113.7", "1c848c545deac5e85cd58bc57773079d").await;
    check_client(
        "2001:db8:0:1234:1:2:3:4",
        "7fa9312cf0f14fa4c35fbcefd57b5187",
    )
    .await;
}

/// As the documentation of `shared_store` says: 165 bytes with Redis 7.0; others differ somewhat.
#[tokio::test]
async fn a_client_takes_what_is_said() {
    let server = Server::start();
    let limiter = SharedRateLimiter::builder(&server.store(), "memory", Quota::per_day(9))
        .build()
        .unwrap();
    let used = || {
        let memory = server.cli(&["info", "memory"]);
        let line = memory
            .lines()
            .find_map(|it| it.strip_prefix("used_memory:"));
        line.unwrap().trim().parse::<u32>().unwrap()
    };
    assert!(limiter.check(&u32::MAX, 1).await.unwrap().is_admitted());
    let before = used();
    // As many as fill the server's tables, which grow by doubling.
    let clients = 4096;
    for client in 1..clients {
        assert!(limiter.check(&client, 1).await.unwrap().is_admitted());
    }
    let each = (used() - before) / clients;
    assert!((100..=260).contains(&each), "{each}");
    // 228 where something was refunded.
    let before = used();
    for client in clients..2 * clients {
        assert!(limiter.check(&client, 2).await.unwrap().is_admitted());
        limiter.refund(&client, 1).await.unwrap();
    }
    let refunded = (used() - before) / clients;
    assert!((each + 1..=360).contains(&refunded), "{refunded}, {each}");
}
