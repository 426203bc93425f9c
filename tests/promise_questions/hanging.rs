//! A file system that hangs or refuses.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nixl_store::capi::*;

use crate::crash_common::api::{Direction, Item, Store, Submit};
use crate::crash_common::config::Settings;
use crate::crash_common::questions::{Ask, Asked};
use crate::crash_common::{Scratch, chunk};
use crate::faulty_fs::{Fault, FaultyFs, Op, Options, Rule};

/// What has to go on, or to end, has so long for it, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
const KEYS: usize = 40;
/// Batches that are asked about at a time.
const ASKING: usize = 4;
const LENGTH: usize = 5000;
const DEADLINE_MS: u64 = 200;

/// Requests that a lookup or a removal cannot do without, as nothing is cached.
const ASKS: [Op; 2] = [Op::Lookup, Op::Open];

struct Stage {
    // First: it is closed while its files still answer.
    store: Store,
    fs: FaultyFs,
    keys: Vec<String>,
    _scratch: Scratch,
}

impl Stage {
    /// A dynamic store with some objects, that this process put. `None`: the machine has no FUSE.
    fn new(name: &str, extra: &[(&str, u64)]) -> Option<Stage> {
        let fs = FaultyFs::start(name, Options::default())?;
        let scratch = Scratch::new(name);
        std::fs::create_dir(fs.path().join("data")).unwrap();
        let mut settings = Settings::dynamic(&fs.path().join("data"));
        for (key, value) in extra {
            settings = settings.with(key, value);
        }
        let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
        let keys: Vec<String> = (0..KEYS).map(|index| format!("key{index}")).collect();
        for key in &keys {
            store.put(key, &chunk::fill(key, 1, LENGTH)).unwrap();
        }
        Some(Stage { store, fs, keys, _scratch: scratch })
    }

    /// As many batches as are asked about at a time, each with its first key begun and hanging.
    fn hang(&self, ask: Ask, how: Submit) -> Vec<Asked<'_>> {
        self.fs.drop_caches();
        self.fs.arm(&Rule::every(&ASKS, Fault::Hang));
        let submit = |number: usize| {
            // Keys of their own, as removals of one key wait for each other.
            let keys = &self.keys[number * KEYS / ASKING..(number + 1) * KEYS / ASKING];
            let asked = self.store.submit_question(ask, keys, how).unwrap();
            self.fs.wait_for_hanging(number + 1);
            asked
        };
        (0..ASKING).map(submit).collect()
    }

    /// Asserts it; what hangs is answered before a test fails, or nothing of the test could end.
    #[track_caller]
    fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.release_until(|| self.fs.hanging() == 0);
        }
        assert!(holds, "{what}");
    }

    /// Answers what hangs until that is over.
    fn release_until(&self, is_over: impl Fn() -> bool) {
        self.fs.disarm();
        while !is_over() {
            self.fs.release();
            thread::yield_now();
        }
    }

    fn is_over(&self, asked: &Asked<'_>) -> bool {
        self.store.poll(asked.number) != NIXL_STORE_IN_PROGRESS
    }
}

fn statuses(asked: Asked<'_>) -> Vec<nixl_store_status_t> {
    asked.wait().1.iter().map(|result| result.status).collect()
}

/// Every thread that asks hangs at its first key. What was not begun ends at its deadline all the same, a batch that waits
/// for its turn as a whole; what was begun ends with the answer that comes in the end.
#[test]
fn what_was_not_asked_ends_at_its_deadline() {
    for ask in [Ask::Lookup, Ask::Chain, Ask::Remove, Ask::Pin] {
        let Some(stage) = Stage::new("deadline", &[]) else { return };
        let how = Submit { timeout_ms: DEADLINE_MS, ..Submit::default() };
        let begun = stage.hang(ask, how);
        let waiting = stage.store.submit_question(ask, &stage.keys, how).unwrap();
        stage.check(waiting.ended_within(PATIENCE), "it waits for a device that hangs");
        assert_eq!(statuses(waiting), [NIXL_STORE_ERROR_TIMED_OUT; KEYS]);
        let in_flight = || stage.store.stats().unwrap().items_in_flight;
        stage.check(in_flight() == ASKING as u64, "what has begun is all that is left");
        stage.release_until(|| begun.iter().all(|asked| stage.is_over(asked)));
        for asked in begun {
            let statuses = statuses(asked);
            assert_eq!(statuses[0], NIXL_STORE_OK, "{ask:?}: what was begun is answered");
            assert_eq!(statuses[1..], [NIXL_STORE_ERROR_TIMED_OUT; KEYS / ASKING - 1], "{ask:?}");
        }
        let stats = stage.store.stats().unwrap();
        assert_eq!((stats.timed_out, stats.items_in_flight), ((2 * KEYS - ASKING) as u64, 0), "{ask:?}");
        // It serves again, and only what was begun has been done.
        let (_, results) = stage.store.ask(Ask::Lookup, &stage.keys);
        let gone = results.iter().filter(|result| result.status == NIXL_STORE_NOT_FOUND).count();
        assert_eq!(gone, if ask == Ask::Remove { ASKING } else { 0 }, "{ask:?}");
        let pinned = if ask == Ask::Pin { ASKING } else { 0 };
        assert_eq!(stage.store.stats().unwrap().keys_pinned, pinned as u64, "{ask:?}");
        stage.store.close().unwrap();
    }
}

