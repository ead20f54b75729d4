//! Metrics: the gauge of bans, and the counters of decisions.

use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use palisade::jail::{Jail, JailLayer, Rule, TrapPaths};

use super::support::{CLIENT, World, addr, jail, seconds};

#[test]
fn k22_l09_the_gauge_rises_and_falls_with_the_bans() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    // Handles belong to the recorder that is there when the jail is made.
    let world = metrics::with_local_recorder(&recorder, || World::new(jail()));
    let check = |expected: &str| {
        world.jail.sweep();
        let text = scrape.render();
        let line = text
            .lines()
            .find(|it| it.starts_with("palisade_bans_active"));
        assert_eq!(line, Some(expected));
    };
    check("palisade_bans_active 0");
    world.fail(CLIENT, 5);
    world.fail("203.0.113.8", 5);
    check("palisade_bans_active 2");
    world.jail.unban(addr(CLIENT)).unwrap();
    check("palisade_bans_active 1");
    world.clock.advance(seconds(600));
    check("palisade_bans_active 0");
}

#[test]
fn decisions_are_counted_under_the_name_of_the_jail() {
    let jail = Jail::builder()
        .rule(Rule::status(StatusCode::UNAUTHORIZED))
        .build();
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _layer = metrics::with_local_recorder(&recorder, || JailLayer::new(jail));
    let text = scrape.render();
    let zero = r#"palisade_decisions_total{layer="jail",policy="jail",decision="denied"} 0"#;
    assert!(text.lines().any(|it| it == zero), "{text}");
}

#[test]
fn bans_are_counted_by_rule_and_ends_by_reason() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let world = metrics::with_local_recorder(&recorder, || {
        World::new(
            jail()
                .traps(TrapPaths::common())
                .exempt("192.0.2.0/24".parse().unwrap())
                .max_bans(3),
        )
    });
    let check = |expected: &[(&str, &str, u64)]| {
        let text = scrape.render();
        for (name, reason, count) in expected {
            let line = format!("palisade_{name}{{reason=\"{reason}\"}} {count}");
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    };
    // They stand at zero before anything happens.
    check(&[
        ("bans_total", "status-401", 0),
        ("bans_total", "trap", 0),
        ("bans_total", "manual", 0),
        ("bans_skipped_total", "exempt", 0),
        ("bans_skipped_total", "foreign_page", 0),
        ("bans_skipped_total", "full", 0),
        ("bans_skipped_total", "unknown", 0),
        ("unbans_total", "expired", 0),
        ("unbans_total", "manual", 0),
    ]);
    world.fail(CLIENT, 5);
    world.send("203.0.113.8", "/wp-login.php");
    world.jail.ban(addr("203.0.113.9"), seconds(600)).unwrap();
    world.send("203.0.113.10", "/wp-login.php");
    world.send("192.0.2.1", "/wp-login.php");
    check(&[
        ("bans_total", "status-401", 1),
        ("bans_total", "trap", 1),
        ("bans_total", "manual", 1),
        ("bans_skipped_total", "full", 1),
        ("bans_skipped_total", "exempt", 1),
    ]);
    assert_eq!(world.jail.counts().banned(), 3);
    assert_eq!(world.jail.counts().skipped(), 2);
    world.jail.unban(addr(CLIENT)).unwrap();
    world.clock.advance(seconds(600));
    world.jail.sweep();
    check(&[
        ("unbans_total", "manual", 1),
        ("unbans_total", "expired", 2),
    ]);
}
