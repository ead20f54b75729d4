//! Floods, losses and broken sinks: section J of the cases.

use std::{net::Ipv4Addr, sync::Arc, thread, time::Duration};

use palisade::{
    clock::ManualClock,
    event::{Action, EventSink, FloodControl, SecurityEvent, Severity},
};
use proptest::prelude::*;

use super::support::{CLIENT, Collector, Handler, Refuse, flood_control, layer, request, send};

fn event(client: u32, action: Action) -> SecurityEvent<'static> {
    SecurityEvent::new(action, "refused by the test")
        .with_policy("api")
        .with_client(Ipv4Addr::from(client).into())
}

/// Sums up what the events stand for.
fn occurrences(events: &[SecurityEvent<'_>]) -> u64 {
    events.iter().map(|it| it.count().unwrap_or(1)).sum()
}

#[test]
fn j01_a_flood_of_addresses_stays_within_the_budget() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone());
    for client in 0..20_000 {
        sink.record(&event(client, Action::RateLimitExceeded));
        clock.advance(Duration::from_micros(50));
    }
    let recorded = events.take();
    assert!((115..=120).contains(&recorded.len()), "{}", recorded.len());
    assert!(recorded.iter().all(|it| it.count().is_none()));
    assert_eq!(sink.suppressed(), 20_000 - recorded.len() as u64);

    // One summary for all the rest, once the window is over.
    clock.advance(Duration::from_secs(60));
    sink.tick();
    let summaries = events.take();
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0].reason(), "flood");
    assert_eq!(summaries[0].suppressed(), Some(Action::RateLimitExceeded));
    assert_eq!(occurrences(&recorded) + occurrences(&summaries), 20_000);
    assert!(summaries[0].start() < summaries[0].end());
    sink.tick();
    assert!(events.take().is_empty());
}

#[test]
fn j02_alerts_come_through_a_flood() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone());
    for client in 0..20_000 {
        sink.record(&event(client, Action::RateLimitExceeded));
    }
    events.take();
    for action in [
        Action::ClientBanned,
        Action::SecretLoadFailed,
        Action::LimiterStoreFailed,
    ] {
        sink.record(&event(1, action));
    }
    assert_eq!(
        events.actions(),
        [
            "client_banned",
            "secret_load_failed",
            "limiter_store_failed"
        ]
    );
    // An alert is not dropped for being a repeat; a condition is met by all clients and recorded once.
    for client in 0..3 {
        sink.record(&event(1, Action::ClientBanned));
        sink.record(&event(client, Action::LimiterStoreFailed));
    }
    assert_eq!(events.actions(), ["client_banned"; 3]);
}

#[test]
fn even_alerts_have_a_last_resort() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone());
    for client in 0..20_000 {
        sink.record(&event(client, Action::ClientBanned));
    }
    assert_eq!(events.take().len(), 2000);
    sink.flush();
    assert_eq!(occurrences(&events.take()), 18_000);
}

#[test]
fn j03_the_table_is_bounded_and_no_count_is_lost() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = FloodControl::new(events.clone())
        .with_capacity(1000)
        .with_budget(1_000_000, 1_000_000)
        .with_clock(clock.clone());
    for client in 0..20_000 {
        for _ in 0..3 {
            sink.record(&event(client, Action::RateLimitExceeded));
        }
        clock.advance(Duration::from_micros(1));
    }
    let shown = format!("{sink:?}");
    assert!(shown.contains("remembered: 1000"), "{shown}");
    // 19 000 have left the table already.
    let recorded = events.take();
    assert_eq!(
        recorded.iter().filter(|it| it.count() == Some(2)).count(),
        19_000
    );
    clock.advance(Duration::from_secs(60));
    sink.tick();
    let rest = events.take();
    assert_eq!(occurrences(&recorded) + occurrences(&rest), 60_000);
    assert!(format!("{sink:?}").contains("remembered: 0"));
}

#[test]
fn summaries_share_the_budget_and_lose_no_count() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = FloodControl::new(events.clone())
        .with_budget(1, 500)
        .with_clock(clock.clone());
    for client in 0..500 {
        for _ in 0..4 {
            sink.record(&event(client, Action::IpBlocked));
        }
    }
    let recorded = events.take();
    assert_eq!(recorded.len(), 500);
    // 60 summaries of clients, and one for what is beyond the budget, a window later.
    clock.advance(Duration::from_secs(60));
    sink.tick();
    let summaries = events.take();
    assert_eq!(summaries.len(), 60);
    clock.advance(Duration::from_secs(60));
    sink.tick();
    let total = events.take();
    assert_eq!(total.len(), 1);
    assert_eq!(occurrences(&summaries) + occurrences(&total), 1500);
}

#[test]
fn flushing_and_dropping_record_what_was_counted() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone());
    for _ in 0..5 {
        sink.record(&event(1, Action::IpBlocked));
    }
    sink.flush();
    let recorded = events.take();
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[1].count(), Some(4));
    // The window goes on.
    for _ in 0..2 {
        sink.record(&event(1, Action::IpBlocked));
    }
    assert!(events.take().is_empty());
    drop(sink);
    let recorded = events.take();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].count(), Some(2));
}

