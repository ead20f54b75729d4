//! Secrets that are replaced while the service runs, under a clock that is moved by hand.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use palisade::{
    clock::ManualClock,
    secret::{
        ExposeSecret, Reload, RotatingSecret, SecretErrorKind as Kind, SecretLoader, SecretMatch,
        SecretNotice,
    },
};
use tempfile::TempDir;

const OVERLAP: Duration = Duration::from_secs(60);

/// A secret in a file, and what its observer is told after it was first loaded.
struct Rotation {
    directory: TempDir,
    clock: ManualClock,
    secret: RotatingSecret,
    told: Arc<Mutex<Vec<String>>>,
}

impl Rotation {
    fn new(value: &str, overlap: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("key"), value).unwrap();
        Self::of(directory, overlap)
    }

    fn of(directory: TempDir, overlap: Duration) -> Self {
        let clock = ManualClock::new();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let telling = Arc::clone(&told);
        let loader = SecretLoader::new()
            .with_environment(|_| None)
            .with_directory(directory.path())
            .with_clock(clock.clone())
            .with_observer(move |notice| {
                let word = match notice {
                    SecretNotice::LoadFailed { error } => format!("failed {:?}", error.kind()),
                    SecretNotice::Rotated { .. } => "rotated".to_owned(),
                    _ => return,
                };
                assert!(!format!("{notice:?}").contains("value"), "{notice:?}");
                telling.lock().unwrap().push(word);
            });
        let secret = loader.secret("key").rotating(overlap).unwrap();
        Self {
            directory,
            clock,
            secret,
            told,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    fn write(&self, value: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(), value).unwrap();
        self
    }

    #[track_caller]
    fn reload(&self, expected: Result<Reload, Kind>) -> &Self {
        let found = self.secret.reload().map_err(|error| error.kind());
        assert_eq!(found, expected);
        self
    }

    /// The current and the previous value are these, and no others match.
    #[track_caller]
    fn expect(&self, current: &str, previous: Option<&str>) -> &Self {
        assert_eq!(self.secret.current().expose_secret(), current);
        let found = self.secret.previous();
        assert_eq!(found.as_ref().map(ExposeSecret::expose_secret), previous);
        for value in ["value-a", "value-b", "value-c"] {
            let expected = if value == current {
                Some(SecretMatch::Current)
            } else if Some(value) == previous {
                Some(SecretMatch::Previous)
            } else {
                None
            };
            assert_eq!(self.secret.match_of(value.as_bytes()), expected, "{value}");
            assert_eq!(self.secret.matches(value.as_bytes()), expected.is_some());
        }
        self
    }

    fn advance(&self, seconds: u64) -> &Self {
        self.clock.advance(Duration::from_secs(seconds));
        self
    }

    #[track_caller]
    fn told(&self, expected: &[&str]) {
        assert_eq!(*self.told.lock().unwrap(), expected);
    }
}

#[test]
fn g01_both_values_are_valid_during_the_overlap() {
    let rotation = Rotation::new("value-a\n", OVERLAP);
    rotation.expect("value-a", None);
    rotation.write("value-b\n").reload(Ok(Reload::Rotated));
    rotation.expect("value-b", Some("value-a"));
    rotation.advance(59).expect("value-b", Some("value-a"));
    rotation.advance(1).expect("value-b", None);
    rotation
        .reload(Ok(Reload::Unchanged))
        .expect("value-b", None);
    rotation.told(&["rotated"]);
}

#[test]
fn g03_a_rewritten_file_changes_nothing() {
    let rotation = Rotation::new("value-a", OVERLAP);
    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation.advance(30);
    let new = rotation.directory.path().join("new");
    fs::write(&new, "value-b\n").unwrap();
    fs::rename(&new, rotation.path()).unwrap();
    rotation
        .reload(Ok(Reload::Unchanged))
        .expect("value-b", Some("value-a"));
    rotation.advance(30).expect("value-b", None);
    rotation.told(&["rotated"]);
}

