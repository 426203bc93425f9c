//! A put is visible as a whole or not at all, and replacing one harms nobody who reads it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A put is under way while another process looks. It must find nothing until the put is
/// published, then all of it; and the same again when the object is replaced.
#[test]
fn another_process_sees_a_put_whole_or_not_at_all() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, 0xabc);
    let mut other = Helper::start("store", dir.path());
    assert_eq!(other.hear(), "ready");

    let first = store.create_temporary(&name, 11).unwrap();
    assert_eq!(other.ask("get abc"), "absent");
    first.file().write_all_at(b"first", 0).unwrap();
    assert_eq!(other.ask("get abc"), "absent");
    first.file().write_all_at(b" bytes", 5).unwrap();
    assert_eq!(other.ask("get abc"), "absent");
    store.publish(first).unwrap();
    assert_eq!(other.ask("get abc"), "first bytes");

    let second = store.create_temporary(&name, 12).unwrap();
    second.file().write_all_at(b"second", 0).unwrap();
    assert_eq!(other.ask("get abc"), "first bytes");
    second.file().write_all_at(b" bytes", 6).unwrap();
    store.publish(second).unwrap();
    assert_eq!(other.ask("get abc"), "second bytes");
    other.finish();
}

/// Another process reads an object over and over while this one replaces it. Each version is
/// one letter repeated, each of another length: a mixture or a missing end would show.
#[test]
fn a_reader_never_meets_a_mixture_while_an_object_is_replaced() {
    const REPLACEMENTS: usize = 500;
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, WATCHED);
    put(&store, &name, &version(0));
    let mut watcher = Helper::start("watcher", dir.path());
    assert_eq!(watcher.hear(), "watching");
    for number in 1..=REPLACEMENTS {
        put(&store, &name, &version(number));
    }
    assert_eq!(watcher.ask("stop"), "all whole");
    watcher.finish();
    assert_eq!(temporaries(dir.path()), Vec::<PathBuf>::new());
}

/// A reader has opened an object and not read it yet when it is replaced, and then removed. The
/// bytes that it opened must still be there for it.
#[test]
fn replacing_or_removing_never_harms_an_open_reader() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, 7);
    put(&store, &name, b"old bytes");
    let (old, old_size) = store.open_read(&name).unwrap().unwrap();
    put(&store, &name, b"new");
    let (new, new_size) = store.open_read(&name).unwrap().unwrap();
    assert!(store.remove(&name).unwrap());
    assert!(!store.remove(&name).unwrap());
    assert_eq!((old_size, read(&old)), (9, b"old bytes".to_vec()));
    assert_eq!((new_size, read(&new)), (3, b"new".to_vec()));
    assert_eq!(get(&store, &name), None);
    assert_eq!(store.stat(&name).unwrap(), None);
}

/// A put that is given up, explicitly or by an error that drops it, must leave neither an object
/// nor the space it took.
#[test]
fn a_put_given_up_leaves_nothing() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, 1);
    let kept = store.create_temporary(&name, 4096).unwrap();
    store.discard(store.create_temporary(&name, 4096).unwrap());
    drop(store.create_temporary(&name, 4096).unwrap());
    assert_eq!(temporaries(dir.path()).len(), 1);
    drop(kept);
    assert_eq!(temporaries(dir.path()).len(), 0);
    assert_eq!(scanned(&store).len(), 0);
}

/// A put must learn that the disk is full before it moves a byte: its space is reserved when its
/// file is created, as large as it will be, and a size that no disk has is refused.
#[test]
fn the_space_of_a_put_is_reserved_before_it_starts() {
    let dir = TestDir::new();
    let store = open(dir.path());
    let name = named(&store, 1);
    let temporary = store.create_temporary(&name, 1 << 20).unwrap();
    let metadata = temporary.file().metadata().unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= 1 << 20);
    drop(temporary);
    assert!(store.create_temporary(&name, 1 << 60).is_err());
    assert_eq!(temporaries(dir.path()).len(), 0);
}

const WATCHED: u128 = 0x7700_0000_0000_0000_0000_0000_0000_0077;

fn version(number: usize) -> Vec<u8> {
    vec![b'a' + (number % 26) as u8; 1000 + 37 * (number % 26)]
}

/// The helper of `a_reader_never_meets_a_mixture_while_an_object_is_replaced`.
pub(super) fn watch(path: &Path, lines: &mut dyn Iterator<Item = String>) {
    let store = open(path);
    let name = named(&store, WATCHED);
    let stop = Arc::new(AtomicBool::new(false));
    let broken = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut first = true;
            loop {
                let Some(bytes) = get(&store, &name) else { return Some("absent".to_owned()) };
                let letter = bytes.first().copied().unwrap_or_default();
                if bytes != version(usize::from(letter.wrapping_sub(b'a'))) {
                    return Some(format!("{} bytes of {letter}", bytes.len()));
                }
                if std::mem::take(&mut first) {
                    say("watching");
                }
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
            }
        });
        lines.next();
        stop.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    say(broken.unwrap_or_else(|| "all whole".to_owned()));
}
