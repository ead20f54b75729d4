//! Metrics: the gauge of bans, and the counters of decisions.

use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use palisade::jail::{Jail, JailLayer, Rule};

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
