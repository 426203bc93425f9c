//! Promise 7, sharing is safe: a static pool has one owner at a time, a dynamic store any number of processes, and
//! a forked child keeps its hands off both.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::collections::HashSet;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crash_common::api::{Direction, Item, Options, Store, Submit};
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::remote::{self, Remote};
use crash_common::watch::how_ended;
use crash_common::{Scratch, chunk, tree};
use nixl_store::capi::*;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[
        remote::ROLE,
        ("replace", replace),
        ("fork", fork_and_go_on),
        ("fork beside", fork_beside_threads),
        ("orphan", orphan),
    ]);
}

fn put(store: &Store, key: &str, version: u64, length: usize) {
    store.put(key, &chunk::fill(key, version, length)).unwrap_or_else(|failure| panic!("{key}: {failure}"));
}

/// The version that a key holds, every byte checked.
fn version(store: &Store, key: &str) -> Option<u64> {
    let found = store.get(key, 1 << 20).unwrap_or_else(|failure| panic!("{key}: {failure}"));
    found.map(|payload| chunk::read(key, &payload).unwrap_or_else(|wrong| panic!("{wrong}")))
}

// ---------------------------------------------------------------------------------------------------------------
// Static pools: one owner.

/// Two engines are started on one pool by mistake. The second one is told which process has it, whether that is
/// another or itself, and gets in as soon as the first one closes, or dies of SIGKILL.
#[test]
fn a_second_owner_is_told_who_holds_the_pool() {
    let scratch = Scratch::new("second_owner");
    let config = Settings::pool(&scratch.join("pool"), 8, 10_000).write(&scratch.join("lmcache.yaml"));
    let refused = |holder: u32| {
        let failure = Store::open(&config).err().expect("the pool has an owner");
        assert_eq!(failure.status, NIXL_STORE_ERROR_LOCKED, "{failure}");
        assert!(failure.message.contains(&format!("process {holder} ")), "{failure}");
    };

    let mut other = Remote::open(&config);
    other.put("key", 1, 10_000).unwrap();
    refused(other.helper.id());
    refused(other.helper.id());
    assert_eq!(other.get("key").unwrap(), Some(1), "the owner is not disturbed");
    other.kill();

    let store = Store::open(&config).expect("the lock died with its owner");
    assert_eq!(version(&store, "key"), Some(1));
    refused(std::process::id());
    let mut other = Remote::start();
    let failure = other.try_open(&config, &Options::default()).expect_err("the pool has an owner");
    assert_eq!(failure.status, NIXL_STORE_ERROR_LOCKED);
    assert!(failure.message.contains(&format!("process {} ", std::process::id())), "{failure}");
    store.close().unwrap();
    other.try_open(&config, &Options::default()).expect("closing gives the lock back");
    other.close().unwrap();
    other.finish();
}

/// The ranks of one model hold different bytes under one key. On one path each has a pool of its own, and all of
/// them are open at once.
#[test]
fn ranks_have_pools_of_their_own() {
    let scratch = Scratch::new("ranks");
    let root = scratch.join("pools");
    for settings in [Settings::pool(&root, 8, 10_000), Settings::dynamic(&scratch.join("objects"))] {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let rank = |worker_id| Options { worker_id, world_size: 2, ..Options::default() };
        let first = Store::open_with(&config, &rank(0)).unwrap();
        let second = Store::open_with(&config, &rank(1)).unwrap();
        put(&first, "key", 10, 5000);
        assert_eq!(version(&second, "key"), None);
        put(&second, "key", 11, 5000);
        assert_eq!((version(&first, "key"), version(&second, "key")), (Some(10), Some(11)));
        assert_eq!(second.remove("key").unwrap(), NIXL_STORE_OK);
        assert_eq!(version(&first, "key"), Some(10));
        if settings.pool_size > 0 {
            let failure = Store::open_with(&config, &rank(1)).err().expect("rank 1 has an owner");
            assert_eq!(failure.status, NIXL_STORE_ERROR_LOCKED, "{failure}");
        }
        first.close().unwrap();
        second.close().unwrap();
    }
    let failure = Store::open_with(
        &scratch.join("lmcache.yaml"),
        &Options { worker_id: 2, world_size: 2, ..Options::default() },
    );
    assert_eq!(failure.err().expect("there is no rank 2 of 2").status, NIXL_STORE_ERROR_INVALID_ARGUMENT);
}