/// The same by a cancel, which does not wait either.
#[test]
fn what_was_not_asked_ends_with_a_cancel() {
    let Some(stage) = Stage::new("cancel", &[]) else { return };
    let begun = stage.hang(Ask::Lookup, Submit::default());
    let waiting = stage.store.submit_question(Ask::Lookup, &stage.keys, Submit::default()).unwrap();
    stage.store.cancel(waiting.number).unwrap();
    stage.check(stage.is_over(&waiting), "a cancel waits for a device that hangs");
    assert_eq!(statuses(waiting), [NIXL_STORE_ERROR_CANCELLED; KEYS]);
    stage.store.cancel(begun[0].number).unwrap();
    stage.check(!stage.is_over(&begun[0]), "what was begun is waited for");
    stage.release_until(|| begun.iter().all(|asked| stage.is_over(asked)));
    for (number, asked) in begun.into_iter().enumerate() {
        let rest = if number == 0 { NIXL_STORE_ERROR_CANCELLED } else { NIXL_STORE_OK };
        let statuses = statuses(asked);
        assert_eq!(statuses[0], NIXL_STORE_OK);
        assert_eq!(statuses[1..], [rest; KEYS / ASKING - 1]);
    }
    assert_eq!(stage.store.stats().unwrap().cancelled, (KEYS + KEYS / ASKING - 1) as u64);
    stage.store.close().unwrap();
}

/// However many questions hang, objects are opened and published for transfers: threads are kept for them.
#[test]
fn transfers_go_on_while_all_questions_hang() {
    let Some(stage) = Stage::new("beside", &[]) else { return };
    let begun = stage.hang(Ask::Lookup, Submit::default());
    let more: Vec<_> = (0..ASKING)
        .map(|_| stage.store.submit_question(Ask::Lookup, &stage.keys, Submit::default()).unwrap())
        .collect();
    // Only what hangs already goes on hanging.
    stage.fs.disarm();
    for round in 0..10 {
        let key = format!("beside{round}");
        let data = chunk::fill(&key, 1, LENGTH);
        let submit = |direction, memory| {
            stage.store.submit(direction, vec![Item::new(&key, memory)], Submit::default()).unwrap()
        };
        let put = submit(Direction::Put, data.clone());
        stage.check(put.ended_within(PATIENCE), "a put waits for questions that hang");
        assert_eq!(put.wait().0, NIXL_STORE_OK);
        let get = submit(Direction::Get, vec![0; LENGTH]);
        stage.check(get.ended_within(PATIENCE), "a get waits for questions that hang");
        let (status, items) = get.wait();
        assert!(status == NIXL_STORE_OK && items[0].0.memory == data);
    }
    stage.check(stage.fs.hanging() == ASKING, "as many are asked about as may be at a time, and no more");
    stage.release_until(|| begun.iter().chain(&more).all(|asked| stage.is_over(asked)));
    for asked in begun.into_iter().chain(more) {
        assert_eq!(asked.wait().0, NIXL_STORE_OK);
    }
    stage.store.close().unwrap();
}

/// A close waits for what was asked, and then all of it has an answer; nothing is asked afterwards.
#[test]
fn a_close_waits_for_what_was_asked() {
    let Some(stage) = Stage::new("close", &[]) else { return };
    let begun = stage.hang(Ask::Lookup, Submit::default());
    let waiting = stage.store.submit_question(Ask::Lookup, &stage.keys, Submit::default()).unwrap();
    thread::scope(|scope| {
        let closer = scope.spawn(|| stage.store.close());
        let refuses = |status| matches!(status, NIXL_STORE_ERROR_CLOSING | NIXL_STORE_ERROR_INVALID_HANDLE);
        let refused = || {
            let outcome = stage.store.submit_question(Ask::Lookup, &stage.keys, Submit::default());
            outcome.is_err_and(|failure| refuses(failure.status))
        };
        while !refused() {
            thread::yield_now();
        }
        assert!(!closer.is_finished(), "it does not wait");
        stage.release_until(|| closer.is_finished());
        closer.join().unwrap().unwrap();
    });
    for asked in begun.into_iter().chain([waiting]) {
        assert_eq!(asked.wait().0, NIXL_STORE_ERROR_INVALID_HANDLE, "a closed store has no tickets");
    }
    assert_eq!(stage.fs.hanging(), 0);
}

