//! Admission and the lanes' sleep under a model checker: no submitter and no item is ever left behind.

use super::inquiry::{self, testing::Fake};
use super::shared::{Shared, Takes};
use crate::batch::{Batch, Direction, ItemResult, Wish};
use crate::error::Status;
use crate::log::{Level, Logger};
use crate::memory::{Arena, Staging};
use crate::sync::{Arc, thread};

/// Schedules that each test tries.
const SCHEDULES: usize = 1000;
/// Smallest staging buffer; no test moves bytes.
const STAGING_BYTES: usize = 256 << 10;

fn shared(lanes: usize, items_max: usize) -> Arc<Shared> {
    let staging = Staging::new(STAGING_BYTES, |bytes| Arena::new(bytes, false)).unwrap();
    Arc::new(Shared::new(lanes, items_max, Arc::new(staging), Logger::to_stderr(Some(Level::Warn))).unwrap())
}

fn batch_of(items: usize, direction: Direction) -> Arc<Batch> {
    let mut batch = Batch::default();
    batch.reset(direction);
    for digest in 1..=items as u128 {
        batch.push_item(digest, b"\0key", Wish::default());
    }
    Arc::new(batch)
}

fn submit(shared: &Shared, direction: Direction) -> Arc<Batch> {
    let batch = batch_of(1, direction);
    shared.admit(direction, 1, None).unwrap();
    shared.submit(&batch);
    batch
}

/// What a lane does, with the transfer left out: it takes what it can of items, ends them, and sleeps when it has found
/// nothing after announcing it.
fn lane(shared: &Shared, index: usize, takes: Takes) {
    let handle = &shared.lanes[index];
    loop {
        while takes != Takes::Nothing
            && let Some(guard) = shared.next(takes == Takes::Gets)
        {
            if guard.start() {
                shared.finish(guard, ItemResult::of(Status::Ok));
            } else {
                shared.finish(guard, ItemResult::of(Status::Internal));
            }
        }
        if shared.is_stopping() && !shared.has_waiting(takes) {
            return;
        }
        if handle.announce_sleep(takes, || shared.has_waiting(takes) || shared.is_stopping()) {
            // The sleep: only a signal ends it. One that is lost is a schedule without end.
            while !handle.waker.wait(0).unwrap() {
                thread::yield_now();
            }
            handle.waker.clear();
            handle.awake();
        }
    }
}

fn start_lane(shared: &Arc<Shared>, index: usize, takes: Takes) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || lane(&shared, index, takes))
}

/// Work comes while the lanes fall asleep. Some lane takes it, in every order of looking and announcing.
#[test]
fn shuttle_no_item_waits_for_a_lane_that_sleeps() {
    shuttle::check_random(
        || {
            // One lane, so that no other makes up for a wake-up that it misses.
            let shared = shared(1, 64);
            let worker = start_lane(&shared, 0, Takes::Both);
            let other = Arc::clone(&shared);
            let submitter = thread::spawn(move || assert!(submit(&other, Direction::Put).wait(None)));
            assert!(submit(&shared, Direction::Get).wait(None));
            submitter.join().unwrap();
            shared.stop();
            worker.join().unwrap();
            assert_eq!(shared.in_flight(), 0);
        },
        SCHEDULES,
    );
}

/// Two lanes sleep, and one of them is too busy with what it has under way to take anything. The wake-up goes to the
/// other one, or the item would wait for a transfer that may take as long as it likes; here it never ends.
#[test]
fn shuttle_the_wake_up_goes_to_a_lane_that_can_take() {
    for (busy, able) in
        [(Takes::Nothing, Takes::Both), (Takes::Nothing, Takes::Gets), (Takes::Gets, Takes::Both)]
    {
        let direction = if able == Takes::Both { Direction::Put } else { Direction::Get };
        shuttle::check_random(
            move || {
                let shared = shared(2, 64);
                let workers = [start_lane(&shared, 0, busy), start_lane(&shared, 1, able)];
                for _ in 0..2 {
                    assert!(submit(&shared, direction).wait(None));
                }
                shared.stop();
                workers.into_iter().for_each(|worker| worker.join().unwrap());
            },
            SCHEDULES,
        );
    }
}

