//! A pin keeps every process away, for exactly as long as it is held.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nixl_store::capi::*;

use crate::crash_common::api::Store;
use crate::crash_common::helper::{Helper, Peer};
use crate::crash_common::{Scratch, exhaust_descriptors};
use crate::{layouts, put, version};

/// Two requests of one engine use a chunk: one takes its pin back while the other one pins. From then on another engine's
/// attempt to remove the chunk must be refused, whichever of the two came first.
#[test]
fn a_pin_holds_while_another_thread_unpins() {
    const ROUNDS: u32 = 1000;
    let scratch = Scratch::new("pin_unpin");
    for settings in layouts(scratch.path()) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let (store, other) = (Store::open(&config).unwrap(), Store::open(&config).unwrap());
        put(&store, "key", 1, 5000);
        assert!(store.pin("key").unwrap());
        let together = Meeting::default();
        let lost = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    together.wait();
                    assert_eq!(store.unpin("key"), Ok(true));
                    together.wait();
                }
            });
            let mut lost = 0;
            for round in 0..ROUNDS {
                together.wait();
                // Sooner and later in the other one's work.
                (0..round % 100 * 20).for_each(|_| std::hint::spin_loop());
                let pinned = store.pin("key");
                together.wait();
                // What was lost is counted and put again, as the other thread waits for this one.
                if pinned != Ok(true) || other.remove("key") != Ok(NIXL_STORE_PINNED) {
                    lost += 1;
                    put(&store, "key", 1, 5000);
                    drop(store.pin("key"));
                }
            }
            lost
        });
        assert_eq!(lost, 0, "of {ROUNDS} pinned keys, in {:?}", settings.paths);
        assert!(store.unpin("key").unwrap());
        assert_eq!(other.remove("key").unwrap(), NIXL_STORE_OK, "nobody pins it any more");
        assert_eq!(store.stats().unwrap().keys_pinned, 0);
    }
}

/// Where two threads meet. A barrier of the standard library lets them go on too far apart.
#[derive(Default)]
struct Meeting(AtomicU32);

impl Meeting {
    fn wait(&self) {
        let arrived = self.0.fetch_add(1, Ordering::AcqRel);
        let both = arrived / 2 * 2 + 2;
        for turn in 1u32.. {
            if self.0.load(Ordering::Acquire) >= both {
                return;
            }
            // The other one may need this processor to come.
            if turn % 10_000 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

/// Two stores in a process that has no descriptor left; one of them pins.
pub fn no_descriptor_to_pin(peer: &mut Peer) {
    let root = PathBuf::from(peer.line().expect("a directory"));
    crate::crash_common::sandbox::enter("descriptors=128");
    for settings in layouts(&root) {
        let config = settings.write(&root.join("lmcache.yaml"));
        let (store, other) = (Store::open(&config).unwrap(), Store::open(&config).unwrap());
        put(&store, "key", 1, 5000);
        let taken = exhaust_descriptors(0);
        let failure = store.pin("key").expect_err("the file cannot be opened");
        assert_eq!(failure.status, NIXL_STORE_ERROR_IO, "{failure}");
        drop(taken);
        assert!(!store.unpin("key").unwrap(), "it is not pinned");
        assert_eq!(other.remove("key").unwrap(), NIXL_STORE_OK, "a pin that failed holds nothing");
        assert!(!store.pin("key").unwrap(), "it is not there");
        put(&store, "key", 2, 5000);
        assert_eq!(version(&other, "key"), Some(2));
        assert_eq!(other.remove("key").unwrap(), NIXL_STORE_OK, "a pin of what was not there holds nothing");
        assert_eq!(store.stats().unwrap().keys_pinned, 0);
    }
    peer.say("done");
}

/// A pin that fails, or that finds nothing, is none: the engine was told so and will not take it back.
#[test]
fn a_pin_that_failed_holds_nothing() {
    let scratch = Scratch::new("pin_failed");
    let mut helper = Helper::start("no-descriptor-to-pin");
    assert_eq!(helper.ask(&scratch.path().display().to_string()), "done");
    helper.finish();
}

/// An operator removes a pinned chunk's file by hand, and the engine notices. Its pin ends all the same when it is taken
/// back, and keeps nobody from the next object of that key.
#[test]
fn a_pin_ends_also_when_its_file_is_gone() {
    let scratch = Scratch::new("pin_gone");
    for settings in layouts(scratch.path()) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let (store, other) = (Store::open(&config).unwrap(), Store::open(&config).unwrap());
        put(&store, "key", 1, 5000);
        assert!(store.pin("key").unwrap());
        for file in crate::object_files(&settings.paths[0]) {
            std::fs::remove_file(file).unwrap();
        }
        assert_eq!(version(&store, "key"), None);
        put(&store, "key", 2, 5000);
        assert_eq!(other.remove("key").unwrap(), NIXL_STORE_PINNED);
        assert!(store.unpin("key").unwrap());
        assert_eq!(other.remove("key").unwrap(), NIXL_STORE_OK);
    }
}
