//! A process is killed between two transfers of a put. What was stored is there as it was, what was being put is there whole or
//! not at all, and no slot is left with bytes that have to be found out by their checksum.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use crate::BOTH;
use crate::common::exchange::key;
use crate::common::status::{IN_PROGRESS, OK};
use crate::common::{Batch, Scratch, Setup, Store, Submit, payload};
use crate::standin::Standin;

/// Names to the child process its backend, the transfer that it dies at, and the directory of its store.
const CHILD: [&str; 3] =
    ["NIXL_STORE_TEST_GDS_KILLED", "NIXL_STORE_TEST_GDS_KILLED_AT", "NIXL_STORE_TEST_GDS_KILLED_IN"];
/// Seconds after which it is ended, whatever it does.
const CHILD_SECONDS_MAX: u32 = 200;

const SLOTS: usize = 4;
/// One request where a write is one transfer; not whole blocks, so that the tail lies elsewhere than the rest.
const BYTES: usize = 200_000;
/// More transfers than a put has.
const TRANSFERS_MAX: i32 = 20;

fn setup(of: &Setup) -> Setup {
    Setup { slots: SLOTS as u32, ..of.clone() }
}

/// Not a test: what the child does.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let [Ok(backend), Ok(at), Ok(data)] = CHILD.map(std::env::var) else { return };
    // SAFETY: takes no pointers.
    unsafe { libc::alarm(CHILD_SECONDS_MAX) };
    let of = BOTH.iter().find(|of| of.backend == backend).expect("a backend");
    let standin = Standin::alone();
    let store = Store::open_at(&setup(of), Path::new(&data));
    for index in 0..SLOTS {
        assert_eq!(store.put(&key(index), &payload(index as u64, BYTES)), OK);
    }
    standin.set("stops_at", at.parse().unwrap());
    let object = payload(99, BYTES);
    let mut puts = Batch::new();
    puts.put(b"new", &object);
    let pending = store.submit_puts(&puts, Submit::default()).unwrap();
    while standin.count("stopped") == 0 && pending.poll() == IN_PROGRESS {
        std::thread::yield_now();
    }
    if standin.count("stopped") > 0 {
        // SAFETY: takes no pointers.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    assert_eq!(pending.wait().0, OK);
    assert_eq!(store.close(), OK);
}

/// Lets a process die at a transfer of a put. False: the put has fewer.
fn dies_at(of: &Setup, at: i32, data: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "killed::child", "--nocapture"]);
    let words = [of.backend.to_owned(), at.to_string(), data.to_str().unwrap().to_owned()];
    let ended = child.envs(CHILD.into_iter().zip(words)).output().unwrap();
    let is_killed = ended.status.signal() == Some(libc::SIGKILL);
    assert!(is_killed || ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    is_killed
}

/// The pool is full, so the put takes the slot of another record, whose trailer must not outlive what it vouches for.
fn dies_at_each_transfer(of: &Setup) {
    let _standin = Standin::alone();
    let mut deaths = 0;
    let survived = (1..TRANSFERS_MAX).find(|&at| {
        let scratch = Scratch::new("gds-killed");
        if !dies_at(of, at, &scratch.data()) {
            return true;
        }
        deaths += 1;
        let store = Store::open_at(&setup(of), &scratch.data());
        for index in 0..SLOTS {
            let found = store.fetch(&key(index), BYTES);
            // The first to leave is the first that was put.
            assert!(found.is_some() || index == 0, "transfer {at}: {index} is lost");
            assert!(
                found.is_none_or(|found| found == payload(index as u64, BYTES)),
                "transfer {at}: {index}"
            );
        }
        assert_eq!(store.fetch(b"new", BYTES), None, "transfer {at}");
        let stats = store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots), (0, 0), "transfer {at}");
        assert_eq!(store.close(), OK);
        false
    });
    // The old trailer, the payload in two places of memory, the new trailer.
    assert_eq!((survived, deaths), (Some(5), 4));
}

#[test]
fn a_kill_between_two_entries_of_batches_leaves_no_mixed_record() {
    dies_at_each_transfer(&Setup::GDS);
}

#[test]
fn a_kill_between_two_calls_leaves_no_mixed_record() {
    dies_at_each_transfer(&Setup::GDS_MT);
}
