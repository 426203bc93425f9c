//! Batches, tickets and completion queues under a model checker: every interleaving that shuttle finds.

use std::time::Duration;

use super::completion::CompletionQueue;
use super::ticket::TicketTable;
use super::{Batch, Direction, ItemGuard, ItemResult, Wish};
use crate::error::Status;
use crate::memory::signal::testing::is_reached;
use crate::memory::{DevicePtr, DeviceSlice, Stretch, Words};
use crate::sync::{Arc, thread};

/// Schedules that each test tries.
const SCHEDULES: usize = 2000;

fn batch(items: usize) -> Arc<Batch> {
    let mut batch = Batch::default();
    batch.reset(Direction::Get);
    (0..items).for_each(|index| batch.push_item(index as u128, b"\0key", Wish::default()));
    Arc::new(batch)
}

/// Items end on different lanes while callers wait. Everyone wakes, once all items have ended, with the
/// results of all of them. A lost wake-up would be a deadlock here.
#[test]
fn shuttle_whoever_waits_for_a_batch_wakes_when_its_last_item_ends() {
    shuttle::check_random(
        || {
            let batch = batch(3);
            let lanes: Vec<_> = (0..3)
                .map(|index| {
                    let guard = ItemGuard::new(Arc::clone(&batch), index);
                    let status = if index == 1 { Status::NotFound } else { Status::Ok };
                    thread::spawn(move || guard.finish(ItemResult::of(status)))
                })
                .collect();
            let other = Arc::clone(&batch);
            let waiter = thread::spawn(move || {
                assert!(other.wait(None));
                assert_eq!(other.summary(), Status::NotFound);
            });
            assert!(batch.wait(None));
            assert!(batch.items().iter().all(|item| batch.result(item).status != Status::InProgress));
            waiter.join().unwrap();
            lanes.into_iter().for_each(|lane| lane.join().unwrap());
        },
        SCHEDULES,
    );
}

/// A lane that dies drops its guards in the unwinding: their items end, and nobody waits for ever.
#[test]
fn shuttle_an_item_whose_guard_is_dropped_ends_as_poisoned() {
    shuttle::check_random(
        || {
            let batch = batch(2);
            let (kept, lost) = (ItemGuard::new(Arc::clone(&batch), 0), ItemGuard::new(Arc::clone(&batch), 1));
            let dying = thread::spawn(move || drop(lost));
            let living = thread::spawn(move || kept.finish(ItemResult::of(Status::Ok)));
            assert!(batch.wait(None));
            assert_eq!(batch.summary(), Status::Poisoned);
            dying.join().unwrap();
            living.join().unwrap();
        },
        SCHEDULES,
    );
}

/// The words of all tests: they are the process's, and no business of the model checker's.
fn words() -> &'static Words {
    static WORDS: std::sync::OnceLock<&'static Words> = std::sync::OnceLock::new();
    WORDS.get_or_init(|| Words::new().unwrap())
}

