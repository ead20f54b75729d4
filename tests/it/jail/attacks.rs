//! Attacks on the jail itself: on other clients, on its memory, on its clock.

use std::{
    convert::Infallible,
    sync::{Arc, Barrier},
    thread,
};

use http::{Request, Response, StatusCode};
use palisade::{
    client_ip::{ClientIpLayer, ClientIpSource, TrustedProxies},
    enforce::EnforceLayer,
    event::Action,
    ip_filter::IpDenylist,
    ip_set::IpSet,
    jail::{BanTime, Jail, JailLayer, Rule, TrapPaths},
};
use tower::{Layer, service_fn, util::BoxCloneSyncService};

use super::support::{CLIENT, World, addr, handler, jail, seconds};

const PROXY: &str = "10.0.0.1";

fn behind_proxy() -> World {
    let proxies = TrustedProxies::new("10.0.0.0/8".parse().unwrap()).unwrap();
    World::with_source(
        jail().traps(TrapPaths::common()),
        ClientIpSource::XForwardedFor(proxies),
    )
}

fn fail_as(world: &World, peer: &str, forwarded: &str, times: usize) {
    for _ in 0..times {
        world.answer(peer, "/401", &[("x-forwarded-for", forwarded)]);
    }
}

#[test]
fn a_banned_client_that_makes_itself_unknown_is_stopped_by_an_empty_deny_list() {
    let proxies = TrustedProxies::new("10.0.0.0/8".parse().unwrap()).unwrap();
    let world = World::make(jail(), |jail| {
        let policies = (jail, IpDenylist::new(IpSet::empty()));
        let layer = EnforceLayer::new(policies).layer(service_fn(handler));
        let source = ClientIpSource::Forwarded(proxies);
        BoxCloneSyncService::new(ClientIpLayer::new(source).layer(layer))
    });
    let send = |path: &str, forwarded: &str| {
        let response = world.answer(PROXY, path, &[("forwarded", forwarded)]);
        response.status()
    };
    let proxy = "for=203.0.113.7";
    for _ in 0..5 {
        assert_eq!(send("/401", proxy), 401);
    }
    assert_eq!(send("/", proxy), 403);
    assert_eq!(send("/", &format!("for=\"evil, {proxy}")), 403);
    assert_eq!(send("/", "for=203.0.113.8"), 200);
}

#[test]
fn k11_protected_clients_are_never_banned() {
    let office: IpSet = "198.51.100.0/24, 2001:db8:5::/48".parse().unwrap();
    let world = World::new(jail().exempt(office).exempt("192.0.2.1".parse().unwrap()));
    for client in [
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "::ffff:127.0.0.2",
        "198.51.100.9",
        "2001:db8:5::1",
        "192.0.2.1",
    ] {
        world.fail(client, 5);
        assert_eq!(world.actions(), [Action::BanSkipped], "{client}");
        world.fail(client, 4);
        world.check_banned(client, false);
        assert_eq!(world.actions(), [], "{client}");
        assert!(world.jail.ban(addr(client), seconds(60)).is_err());
    }
    assert_eq!(world.jail.counts().active(), 0);
    assert_eq!(world.jail.counts().skipped(), 7);
}

#[test]
fn k11_a_trusted_proxy_is_never_banned() {
    let world = behind_proxy();
    // The furthest hop is a proxy of ours.
    fail_as(&world, PROXY, "10.0.0.2", 5);
    assert_eq!(world.actions(), [Action::BanSkipped]);
    let touch = |forwarded| {
        world
            .answer(PROXY, "/.env", &[("x-forwarded-for", forwarded)])
            .status()
    };
    assert_eq!(touch("10.0.0.2"), 200);
    assert_eq!(world.actions(), [Action::BanSkipped]);
    assert_eq!(world.jail.counts().active(), 0);
    // Others behind it are.
    assert_eq!(touch(CLIENT), 403);
    assert_eq!(world.jail.bans()[0].client().addr(), addr(CLIENT));
}