/// With a path for each GPU, a worker uses that of its device; without a device, that of its rank.
#[test]
fn a_worker_uses_the_path_of_its_gpu() {
    let scratch = Scratch::new("by_gpu");
    let paths: Vec<PathBuf> = (0..3).map(|gpu| scratch.join(&format!("disk{gpu}"))).collect();
    let mut settings = Settings::pool(&paths[0], 4, 5000).with("nixl_path_sharding", "by_gpu");
    settings.paths.clone_from(&paths);
    let config = settings.write(&scratch.join("lmcache.yaml"));
    let device = |cuda_device| Options { cuda_device: Some(cuda_device), ..Options::default() };
    let rank = |worker_id| Options { worker_id, world_size: 8, ..Options::default() };
    let cases = [
        (device(0), 0),
        (device(1), 1),
        (device(2), 2),
        (device(4), 1),
        (rank(2), 2),
        (rank(3), 0),
        (rank(7), 1),
    ];
    for (options, used) in cases {
        let store = Store::open_with(&config, &options).unwrap();
        let there: Vec<usize> = (0..3).filter(|&disk| paths[disk].exists()).collect();
        assert_eq!(there, [used], "device {:?}, rank {}", options.cuda_device, options.worker_id);
        store.close().unwrap();
        std::fs::remove_dir_all(&paths[used]).unwrap();
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Dynamic stores: many processes.

fn dynamic_layouts(scratch: &Scratch) -> Vec<Settings> {
    let sharded = Settings::dynamic(&scratch.join("sharded")).direct();
    vec![sharded, Settings::dynamic(&scratch.join("lmcache")).with("nixl_store_layout", "lmcache")]
}

/// One engine computes, another one reads: what is put, replaced or removed in one process is so in the other,
/// without either being opened anew.
#[test]
fn two_processes_share_a_dynamic_store() {
    let scratch = Scratch::new("share");
    for settings in dynamic_layouts(&scratch) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        let mut other = Remote::open(&config);
        for key in ["model@8@0@abc@bf16", "a/b", "plain"] {
            assert_eq!(other.get(key).unwrap(), None);
            put(&store, key, 1, 100_000);
            assert_eq!(other.get(key).unwrap(), Some(1), "{key}");
            other.put(key, 2, 50_000).unwrap();
            assert_eq!(version(&store, key), Some(2), "{key}");
            assert_eq!(store.length(key).unwrap(), Some(50_000));
            assert_eq!(other.remove(key).unwrap(), NIXL_STORE_OK);
            assert_eq!(version(&store, key), None, "{key}");
            assert!(!store.contains(key).unwrap());
        }
        other.close().unwrap();
        other.finish();
        store.close().unwrap();
    }
}

/// Versions that each process puts of the one key.
const REPLACEMENTS: u64 = 150;

/// Replaces a key again and again, in lengths that change, and tells when it is done.
fn replace(peer: &mut Peer) {
    let line = peer.line().expect("what to do");
    let (config, first) = line.split_once(' ').expect("a file and a version");
    let first: u64 = first.parse().unwrap();
    let store = Store::open(Path::new(config)).unwrap_or_else(|failure| panic!("{failure}"));
    for step in 0..REPLACEMENTS {
        put(&store, "shared", first + step, 20 + (step as usize % 5) * 90_000);
    }
    store.close().unwrap();
    peer.say("done");
}

/// Two processes replace one key while this one reads it from several threads. Each read finds the key, and in it
/// one version as a whole.
#[test]
fn a_key_replaced_by_two_processes_is_always_whole() {
    let scratch = Scratch::new("replace");
    for settings in dynamic_layouts(&scratch) {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let store = Store::open(&config).unwrap();
        put(&store, "shared", 1, 1000);
        let mut writers = [Helper::start("replace"), Helper::start("replace")];
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.tell(&format!("{} {}", config.display(), (number as u64 + 1) * 1000));
        }
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let seen = std::thread::scope(|scope| {
            let read = || {
                let mut seen = HashSet::new();
                while !done.load(Ordering::Relaxed) {
                    seen.insert(version(&store, "shared").expect("a key that is replaced is never gone"));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                seen
            };
            let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
            let said: Vec<_> = writers.iter_mut().map(Helper::line).collect();
            // Before anything can fail, or the readers read for ever.
            done.store(true, Ordering::Relaxed);
            assert!(said.iter().all(|line| line.as_deref() == Some("done")), "{said:?}");
            readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<HashSet<_>>()
        });
        assert!(seen.iter().any(|version| (1000..2000).contains(version)), "{reads:?} reads saw {seen:?}");
        assert!(seen.iter().any(|version| *version >= 2000), "{reads:?} reads saw {seen:?}");
        let last = version(&store, "shared").unwrap();
        assert!(last == 1000 + REPLACEMENTS - 1 || last == 2000 + REPLACEMENTS - 1, "{last}");
        assert_eq!(store.stats().unwrap().corruptions, 0);
        writers.into_iter().for_each(Helper::finish);
        store.close().unwrap();
    }
}

/// Smallest capacity that the configuration takes.
const CAPACITY: u64 = 1 << 20;

/// Bytes of all objects below a dynamic store's directory.
fn object_bytes(root: &Path) -> u64 {
    let is_object = |path: &Path| !path.to_string_lossy().contains(".nixl_store+");
    tree(root).iter().filter(|(path, ..)| is_object(path)).map(|(_, bytes, _)| bytes).sum()
}

/// One engine pins the chunks of a running request; another one needs room. The pinned chunk stays, is neither
/// removed nor cleared, until the engine that pinned it lets go, or is killed.
#[test]
fn a_pin_protects_from_other_processes_and_dies_with_its_own() {
    let scratch = Scratch::new("pins");
    for settings in dynamic_layouts(&scratch) {
        let settings = settings.with("nixl_store_capacity_bytes", CAPACITY);
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut pinner = Remote::open(&config);
        pinner.put("pinned", 1, 200_000).unwrap();
        pinner.put("other", 1, 200_000).unwrap();
        assert!(pinner.pin("pinned").unwrap());

        let store = Store::open(&config).unwrap();
        let press = |store: &Store| (0..12).for_each(|key| put(store, &format!("press-{key}"), 1, 200_000));
        press(&store);
        assert_eq!(version(&store, "other"), None, "capacity holds");
        assert_eq!(version(&store, "pinned"), Some(1), "a pinned key stays");
        assert_eq!(store.remove("pinned").unwrap(), NIXL_STORE_PINNED);
        store.clear().unwrap();
        assert_eq!(version(&store, "pinned"), Some(1));
        assert_eq!(store.stats().unwrap().keys_pinned, 0, "it is the other one's pin");

        // Everything pinned by somebody: a clear status, and nothing is lost.
        for key in ["mine-0", "mine-1", "mine-2"] {
            put(&store, key, 1, 250_000);
            assert!(store.pin(key).unwrap());
        }
        let failure = store.put("one-too-many", &chunk::fill("one-too-many", 1, 250_000)).unwrap_err();
        assert_eq!(failure.status, NIXL_STORE_ERROR_POOL_FULL, "{failure}");
        for key in ["pinned", "mine-0", "mine-1", "mine-2"] {
            assert_eq!(version(&store, key), Some(1), "{key}");
            assert_eq!(store.unpin(key).unwrap(), key != "pinned");
        }

        pinner.kill();
        assert_eq!(store.remove("pinned").unwrap(), NIXL_STORE_OK, "the pin died with its process");
        put(&store, "pinned", 2, 200_000);
        store.close().unwrap();
        let store = Store::open(&config).unwrap();
        press(&store);
        assert_eq!(version(&store, "pinned"), None, "what nobody pins leaves");
        store.close().unwrap();
    }
}

/// A pin that is taken back lets the other process evict again.
#[test]
fn an_unpinned_key_leaves_when_the_other_process_needs_room() {
    let scratch = Scratch::new("unpin");
    for settings in dynamic_layouts(&scratch) {
        let settings = settings.with("nixl_store_capacity_bytes", CAPACITY);
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut pinner = Remote::open(&config);
        pinner.put("pinned", 1, 900_000).unwrap();
        assert!(pinner.pin("pinned").unwrap() && pinner.pin("pinned").unwrap());
        let mut other = Remote::open(&config);
        let full = |other: &mut Remote| other.put("new", 1, 900_000).map_err(|failure| failure.status);
        assert_eq!(full(&mut other), Err(NIXL_STORE_ERROR_POOL_FULL));
        assert!(pinner.unpin("pinned").unwrap());
        assert_eq!(full(&mut other), Err(NIXL_STORE_ERROR_POOL_FULL), "it was pinned twice");
        assert!(pinner.unpin("pinned").unwrap());
        assert!(!pinner.unpin("pinned").unwrap());
        assert_eq!(full(&mut other), Ok(()));
        assert_eq!(pinner.get("pinned").unwrap(), None);
        pinner.finish();
        other.finish();
    }
}

/// The capacity is that of the directory. Processes that fill it at the same time do not know of each other's
/// newest objects at once, so for a while each may fill it; who looks again brings it back within its bounds.
#[test]
fn capacity_holds_over_two_processes() {
    let scratch = Scratch::new("capacity");
    for settings in dynamic_layouts(&scratch) {
        let settings = settings.with("nixl_store_capacity_bytes", CAPACITY);
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let root = &settings.paths[0];
        let mut processes = [Remote::open(&config), Remote::open(&config)];
        for step in 0..30 {
            for (number, process) in processes.iter_mut().enumerate() {
                process.put(&format!("key-{number}-{step}"), step, 100_000).unwrap();
            }
            assert!(object_bytes(root) <= 2 * CAPACITY, "step {step}: {} bytes", object_bytes(root));
        }
        for process in &mut processes {
            process.close().unwrap();
            process.try_open(&config, &Options::default()).unwrap();
            process.put("last", 1, 100_000).unwrap();
            assert!(object_bytes(root) <= CAPACITY, "{} bytes", object_bytes(root));
        }
        // The newest are the ones that stayed.
        assert_eq!(processes[0].get("key-1-29").unwrap(), Some(29));
        assert_eq!(processes[0].get("key-1-0").unwrap(), None);
        processes.into_iter().for_each(Remote::finish);
    }
}

/// Tenants of one store use the same keys and must never see each other's chunks, nor remove them.
#[test]
fn namespaces_keep_keys_apart() {
    let scratch = Scratch::new("namespaces");
    let tenant = |name: &str| Options { namespace: Some(name.to_owned()), ..Options::default() };
    // Names and keys that run into the same bytes when they are joined without care.
    let tenants = [("a", "bc"), ("ab", "c"), ("", "abc")];

    let config = Settings::dynamic(&scratch.join("objects")).write(&scratch.join("lmcache.yaml"));
    let stores: Vec<Store> =
        tenants.iter().map(|(name, _)| Store::open_with(&config, &tenant(name)).unwrap()).collect();
    for (number, store) in stores.iter().enumerate() {
        put(store, "same", number as u64, 1000);
        put(store, tenants[number].1, number as u64, 1000);
    }
    for (number, store) in stores.iter().enumerate() {
        assert_eq!(version(store, "same"), Some(number as u64));
        for (other, (_, key)) in tenants.iter().enumerate() {
            assert_eq!(version(store, key), (other == number).then_some(number as u64));
        }
    }
    assert_eq!(stores[0].remove("same").unwrap(), NIXL_STORE_OK);
    assert_eq!((version(&stores[0], "same"), version(&stores[1], "same")), (None, Some(1)));
    stores.into_iter().for_each(|store| store.close().unwrap());

    let config = Settings::pool(&scratch.join("pool"), 16, 5000).write(&scratch.join("lmcache.yaml"));
    for (number, (name, key)) in tenants.iter().enumerate() {
        let store = Store::open_with(&config, &tenant(name)).unwrap();
        assert_eq!(version(&store, "same"), None, "{name:?}");
        put(&store, "same", number as u64, 1000);
        put(&store, key, number as u64, 1000);
        store.close().unwrap();
    }
    for (number, (name, _)) in tenants.iter().enumerate() {
        let store = Store::open_with(&config, &tenant(name)).unwrap();
        assert_eq!(version(&store, "same"), Some(number as u64), "{name:?}");
        for (other, (_, key)) in tenants.iter().enumerate() {
            assert_eq!(version(&store, key), (other == number).then_some(number as u64), "{name:?} {key}");
        }
        store.close().unwrap();
    }
}

// ---------------------------------------------------------------------------------------------------------------
// fork().

/// Every call that a forked child may try, by name, with its answer.
fn every_call(store: &Store, ticket: u64, memory: &mut [u8]) -> Vec<(&'static str, i32)> {
    fn of<T>(outcome: Result<T, crash_common::api::Failure>) -> i32 {
        outcome.map_or_else(|failure| failure.status, |_| NIXL_STORE_OK)
    }
    let submitted = |direction| {
        let outcome = store.submit(direction, vec![Item::new("key", vec![0; 64])], Submit::default());
        outcome.map_or_else(|refused| refused.failure.status, |_| NIXL_STORE_OK)
    };
    let address = memory.as_mut_ptr();
    let wait = || {
        // SAFETY: no results are wanted.
        unsafe {
            nixl_store_ticket_wait(store.handle(), ticket, 0, std::ptr::null_mut(), 0, std::ptr::null_mut())
        }
    };
    let mut calls = vec![
        ("put", of(store.put("key", b"bytes of a child"))),
        ("get", of(store.get("key", 1 << 20))),
        ("batch_put", submitted(Direction::Put)),
        ("batch_get", submitted(Direction::Get)),
        ("ticket_wait", wait()),
        ("ticket_poll", store.poll(ticket)),
        ("ticket_cancel", of(store.cancel(ticket))),
        ("queue_create", of(store.queue())),
        ("memory_register", of(store.register(address, memory.len()))),
        ("memory_unregister", of(store.unregister(address))),
        ("memory_allocate", of(store.allocate(4096))),
        ("memory_free", of(store.free(address))),
        ("key_contains", of(store.contains("key"))),
        ("key_length", of(store.length("key"))),
        ("prefix_match", of(store.prefix_match(&["key"]))),
        ("key_remove", of(store.remove("key"))),
        ("key_pin", of(store.pin("key"))),
        ("key_unpin", of(store.unpin("key"))),
        ("clear", of(store.clear())),
        ("flush", of(store.flush())),
        ("stats_read", of(store.stats())),
        ("capabilities_read", of(store.capabilities())),
    ];
    calls.sort_unstable();
    calls
}

/// How long a forked child may take, on a machine that may be busy.
const CHILD_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs `child` in a forked child, which ends with what it answers: 0 is right. Gives the child's number.
fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only what the test wants to see there, and leaves without running destructors.
    let number = unsafe { libc::fork() };
    assert!(number >= 0);
    if number == 0 {
        // SAFETY: a child must not outlive the helper, nor ever come back into the test runner.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::_exit(child())
        };
    }
    number
}

