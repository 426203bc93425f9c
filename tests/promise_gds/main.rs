//! GDS and GDS_MT on NVIDIA's own libcufile, in compatibility mode and on host memory: what it does that nobody would expect.
//!
//! The conformance suite has what a store does with it; here are the traps.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cufile_common/mod.rs"]
mod cufile_common;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../crash_common/sandbox.rs"]
mod sandbox;

use std::ffi::CStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use common::status::{NOT_FOUND, OK};
use common::{Batch, Layout, Memory, Pieces, Random, Scratch, Setup, Store, payload};

const BOTH: [Setup; 2] = [Setup::GDS, Setup::GDS_MT];
const MIB: usize = 1 << 20;

/// Set in a child process that is to have a log of cuFile's.
const LOG_CHILD: &str = "NIXL_STORE_TEST_CUFILE_LOG";

/// The machine has no nvidia-fs: the path in effect and why are in the capabilities, and one line in the log.
#[test]
fn compatibility_mode_is_told_once() {
    if !cufile_common::is_real() {
        return;
    }
    for (setup, path) in BOTH.iter().zip(["cufile_batch_compat", "cufile_compat"]) {
        let scratch = Scratch::new("gds-path");
        let store = Store::open(setup, &scratch);
        let capabilities = store.capabilities();
        // SAFETY: NUL-terminated arrays.
        let text = |array: &[std::ffi::c_char]| unsafe {
            CStr::from_ptr(array.as_ptr()).to_str().unwrap().to_owned()
        };
        assert_eq!(text(&capabilities.io_path), path);
        assert!(text(&capabilities.reason).contains("nvidia-fs"), "{}", text(&capabilities.reason));
        assert_eq!(store.logged("compatibility mode"), 1);
        assert_eq!(store.close(), OK);
    }
}

/// Batches on O_DIRECT files with many entries of a megabyte, again and again, while other threads allocate and free: libcufile
/// reads what it freed where its events are taken in parts, which shows as a crash then.
#[test]
fn large_batches_come_back_again_and_again() {
    if !cufile_common::is_real() {
        return;
    }
    const ITEMS: usize = 48;
    for of in &BOTH {
        let scratch = Scratch::new("gds-large");
        let store = Store::open(&Setup { slots: 64, chunk_bytes: MIB as u64, ..of.clone() }, &scratch);
        let objects: Vec<_> = (0..ITEMS).map(|index| payload(index as u64, MIB)).collect();
        let memory: Vec<_> = (0..ITEMS).map(|_| Memory::new(MIB)).collect();
        let keys: Vec<_> = (0..ITEMS).map(|index| format!("key {index}").into_bytes()).collect();
        for _ in 0..8 {
            let mut puts = Batch::new();
            keys.iter().zip(&objects).for_each(|(key, object)| puts.put(key, object));
            assert_eq!(store.put_batch(&puts).0, OK);
            let mut gets = Batch::new();
            keys.iter()
                .zip(&memory)
                .for_each(|(key, memory)| gets.raw(key, vec![memory.segment(0..MIB)], None));
            assert_eq!(store.get_batch(&gets).0, OK);
            let noise: Vec<_> = (0..1000).map(|size| vec![0u8; 16 + size % 500]).collect();
            drop(noise);
        }
        assert!(memory.iter().zip(&objects).all(|(memory, object)| memory.bytes()[..MIB] == object[..]));
        assert_eq!(store.close(), OK);
    }
}

/// A file that was cut reads short, and cuFile says that the entry is complete: the rest would be whatever was in the memory.
#[test]
fn an_object_whose_file_was_cut_is_a_miss() {
    if !cufile_common::is_real() {
        return;
    }
    for of in &BOTH {
        for direct_io in [true, false] {
            let setup = Setup { layout: Layout::Lmcache, direct_io, ..of.clone() };
            let scratch = Scratch::new("gds-cut");
            let store = Store::open(&setup, &scratch);
            let object = payload(3, 5 * MIB);
            assert_eq!(store.put(b"key", &object), OK);
            let file = scratch.data().join("key");
            let bytes = std::fs::metadata(&file).unwrap().len();
            let opened = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
            // A hole in place of the last megabyte, as a torn write leaves it: the length is right.
            opened.set_len(bytes - MIB as u64).unwrap();
            opened.set_len(bytes).unwrap();
            let mut buffer = vec![0xaa; object.len()];
            assert_eq!(store.get(b"key", &mut buffer).0, NOT_FOUND);
            // And shorter than it should be.
            assert_eq!(store.put(b"key", &object), OK);
            let opened = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
            opened.set_len(bytes / 2).unwrap();
            assert_eq!(store.get(b"key", &mut buffer).0, NOT_FOUND);
            // One wrong bit.
            assert_eq!(store.put(b"key", &object), OK);
            let opened = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
            let mut byte = [0];
            opened.read_exact_at(&mut byte, 2 * MIB as u64).unwrap();
            opened.write_all_at(&[byte[0] ^ 1], 2 * MIB as u64).unwrap();
            assert_eq!(store.get(b"key", &mut buffer).0, NOT_FOUND);
            assert_eq!(store.close(), OK);
        }
    }
}