/// Who waits for room, which a device that hangs never makes, is told of the close, and not only when his deadline passes.
#[test]
fn a_close_ends_who_waits_for_room() {
    let Some(stage) = Stage::new("room", &[("nixl_store_queue_items", KEYS as u64)]) else { return };
    let begun = stage.hang(Ask::Lookup, Submit::default());
    let submitting = AtomicI32::new(0);
    thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            // SAFETY: asks the kernel for this thread's number alone.
            submitting.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            let outcome = stage.store.submit_question(Ask::Lookup, &stage.keys[..1], Submit::default());
            outcome.map(|_| ()).unwrap_err().status
        });
        // It waits for room, or is about to: with the first it is known that a close wakes it.
        let waits = || {
            let thread = submitting.load(Ordering::SeqCst);
            let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
            thread != 0 && call.map_or(true, |call| call.starts_with(&format!("{} ", libc::SYS_futex)))
        };
        while !waits() {
            thread::yield_now();
        }
        let closer = scope.spawn(|| stage.store.close());
        let until = Instant::now() + PATIENCE;
        while !submitter.is_finished() && Instant::now() < until {
            thread::yield_now();
        }
        stage.check(submitter.is_finished(), "it waits for its deadline");
        assert_eq!(submitter.join().unwrap(), NIXL_STORE_ERROR_CLOSING);
        assert!(!closer.is_finished(), "what was begun is waited for");
        stage.release_until(|| closer.is_finished());
        closer.join().unwrap().unwrap();
    });
    drop(begun);
}

/// Questions are bounded as transfers are: who submits more than fit waits for room, at most until the deadline, and is
/// then told that the store is busy. Gets and puts have room of their own.
#[test]
fn too_many_questions_are_busy_after_the_deadline() {
    let Some(stage) = Stage::new("busy", &[("nixl_store_queue_items", KEYS as u64)]) else { return };
    let begun = stage.hang(Ask::Lookup, Submit::default());
    let how = Submit { timeout_ms: 1, ..Submit::default() };
    let outcome = stage.store.submit_question(Ask::Lookup, &stage.keys[..1], how).map(|_| ());
    stage.check(outcome.is_err(), "there is no bound");
    let refused = outcome.unwrap_err();
    stage.check(refused.status == NIXL_STORE_ERROR_BUSY, &refused.message);
    assert!(refused.message.contains("nixl_store_queue_items"), "{}", refused.message);
    stage.fs.disarm();
    stage.store.put("beside", &chunk::fill("beside", 1, LENGTH)).unwrap();
    stage.release_until(|| begun.iter().all(|asked| stage.is_over(asked)));
    assert_eq!(stage.store.ask(Ask::Lookup, &stage.keys).0, NIXL_STORE_OK, "there is room again");
    begun.into_iter().for_each(|asked| assert_eq!(asked.wait().0, NIXL_STORE_OK));
    stage.store.close().unwrap();
}

/// An error of the file system lands on the key that met it, with its number and the object's name, and on no other.
#[test]
fn an_error_lands_on_the_key_that_met_it() {
    for (ask, op) in [(Ask::Lookup, Op::Open), (Ask::Chain, Op::Open), (Ask::Remove, Op::Unlink)] {
        let Some(stage) = Stage::new("error", &[]) else { return };
        stage.fs.drop_caches();
        // A removal may take more than one request of the kind; the keys are asked about in their order.
        stage.fs.arm(&Rule::once(op, 1, Fault::Errno(libc::EIO)));
        let asked = stage.store.submit_question(ask, &stage.keys, Submit::default()).unwrap();
        let (status, results) = asked.wait();
        let why = crate::crash_common::api::message();
        assert_eq!(status, NIXL_STORE_ERROR_IO, "{ask:?}: {why}");
        let failed: Vec<usize> = (0..KEYS).filter(|&index| results[index].status != NIXL_STORE_OK).collect();
        assert_eq!(failed.len(), 1, "{ask:?}");
        let failed = &results[failed[0]];
        assert_eq!((failed.status, failed.os_error), (NIXL_STORE_ERROR_IO, libc::EIO), "{ask:?}");
        assert!(why.contains("item 0: ") && why.contains("object "), "{ask:?}: {why}");
        stage.store.close().unwrap();
    }
}