/// An engine with transfers under way forks. Its child tries everything, closes, and ends; then it goes on.
fn fork_and_go_on(peer: &mut Peer) {
    let config = PathBuf::from(peer.line().expect("a configuration"));
    let own = PathBuf::from(peer.line().expect("the child's configuration"));
    let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
    put(&store, "key", 1, 100_000);
    let mut memory = vec![0u8; 1 << 16];
    let item = |key: usize| {
        let key = format!("key-{key}");
        Item::new(key.clone(), chunk::fill(&key, 5, 200_000))
    };
    let ticket = store.submit(Direction::Put, (0..32).map(item).collect(), Submit::default());
    let ticket = ticket.unwrap_or_else(|refused| panic!("{}", refused.failure));

    let child = fork(|| {
        let answers = every_call(&store, ticket.number, &mut memory);
        let wrong: Vec<_> = answers.iter().filter(|(_, status)| *status != NIXL_STORE_ERROR_FORKED).collect();
        if answers.len() != 22 || !wrong.is_empty() {
            helper::say(&format!("wrong answers in the child: {wrong:?}"));
            return 1;
        }
        let closed = store.close();
        let again = store.close().map_err(|failure| failure.status);
        if closed.is_err() || again != Err(NIXL_STORE_ERROR_INVALID_HANDLE) {
            helper::say(&format!("closed in the child: {closed:?}, {again:?}"));
            return 2;
        }
        // A store of its own is the child's to use.
        let mine = Store::open(&own).unwrap();
        put(&mine, "key", 9, 100_000);
        i32::from(version(&mine, "key") != Some(9) || mine.close().is_err())
    });
    assert_eq!(how_ended(child, CHILD_TIME_MAX), Ok(0));

    let (status, _) = ticket.wait();
    assert_eq!(status, NIXL_STORE_OK);
    for key in 0..32 {
        assert_eq!(version(&store, &format!("key-{key}")), Some(5));
    }
    put(&store, "key", 2, 100_000);
    assert_eq!(version(&store, "key"), Some(2));
    store.close().unwrap();
    let store = Store::open(&config).unwrap();
    assert_eq!(version(&store, "key"), Some(2));
    assert_eq!(store.stats().unwrap().keys, 33);
    store.close().unwrap();
    peer.say("unharmed");
}

