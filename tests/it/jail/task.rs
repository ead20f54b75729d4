//! The task that saves the bans.

use std::fs;

use palisade::jail::{Jail, JailTask};

use super::support::{CLIENT, addr, seconds};

#[tokio::test(start_paused = true)]
async fn it_saves_from_time_to_time_and_stops_when_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bans");
    let jail = Jail::builder().file(&path).build();
    let task = JailTask::spawn(jail.handle(), seconds(10)).unwrap();
    jail.handle().ban(addr(CLIENT), seconds(600)).unwrap();
    tokio::time::sleep(seconds(9)).await;
    assert!(!path.exists());
    // The runtime's time stands still while the disk is written to.
    tokio::time::sleep(seconds(2)).await;
    assert!(fs::read_to_string(&path).unwrap().contains(CLIENT));

    drop(task);
    fs::remove_file(&path).unwrap();
    tokio::time::sleep(seconds(100)).await;
    assert!(!path.exists());
}

#[test]
fn it_needs_a_runtime() {
    assert!(JailTask::spawn(Jail::builder().build().handle(), seconds(10)).is_err());
}
