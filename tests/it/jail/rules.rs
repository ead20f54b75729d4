//! Rules: what is counted, for how long, and what it leads to.

use std::time::Duration;

use http::StatusCode;
use palisade::{
    event::Action,
    jail::{BanTime, Rule},
    policy::Outcome,
};

use super::support::{CLIENT, World, addr, jail, seconds};

#[test]
fn k01_four_failures_do_not_ban() {
    let world = World::new(jail());
    world.fail(CLIENT, 4);
    world.check_banned(CLIENT, false);
    assert_eq!(world.actions(), []);
    assert_eq!(world.jail.counts().counters(), 1);
}

#[test]
fn the_fifth_failure_bans_from_the_next_request_on() {
    let world = World::new(jail());
    // The fifth has had its answer before anybody could know.
    world.fail(CLIENT, 5);
    world.check_banned(CLIENT, true);
    world.check_banned("203.0.113.8", false);
    assert_eq!(
        world.actions(),
        [Action::ClientBanned, Action::BannedClientDenied]
    );
    assert_eq!(world.jail.counts().counters(), 0);
}

#[test]
fn a_ban_ends_with_its_time() {
    let world = World::new(jail());
    world.fail(CLIENT, 5);
    world.clock.advance(Duration::from_nanos(599_999_999_999));
    world.check_banned(CLIENT, true);
    world.clock.advance(Duration::from_nanos(1));
    world.events();
    world.check_banned(CLIENT, false);
    assert_eq!(world.actions(), [Action::ClientUnbanned]);
    world.fail(CLIENT, 4);
    world.check_banned(CLIENT, false);
    assert_eq!(world.actions(), []);
}

#[test]
fn requests_during_a_ban_do_not_lengthen_it() {
    let world = World::new(jail());
    world.fail(CLIENT, 5);
    for _ in 0..59 {
        world.clock.advance(seconds(10));
        assert_eq!(world.send(CLIENT, "/401"), 403);
    }
    world.clock.advance(seconds(10));
    world.fail(CLIENT, 4);
    world.check_banned(CLIENT, false);
}

/// Sends failures at these times and checks after which of them the client is banned.
#[track_caller]
fn check(times: &[u64], expected: Option<usize>) {
    let world = World::new(jail());
    let mut passed = 0;
    let mut banned = None;
    for (index, time) in times.iter().enumerate() {
        world.clock.advance(seconds(time - passed));
        passed = *time;
        assert_eq!(world.send(CLIENT, "/401"), 401, "at {time}");
        if banned.is_none() && world.jail.counts().active() == 1 {
            banned = Some(index);
        }
    }
    assert_eq!(banned, expected, "{times:?}");
}

#[test]
fn the_window_slides() {
    // K06
    check(&[0, 0, 0, 0, 601, 601, 601, 601], None);
    // K07
    check(&[0, 150, 300, 450, 599], Some(4));
    check(&[0, 150, 300, 450, 600], None);
    check(&[0, 150, 300, 450, 600, 749], Some(5));
}

#[test]
fn bans_grow_while_the_client_is_remembered() {
    let ban_time = BanTime::new(seconds(600))
        .with_growth(2)
        .with_max(seconds(3000))
        .with_memory(seconds(7200));
    let world = World::new(jail().ban_time(ban_time));
    for (count, length) in [(1, 600), (2, 1200), (3, 2400), (4, 3000), (5, 3000)] {
        world.fail(CLIENT, 5);
        let [ban] = &world.jail.bans()[..] else {
            panic!("one ban");
        };
        assert_eq!(ban.count(), count);
        assert_eq!(
            ban.end().duration_since(ban.start()).unwrap(),
            seconds(length)
        );
        world.clock.advance(seconds(length - 1));
        world.check_banned(CLIENT, true);
        world.clock.advance(seconds(1));
        world.check_banned(CLIENT, false);
    }
    world.clock.advance(seconds(7200));
    world.fail(CLIENT, 5);
    assert_eq!(world.jail.bans()[0].count(), 1);
}