/// Devices begin to wait for items, and for all of them, while the items come on and end. Whatever a device was told to wait for
/// is there in the end, and who need not wait is told so only when that is so: else a stream would stand still for ever.
#[test]
fn shuttle_whatever_a_device_was_told_to_wait_for_comes() {
    shuttle::check_random(
        || {
            let wish = Wish { front: true, ..Wish::default() };
            let mut batch = Batch::default();
            batch.reset(Direction::Get);
            for index in 0..2 {
                batch.push_item(index, b"\0key", wish);
                let pointer = DevicePtr::new(4096);
                assert!(batch.push_stretch(Stretch::Device(DeviceSlice { pointer, length: 4, device: 0 })));
            }
            let batch = Arc::new(batch);
            let lanes: Vec<_> = (0..2)
                .map(|index| {
                    let guard = ItemGuard::new(Arc::clone(&batch), index);
                    thread::spawn(move || {
                        if index == 0 {
                            guard.advance(1);
                            guard.finish(ItemResult::of(Status::NotFound));
                        }
                        // The other is dropped, as by a lane that dies.
                    })
                })
                .collect();
            let devices: Vec<_> = [(Some(0), 1), (Some(0), 2), (Some(1), 1), (None, 0)]
                .into_iter()
                .map(|(index, bytes)| {
                    let batch = Arc::clone(&batch);
                    thread::spawn(move || {
                        let mark = batch.mark(index, bytes, words()).unwrap();
                        if mark.is_none() {
                            let Some(index) = index else {
                                assert!(batch.is_done());
                                return mark;
                            };
                            let (result, there) = batch.wait_bytes(index, bytes, Some(Duration::ZERO));
                            assert!(result.status != Status::InProgress || there >= bytes);
                        }
                        mark
                    })
                })
                .collect();
            let marks: Vec<_> = devices.into_iter().map(|device| device.join().unwrap()).collect();
            lanes.into_iter().for_each(|lane| lane.join().unwrap());
            assert!(marks.into_iter().flatten().all(|mark| is_reached(words(), mark)));
            let all: Vec<_> = std::iter::from_fn(|| words().take(1)).collect();
            assert_eq!(all.len(), crate::memory::signal::WORDS, "a word was not given back");
        },
        SCHEDULES,
    );
}

/// Threads wait for bytes and for ends while both come. Everyone wakes, with what he waited for: a lost wake-up would be a
/// deadlock here.
#[test]
fn shuttle_whoever_waits_for_bytes_wakes() {
    shuttle::check_random(
        || {
            let batch = batch(2);
            let (first, second) =
                (ItemGuard::new(Arc::clone(&batch), 0), ItemGuard::new(Arc::clone(&batch), 1));
            let lane = thread::spawn(move || {
                first.advance(5);
                first.advance(9);
                first.finish(ItemResult { bytes: 9, ..ItemResult::of(Status::Ok) });
                second.finish(ItemResult::of(Status::Io));
            });
            let waiters: Vec<_> = [(0, 5), (0, 9), (0, 10), (1, 1)]
                .into_iter()
                .map(|(index, wanted)| {
                    let batch = Arc::clone(&batch);
                    thread::spawn(move || {
                        let (result, bytes) = batch.wait_bytes(index, wanted, None);
                        assert!(bytes >= wanted || result.status != Status::InProgress);
                        assert!(result.status != Status::Ok || bytes == 9);
                    })
                })
                .collect();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            lane.join().unwrap();
        },
        SCHEDULES,
    );
}

/// Several callers consume one ticket at once: one of them gets its batch, and the place is given out
/// again under another number only.
#[test]
fn shuttle_a_ticket_is_consumed_once() {
    shuttle::check_random(
        || {
            let table = Arc::new(TicketTable::new(5));
            let reserved = table.reserve().unwrap();
            let ticket = reserved.ticket;
            table.insert(reserved, batch(1));
            let takers: Vec<_> = (0..3)
                .map(|_| {
                    let table = Arc::clone(&table);
                    thread::spawn(move || usize::from(table.take(ticket).is_some()))
                })
                .collect();
            let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
            assert_eq!(taken, 1);
            assert!(table.get(ticket).is_none());
        },
        SCHEDULES,
    );
}

/// Completions are drained by two threads while they are pushed: each arrives once, and the queue owes
/// nothing in the end.
#[test]
fn shuttle_each_completion_is_drained_once() {
    shuttle::check_random(
        || {
            let queue = Arc::new(CompletionQueue::new().unwrap());
            let pushers: Vec<_> = (1..=2u64)
                .map(|ticket| {
                    assert!(queue.reserve());
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || queue.push(ticket, ticket, Status::Ok))
                })
                .collect();
            let other = Arc::clone(&queue);
            let drainer = thread::spawn(move || other.drain(1, &mut |_| {}));
            pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
            let elsewhere = drainer.join().unwrap();
            assert_eq!(elsewhere + queue.drain(usize::MAX, &mut |_| {}), 2);
            assert_eq!(queue.drain(usize::MAX, &mut |_| {}), 0);
        },
        SCHEDULES,
    );
}