#[test]
fn k12_an_unknown_client_bans_nobody() {
    let world = behind_proxy();
    for forwarded in ["unknown", "_hidden", "not an address"] {
        fail_as(&world, PROXY, forwarded, 100);
        let trap = world.answer(PROXY, "/.env", &[("x-forwarded-for", forwarded)]);
        assert_eq!(trap.status(), 403);
    }
    let counts = world.jail.counts();
    assert_eq!((counts.active(), counts.counters()), (0, 0));
    let through = world.answer(PROXY, "/", &[("x-forwarded-for", CLIENT)]);
    assert_eq!(through.status(), 200);
}

#[test]
fn k13_a_forged_header_bans_nobody_else() {
    let victim = "198.51.100.1";
    let world = behind_proxy();
    fail_as(&world, CLIENT, victim, 100);
    world.answer(CLIENT, "/.env", &[("x-forwarded-for", victim)]);
    let bans = world.jail.bans();
    assert_eq!(bans.len(), 1);
    assert_eq!(bans[0].client().addr(), addr(CLIENT));
    world.check_banned(victim, false);
    // Nor through the proxy, which writes the real client behind whatever came.
    let world = behind_proxy();
    fail_as(&world, PROXY, &format!("{victim}, {CLIENT}"), 100);
    assert_eq!(world.jail.bans()[0].client().addr(), addr(CLIENT));
    assert_eq!(world.jail.bans().len(), 1);
    let through = world.answer(PROXY, "/", &[("x-forwarded-for", victim)]);
    assert_eq!(through.status(), 200);
}

#[test]
fn an_exempt_client_survives_the_ban_of_its_network() {
    let world = World::new(jail().exempt("2001:db8::5".parse().unwrap()));
    world.fail("2001:db8::6", 5);
    world.check_banned("2001:db8::7", true);
    world.check_banned("2001:db8::5", false);
}

#[test]
fn k19_a_full_table_keeps_its_bans() {
    let world = World::new(jail().max_bans(3));
    for host in 1..=3 {
        world.fail(&format!("203.0.113.{host}"), 5);
    }
    world.events();
    world.fail("203.0.113.4", 5);
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action(), Action::BanSkipped);
    assert_eq!(events[0].reason(), "the table of bans is full");
    assert_eq!(events[0].client(), Some(addr("203.0.113.4")));
    assert!(world.jail.ban(addr("203.0.113.5"), seconds(60)).is_err());
    for host in 1..=3 {
        world.check_banned(&format!("203.0.113.{host}"), true);
    }
    world.check_banned("203.0.113.4", false);
    let counts = world.jail.counts();
    assert_eq!((counts.active(), counts.skipped()), (3, 2));

    // Those that are over make room, remembered or not.
    world.clock.advance(seconds(600));
    world.fail("203.0.113.4", 5);
    world.check_banned("203.0.113.4", true);
}

#[test]
fn k19_a_full_table_refuses_a_trap_all_the_same() {
    let world = World::new(Jail::builder().traps(TrapPaths::common()).max_bans(1));
    assert_eq!(world.send("203.0.113.1", "/.env"), 403);
    assert_eq!(world.send("203.0.113.2", "/.env"), 403);
    world.check_banned("203.0.113.2", false);
    assert_eq!(world.actions(), [Action::ClientBanned, Action::BanSkipped]);
}

#[test]
fn a_flood_of_addresses_stays_bounded() {
    let world = World::new(
        jail()
            .traps(TrapPaths::common())
            .max_bans(1000)
            .max_counters(1000),
    );
    for client in 0..5_000_u32 {
        let client = std::net::Ipv4Addr::from_bits(0x0b00_0000 + client).to_string();
        assert_eq!(world.send(&client, "/401"), 401);
        let counts = world.jail.counts();
        assert!(counts.counters() <= 1000 && counts.active() <= 1000);
    }
    assert!(4_000 <= world.jail.counts().given_up());
    // The operator is told once, not 4000 times.
    assert_eq!(world.actions(), [Action::BanSkipped]);
    // An attacker that hurries is still caught.
    world.fail(CLIENT, 5);
    world.check_banned(CLIENT, true);
    for client in 0..3_000_u32 {
        let client = std::net::Ipv4Addr::from_bits(0x0c00_0000 + client).to_string();
        assert_eq!(world.send(&client, "/.env"), 403);
    }
    assert_eq!(world.jail.counts().active(), 1000);
    world.check_banned(CLIENT, true);
}