#[test]
fn g04_a_failed_reload_keeps_the_old_value() {
    let rotation = Rotation::new("value-a", OVERLAP);
    let mut told = vec![];
    let too_large = vec![b'a'; 1024 * 1024 + 1];
    for (content, kind) in [
        (&b""[..], Kind::Empty),
        (b"value-b\xff", Kind::NotUtf8),
        (&too_large, Kind::TooLarge),
        (b"<no value>", Kind::Placeholder),
    ] {
        for _ in 0..3 {
            rotation
                .write(content)
                .reload(Err(kind))
                .expect("value-a", None);
        }
        told.push(format!("failed {kind:?}"));
    }
    fs::remove_file(rotation.path()).unwrap();
    rotation.reload(Err(Kind::Missing)).expect("value-a", None);
    told.push(String::from("failed Missing"));
    fs::create_dir(rotation.path()).unwrap();
    rotation.reload(Err(Kind::NotAFile)).expect("value-a", None);
    told.push(String::from("failed NotAFile"));
    fs::remove_dir(rotation.path()).unwrap();

    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation.expect("value-b", Some("value-a"));
    told.push(String::from("rotated"));
    rotation.write("").reload(Err(Kind::Empty));
    told.push(String::from("failed Empty"));
    rotation.told(&told.iter().map(|it| &**it).collect::<Vec<_>>());
}

#[test]
fn the_value_before_expires_although_reloading_fails() {
    let rotation = Rotation::new("value-a", OVERLAP);
    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation.write("").advance(60).reload(Err(Kind::Empty));
    rotation.expect("value-b", None);
}

#[test]
fn a_secret_is_reloaded_from_its_own_place_only() {
    let first = tempfile::tempdir().unwrap();
    let second = tempfile::tempdir().unwrap();
    for (directory, value) in [(&first, "value-a"), (&second, "value-b")] {
        fs::write(directory.path().join("key"), value).unwrap();
    }
    let loader = SecretLoader::new()
        .with_environment(|_| None)
        .with_directory(first.path())
        .with_directory(second.path());
    let secret = loader.secret("key").rotating(OVERLAP).unwrap();
    fs::remove_file(first.path().join("key")).unwrap();
    assert_eq!(secret.name(), "key");
    let error = secret.reload().unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert!(error.place().is_none());
    assert_eq!(secret.current().expose_secret(), "value-a");
}

#[cfg(unix)]
#[test]
fn g05_a_kubernetes_volume_is_updated() {
    use std::os::unix::fs::symlink;

    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().to_owned();
    let publish = |version: &str, value: &str| {
        fs::create_dir(volume.join(version)).unwrap();
        fs::write(volume.join(version).join("key"), value).unwrap();
        symlink(version, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish("..2026_1", "value-a");
    symlink("..data/key", volume.join("key")).unwrap();
    let rotation = Rotation::of(directory, OVERLAP);
    rotation.expect("value-a", None);

    publish("..2026_2", "value-b");
    fs::remove_dir_all(volume.join("..2026_1")).unwrap();
    rotation
        .reload(Ok(Reload::Rotated))
        .expect("value-b", Some("value-a"));

    // A volume without its data: the link is there and leads nowhere.
    fs::remove_file(volume.join("..data")).unwrap();
    rotation.reload(Err(Kind::Io(std::io::ErrorKind::NotFound)));
    rotation.expect("value-b", Some("value-a"));
}

#[test]
fn g07_a_value_may_come_back() {
    let rotation = Rotation::new("value-a", OVERLAP);
    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation
        .advance(30)
        .write("value-a")
        .reload(Ok(Reload::Rotated));
    rotation.expect("value-a", Some("value-b"));
    rotation.advance(59).expect("value-a", Some("value-b"));
    rotation.advance(1).expect("value-a", None);
}

#[test]
fn only_one_value_before_is_kept() {
    let rotation = Rotation::new("value-a", OVERLAP);
    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation.write("value-c").reload(Ok(Reload::Rotated));
    rotation.expect("value-c", Some("value-b"));
}

#[test]
fn g10_without_an_overlap_the_switch_is_immediate() {
    let rotation = Rotation::new("value-a", Duration::ZERO);
    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation.expect("value-b", None).told(&["rotated"]);
}

#[test]
fn an_endless_overlap_is_a_long_one() {
    let rotation = Rotation::new("value-a", Duration::MAX);
    rotation.write("value-b").reload(Ok(Reload::Rotated));
    rotation
        .advance(364 * 24 * 3600)
        .expect("value-b", Some("value-a"));
}

#[test]
fn bytes_rotate_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, b"a\0\n").unwrap();
    let loader = SecretLoader::new()
        .with_environment(|_| None)
        .with_directory(directory.path());
    let secret = loader.secret("key").rotating_bytes(OVERLAP).unwrap();
    assert_eq!(secret.current().expose_secret(), b"a\0\n");
    fs::write(&path, b"\xff").unwrap();
    assert_eq!(secret.reload().unwrap(), Reload::Rotated);
    assert!(secret.matches(b"\xff") && secret.matches(b"a\0\n") && !secret.matches(b"a"));
}

