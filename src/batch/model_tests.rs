//! Batches, tickets and completion queues under a model checker: every interleaving that shuttle finds.

use super::completion::CompletionQueue;
use super::ticket::TicketTable;
use super::{Batch, Direction, ItemGuard, ItemResult, Wish};
use crate::error::Status;
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
