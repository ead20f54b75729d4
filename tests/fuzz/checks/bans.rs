//! Files of bans in any bytes: nothing panics, a bad file is told of and starts no ban, and a good one is written as it was read.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use palisade::{
    event::{Action, SecurityEvent},
    jail::{Jail, JailHandle},
};

thread_local! {
    static DIRECTORY: tempfile::TempDir = tempfile::tempdir().expect("a directory");
}

/// Starts a jail, and says whether it told of a bad file.
fn start(path: &Path) -> (JailHandle, bool) {
    let failed = Arc::new(Mutex::new(false));
    let told = Arc::clone(&failed);
    let sink = move |event: &SecurityEvent<'_>| {
        *told.lock().expect("a lock") |= event.action() == Action::BanFileFailed;
    };
    let handle = Jail::builder().file(path).sink(sink).build().handle();
    let failed = *failed.lock().expect("a lock");
    (handle, failed)
}

pub(crate) fn check(data: &[u8]) {
    DIRECTORY.with(|directory| {
        let path = directory.path().join("bans");
        fs::write(&path, data).expect("a file");
        let (jail, failed) = start(&path);
        if failed {
            assert!(jail.bans().is_empty());
            // It is kept, where no save writes over it.
            let aside = path.with_extension("corrupt");
            assert_eq!(fs::read(aside).expect("a file"), data);
        } else {
            assert!(data.starts_with(b"palisade-bans 1\n") && data.ends_with(b"\n"));
        }
        jail.save().expect("a directory that can be written");
        let (again, failed) = start(&path);
        assert!(!failed, "its own file");
        for ban in again.bans() {
            assert!(ban.start() <= ban.end());
            assert!(!ban.rule().contains(char::is_control));
            assert!(jail.bans().iter().any(|it| it.client() == ban.client()));
        }
    });
}
