//! Bans that survive a restart.

use std::{fs, path::Path};

use http::StatusCode;
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource},
    clock::ManualClock,
    enforce::EnforceLayer,
    event::Action,
    jail::{BanTime, Jail, Rule, TrapPaths},
    policy::{Check, Rejection, RequestHead},
};
use tower::{Layer, service_fn, util::BoxCloneSyncService};

use super::support::{CLIENT, World, addr, handler, jail, seconds, service};
use crate::support::FnPolicy;

fn start(clock: &ManualClock, path: &Path) -> World {
    World::at(clock.clone(), jail().file(path), service)
}

#[test]
fn bans_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let clock = ManualClock::new();
    let world = start(&clock, &path);
    assert_eq!(world.actions(), []);
    world.fail(CLIENT, 5);
    clock.advance(seconds(300));
    world.fail("2001:db8::1", 5);
    let before = world.jail.bans();
    world.jail.save().unwrap();
    drop(world);

    clock.advance(seconds(299));
    let world = start(&clock, &path);
    let after = world.jail.bans();
    assert_eq!(after.len(), 2);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.client(), after.client());
        assert_eq!(before.rule(), after.rule());
        // Stored to the millisecond.
        let lost = before.end().duration_since(after.end()).unwrap();
        assert!(lost < seconds(1) / 1000);
    }
    world.check_banned(CLIENT, true);
    world.check_banned("2001:db8::2", true);
    clock.advance(seconds(1));
    world.check_banned(CLIENT, false);
    world.check_banned("2001:db8::2", true);
    // What was told before is not told again.
    let bans = world.actions();
    assert!(!bans.contains(&Action::ClientBanned));
    assert!(!bans.contains(&Action::BanFileFailed));
}

#[test]
fn a_ban_that_ended_while_the_service_was_down_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let clock = ManualClock::new();
    let world = start(&clock, &path);
    world.fail(CLIENT, 5);
    world.jail.save().unwrap();
    clock.advance(seconds(600));
    let world = start(&clock, &path);
    assert_eq!(world.jail.counts().active(), 0);
    world.check_banned(CLIENT, false);
}

#[test]
fn a_wall_clock_that_was_set_back_lengthens_no_ban() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let clock = ManualClock::new();
    clock.advance(seconds(100_000));
    let world = start(&clock, &path);
    world.fail(CLIENT, 5);
    world.jail.save().unwrap();
    clock.rewind(seconds(50_000));
    let world = start(&clock, &path);
    world.check_banned(CLIENT, true);
    clock.advance(seconds(600));
    world.check_banned(CLIENT, false);
}

#[test]
fn growth_is_remembered_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let clock = ManualClock::new();
    let make = || {
        Jail::builder()
            .traps(TrapPaths::common())
            .ban_time(BanTime::new(seconds(600)).with_growth(2))
            .file(&path)
    };
    let world = World::at(clock.clone(), make(), service);
    world.send(CLIENT, "/.env");
    clock.advance(seconds(700));
    world.jail.save().unwrap();
    let world = World::at(clock.clone(), make(), service);
    assert_eq!(world.jail.counts().active(), 0);
    world.send(CLIENT, "/.env");
    assert_eq!(world.jail.bans()[0].count(), 2);
    clock.advance(seconds(1199));
    world.check_banned(CLIENT, true);
}

#[test]
fn clients_that_are_exempt_now_are_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let jail = Jail::builder().file(&path).build();
    jail.handle().ban(addr(CLIENT), seconds(600)).unwrap();
    jail.handle().save().unwrap();
    let exempt = CLIENT.parse().unwrap();
    let jail = Jail::builder().file(&path).exempt(exempt).build();
    assert_eq!(jail.handle().counts().active(), 0);
}

#[test]
fn what_was_only_observed_is_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let world = World::dry_run(jail().file(&path));
    world.fail(CLIENT, 5);
    assert_eq!(world.jail.counts().active(), 1);
    world.jail.save().unwrap();
    let jail = Jail::builder().file(&path).build();
    assert_eq!(jail.handle().counts().active(), 0);
}

#[test]
fn a_bad_file_is_an_event_and_not_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let whole = {
        let jail = Jail::builder().file(&path).build();
        jail.handle().ban(addr(CLIENT), seconds(600)).unwrap();
        jail.handle().save().unwrap();
        fs::read(&path).unwrap()
    };
    let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
    bad.push([&whole[..], b"x"].concat());
    bad.push(vec![0xff; 100]);
    for content in bad {
        fs::write(&path, &content).unwrap();
        let world = World::new(jail().file(&path));
        let events = world.events();
        assert_eq!(events.len(), 1, "{content:?}");
        assert_eq!(events[0].action(), Action::BanFileFailed);
        assert!(events[0].reason().contains("cannot be read"));
        assert_eq!(world.jail.counts().active(), 0);
        // It is kept for whoever wants to look at it, out of the way of the next save, and the jail works.
        let aside = directory.path().join("bans.corrupt");
        assert!(events[0].reason().contains("bans.corrupt"));
        assert!(!path.exists());
        world.fail(CLIENT, 5);
        world.check_banned(CLIENT, true);
        world.jail.save().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), content);
        assert_ne!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_directory_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(jail().file(directory.path()));
    assert_eq!(world.actions(), [Action::BanFileFailed]);
}

#[test]
fn a_save_that_fails_keeps_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("bans");
    let world = World::new(jail().file(&path));
    world.jail.save().unwrap();
    let before = fs::read(&path).unwrap();
    // A directory stands where the temporary file should be.
    let temporary = inner.join(format!("bans.{}.tmp", std::process::id()));
    fs::create_dir(&temporary).unwrap();
    world.fail(CLIENT, 5);
    world.events();
    let error = world.jail.save().unwrap_err();
    assert!(error.to_string().contains("cannot be written"));
    assert_eq!(world.actions(), [Action::BanFileFailed]);
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::remove_dir(&temporary).unwrap();

    // One that a crash left behind does not matter.
    fs::write(&temporary, "half a fi").unwrap();
    world.jail.save().unwrap();
    assert_ne!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let jail = Jail::builder().file(&path).build();
    for _ in 0..2 {
        jail.handle().save().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn without_a_file_saving_does_nothing() {
    assert!(Jail::builder().build().handle().save().is_ok());
}

#[test]
fn a_rule_about_an_action_with_any_word_does_not_spoil_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let clock = ManualClock::new();
    let start = || {
        let own = Action::Custom("two\nlines");
        let builder = Jail::builder().rule(Rule::action(own)).file(&path);
        World::at(clock.clone(), builder, |jail| {
            let refuse = FnPolicy(move |_: &RequestHead<'_>| {
                Check::reject(Rejection::new(own, StatusCode::FORBIDDEN, "refused"))
            });
            let layer = EnforceLayer::new((jail, refuse)).layer(service_fn(handler));
            BoxCloneSyncService::new(ClientIpLayer::new(ClientIpSource::Peer).layer(layer))
        })
    };
    let world = start();
    for _ in 0..5 {
        assert_eq!(world.send(CLIENT, "/"), 403);
    }
    assert_eq!(world.jail.bans().len(), 1);
    world.jail.save().unwrap();

    assert_eq!(start().jail.bans().len(), 1);
    assert_eq!(
        Rule::action(Action::ApiKeyRejected).name(),
        "api_key_rejected"
    );
}