/// A child of fork() has copies of everything and owns nothing: each call says so, closing is allowed, and the parent
/// goes on as if there had been no child.
#[test]
fn a_forked_child_may_only_close_and_the_parent_goes_on() {
    let scratch = Scratch::new("fork");
    let own = Settings::dynamic(&scratch.join("own")).write(&scratch.join("own.yaml"));
    let threads = Settings::pool(&scratch.join("threads"), 64, 200_000).param("use_uring", "false");
    for settings in [
        Settings::pool(&scratch.join("pool"), 64, 200_000).direct(),
        threads,
        Settings::dynamic(&scratch.join("objects")),
    ] {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut helper = Helper::start("fork");
        helper.tell(&config.display().to_string());
        assert_eq!(helper.ask(&own.display().to_string()), "unharmed");
        helper.finish();
    }
}

/// Children that are forked one after the other beside threads at work; the moments of their forks fall where they may.
const CHILDREN: u32 = 40;

/// Forks while one thread opens and closes stores, and another one has standard error, for good. Each child opens a store of
/// its own, with something to say on standard error.
fn fork_beside_threads(peer: &mut Peer) {
    let config = PathBuf::from(peer.line().expect("a configuration"));
    let own = CString::new(peer.line().expect("the child's configuration")).unwrap();
    // SAFETY: the helper's other threads are this test's, and not started yet. Nobody reads what the children say.
    unsafe {
        std::env::set_var("NIXL_STORE_LOG", "info");
        let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert_eq!(libc::dup2(nowhere.as_raw_fd(), libc::STDERR_FILENO), libc::STDERR_FILENO);
    }
    let stop = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    let (end, may_end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _mine = std::io::stderr().lock();
            tell.send(()).unwrap();
            let _ = may_end.recv();
        });
        told.recv().unwrap();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                Store::open(&config).unwrap_or_else(|failure| panic!("{failure}")).close().unwrap();
            }
        });
        let mut ended = Ok(0);
        for number in 0..CHILDREN {
            let child = fork(|| {
                let mut handle = std::ptr::null_mut();
                // SAFETY: a string that lives during the call, no options, a place for the handle; then that handle.
                unsafe {
                    let opened = nixl_store_open(own.as_ptr(), std::ptr::null(), &raw mut handle);
                    i32::from(opened != NIXL_STORE_OK || nixl_store_close(handle) != NIXL_STORE_OK)
                }
            });
            ended = how_ended(child, CHILD_TIME_MAX);
            if ended != Ok(0) {
                helper::say(&format!("child {number} ended so: {ended:?}"));
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        drop(end);
        peer.say(if ended == Ok(0) { "all ended" } else { "not all ended" });
    });
}