#[test]
fn readers_see_whole_values_while_writers_rotate() {
    let rotation = Rotation::new("value-a", OVERLAP);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let shown = rotation.secret.current().expose_secret().to_owned();
                        assert!(matches!(&*shown, "value-a" | "value-b"), "{shown}");
                        assert!(rotation.secret.matches(b"value-a"));
                    }
                })
            })
            .collect();
        // `value-a` is the current value or the one before, at any time.
        let mut next = ["value-b", "value-a"].into_iter().cycle();
        while readers.iter().any(|reader| !reader.is_finished()) {
            rotation
                .write(next.next().unwrap())
                .reload(Ok(Reload::Rotated));
        }
    });
}

#[cfg(feature = "tokio")]
mod tasks {
    use palisade::secret::ReloadTask;
    use tokio::{sync::mpsc, time};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_task_reloads_until_it_is_dropped() {
        let (sender, mut reloads) = mpsc::unbounded_channel();
        let task = ReloadTask::spawn(PERIOD, move || {
            let _ = sender.send(());
        })
        .unwrap();
        let start = time::Instant::now();
        for count in 1..=3 {
            reloads.recv().await.unwrap();
            assert_eq!(start.elapsed(), PERIOD * count);
        }
        drop(task);
        // The closure is dropped with the task, and the channel ends.
        assert!(reloads.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_survives_a_panic() {
        let (sender, mut reloads) = mpsc::unbounded_channel();
        let _task = ReloadTask::spawn(PERIOD, move || {
            let _ = sender.send(());
            panic!("of the closure");
        })
        .unwrap();
        reloads.recv().await.unwrap();
        reloads.recv().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_reloaded_by_its_task() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "value-a").unwrap();
        let (sender, mut notices) = mpsc::unbounded_channel();
        let loader = SecretLoader::new()
            .with_environment(|_| None)
            .with_directory(directory.path())
            .with_observer(move |notice| {
                if let SecretNotice::Rotated { name, .. } = notice {
                    let _ = sender.send((*name).to_owned());
                }
            });
        let secret = loader.secret("key").rotating(OVERLAP).unwrap();
        let task = secret.reload_every(PERIOD).unwrap();
        fs::write(&path, "value-b").unwrap();
        assert_eq!(notices.recv().await.unwrap(), "key");
        assert_eq!(secret.current().expose_secret(), "value-b");
        drop((task, loader));
    }

    #[test]
    fn a_task_needs_a_runtime() {
        let error = ReloadTask::spawn(PERIOD, || {}).unwrap_err();
        assert_eq!(error.to_string(), "no tokio runtime is running here");
    }
}

#[cfg(unix)]
#[test]
fn permissions_that_stay_loose_are_told_of_once() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, "a value of the secret").unwrap();
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    // Whoever owns the file, root or not, others may write it.
    set(0o664);
    let told: Arc<Mutex<Vec<u32>>> = Arc::default();
    let telling = Arc::clone(&told);
    let secret = SecretLoader::new()
        .with_environment(|_| None)
        .with_directory(directory.path())
        .with_observer(move |notice| {
            if let SecretNotice::LoosePermissions { mode, .. } = notice {
                telling.lock().unwrap().push(*mode);
            }
        })
        .secret("key")
        .rotating(Duration::ZERO)
        .unwrap();
    for mode in [0o664, 0o664, 0o660, 0o660, 0o400, 0o664] {
        set(mode);
        secret.reload().unwrap();
    }
    assert_eq!(*told.lock().unwrap(), [0o664, 0o660, 0o664]);
}
