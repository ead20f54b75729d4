//! Sinks that write and send: they neither block nor fail anybody.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use palisade::{
    clock::ManualClock,
    event::{
        Action, ChannelSink, EcsLines, EventSink, FloodControl, LineSink, SecurityEvent, TextLines,
    },
};

use super::{json::Json, support::Buffer};

fn event(action: Action) -> SecurityEvent<'static> {
    SecurityEvent::new(action, "refused by the test")
}

#[test]
fn lines_are_written_in_order_and_in_full() {
    let (buffer, clock) = (Buffer::default(), ManualClock::new());
    let lines = EcsLines::new().with_service_name("orders");
    let sink = LineSink::new(lines, buffer.clone())
        .unwrap()
        .with_clock(clock.clone());
    for _ in 0..1000 {
        sink.record(&event(Action::IpBlocked));
    }
    sink.flush();
    let text = buffer.text();
    let lines: Vec<_> = text.lines().map(Json::parse).collect();
    assert_eq!(lines.len(), 1000);
    let sequence = |line: &Json| match line.at("event.sequence") {
        Some(Json::Number(number)) => *number,
        other => panic!("{other:?}"),
    };
    assert!(lines.is_sorted_by(|a, b| sequence(a) < sequence(b)));
    assert_eq!(lines[0].text("service.name"), Some("orders"));
    let time = humantime::parse_rfc3339(lines[0].text("@timestamp").unwrap()).unwrap();
    let now = palisade::clock::Clock::system_now(&clock);
    assert!(now.duration_since(time).unwrap() < Duration::from_millis(1));
    assert_eq!((sink.lost(), sink.failed()), (0, 0));
}

#[test]
fn dropping_a_sink_writes_what_is_queued() {
    let buffer = Buffer::default();
    let sink = LineSink::new(TextLines, buffer.clone()).unwrap();
    for _ in 0..100 {
        sink.record(&event(Action::IpBlocked));
    }
    drop(FloodControl::new(sink));
    assert_eq!(buffer.text().lines().count(), 100);
}

/// A writer that waits for a permit before each line, and says that it waits.
struct Gated(Sender<()>, Receiver<()>, Buffer);

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        self.2.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// It takes the five seconds that are promised: whoever flushes, or ends the program, is not stuck as well.
#[test]
fn a_stuck_writer_is_not_waited_for_without_end() {
    let (buffer, (waits, waiting), (permits, permitted)) =
        (Buffer::default(), channel(), channel());
    let writer = Gated(waits, permitted, buffer.clone());
    let sink = LineSink::with_capacity(TextLines, writer, 2).unwrap();
    sink.record(&event(Action::IpBlocked));
    waiting.recv().unwrap();
    sink.flush();
    assert_eq!(buffer.text(), "");
    drop(permits);
    sink.flush();
    assert!(buffer.text().contains("action=ip_blocked"));
}

#[test]
fn a_stuck_writer_blocks_nobody_and_its_losses_are_told() {
    let (buffer, (waits, waiting), (permits, permitted)) =
        (Buffer::default(), channel(), channel());
    let writer = Gated(waits, permitted, buffer.clone());
    let sink = LineSink::with_capacity(TextLines, writer, 2).unwrap();
    sink.record(&event(Action::IpBlocked));
    waiting.recv().unwrap(); // The writer has taken the first line and is stuck.
    for _ in 0..10 {
        sink.record(&event(Action::IpBlocked));
    }
    assert_eq!(sink.lost(), 8);
    drop(permits); // From now on nothing is waited for.
    sink.flush();
    sink.record(&event(Action::IpNotAllowed));
    sink.flush();
    let text = buffer.text();
    let actions: Vec<_> = text
        .lines()
        .map(|it| it.split(' ').nth(4).unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "action=ip_blocked",
            "action=ip_blocked",
            "action=ip_blocked",
            "action=events_suppressed",
            "action=ip_not_allowed"
        ]
    );
    let summary = text.lines().nth(3).unwrap();
    assert!(
        summary.contains(" count=8 ") && summary.contains("reason=\"sink_full\""),
        "{summary}"
    );
}

/// A writer that fails, panics and works by turns, and tears the line it fails at.
struct Broken(u32, Buffer);

impl Write for Broken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += 1;
        match self.0 {
            1 => self.1.write(&bytes[..10]),
            2 => Err(io::ErrorKind::BrokenPipe.into()),
            3 => panic!("broken writer"),
            _ => self.1.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_writer_is_counted_and_tears_no_further_line() {
    let buffer = Buffer::default();
    let sink = LineSink::new(TextLines, Broken(0, buffer.clone())).unwrap();
    for _ in 0..3 {
        sink.record(&event(Action::IpBlocked));
        sink.flush();
    }
    assert_eq!(sink.failed(), 2);
    let text = buffer.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].len(), 10);
    assert!(lines[1].contains(" palisade: denied client=- "), "{text}");
}

#[test]
fn a_full_channel_loses_events_and_says_so() {
    let (sink, events) = ChannelSink::bounded(2);
    for _ in 0..5 {
        sink.record(&event(Action::IpBlocked));
    }
    assert_eq!(sink.lost(), 3);
    let received: Vec<_> = events.try_iter().collect();
    assert_eq!(received.len(), 2);
    sink.record(&event(Action::IpNotAllowed));
    let summary = events.recv().unwrap();
    assert_eq!(
        (summary.action(), summary.count()),
        (Action::EventsSuppressed, Some(3))
    );
    assert_eq!(events.recv().unwrap().action(), Action::IpNotAllowed);

    drop(events);
    sink.record(&event(Action::IpBlocked));
    assert_eq!(sink.lost(), 4);
}
