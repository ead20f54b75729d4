//! Lists that are reloaded.

use std::{
    fs,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use palisade::{
    SecurityLayer,
    client_ip::{ClientIpSource, TrustedProxies},
    clock::ManualClock,
    event::{SecurityEvent, SharedSink},
    ip_filter::IpDenylist,
    ip_set::{HostBits, IpList, IpListFile, IpListWatcher, Reload},
};
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
    file: IpListFile,
    events: Receiver<String>,
    clock: ManualClock,
}

impl Fixture {
    fn new(content: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("list.txt");
        fs::write(&path, content).unwrap();
        let (sender, events) = channel();
        let sink = SharedSink::new(move |event: &SecurityEvent<'_>| {
            let policy = event.policy().unwrap_or_default();
            let event = format!("{} {policy}: {}", event.action().as_str(), event.reason());
            sender.send(event).unwrap();
        });
        let clock = ManualClock::new();
        let file = IpListFile::open("office", path).unwrap();
        let file = file.with_sink(sink).with_clock(clock.clone());
        Self {
            dir,
            file,
            events,
            clock,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("list.txt")
    }

    fn contains(&self, addr: &str) -> bool {
        self.file.list().contains(addr.parse().unwrap())
    }

    #[track_caller]
    fn check_events(&self, expected: &[&str]) {
        let events: Vec<_> = self.events.try_iter().collect();
        assert_eq!(events, expected);
    }

    /// Case F26.
    #[track_caller]
    fn check_kept(&mut self, expected: &str) {
        assert_eq!(self.file.poll(), Reload::Failed);
        assert!(self.contains("192.0.2.1"));
        assert_eq!(self.file.list().generation(), 1);
        let event = format!("ip_list_reload_failed office: the old list stays: {expected}");
        self.check_events(&[&event]);
        assert_eq!(self.file.poll(), Reload::Failed);
        self.check_events(&[]);
    }
}

#[test]
fn a_changed_file_replaces_the_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    fixture.check_events(&[]);

    fs::write(fixture.path(), "192.0.2.2\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    assert!(!fixture.contains("192.0.2.1"));
    assert!(fixture.contains("192.0.2.2"));
    assert_eq!(fixture.file.list().generation(), 2);
    fixture.check_events(&["ip_list_reloaded office: the list was reloaded"]);
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert_eq!(fixture.file.reload(), Reload::Unchanged);
    fixture.check_events(&[]);
}

#[test]
fn a_change_of_the_same_length_at_the_same_time_is_seen() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    let metadata = fs::metadata(fixture.path()).unwrap();
    fs::write(fixture.path(), "192.0.2.2\n").unwrap();
    let file = fs::File::options()
        .write(true)
        .open(fixture.path())
        .unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    // Once some time has passed, the file counts as settled and is not even read.
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    fixture.check_events(&["ip_list_reloaded office: the list was reloaded"]);
}

#[test]
fn a_bad_line_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::write(fixture.path(), "192.0.2.2\n192.0.2.300\n").unwrap();
    fixture.check_kept("file is no list of addresses: line 2, entry 1: not an IP address");
    assert_eq!(fixture.file.failure().unwrap().line(), Some(2));

    // Another mistake is another event; the mended file is taken.
    fs::write(fixture.path(), "192.0.2.2\n192.0.2.3/33\n").unwrap();
    fixture.check_kept(
        "file is no list of addresses: line 2, entry 1: prefix is longer than the address",
    );
    fs::write(fixture.path(), "192.0.2.2\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Replaced);
    assert!(fixture.file.failure().is_none());
}

#[test]
fn an_empty_file_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::write(fixture.path(), "# all gone\n").unwrap();
    fixture.check_kept("file is no list of addresses: list has no entries");
}

#[test]
fn a_file_that_is_no_text_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::write(fixture.path(), b"192.0.2.2\n\xff").unwrap();
    fixture.check_kept("file is no list of addresses: list is not UTF-8 text");
}

#[test]
fn a_missing_file_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::remove_file(fixture.path()).unwrap();
    assert_eq!(fixture.file.poll(), Reload::Failed);
    assert!(fixture.contains("192.0.2.1"));
    let events: Vec<_> = fixture.events.try_iter().collect();
    assert_eq!(events.len(), 1);
    assert!(
        events[0]
            .starts_with("ip_list_reload_failed office: the old list stays: file cannot be read")
    );
    // Renamed back into place, it is as it was.
    fs::write(fixture.path(), "192.0.2.1\n").unwrap();
    assert_eq!(fixture.file.poll(), Reload::Unchanged);
    assert!(fixture.file.failure().is_none());
}

