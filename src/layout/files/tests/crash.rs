//! What a dead process leaves goes at the next open; what a living one needs stays.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime};

use super::super::sweep::FOREIGN_REST;
use super::*;

/// A process is killed in the middle of two puts. Nothing of them may ever show as an object, the
/// next open must free what they took, and until then nobody may take it for dead.
#[test]
fn kill_leaves_only_temporaries_which_the_next_open_removes() {
    let dir = TestDir::new();
    let mut writer = Helper::start("store", dir.path());
    assert_eq!(writer.hear(), "ready");
    assert_eq!(writer.ask("begin 1"), "done");
    assert_eq!(writer.ask("begin 2"), "done");
    assert_eq!(writer.ask("put 3 finished"), "done");

    let store = open(dir.path());
    assert_eq!(temporaries(dir.path()).len(), 2, "a living process lost its temporaries");
    assert_eq!(writer.ask("put 4 finished"), "done");
    writer.kill();
    assert_eq!(temporaries(dir.path()).len(), 2, "kill was to leave them");

    let next = open(dir.path());
    assert_eq!(temporaries(dir.path()).len(), 0);
    assert_eq!(areas(dir.path()), 2, "one for each of the two stores that are open");
    for store in [&store, &next] {
        assert_eq!(scanned(store).len(), 2);
        assert_eq!(get(store, &named(store, 3)).unwrap(), b"finished");
    }
}

/// Stores come and go in an orderly way. None may leave a directory behind.
#[test]
fn a_closed_store_leaves_no_area() {
    let dir = TestDir::new();
    for _ in 0..3 {
        let store = open(dir.path());
        put(&store, &named(&store, 1), b"x");
        assert_eq!(areas(dir.path()), 1);
    }
    assert_eq!(areas(dir.path()), 0);
}

/// Processes open and close the store all the time, so each sweeps while others have just made a
/// directory and not locked it yet. None may lose the directory that it works in.
#[test]
fn sweepers_never_take_an_area_that_is_being_made() {
    let dir = TestDir::new();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let path = dir.path();
            scope.spawn(move || {
                for round in 0..100u64 {
                    let log = Log::default();
                    let store =
                        FileStore::open(path, Layout::Sharded, false, Habits::default(), &log.logger())
                            .unwrap();
                    put(&store, &named(&store, digest(9, thread << 32 | round)), b"bytes");
                    let renewed = log.lines().into_iter().find(|line| line.contains("made a new one"));
                    assert_eq!(renewed, None);
                }
            });
        }
    });
    assert_eq!(areas(dir.path()), 0);
    assert_eq!(scanned(&open(dir.path())).len(), 400);
}

/// Another host's leftovers look dead where locks do not reach other hosts. They must stay while
/// anything happened in them lately, and go when nothing did for long.
#[test]
fn leftovers_of_another_boot_stay_until_they_have_rested() {
    let dir = TestDir::new();
    let area = dir.join(".nixl_store+tmp").join(format!("{:032x}.{:032x}", 1, 2));
    std::fs::create_dir_all(&area).unwrap();
    for file in ["lock", "0000000000000000"] {
        std::fs::write(area.join(file), b"").unwrap();
    }
    let long_ago = SystemTime::now() - FOREIGN_REST - Duration::from_secs(60);
    let rest = |path: &Path| {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(long_ago)).unwrap();
    };

    drop(open(dir.path()));
    assert!(area.join("0000000000000000").exists(), "all is new");
    rest(&area.join("lock"));
    rest(&area);
    drop(open(dir.path()));
    assert!(area.join("0000000000000000").exists(), "the temporary was just written to");
    rest(&area.join("0000000000000000"));
    drop(open(dir.path()));
    assert!(!area.exists());
}

/// An operator empties the whole directory while the store is open. Puts must go on as if nothing
/// had happened.
#[test]
fn a_store_survives_the_loss_of_its_directories() {
    let dir = TestDir::new();
    let log = Log::default();
    let store =
        FileStore::open(dir.path(), Layout::Sharded, false, Habits::default(), &log.logger()).unwrap();
    let name = named(&store, 5);
    put(&store, &name, b"before");
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    assert_eq!(get(&store, &name), None);
    put(&store, &name, b"after");
    put(&store, &name, b"after that");
    assert_eq!(get(&store, &name).unwrap(), b"after that");
    assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
}
