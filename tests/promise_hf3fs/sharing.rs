//! What is shared with the daemon: made at open and not for a transfer, used as it is where it can be, gone after a close.

use crate::common::exchange::{key, put_and_get};
use crate::common::hf3fs::{IOVS, What, links};
use crate::common::memory::segment;
use crate::common::status::{INVALID_ARGUMENT, OK};
use crate::common::{Batch, Memory, Scratch, Setup, Store, payload};
use crate::{Alone, BOTH, MIB};

/// Two lanes, each with a ring for reads, one for writes and memory for trailers; and the staging buffer.
const IOVS_OF_A_STORE: u64 = 3;
const RINGS_OF_A_STORE: u64 = 4;

/// Rings, memory and threads are there from open on, however much is moved; files are registered once, when they are opened.
#[test]
fn nothing_is_made_for_a_transfer() {
    let standin = Alone::new();
    for setup in &BOTH {
        let scratch = Scratch::new("hf3fs-made");
        standin.reset();
        let store = Store::open(setup, &scratch);
        let (iovs, rings, files) = standin.made();
        assert_eq!((iovs, rings), (IOVS_OF_A_STORE, RINGS_OF_A_STORE));
        assert_eq!(links(scratch.path()) as u64, iovs + rings);
        // What comes later: threads that open files, in a dynamic store.
        put_and_get(&store, 8, MIB);
        let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
        for _ in 0..20 {
            put_and_get(&store, 8, MIB);
        }
        assert_eq!(std::fs::read_dir("/proc/self/task").unwrap().count(), threads);
        let made = standin.made();
        assert_eq!((made.0, made.1), (iovs, rings));
        // A pool has its files open; an object's is open while something is done with it, once for each.
        let opened = if setup.is_static() { files } else { files + 21 * (8 + 8) };
        assert_eq!(made.2, opened);
        assert_eq!(standin.alive().2, if setup.is_static() { files } else { 0 });
        assert_eq!(store.close(), OK);
        assert_eq!(standin.alive(), (0, 0, 0));
        assert_eq!(links(scratch.path()), 0, "{IOVS}");
    }
}

/// Shared memory has no name, so that it goes with the process, however that ends.
#[test]
fn shared_memory_has_no_name() {
    let _standin = Alone::new();
    let named = || {
        let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("hf3fs-iov-")).count()
    };
    let before = named();
    let scratch = Scratch::new("hf3fs-names");
    let store = Store::open(&Setup::HF3FS, &scratch);
    assert_eq!(named(), before);
    assert_eq!(store.close(), OK);
}

/// What is allocated from the store is shared memory and needs no copy; anything else is copied, by the lanes.
#[test]
fn allocated_memory_goes_as_it_is() {
    let _standin = Alone::new();
    for setup in &BOTH {
        let scratch = Scratch::new("hf3fs-direct");
        let store = Store::open(&Setup { buffer_bytes: 32 << 20, ..setup.clone() }, &scratch);
        let address = store.allocate(2 * MIB).unwrap();
        let object = payload(1, MIB);
        // SAFETY: two megabytes are there.
        unsafe { std::ptr::copy_nonoverlapping(object.as_ptr(), address, MIB) };
        let mut puts = Batch::new();
        puts.raw(b"key", vec![segment(address.cast(), MIB)], None);
        assert_eq!(store.put_batch(&puts).0, OK);
        let target = address.wrapping_add(MIB);
        let mut gets = Batch::new();
        gets.raw(b"key", vec![segment(target.cast(), MIB)], None);
        assert_eq!(store.get_batch(&gets).0, OK);
        // SAFETY: as above; nobody writes there any more.
        assert!(unsafe { std::slice::from_raw_parts(target, MIB) } == &object[..]);
        let stats = store.stats();
        assert_eq!((stats.bytes_direct, stats.bytes_staged), (2 * MIB as u64, 0));
        assert_eq!(store.put(b"key", &object), OK);
        assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
        let stats = store.stats();
        assert_eq!((stats.bytes_direct, stats.bytes_staged), (2 * MIB as u64, 2 * MIB as u64));
        assert_eq!(store.free(address), OK);
        assert_eq!(store.close(), OK);
    }
}

