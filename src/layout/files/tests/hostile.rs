//! What others plant in the store's directory is harmless: never followed, never waited for.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::super::{Evicted, is_planted};
use super::*;
use crate::sys::at::Walk;

const SECRET: &[u8] = b"outside of the store";

/// Everything that can stand in an object's place and is no file. `open_read` says that it is
/// planted, at once even for a FIFO that nobody writes to; a put takes its place where the
/// system lets it; nothing outside changes.
#[test]
fn whatever_is_planted_in_an_objects_place_is_harmless() {
    for layout in [Layout::Sharded, Layout::Lmcache] {
        for walk in [Walk::OneCall, Walk::Stepwise] {
            let dir = TestDir::new();
            let outside = TestDir::new();
            std::fs::write(outside.join("secret"), SECRET).unwrap();
            let mut store = open_as(dir.path(), layout);
            store.walk = walk;
            let name = named(&store, 0x42);
            put(&store, &name, b"mine");
            let place = dir.join(name.to_string());
            let plants: [(&str, &dyn Fn()); 5] = [
                ("symlink", &|| symlink(outside.join("secret"), &place).unwrap()),
                ("dangling symlink", &|| symlink(outside.join("nothing"), &place).unwrap()),
                ("fifo", &|| assert!(Command::new("mkfifo").arg(&place).status().unwrap().success())),
                ("socket", &|| {
                    // An address is shorter than a path may be.
                    drop(UnixListener::bind(outside.join("s")).unwrap());
                    std::fs::rename(outside.join("s"), &place).unwrap();
                }),
                ("directory", &|| std::fs::create_dir(&place).unwrap()),
            ];
            for (what, plant) in plants {
                let what = format!("{what}, {layout:?}, {walk:?}");
                store.remove(&name).unwrap();
                plant();
                assert!(is_planted(&store.open_read(&name).unwrap_err()), "{what}");
                assert!(is_planted(&store.stat(&name).unwrap_err()), "{what}");
                assert_eq!(scanned(&store).len(), 0, "{what}");
                let temporary = store.create_temporary(&name, 4).unwrap();
                temporary.file().write_all_at(b"mine", 0).unwrap();
                if place.is_dir() {
                    assert!(is_planted(&store.publish(temporary).unwrap_err()), "{what}");
                    assert!(is_planted(&store.evict(&name).unwrap_err()), "{what}");
                    assert!(is_planted(&store.remove(&name).unwrap_err()), "{what}");
                    std::fs::remove_dir(&place).unwrap();
                    continue;
                }
                store.publish(temporary).unwrap();
                assert_eq!(get(&store, &name).unwrap(), b"mine", "{what}");
                store.remove(&name).unwrap();
                plant();
                assert_eq!(store.evict(&name).unwrap(), Evicted::Removed, "{what}");
            }
            assert_eq!(std::fs::read(outside.join("secret")).unwrap(), SECRET);
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        }
    }
}

/// A shard's directory is replaced by a link to a directory elsewhere that holds a file of an
/// object's name, or by a file. Nothing there may be read, replaced, removed or listed.
#[test]
fn a_planted_shard_directory_leads_nowhere() {
    for walk in [Walk::OneCall, Walk::Stepwise] {
        let dir = TestDir::new();
        let outside = TestDir::new();
        let log = Log::default();
        let mut store =
            FileStore::open(dir.path(), Layout::Sharded, false, Habits::default(), &log.logger()).unwrap();
        store.walk = walk;
        let name = named(&store, digest(0xab, 1));
        let victim = outside.join(name.file_name());
        std::fs::write(&victim, SECRET).unwrap();
        let shard = dir.join("nixl_store_objects/ab");
        for planted in ["link", "file"] {
            if planted == "link" {
                symlink(outside.path(), &shard).unwrap();
            } else {
                std::fs::write(&shard, b"").unwrap();
            }
            let other = named(&store, digest(0xab, 2));
            assert!(is_planted(&store.create_temporary(&other, 4).unwrap_err()));
            assert!(is_planted(&store.open_read(&name).unwrap_err()));
            assert!(is_planted(&store.stat(&name).unwrap_err()));
            assert!(is_planted(&store.evict(&name).unwrap_err()));
            assert!(is_planted(&store.remove(&name).unwrap_err()));
            assert_eq!(scanned(&store).len(), 0);
            std::fs::remove_file(&shard).unwrap();
        }
        assert_eq!(log.lines().len(), 2, "each scan was to say what it left out: {:?}", log.lines());
        assert_eq!(std::fs::read(&victim).unwrap(), SECRET);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        put(&store, &name, b"mine");
        assert_eq!(get(&store, &name).unwrap(), b"mine");
    }
}

/// The store's own entries are replaced by links before it is opened. It must refuse to open rather
/// than work in somebody else's directory.
#[test]
fn a_planted_directory_of_the_stores_own_is_refused_at_open() {
    for entry in ["nixl_store_objects", ".nixl_store+tmp", ".nixl_store+pins"] {
        let dir = TestDir::new();
        let outside = TestDir::new();
        let target = if entry == ".nixl_store+pins" {
            std::fs::write(outside.join("file"), b"").unwrap();
            outside.join("file")
        } else {
            outside.path().to_owned()
        };
        symlink(target, dir.join(entry)).unwrap();
        let before = std::fs::read_dir(outside.path()).unwrap().count();
        let error =
            FileStore::open(dir.path(), Layout::Sharded, false, Habits::default(), &Log::default().logger())
                .unwrap_err();
        assert!(error.message().contains(&dir.path().display().to_string()), "{}", error.message());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), before);
    }
}

/// Areas for a sweeper that are traps: a link to a directory elsewhere, a file, one with a
/// sub-directory, one without a lock, one whose lock is a link or a FIFO. Opening must survive
/// all, and remove nothing elsewhere.
#[test]
fn a_sweep_is_not_led_astray() {
    let dir = TestDir::new();
    let outside = TestDir::new();
    for file in ["lock", "precious"] {
        std::fs::write(outside.join(file), SECRET).unwrap();
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().replace('-', "");
    let area = |number: u32| dir.join(format!(".nixl_store+tmp/{boot}.{number:032x}"));
    std::fs::create_dir(dir.join(".nixl_store+tmp")).unwrap();
    symlink(outside.path(), area(1)).unwrap();
    std::fs::write(area(2), b"").unwrap();
    for number in 3..=7 {
        std::fs::create_dir(area(number)).unwrap();
    }
    std::fs::write(area(3).join("lock"), b"").unwrap();
    std::fs::create_dir(area(3).join("directory")).unwrap();
    std::fs::write(area(4).join("no lock beside it"), b"").unwrap();
    symlink(outside.join("lock"), area(5).join("lock")).unwrap();
    assert!(Command::new("mkfifo").arg(area(6).join("lock")).status().unwrap().success());
    std::fs::write(area(7).join("lock"), b"").unwrap();
    symlink(outside.join("precious"), area(7).join("link")).unwrap();
    std::fs::write(dir.join(".nixl_store+tmp/somebody's"), b"").unwrap();

    let store = open(dir.path());
    put(&store, &named(&store, 1), b"works");
    assert_eq!(std::fs::read(outside.join("precious")).unwrap(), SECRET);
    assert_eq!(std::fs::read(outside.join("lock")).unwrap(), SECRET);
    assert!(area(3).join("directory").exists());
    assert!(area(4).join("no lock beside it").exists());
    assert!(!area(7).exists(), "the one true leftover was to go, with its link");
    assert!(dir.join(".nixl_store+tmp/somebody's").exists());
}
