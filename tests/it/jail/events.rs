//! Events: one for each thing that happens, with what whoever reads it needs.

use palisade::{
    clock::Clock,
    event::{Action, SecurityEvent, Severity},
    jail::TrapPaths,
};

use super::support::{CLIENT, World, addr, jail, seconds};

#[test]
fn a_ban_is_told_once_with_its_start_and_end() {
    let world = World::new(jail());
    world.clock.advance(seconds(77));
    let start = world.clock.system_now();
    world.fail(CLIENT, 5);
    let events = world.events();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event.action(), Action::ClientBanned);
    assert!(event.action().is_alert());
    assert!(event.enforced());
    assert_eq!(event.policy(), Some("status-401"));
    assert_eq!(event.client(), Some(addr(CLIENT)));
    assert_eq!(event.reason(), "too many failures");
    assert_eq!(event.start(), Some(start));
    assert_eq!(event.end(), Some(start + seconds(600)));

    world.check_banned(CLIENT, true);
    world.check_banned(CLIENT, true);
    let events = world.events();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event.action(), Action::BannedClientDenied);
        assert_eq!(event.policy(), Some("status-401"));
        assert_eq!(event.client(), Some(addr(CLIENT)));
        assert_eq!(event.status().map(|it| it.as_u16()), Some(403));
        assert_eq!(event.severity(), Severity::Info);
    }
    assert_eq!(world.jail.counts().denied(), 2);

    world.clock.advance(seconds(600));
    world.jail.sweep();
    world.jail.sweep();
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action(), Action::ClientUnbanned);
    assert_eq!(events[0].reason(), "expired");
    assert_eq!(events[0].end(), Some(start + seconds(600)));
}

#[test]
fn a_dry_run_keeps_the_same_state_and_lets_everybody_pass() {
    let world = World::dry_run(jail().traps(TrapPaths::common()));
    let told = world.events();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].action(), Action::EnforcementDisabled);
    world.fail(CLIENT, 5);
    world.check_banned(CLIENT, false);
    assert_eq!(world.jail.counts().active(), 1);
    assert_eq!(world.send("203.0.113.8", "/.env"), 200);
    assert_eq!(world.jail.counts().active(), 2);
    world.clock.advance(seconds(600));
    world.jail.sweep();
    let events = world.events();
    let actions: Vec<_> = events.iter().map(SecurityEvent::action).collect();
    assert_eq!(
        actions,
        [
            Action::ClientBanned,
            Action::BannedClientDenied,
            Action::ClientBanned,
            Action::ClientUnbanned,
            Action::ClientUnbanned,
        ]
    );
    assert!(events.iter().all(|it| !it.enforced()));
}

#[test]
fn no_query_is_told() {
    let world = World::new(jail().traps(TrapPaths::common()));
    world.send(CLIENT, "/.env?token=SECRET");
    world.send(CLIENT, "/x?token=SECRET");
    let events = world.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].path().as_deref(), Some("/.env"));
    assert!(!format!("{events:?}").contains("SECRET"));
}