#[test]
fn k09_thirty_bans_do_not_overflow() {
    let ban_time = BanTime::new(seconds(600))
        .with_growth(2)
        .with_max(seconds(86_400));
    let world = World::new(jail().ban_time(ban_time));
    for _ in 0..30 {
        world.fail(CLIENT, 5);
        world.clock.advance(seconds(86_400));
    }
    world.fail(CLIENT, 5);
    let ban = &world.jail.bans()[0];
    assert_eq!(ban.count(), 31);
    assert_eq!(
        ban.end().duration_since(ban.start()).unwrap(),
        seconds(86_400)
    );
}

#[test]
fn k10_jitter_lengthens_by_what_the_randomness_says() {
    for (random, expected) in [(0, 600), (1 << 63, 630), (u64::MAX, 660)] {
        let ban_time = BanTime::new(seconds(600)).with_jitter(seconds(60));
        let world = World::new(jail().ban_time(ban_time).random(move || random));
        world.fail(CLIENT, 5);
        world.clock.advance(seconds(expected - 1));
        world.check_banned(CLIENT, true);
        world.clock.advance(seconds(1));
        world.check_banned(CLIENT, false);
    }
}

#[test]
fn k10_jitter_differs_without_injected_randomness() {
    let ban_time = BanTime::new(seconds(600)).with_jitter(seconds(60));
    let world = World::new(jail().ban_time(ban_time));
    let mut lengths: Vec<_> = (1..=20)
        .map(|host| {
            let client = format!("203.0.113.{host}");
            world.fail(&client, 5);
            let bans = world.jail.bans();
            let ban = bans.iter().find(|it| it.client().addr() == addr(&client));
            ban.unwrap()
                .end()
                .duration_since(ban.unwrap().start())
                .unwrap()
        })
        .collect();
    assert!(
        lengths
            .iter()
            .all(|it| seconds(600) <= *it && *it <= seconds(660))
    );
    lengths.sort_unstable();
    lengths.dedup();
    assert!(15 < lengths.len());
}

#[test]
fn k14_an_ipv6_client_is_its_64() {
    let world = World::new(jail());
    for host in 1..=5 {
        world.fail(&format!("2001:db8:0:1::{host}"), 1);
    }
    world.check_banned("2001:db8:0:1:ffff::", true);
    world.check_banned("2001:db8:0:2::1", false);
    let events = world.events();
    assert_eq!(events[0].action(), Action::ClientBanned);
    let shown = events[0].client_address().map(ToString::to_string);
    assert_eq!(shown.as_deref(), Some("2001:db8:0:1::/64"));
}

#[test]
fn a_mapped_address_is_the_ipv4_client() {
    let world = World::new(jail());
    world.fail("::ffff:203.0.113.7", 3);
    world.fail(CLIENT, 2);
    world.check_banned("::ffff:203.0.113.7", true);
    world.check_banned("::ffff:203.0.113.8", false);
}

#[test]
fn k17_a_success_resets_only_where_it_is_asked_for() {
    let is_ok = |outcome: &Outcome<'_>| outcome.status() == Some(StatusCode::OK);
    for (rule, banned) in [
        (Rule::status(StatusCode::UNAUTHORIZED), true),
        (
            Rule::status(StatusCode::UNAUTHORIZED).with_reset(is_ok),
            false,
        ),
    ] {
        let world = World::new(palisade::jail::Jail::builder().rule(rule));
        world.fail(CLIENT, 4);
        world.check_banned(CLIENT, false);
        world.fail(CLIENT, 1);
        world.check_banned(CLIENT, banned);
    }
}