#[test]
fn a_directory_or_a_huge_file_keeps_the_old_list() {
    let mut fixture = Fixture::new("192.0.2.1\n");
    fs::remove_file(fixture.path()).unwrap();
    fs::create_dir(fixture.path()).unwrap();
    fixture.check_kept("path is no regular file");

    let mut fixture = Fixture::new("192.0.2.1\n");
    fixture.file = fixture.file.with_max_bytes(20);
    fs::write(fixture.path(), "192.0.2.1\n192.0.2.2\n ").unwrap();
    fixture.check_kept("file is too large");
}

/// Case F18.
#[test]
fn bits_behind_a_prefix_are_told_once() {
    let mut fixture = Fixture::new("10.0.0.0/8\n10.0.0.1/8\n");
    assert!(fixture.contains("10.200.0.1"));
    fixture.file.poll();
    fixture.check_events(&[
        "ip_list_entry_masked office: bits are set behind a prefix: line 2: 10.0.0.1 was read as 10.0.0.0/8",
    ]);
    fixture.file.poll();
    fixture.check_events(&[]);

    let mut fixture = Fixture::new("192.0.2.1\n");
    fixture.file = fixture.file.with_host_bits(HostBits::Refuse);
    fs::write(fixture.path(), "10.0.0.1/8\n").unwrap();
    fixture.check_kept(
        "file is no list of addresses: line 1, entry 1: address has bits set behind its prefix",
    );
}

/// Case F18, for lists that come from the configuration.
#[test]
fn the_facade_tells_of_bits_behind_a_prefix_once() {
    let (sender, events) = channel();
    let build = |deny: IpList| {
        let sender = sender.clone();
        let proxies: TrustedProxies = "192.0.2.1/24".parse().unwrap();
        let _ = SecurityLayer::builder(ClientIpSource::XForwardedFor(proxies))
            .deny(IpDenylist::new(deny))
            .allow("10.0.0.0/8".parse().unwrap())
            .sink(move |event: &SecurityEvent<'_>| {
                let policy = event.policy().unwrap_or_default();
                let shown = format!("{} {policy}: {}", event.action().as_str(), event.reason());
                let _ = sender.send(shown);
            })
            .build();
        events.try_iter().collect::<Vec<String>>()
    };
    let told = "ip_list_entry_masked blocked: bits are set behind a prefix: line 1: 10.0.0.1 was read as 10.0.0.0/8";
    let proxies = "ip_list_entry_masked trusted_proxies: bits are set behind a prefix: line 1: 192.0.2.1 was read as 192.0.2.0/24";
    let list = IpList::new("blocked", "10.0.0.1/8".parse().unwrap());
    assert_eq!(build(list.clone()), [told, proxies]);
    // The list is shared by both layers and told of already.
    assert_eq!(build(list), [proxies]);
}

#[test]
fn a_list_that_cannot_be_read_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("list.txt");
    assert!(IpListFile::open("list", &path).is_err());
    fs::write(&path, "").unwrap();
    assert!(IpListFile::open("list", &path).is_err());
    fs::write(&path, "192.0.2.1\nx").unwrap();
    assert_eq!(IpListFile::open("list", &path).unwrap_err().line(), Some(2));
}

#[test]
fn a_watcher_reloads_when_it_is_told_to() {
    let Fixture {
        dir, file, events, ..
    } = Fixture::new("192.0.2.1\n");
    let list = file.list();
    let watcher = IpListWatcher::spawn([file], Duration::from_secs(3_600)).unwrap();
    // The watcher may be reading already, and must not see half of a file.
    let new = dir.path().join("new.txt");
    fs::write(&new, "192.0.2.2\n").unwrap();
    fs::rename(new, dir.path().join("list.txt")).unwrap();
    watcher.reload();
    assert!(events.recv().unwrap().starts_with("ip_list_reloaded"));
    assert!(list.contains("192.0.2.2".parse().unwrap()));
    // The thread drops the files, and with them the sink, when it ends.
    drop(watcher);
    assert!(events.recv().is_err());
}
