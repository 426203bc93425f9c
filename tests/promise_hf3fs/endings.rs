//! Deadlines, cancels and closes while the daemon stands still: what was not started ends in time, what was is waited for.

use crate::common::exchange::{all_hold, begin_gets, close_off, deadlines_are_kept};
use crate::common::hf3fs::What;
use crate::common::status::{CLOSING, OK};
use crate::common::{Batch, Scratch, Setup, Store, Submit, payload};
use crate::{Alone, BOTH, MIB};

/// Items that no lane has yet end at their deadline; the others once the daemon answers, with their bytes.
#[test]
fn deadlines_are_kept_while_the_daemon_stands_still() {
    let standin = Alone::new();
    for of in &BOTH {
        let scratch = Scratch::new("hf3fs-deadline");
        let store = Store::open(&Setup { slots: 300, ..of.clone() }, &scratch);
        deadlines_are_kept(&store, MIB, |still| standin.hold(still));
        assert_eq!(store.close(), OK);
    }
}

/// A close waits for what the daemon has; from then on the engine's memory is its own.
#[test]
fn close_waits_for_the_daemon() {
    let standin = Alone::new();
    for of in &BOTH {
        let scratch = Scratch::new("hf3fs-close");
        let store = Store::open(&Setup { slots: 64, ..of.clone() }, &scratch);
        let object = payload(2, MIB);
        assert_eq!(store.put(b"key", &object), OK);
        standin.hold(true);
        let (memory, pending) = begin_gets(&store, b"key", 8, MIB);
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| store.close());
            while store.contains(b"late") != CLOSING {
                std::thread::yield_now();
            }
            while standin.count(What::Held) == 0 {
                std::thread::yield_now();
            }
            assert!(!closing.is_finished());
            standin.hold(false);
            assert_eq!(pending.wait().0, OK);
            close_off(&memory);
            assert_eq!(closing.join().unwrap(), OK);
        });
        assert!(all_hold(&memory, &object));
    }
}

/// A get does not wait behind puts that the daemon holds: they have rings of their own.
#[test]
fn gets_go_while_puts_are_held() {
    let standin = Alone::new();
    let scratch = Scratch::new("hf3fs-ahead");
    let store = Store::open(&Setup { slots: 128, buffer_bytes: 64 << 20, ..Setup::HF3FS }, &scratch);
    let object = payload(3, MIB);
    assert_eq!(store.put(b"key", &object), OK);
    standin.hold(true);
    let objects: Vec<_> = (0..64).map(|index| payload(index, MIB)).collect();
    let mut puts = Batch::new();
    let keys: Vec<_> = (0..64).map(|index| format!("put {index}").into_bytes()).collect();
    keys.iter().zip(&objects).for_each(|(key, object)| puts.put(key, object));
    let pending = store.submit_puts(&puts, Submit::default()).unwrap();
    while standin.count(What::Held) == 0 {
        std::thread::yield_now();
    }
    let mut buffer = vec![0; MIB];
    let mut gets = Batch::new();
    gets.get(b"key", &mut buffer);
    let get = store.submit_gets(&gets, Submit::default()).unwrap();
    // Its reads are taken although no write has ended.
    let reads = standin.count(What::Reads);
    while standin.count(What::Reads) == reads && get.poll() != OK {
        std::thread::yield_now();
    }
    standin.hold(false);
    assert_eq!(get.wait().0, OK);
    assert_eq!(pending.wait().0, OK);
    drop(gets);
    assert!(buffer == object);
    assert_eq!(store.close(), OK);
}

/// A forked child has the parent's memory and rings in its hands, and lets go of none of them.
#[test]
fn a_forked_child_may_close() {
    let standin = Alone::new();
    let scratch = Scratch::new("hf3fs-fork");
    let store = Store::open(&Setup::HF3FS, &scratch);
    assert_eq!(store.put(b"key", &[1; 9000]), OK);
    let alive = standin.alive();
    let data = scratch.data();
    let has_slots_open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut paths = files.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        paths.any(|path| path.starts_with(&data) && path.to_string_lossy().contains("slots-"))
    };
    assert!(has_slots_open());
    // SAFETY: the child closes the store, looks at what it has open, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: takes no pointers.
        unsafe {
            libc::alarm(60);
            // What it kept open would keep the pool's locks after the parent's death.
            libc::_exit(i32::from(store.close() != OK) + 2 * i32::from(has_slots_open()));
        }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child's answer");
    assert_eq!(standin.alive(), alive);
    assert_eq!(store.fetch(b"key", 9000), Some(vec![1; 9000]));
    assert_eq!(store.close(), OK);
}
