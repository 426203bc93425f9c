//! A child of fork(): it may close what it inherited, and open a store of its own.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nixl_store::capi::*;

use crate::crash_common::api::{Direction, Failure, Item, Store, Submit};
use crate::crash_common::config::Settings;
use crate::crash_common::helper::{self, Helper, Peer, Role};
use crate::crash_common::versions::put;
use crate::crash_common::watch::how_ended;
use crate::crash_common::{Scratch, chunk};
use crate::version;

/// Processes that fork.
pub const ROLES: [Role; 3] =
    [("fork", fork_and_go_on), ("fork beside", fork_beside_threads), ("orphan", orphan)];

/// Every call that a forked child may try, by name, with its answer.
fn every_call(store: &Store, ticket: u64, memory: &mut [u8]) -> Vec<(&'static str, i32)> {
    fn of<T>(outcome: Result<T, Failure>) -> i32 {
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
