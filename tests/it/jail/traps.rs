//! Trap paths: banned at the first touch.

use palisade::{
    event::Action,
    jail::{BanTime, Jail, TrapPaths},
};

use super::support::{CLIENT, World, jail, seconds};

#[test]
fn the_first_touch_bans() {
    let world = World::new(Jail::builder().traps(TrapPaths::common()));
    world.check_banned(CLIENT, false);
    assert_eq!(world.send(CLIENT, "/app/%2eENV"), 403);
    world.check_banned(CLIENT, true);
    world.check_banned("203.0.113.8", false);
    let events = world.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].action(), Action::ClientBanned);
    assert_eq!(events[0].policy(), Some("trap"));
    assert_eq!(events[0].path().as_deref(), Some("/app/%2eENV"));
    assert_eq!(events[1].action(), Action::BannedClientDenied);
    assert_eq!(events[1].policy(), Some("trap"));
}

#[test]
fn traps_ban_for_their_own_time() {
    let traps = TrapPaths::new()
        .with_path("/trap")
        .unwrap()
        .with_ban_time(BanTime::new(seconds(3600)));
    let world = World::new(jail().traps(traps).retry_after());
    let answer = world.answer(CLIENT, "/trap?x", &[]);
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["retry-after"], "3600");
    world.clock.advance(seconds(3599));
    world.check_banned(CLIENT, true);
    world.clock.advance(seconds(1));
    world.check_banned(CLIENT, false);
}

#[test]
fn a_foreign_page_gets_no_visitor_banned() {
    let world = World::new(Jail::builder().traps(TrapPaths::common()));
    for site in ["cross-site", "same-site", "whatever"] {
        let answer = world.answer(CLIENT, "/.env", &[("sec-fetch-site", site)]);
        // Whoever sends the field himself gets no further than others.
        assert_eq!(answer.status(), 403);
        world.check_banned(CLIENT, false);
    }
    assert_eq!(world.actions(), [Action::BanSkipped; 3]);
    let answer = world.answer(CLIENT, "/.env", &[("sec-fetch-site", "none")]);
    assert_eq!(answer.status(), 403);
    world.check_banned(CLIENT, true);
}

#[test]
fn no_trap_is_set_without_being_asked_for() {
    let world = World::new(jail());
    assert_eq!(world.send(CLIENT, "/.env"), 200);
    world.check_banned(CLIENT, false);
}