#[test]
fn rules_count_apart_and_ban_for_their_own_time() {
    let world = World::new(
        jail().rule(
            Rule::status(StatusCode::NOT_FOUND)
                .with_limit(3)
                .within(seconds(60))
                .with_ban_time(BanTime::new(seconds(30))),
        ),
    );
    world.fail(CLIENT, 4);
    for _ in 0..2 {
        assert_eq!(world.send(CLIENT, "/404"), 404);
    }
    world.check_banned(CLIENT, false);
    assert_eq!(world.send(CLIENT, "/404"), 404);
    world.check_banned(CLIENT, true);
    assert_eq!(world.jail.bans()[0].rule(), "status-404");
    world.clock.advance(seconds(30));
    // The four answers 401 still stand.
    world.fail(CLIENT, 1);
    world.check_banned(CLIENT, true);
    assert_eq!(world.jail.bans()[0].rule(), "status-401");
}

#[test]
fn other_answers_do_not_count() {
    let world = World::new(jail());
    for status in ["/400", "/403", "/404", "/429", "/500", "/"] {
        for _ in 0..20 {
            world.send(CLIENT, status);
        }
    }
    world.check_banned(CLIENT, false);
    assert_eq!(world.jail.counts().counters(), 0);
}

#[test]
fn the_status_and_the_end_are_by_choice() {
    let world = World::new(jail());
    world.fail(CLIENT, 5);
    let answer = world.answer(CLIENT, "/", &[]);
    assert_eq!(answer.status(), 403);
    assert!(!answer.headers().contains_key("retry-after"));

    let world = World::new(jail().status(StatusCode::TOO_MANY_REQUESTS).retry_after());
    world.fail(CLIENT, 5);
    world.clock.advance(seconds(100) + seconds(1) / 2);
    let answer = world.answer(CLIENT, "/", &[]);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "500");

    let world = World::new(jail().status(StatusCode::OK));
    world.fail(CLIENT, 5);
    world.check_banned(CLIENT, true);
}

#[test]
fn k22_a_ban_is_lifted_by_hand_at_once() {
    let world = World::new(jail());
    world.fail(CLIENT, 5);
    world.check_banned(CLIENT, true);
    assert_eq!(world.jail.counts().active(), 1);
    world.events();

    assert!(world.jail.unban(addr(CLIENT)).is_some());
    assert_eq!(world.jail.counts().active(), 0);
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action(), Action::ClientUnbanned);
    assert_eq!(events[0].reason(), "lifted by hand");
    // All is forgotten.
    world.fail(CLIENT, 4);
    world.check_banned(CLIENT, false);
    assert!(world.jail.unban(addr(CLIENT)).is_none());
    world.fail(CLIENT, 4);
    world.check_banned(CLIENT, false);
    assert_eq!(world.actions(), []);
}

#[test]
fn l09_the_number_of_bans_is_exact() {
    let world = World::new(jail());
    let check = |active| assert_eq!(world.jail.counts().active(), active);
    check(0);
    world.fail(CLIENT, 5);
    check(1);
    world.clock.advance(seconds(300));
    world.fail("203.0.113.8", 5);
    check(2);
    world.jail.ban(addr("2001:db8::1"), seconds(600)).unwrap();
    check(3);
    // Nobody has come since the first ban ended.
    world.clock.advance(seconds(300));
    check(2);
    world.jail.unban(addr("203.0.113.8")).unwrap();
    check(1);
    world.clock.advance(seconds(300));
    check(0);
    let counts = world.jail.counts();
    assert_eq!(
        (counts.banned(), counts.expired(), counts.lifted()),
        (3, 2, 1)
    );
}

#[test]
fn a_ban_by_hand_replaces_one() {
    let world = World::new(jail());
    world.fail(CLIENT, 5);
    world.jail.ban(addr(CLIENT), seconds(10)).unwrap();
    assert_eq!(world.jail.bans()[0].rule(), "manual");
    world.clock.advance(seconds(10));
    world.check_banned(CLIENT, false);
    assert_eq!(
        world.actions(),
        [
            Action::ClientBanned,
            Action::ClientBanned,
            Action::ClientUnbanned
        ]
    );
}