#[test]
fn a_window_of_zero_leaves_the_budget() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone()).with_window(Duration::ZERO);
    for _ in 0..1000 {
        sink.record(&event(1, Action::IpBlocked));
    }
    assert_eq!(events.take().len(), 20);
    sink.flush();
    assert_eq!(occurrences(&events.take()), 980);
}

#[track_caller]
fn check_same(first: &SecurityEvent<'_>, second: &SecurityEvent<'_>, same: bool) {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone());
    sink.record(first);
    sink.record(second);
    assert_eq!(events.take().len(), if same { 1 } else { 2 });
}

#[test]
fn repeats_are_told_by_policy_client_action_and_mode() {
    let from = |client: &str| {
        let event = SecurityEvent::new(Action::IpBlocked, "").with_policy("api");
        event.with_client(client.parse().unwrap())
    };
    check_same(&from(CLIENT), &from(CLIENT), true);
    check_same(&from(CLIENT), &from("::ffff:203.0.113.7"), true);
    check_same(&from(CLIENT), &from("203.0.113.8"), false);
    check_same(&from("2001:db8::1"), &from("2001:db8::ffff:2"), true);
    check_same(&from("2001:db8::1"), &from("2001:db8:0:1::1"), false);
    check_same(&from("::1"), &from("0.0.0.1"), false);
    check_same(&from(CLIENT), &from(CLIENT).with_policy("other"), false);
    check_same(&from(CLIENT), &from(CLIENT).observed(), false);
    check_same(&from(CLIENT), &from(CLIENT).without_addresses(), false);
    check_same(
        &event(1, Action::IpBlocked),
        &event(1, Action::IpNotAllowed),
        false,
    );
    let custom = |word| event(1, Action::Custom(word));
    check_same(&custom("a"), &custom("b"), false);
}

#[test]
fn one_of_many_threads_records_the_first_occurrence() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = Arc::new(flood_control(&clock, events.clone()));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let sink = Arc::clone(&sink);
            thread::spawn(move || {
                for _ in 0..1000 {
                    sink.record(&event(1, Action::RateLimitExceeded));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(events.take().len(), 1);
    sink.flush();
    assert_eq!(occurrences(&events.take()), 15_999);
}

#[test]
fn j06_a_panicking_sink_fails_no_request() {
    let layer = layer(
        Refuse(Action::RateLimitExceeded, 429),
        |_: &SecurityEvent<'_>| panic!("broken sink"),
    );
    let service = Handler::default().behind(&layer);
    assert_eq!([0; 3].map(|_| send(&service, request(CLIENT))), [429; 3]);
    assert_eq!(layer.counts()[0].denied(), 3);
}

#[test]
fn numbers_go_on_through_suppressed_events() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, events.clone());
    let first = event(1, Action::IpBlocked);
    let (before, repeat) = (first.sequence(), event(1, Action::IpBlocked));
    sink.record(&first);
    sink.record(&repeat);
    sink.record(&event(2, Action::IpBlocked));
    let recorded = events.take();
    assert_eq!(recorded.len(), 2);
    assert!(before < repeat.sequence() && repeat.sequence() < recorded[1].sequence());
}

/// Wants no debug events.
struct Warnings(Collector);

impl EventSink for Warnings {
    fn record(&self, event: &SecurityEvent<'_>) {
        self.0.record(event);
    }

    fn wants(&self, severity: Severity) -> bool {
        severity != Severity::Debug
    }
}

#[test]
fn what_nobody_reads_takes_nothing_from_the_budget() {
    let (clock, events) = (ManualClock::new(), Collector::default());
    let sink = flood_control(&clock, Warnings(events.clone()));
    for client in 0..20_000 {
        sink.record(&event(client, Action::ForwardedHeaderUntrusted));
    }
    sink.record(&event(1, Action::IpBlocked));
    sink.flush();
    assert_eq!(events.actions(), ["ip_blocked"]);
    assert_eq!(sink.suppressed(), 0);
}

proptest! {
    #[test]
    fn no_occurrence_is_lost(
        steps in prop::collection::vec((0..6u32, 0..3usize, 0..40u64, any::<bool>()), 0..300),
        window in 0..60u64,
        capacity in 0..8usize,
        rate in 0..4u32,
    ) {
        let (clock, events) = (ManualClock::new(), Collector::default());
        let sink = flood_control(&clock, events.clone())
            .with_window(Duration::from_secs(window))
            .with_capacity(capacity)
            .with_budget(rate, rate);
        let actions = [Action::IpBlocked, Action::ClientBanned, Action::LimiterStoreFull];
        for (client, action, seconds, tick) in &steps {
            sink.record(&event(*client, actions[*action]));
            clock.advance(Duration::from_secs(*seconds));
            if *tick {
                sink.tick();
            }
        }
        let suppressed = sink.suppressed();
        sink.flush();
        let recorded = events.take();
        let told: u64 = recorded.iter().filter_map(SecurityEvent::count).sum();
        prop_assert_eq!(told, suppressed);
        prop_assert_eq!(occurrences(&recorded), steps.len() as u64);
        // A summary is about the past, and about something.
        for event in recorded.iter().filter(|it| it.count().is_some()) {
            prop_assert!(event.start() <= event.end());
            prop_assert!(event.suppressed().is_some());
        }
        sink.flush();
        prop_assert!(events.take().is_empty());
    }
}
