//! Admission and the lanes' sleep under a model checker: no submitter and no item is ever left behind.

use super::shared::Shared;
use crate::batch::{Batch, Direction, ItemResult, Wish};
use crate::error::Status;
use crate::log::Logger;
use crate::memory::Staging;
use crate::sync::{Arc, thread};

/// Schedules that each test tries.
const SCHEDULES: usize = 1000;
/// Smallest staging buffer; no test moves bytes.
const STAGING_BYTES: usize = 256 << 10;

fn shared(lanes: usize, items_max: usize) -> Arc<Shared> {
    let staging = Staging::new(STAGING_BYTES, false).unwrap();
    Arc::new(Shared::new(lanes, items_max, staging, Logger::to_stderr()).unwrap())
}

fn submit(shared: &Shared, direction: Direction) -> Arc<Batch> {
    let mut batch = Batch::default();
    batch.reset(direction);
    batch.push_item(1, b"\0key", Wish::default());
    let batch = Arc::new(batch);
    shared.admit(direction, 1, None).unwrap();
    shared.submit(&batch);
    batch
}

/// What a lane does, with the transfer left out: it takes items, ends them, and sleeps when it has found
/// nothing after announcing it.
fn lane(shared: &Shared, index: usize) {
    let handle = &shared.lanes[index];
    loop {
        while let Some(guard) = shared.next(false) {
            shared.finish(guard, ItemResult::of(Status::Ok));
        }
        if shared.is_stopping() && !shared.has_waiting(false) {
            return;
        }
        if handle.announce_sleep(|| shared.has_waiting(false) || shared.is_stopping()) {
            // The sleep: only a signal ends it. One that is lost is a schedule without end.
            while !handle.waker.wait(0).unwrap() {
                thread::yield_now();
            }
            handle.waker.clear();
            handle.awake();
        }
    }
}

/// Work comes while the lanes fall asleep. Some lane takes it, in every order of looking and announcing.
#[test]
fn shuttle_no_item_waits_for_a_lane_that_sleeps() {
    shuttle::check_random(
        || {
            // One lane, so that no other makes up for a wake-up that it misses.
            let shared = shared(1, 64);
            let worker = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || lane(&shared, 0))
            };
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

/// The line is full and several submitters wait for room. Each item that ends lets one in; none waits for ever.
#[test]
fn shuttle_a_submitter_that_waits_for_room_is_let_in() {
    shuttle::check_random(
        || {
            let shared = shared(1, 1);
            let worker = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || lane(&shared, 0))
            };
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

/// A store is poisoned while a submitter waits for room: it is told so instead of waiting for a lane that ended.
#[test]
fn shuttle_a_waiting_submitter_hears_of_poison() {
    shuttle::check_random(
        || {
            let shared = shared(1, 1);
            shared.admit(Direction::Put, 1, None).unwrap();
            let other = Arc::clone(&shared);
            let submitter = thread::spawn(move || other.admit(Direction::Put, 1, None).unwrap_err().status());
            shared.poison("a panic");
            assert_eq!(submitter.join().unwrap(), Status::Poisoned);
        },
        SCHEDULES,
    );
}