/// Fails 16 requests of one client at once: all of them have been let in before the first is answered.
#[test]
fn k21_a_race_bans_exactly_once() {
    let barrier = Arc::new(Barrier::new(16));
    let gathering = Arc::clone(&barrier);
    let growing = BanTime::new(seconds(600)).with_growth(2);
    let world = World::make(jail().ban_time(growing), |jail| {
        let inner = service_fn(move |_: Request<()>| {
            gathering.wait();
            async {
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                Ok::<_, Infallible>(response)
            }
        });
        let layer = ClientIpLayer::new(ClientIpSource::Peer);
        BoxCloneSyncService::new(layer.layer(JailLayer::new(jail).layer(inner)))
    });
    for host in 1..=50 {
        let client = format!("203.0.113.{host}");
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(world.send(&client, "/"), 401));
            }
        });
        assert_eq!(world.actions(), [Action::ClientBanned], "{client}");
        assert_eq!(world.jail.counts().active(), host);
    }
    assert!(world.jail.bans().iter().all(|ban| ban.count() == 1));
}

#[test]
fn a_race_to_a_trap_bans_exactly_once() {
    let world = World::new(Jail::builder().traps(TrapPaths::common()));
    for host in 1..=50 {
        let client = format!("203.0.113.{host}");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(world.send(&client, "/.env"), 403));
            }
        });
        let actions = world.actions();
        let bans = actions.iter().filter(|it| **it == Action::ClientBanned);
        assert_eq!((bans.count(), actions.len()), (1, 8));
    }
}

#[test]
fn a_race_to_an_end_is_told_exactly_once() {
    let world = World::new(jail());
    for host in 1..=50 {
        let client = format!("203.0.113.{host}");
        world.fail(&client, 5);
        world.clock.advance(seconds(600));
        world.events();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(world.send(&client, "/"), 200));
                scope.spawn(|| world.jail.sweep());
            }
        });
        assert_eq!(world.actions(), [Action::ClientUnbanned]);
        assert_eq!(world.jail.counts().active(), 0);
    }
}

#[test]
fn a_clock_that_steps_back_frees_nobody_and_bans_nobody() {
    let world = World::new(jail());
    world.clock.advance(seconds(1000));
    world.fail(CLIENT, 4);
    world.clock.rewind(seconds(500));
    world.fail("203.0.113.8", 4);
    world.check_banned("203.0.113.8", false);
    world.fail(CLIENT, 1);
    world.check_banned(CLIENT, true);
    world.clock.rewind(seconds(400));
    world.check_banned(CLIENT, true);
    world.clock.advance(seconds(999));
    world.check_banned(CLIENT, true);
    world.clock.advance(seconds(1));
    world.check_banned(CLIENT, false);
    // What is over stays over.
    world.clock.rewind(seconds(700));
    world.check_banned(CLIENT, false);
}

#[test]
fn a_client_that_goes_away_is_not_counted_by_status_but_can_be_by_rule() {
    let pending =
        service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>());
    let rule =
        Rule::when(|outcome| matches!(outcome, palisade::policy::Outcome::Dropped)).with_limit(2);
    let world = World::make(jail().rule(rule), |jail| {
        let layer = ClientIpLayer::new(ClientIpSource::Peer);
        BoxCloneSyncService::new(layer.layer(JailLayer::new(jail).layer(pending)))
    });
    for _ in 0..2 {
        world.give_up(CLIENT);
    }
    assert_eq!(world.jail.bans()[0].rule(), "custom");
    world.check_banned(CLIENT, true);
}
