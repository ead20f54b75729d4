//! The user with the least permissions.

use std::time::Duration;

use palisade::{
    rate_limit::Quota,
    secret::{SecretLoader, SecretString},
};

use crate::support::{Events, Server, ban_on_both, denying, eventually};

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
    let store = || {
        let store = server.builder().username("palisade");
        let store = store.password(SecretString::from("secret"));
        store.build().unwrap()
    };
    let limiter = denying(&store(), "acl", Quota::per_hour(3));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    limiter.refund("key", 1).await.unwrap();
    limiter.reserve("key", 1).await.unwrap().unwrap().settle(2);
    assert_eq!(limiter.check_up_to("key", 9).await.unwrap().cost(), 1);
    limiter.reset("key").await.unwrap();
    let stores = [(), ()].map(|()| store());
    let client = [203, 0, 113, 7].into();
    let jails = ban_on_both(stores, client, Duration::from_secs(3600)).await;
    jails[1].unban(client);
    eventually("the other lifts it", async || jails[0].bans().is_empty()).await;
    jails[0]
        .ban([203, 0, 113, 8].into(), Duration::from_millis(300))
        .unwrap();
    eventually(
        "the entry of a ban that is over is taken away",
        async || {
            server
                .cli(&["info", "commandstats"])
                .contains("cmdstat_hdel:")
        },
    )
    .await;
    // The log tells what the user was refused.
    assert_eq!(server.cli(&["acl", "log"]), "");
    // Nothing is allowed that is not needed.
    let used = server.cli(&["info", "commandstats"]);
    for command in rules.iter().filter_map(|it| it.strip_prefix('+')) {
        assert!(
            used.contains(&format!("cmdstat_{command}:")),
            "{command}: {used}"
        );
    }

    for denied in [&["config", "get", "*"][..], &["get", "other:key"]] {
        let as_user = [
            "--no-auth-warning",
            "--user",
            "palisade",
            "--pass",
            "secret",
        ];
        let answer = server.try_cli(&[&as_user[..], denied].concat()).unwrap();
        assert!(answer.contains("NOPERM"), "{denied:?}: {answer}");
    }
}

/// Whoever is connected stays so; whoever connects has the password of that time.
#[tokio::test]
async fn a_password_that_was_replaced_is_used_by_the_next_connection() {
    let server = Server::start();
    let admit = |rule: &str| {
        let rules = ["~*", "&*", "+@all", rule];
        let command = [["acl", "setuser", "palisade", "on"], rules].concat();
        assert_eq!(server.cli(&command), "OK");
    };
    let part = || server.cli(&["client", "kill", "user", "palisade"]);
    admit(">w0rd-one");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store-password");
    std::fs::write(&file, "w0rd-one\n").unwrap();
    let password = SecretLoader::new()
        .with_directory(directory.path())
        .secret("store-password")
        .rotating(Duration::from_secs(60))
        .unwrap();
    let events = Events::default();
    let store = server
        .builder()
        .username("palisade")
        .rotating_password(password.clone())
        .sink(events.clone())
        .build()
        .unwrap();
    let limiter = denying(&store, "rotated", Quota::per_day(100));
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());

    // The server has the new one alone, and the connection lasts.
    admit("resetpass");
    admit(">w0rd-two");
    assert!(limiter.check("key", 1).await.unwrap().is_admitted());
    assert_eq!(events.take_reasons(), [""; 0]);

    // Without the new one, there is no next connection.
    assert_eq!(part(), "1");
    let error = async || limiter.check("key", 1).await.unwrap_err().to_string();
    let mut errors = vec![error().await];
    eventually("the password is refused", async || {
        errors.push(error().await);
        server.cli(&["acl", "log"]).contains("palisade")
    })
    .await;
    let reasons = events.take_reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let shown = format!("{errors:?} {reasons:?} {store:?} {limiter:?}");
    assert!(!shown.contains("w0rd"), "{shown}");

    std::fs::write(&file, "w0rd-two\n").unwrap();
    password.reload().unwrap();
    eventually("the new password is used", async || {
        limiter.check("key", 1).await.is_ok()
    })
    .await;
    assert_eq!(events.take_reasons(), ["shared store answers again"]);
    // What was counted before is counted still.
    let left = limiter.peek("key", 0).await.unwrap().remaining();
    assert_eq!(left, 97);

    // A first connection that is refused says why.
    let other = server
        .builder()
        .username("palisade")
        .password(SecretString::from("w0rd-one"))
        .sink(events.clone())
        .build()
        .unwrap();
    let limiter = denying(&other, "rotated", Quota::per_day(100));
    let expected = "shared store refuses the user or the password";
    assert_eq!(
        limiter.check("key", 1).await.unwrap_err().to_string(),
        expected
    );
    assert_eq!(events.take_reasons(), [expected]);
}
