//! Promise 9, everything is bounded: memory that cannot be had at open is a status and not the end of the process.
//!
//! An open is tried under one limit on the address space after the other, so that what fails is a different allocation
//! each time, until it succeeds. Each trial is made by a helper, since an allocation that nobody expects to fail ends it.

// Helpers may unwrap as tests do.
#![cfg(test)]

mod crash_common;

use std::path::{Path, PathBuf};

use crash_common::api::Store;
use crash_common::config::Settings;
use crash_common::helper::{self, Helper, Peer};
use crash_common::{Scratch, chunk};
use nixl_store::capi::*;

/// The room above what the process has mapped already grows by this from trial to trial.
const STEP_MIB: u64 = 20;
/// An open that needs more than this is none of the test's.
const ROOM_MIB_MAX: u64 = 4096;

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    helper::play(&[("trial", trial)]);
}

fn mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

fn limit_address_space(bytes: libc::rlim_t) {
    // SAFETY: getrlimit writes the struct, setrlimit reads it.
    unsafe {
        let mut limit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &raw mut limit), 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0);
    }
}

/// Makes this process one like an engine in C, as far as memory goes.
///
/// A program in Rust gives each thread a second stack for its handler of SIGSEGV and ends where there is no room for one;
/// not so if the signal is ignored when the program starts. And the allocator keeps to one arena, because how much of the
/// address space the others take depends on who is first.
fn become_plain() {
    let handle = |action| {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: one of the two actions that are no function.
            unsafe { libc::signal(signal, action) };
        }
    };
    helper::start_anew(|| handle(libc::SIG_IGN));
    handle(libc::SIG_DFL);
    // SAFETY: two numbers for the allocator.
    assert_eq!(unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) }, 1);
}

/// Each pair of lines is a configuration and the MiB to open it with; the answer is the status.
fn trial(peer: &mut Peer) {
    become_plain();
    while let Some(config) = peer.line() {
        let room = peer.line().unwrap().parse::<u64>().unwrap() << 20;
        limit_address_space(mapped_bytes() + room);
        let opened = Store::open(Path::new(&config));
        limit_address_space(libc::RLIM_INFINITY);
        match opened {
            Err(failure) => peer.say(&format!("{} {}", failure.status, failure.message)),
            Ok(store) => {
                // What was opened works; what the work itself needs is given it.
                store.put("key", &chunk::fill("key", 1, 4096)).unwrap();
                assert_eq!(chunk::read("key", &store.get("key", 4096).unwrap().unwrap()), Ok(1));
                store.close().unwrap();
                peer.say("0");
            }
        }
    }
}

/// Opens with more and more room until it succeeds. Every failure on the way must have said that memory is missing.
fn open_with_more_and_more(name: &str, settings: impl FnOnce(PathBuf) -> Settings) {
    let scratch = Scratch::new(name);
    let config = settings(scratch.join("data")).write(&scratch.join("lmcache.yaml"));
    let mut helper = Helper::start("trial");
    let mut wrong = Vec::new();
    let mut failures = 0;
    for room in (STEP_MIB..=ROOM_MIB_MAX).step_by(STEP_MIB as usize) {
        helper.tell(config.to_str().unwrap());
        helper.tell(&room.to_string());
        match helper.line() {
            Some(answer) if answer == "0" => {
                helper.finish();
                assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
                assert!(failures > 0, "{name}: nothing failed, so nothing was tried");
                return;
            }
            Some(answer) if answer.starts_with(&format!("{NIXL_STORE_ERROR_OUT_OF_MEMORY} ")) => {
                failures += 1
            }
            Some(answer) => wrong.push(format!("{room} MiB: {answer}")),
            None => {
                wrong.push(format!("{room} MiB: the process ended"));
                helper = Helper::start("trial");
            }
        }
    }
    panic!("{name}: {ROOM_MIB_MAX} MiB are not enough\n{}", wrong.join("\n"));
}

#[test]
fn deep_rings_that_do_not_fit_are_a_status() {
    open_with_more_and_more("rings", |path| {
        Settings::dynamic(&path).with("nixl_store_io_threads", 8).param("kernel_queue_size", 1024)
    });
}

#[test]
fn many_threads_that_do_not_fit_are_a_status() {
    open_with_more_and_more("threads", |path| {
        let settings = Settings::dynamic(&path).param("use_uring", false).param("ios_pool_size", 256);
        settings.with("nixl_store_io_threads", 8)
    });
}

#[test]
fn long_queues_that_do_not_fit_are_a_status() {
    open_with_more_and_more("queues", |path| {
        Settings::dynamic(&path).with("nixl_store_queue_items", 1 << 20)
    });
}

#[test]
fn a_staging_buffer_that_does_not_fit_is_a_status() {
    open_with_more_and_more("staging", |path| Settings {
        buffer_bytes: 256 << 20,
        ..Settings::dynamic(&path)
    });
}

#[test]
fn a_pool_that_does_not_fit_is_a_status() {
    open_with_more_and_more("pool", |path| Settings {
        backend: "MEMORY",
        ..Settings::pool(&path, 1 << 19, 4096)
    });
}