/// A lane starts items while a canceller ends those that were not started. Each item ends once, by one of the two, and
/// its admission comes back.
#[test]
fn shuttle_an_item_is_started_or_cancelled_and_never_both() {
    shuttle::check_random(
        || {
            const ITEMS: usize = 3;
            let shared = shared(1, ITEMS);
            let worker = start_lane(&shared, 0, Takes::Both);
            let batch = batch_of(ITEMS, Direction::Put);
            shared.admit(Direction::Put, ITEMS, None).unwrap();
            shared.submit(&batch);
            shared.end_waiting(&batch, Status::Cancelled);
            assert!(batch.wait(None));
            let counters = shared.metrics.snapshot();
            let ended =
                |status| batch.items().iter().filter(|item| batch.result(item).status == status).count();
            assert_eq!(ended(Status::Ok) + ended(Status::Cancelled), ITEMS);
            assert_eq!(counters.cancelled, ended(Status::Cancelled) as u64);
            // Room for as many again: what was cancelled gave back its place.
            shared.admit(Direction::Put, ITEMS, None).unwrap();
            shared.readmit(Direction::Put, ITEMS);
            shared.stop();
            worker.join().unwrap();
            assert_eq!(shared.in_flight(), 0);
        },
        SCHEDULES,
    );
}

/// Questions about keys are asked while a canceller ends those that were not begun. Each ends once, by one of the two, and
/// its admission comes back.
#[test]
fn shuttle_a_question_is_asked_or_cancelled_and_never_both() {
    shuttle::check_random(
        || {
            const ITEMS: usize = 3;
            let shared = shared(1, ITEMS);
            let fake = Arc::new(Fake::OneByOne(Box::new(|_| Ok(Some(7)))));
            let batch = inquiry::testing::batch_of(&shared, ITEMS, 1);
            let asking = inquiry::testing::inquiry(&shared, &fake, &batch, false);
            let asker = thread::spawn(move || asking.run());
            shared.end_waiting(&batch, Status::Cancelled);
            assert!(batch.wait(None));
            let ended =
                |status| batch.items().iter().filter(|item| batch.result(item).status == status).count();
            assert_eq!(ended(Status::Ok) + ended(Status::Cancelled), ITEMS);
            assert_eq!(shared.metrics.snapshot().cancelled, ended(Status::Cancelled) as u64);
            // Room for as many again, once the asker has met what was cancelled.
            shared.admit_questions(ITEMS, None).unwrap();
            shared.readmit_questions(ITEMS);
            asker.join().unwrap();
            assert_eq!(shared.in_flight(), 0);
        },
        SCHEDULES,
    );
}

/// A batch larger than the bound waits for a moment in which nothing is under way, while small ones keep coming. Those
/// that came after it wait behind it, so the moment comes.
#[test]
fn shuttle_a_large_batch_is_not_starved_by_small_ones() {
    shuttle::check_random(
        || {
            let shared = shared(1, 2);
            let worker = start_lane(&shared, 0, Takes::Both);
            let first = submit(&shared, Direction::Get);
            let large = Arc::clone(&shared);
            let large = thread::spawn(move || {
                let batch = batch_of(3, Direction::Get);
                large.admit(Direction::Get, 3, None).unwrap();
                large.submit(&batch);
                assert!(batch.wait(None));
            });
            for _ in 0..3 {
                submit(&shared, Direction::Get);
            }
            large.join().unwrap();
            assert!(first.wait(None));
            shared.stop();
            worker.join().unwrap();
            assert_eq!(shared.in_flight(), 0);
        },
        SCHEDULES,
    );
}

/// The line is full and several submitters wait for room. Each item that ends lets one in; none waits for ever.
#[test]
fn shuttle_a_submitter_that_waits_for_room_is_let_in() {
    shuttle::check_random(
        || {
            let shared = shared(1, 1);
            let worker = start_lane(&shared, 0, Takes::Both);
            let submitters: Vec<_> = (0..3)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || assert!(submit(&shared, Direction::Get).wait(None)))
                })
                .collect();
            submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
            shared.stop();
            worker.join().unwrap();
        },
        SCHEDULES,
    );
}

/// A submitter who waits for room of a store to which `event` comes is told so, instead of waiting for a lane that ended or for
/// a deadline.
fn a_waiting_submitter_hears_of(event: fn(&Shared), status: Status) {
    shuttle::check_random(
        move || {
            let shared = shared(1, 1);
            shared.admit(Direction::Put, 1, None).unwrap();
            let other = Arc::clone(&shared);
            let submitter = thread::spawn(move || other.admit(Direction::Put, 1, None).unwrap_err().status());
            event(&shared);
            assert_eq!(submitter.join().unwrap(), status);
        },
        SCHEDULES,
    );
}

#[test]
fn shuttle_a_waiting_submitter_hears_of_poison() {
    a_waiting_submitter_hears_of(|shared| shared.poison("a panic"), Status::Poisoned);
}

#[test]
fn shuttle_a_waiting_submitter_hears_of_the_close() {
    let close = |shared: &Shared| {
        assert!(!shared.stop_admitting());
        shared.call_submitters();
    };
    a_waiting_submitter_hears_of(close, Status::Closing);
}