/// NIXL's three words. `dram` copies always, `auto` where it has to; with `dram_zc`, memory that is not shared cannot be registered.
#[test]
fn mem_config_is_kept() {
    let _standin = Alone::new();
    type Words = &'static [(&'static str, &'static str)];
    const WORDS: [(Words, bool, bool); 3] = [
        (&[("mem_config", "auto")], true, true),
        (&[("mem_config", "dram")], false, true),
        (&[("mem_config", "dram_zc")], true, false),
    ];
    for (words, direct, takes_others) in WORDS {
        let scratch = Scratch::new("hf3fs-words");
        let setup = Setup { words, buffer_bytes: 32 << 20, ..Setup::HF3FS };
        let store = Store::open(&setup, &scratch);
        let address = store.allocate(MIB).unwrap();
        let mut puts = Batch::new();
        puts.raw(b"key", vec![segment(address.cast(), MIB)], None);
        assert_eq!(store.put_batch(&puts).0, OK);
        assert_eq!(store.stats().bytes_direct > 0, direct, "{words:?}");
        let memory = Memory::new(MIB);
        let registered = store.register(memory.address(), MIB);
        match takes_others {
            true => assert_eq!((registered, store.unregister(memory.address())), (OK, OK)),
            false => {
                assert_eq!(registered, INVALID_ARGUMENT);
                let why = crate::common::status::message();
                assert!(why.contains("dram_zc") && why.contains("nixl_store_memory_allocate"), "{why}");
            }
        }
        // Items are copied all the same.
        let (put, got) = put_and_get(&store, 4, MIB);
        assert_eq!((put, got), (vec![OK; 4], vec![OK; 4]));
        assert_eq!(store.free(address), OK);
        assert_eq!(store.close(), OK);
    }
}

/// Rings of the least size, one lane, the smallest buffer: everything is cut and queued, and comes through.
#[test]
fn a_small_ring_is_enough() {
    let standin = Alone::new();
    for setup in &BOTH {
        let scratch = Scratch::new("hf3fs-small");
        let setup = Setup {
            params: &[("iopool_size", 1)],
            buffer_bytes: 256 << 10,
            chunk_bytes: 5 * MIB as u64,
            slots: 32,
            io_threads: 1,
            ..setup.clone()
        };
        let store = Store::open(&setup, &scratch);
        standin.entries_max(1);
        let bytes = 5 * MIB - 777;
        let (put, got) = put_and_get(&store, 16, bytes);
        assert_eq!((put, got), (vec![OK; 16], vec![OK; 16]));
        assert_eq!(store.length(&key(3)), (OK, bytes as u64));
        assert!(standin.count(What::Eagains) > 0);
        standin.entries_max(0);
        assert_eq!(store.close(), OK);
    }
}

/// Programs that the engine starts get none of the store's files, nor of the copies that the client has of them: a pool would stay
/// locked for as long as they run.
#[test]
fn no_file_outlives_an_exec() {
    let standin = Alone::new();
    for of in &BOTH {
        let scratch = Scratch::new("hf3fs-exec");
        let store = Store::open(of, &scratch);
        assert_eq!(store.put(b"key", &[1; 9000]), OK);
        let data = scratch.data();
        let (mut found, mut inherited) = (0, Vec::new());
        for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
            let entry = entry.unwrap();
            let Ok(path) = std::fs::read_link(entry.path()) else { continue };
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            if path.starts_with(&data) {
                found += 1;
                // SAFETY: takes numbers.
                if unsafe { libc::fcntl(number, libc::F_GETFD) } & libc::FD_CLOEXEC == 0 {
                    inherited.push(path);
                }
            }
        }
        assert!(found > 0 && inherited.is_empty(), "{inherited:?} of {found} files");
        assert_eq!(store.close(), OK);
    }
    drop(standin);
}