/// Addresses in the middle of memory, aligned for the device and not, in many pieces: in batches on host memory cuFile ignores
/// an offset that is given apart from the address.
#[test]
fn bytes_land_where_they_belong_in_the_middle_of_memory() {
    if !cufile_common::is_real() {
        return;
    }
    use common::Cut;
    for of in &BOTH {
        let scratch = Scratch::new("gds-middle");
        let store = Store::open(&Setup { slots: 8, chunk_bytes: 4 * MIB as u64, ..of.clone() }, &scratch);
        let mut random = Random::new(11);
        for (index, cut) in [
            Cut::Whole { offset: 512 },
            Cut::Whole { offset: 8 },
            Cut::Even { piece: 256 << 10, gap: 8192, offset: 4096 },
            Cut::Even { piece: 64 << 10, gap: 512, offset: 512 },
            Cut::Ragged { pieces: 100, seed: random.next() },
        ]
        .into_iter()
        .enumerate()
        {
            let object = payload(index as u64, 3 * MIB);
            let source = Pieces::holding(&object, cut);
            let mut puts = Batch::new();
            puts.pieces(b"key", &source);
            assert_eq!(store.put_batch(&puts).0, OK);
            let target = Pieces::new(object.len(), cut);
            let mut gets = Batch::new();
            gets.pieces(b"key", &target);
            assert_eq!(store.get_batch(&gets).0, OK);
            target.assert_holds(&object, &format!("{} {cut:?}", of.backend));
        }
        assert_eq!(store.close(), OK);
    }
}

/// Descriptors of this process that lead below a directory.
fn descriptors_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|to| to.starts_with(directory))
        .count()
}

/// cuFile opens files with O_DIRECT once more. All of it goes with the objects, and the rest when the store is closed.
#[test]
fn descriptors_are_given_back() {
    if !cufile_common::is_real() {
        return;
    }
    for of in &BOTH {
        let scratch = Scratch::new("gds-descriptors");
        let store = Store::open(&Setup { layout: Layout::Sharded, ..of.clone() }, &scratch);
        let mut after_first = None;
        for round in 0..20 {
            for index in 0..10u8 {
                assert_eq!(store.put(&[index], &payload(round, 9000)), OK);
                assert_eq!(store.fetch(&[index], 9000), Some(payload(round, 9000)));
            }
            let open = descriptors_below(scratch.path());
            assert!(open <= *after_first.get_or_insert(open) + 3, "{open} open after round {round}");
        }
        assert_eq!(store.close(), OK);
        assert_eq!(descriptors_below(scratch.path()), 0);
    }
}

/// Not a test: opens and closes a store in the working directory that it finds.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(role) = std::env::var(LOG_CHILD) else { return };
    if !cufile_common::is_real() {
        return;
    }
    if role == "refused" {
        // As the seccomp profiles of container runtimes do.
        sandbox::answer(&[(libc::SYS_unshare, libc::EPERM)]);
    }
    for setup in &BOTH {
        let scratch = Scratch::new("gds-log");
        let store = Store::open(setup, &scratch);
        assert_eq!(store.put(b"key", &[1; 10_000]), OK);
        assert_eq!(store.close(), OK);
    }
}

/// cuFile's log is not left in the engine's working directory; where the user has said where it goes it is there.
#[test]
fn cufiles_log_is_where_the_user_wants_it_or_nowhere() {
    if !cufile_common::is_real() {
        return;
    }
    let scratch = Scratch::new("gds-log");
    let wanted = scratch.path().join("wanted.log");
    for (role, log) in [("free", None), ("refused", None), ("free", Some(&wanted))] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .current_dir(scratch.path())
            .env(LOG_CHILD, role);
        if let Some(log) = log {
            child.env("CUFILE_LOGFILE_PATH", log);
        }
        let ended = child.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        assert!(!scratch.path().join("cufile.log").exists());
        assert_eq!(wanted.exists(), log.is_some());
    }
}