/// A child may be forked at any moment, whatever other threads are doing in the library: it waits for none of them when it
/// opens a store of its own.
#[test]
fn a_child_opens_its_own_store_whatever_threads_its_parent_had() {
    let scratch = Scratch::new("fork_beside");
    let own = Settings::dynamic(&scratch.join("own")).write(&scratch.join("own.yaml"));
    let config = Settings::dynamic(&scratch.join("objects")).write(&scratch.join("lmcache.yaml"));
    let mut helper = Helper::start("fork beside");
    helper.tell(&config.display().to_string());
    assert_eq!(helper.ask(&own.display().to_string()), "all ended");
    helper.finish();
}

/// Forks a child that closes the store and lives on, tells that, and waits to be killed.
fn orphan(peer: &mut Peer) {
    let config = PathBuf::from(peer.line().expect("a configuration"));
    let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
    put(&store, "key", 1, 5000);
    assert!(store.pin("key").unwrap());
    let (mut end_of_child, mut told) = std::io::pipe().unwrap();
    // SAFETY: as in `fork`; this child is to outlive its parent.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let closed = store.close().is_ok();
        told.write_all(&[u8::from(closed)]).unwrap();
        // Lives until the test has seen enough and closes its end of this helper's input.
        while peer.line().is_some() {}
        // SAFETY: ends the child without running anything of its parent's.
        unsafe { libc::_exit(0) };
    }
    let mut closed = [0];
    end_of_child.read_exact(&mut closed).unwrap();
    assert_eq!(closed, [1]);
    peer.say("closed in the child");
    while peer.line().is_some() {}
}

/// An engine forks workers that close what they inherited, and is then killed. Its pool and its pins are free: a
/// child that has closed holds nothing for its dead parent.
#[test]
fn a_child_that_closed_holds_nothing_for_a_dead_parent() {
    let scratch = Scratch::new("orphan");
    let pool = Settings::pool(&scratch.join("pool"), 8, 10_000);
    let objects = Settings::dynamic(&scratch.join("objects"));
    for settings in [pool, objects] {
        let config = settings.write(&scratch.join("lmcache.yaml"));
        let mut parent = Helper::start("orphan");
        assert_eq!(parent.ask(&config.display().to_string()), "closed in the child");
        parent.strike_and_wait();

        let store = Store::open(&config).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(version(&store, "key"), Some(1));
        assert_eq!(store.remove("key").unwrap(), NIXL_STORE_OK, "the pin died with the parent");
        store.close().unwrap();
        // Only now does the child's input end, and with it the child.
        drop(parent);
    }
}
