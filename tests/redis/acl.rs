//! The user with the least permissions.

use std::time::Duration;

use palisade::{
    event::NullSink,
    jail::Jail,
    rate_limit::{Quota, SharedRateLimiter},
    secret::SecretString,
    shared_store::OnStoreFailure,
};

use crate::support::{Server, eventually};

/// The rules of the documentation.
fn rules() -> Vec<&'static str> {
    let page = include_str!("../../src/shared_store/mod.rs");
    let rules = page
        .lines()
        .find_map(|line| line.strip_prefix("//! user palisade on "));
    rules.unwrap().split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_user_may_do_what_is_needed_and_no_more() {
    let server = Server::start();
    let rules: Vec<_> = rules()
        .into_iter()
        .map(|it| if it.starts_with('#') { ">secret" } else { it })
        .collect();
    let mut command = vec!["acl", "setuser", "palisade", "on"];
    command.extend(&rules);
    assert_eq!(server.cli(&command), "OK");
    let store = server
        .builder()
        .username("palisade")
        .password(SecretString::from("secret"))
        .build()
        .unwrap();
    let limiter = SharedRateLimiter::builder(&store, "acl", Quota::per_hour(3))
        .on_failure(OnStoreFailure::Deny)
        .build()
        .unwrap();
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    limiter.refund("key", 1).await.unwrap();
    limiter.reserve("key", 1).await.unwrap().unwrap().settle(2);
    assert_eq!(limiter.check_up_to("key", 9).await.unwrap().cost(), 1);
    limiter.reset("key").await.unwrap();
    let jails: Vec<_> = (0..2)
        .map(|_| {
            let other = server
                .builder()
                .username("palisade")
                .password(SecretString::from("secret"))
                .build()
                .unwrap();
            Jail::builder()
                .sink(NullSink)
                .shared(&other)
                .build()
                .handle()
        })
        .collect();
    for jail in &jails {
        assert!(jail.synchronize(Duration::from_secs(10)).await);
    }
    jails[0]
        .ban([203, 0, 113, 7].into(), Duration::from_millis(1500))
        .unwrap();
    eventually("the other bans too", async || jails[1].bans().len() == 1).await;
    jails[1].unban([203, 0, 113, 7].into());
    eventually("the other lifts it", async || jails[0].bans().is_empty()).await;
    eventually("the entry is gone", async || {
        jails[0].synchronize(Duration::from_secs(10)).await;
        true
    })
    .await;
    // The log tells what the user was refused.
    assert_eq!(server.cli(&["acl", "log"]), "");

    let denied = server.cli(&["acl", "dryrun", "palisade", "config", "get", "*"]);
    assert!(denied.contains("no permissions"), "{denied}");
    let denied = server.cli(&["acl", "dryrun", "palisade", "get", "other:key"]);
    assert!(denied.contains("no permissions"), "{denied}");
}
