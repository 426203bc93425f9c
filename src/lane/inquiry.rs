//! A batch of questions about keys, on its way through the threads that ask.
//!
//! It is asked a turn at a time, so that a large batch does not keep small ones waiting, and goes behind the others between
//! two turns. An item counts as started when the work for its key begins and not before: until then its deadline or a cancel
//! ends it, whatever the device does with the keys before it.

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;

use std::time::Instant;

use super::item::failed;
use super::shared::Shared;
use crate::batch::{Batch, ItemGuard, ItemResult, Question};
use crate::error::{Error, Result, Status};
use crate::placement::{Asked, Asking, Key, Keys};
use crate::sync::Arc;

/// Keys that are asked about in one turn: a chain of some tens of thousands of tokens whole, so that it costs a backend with
/// round trips no more of them than it must.
const KEYS_PER_TURN: usize = 256;

/// The batch, with the right and duty to end the items that no turn has come to yet.
pub struct Inquiry {
    shared: Arc<Shared>,
    keys: Arc<dyn Keys>,
    batch: Arc<Batch>,
    question: Question,
    /// First item of the next turn.
    next: usize,
}

impl Inquiry {
    /// For an admitted batch that is in the ticket table.
    pub fn new(shared: Arc<Shared>, keys: Arc<dyn Keys>, batch: Arc<Batch>, question: Question) -> Inquiry {
        Inquiry { shared, keys, batch, question, next: 0 }
    }

    /// Asks until all items have ended, on the calling thread.
    pub fn run(mut self) {
        while self.turn() {}
    }

    /// Asks about the next keys. False: none are left.
    pub(super) fn turn(&mut self) -> bool {
        let batch = Arc::clone(&self.batch);
        let first = self.next;
        self.next = batch.len().min(first + KEYS_PER_TURN);
        let mut turn = Turn {
            shared: &self.shared,
            batch: &batch,
            question: self.question,
            guards: Vec::with_capacity(self.next - first),
            chain_ended: false,
        };
        let mut keys = Vec::with_capacity(self.next - first);
        for index in first..self.next {
            let guard = ItemGuard::new(Arc::clone(&batch), index as u32);
            if guard.is_stub() {
                // It has its result.
                self.shared.finish_question(guard, ItemResult::of(Status::Cancelled));
                continue;
            }
            let item = batch.item(index as u32);
            keys.push(Key { effective: batch.key(item), digest: item.digest });
            turn.guards.push(Some(guard));
        }
        if !keys.is_empty() {
            self.keys.ask(self.question, &keys, &mut turn);
        }
        turn.end_unanswered();
        if turn.chain_ended {
            self.end_rest(Status::NotFound);
        }
        self.next < batch.len()
    }

    /// Ends all items that no turn has come to.
    fn end_rest(&mut self, status: Status) {
        for index in self.next..self.batch.len() {
            let guard = ItemGuard::new(Arc::clone(&self.batch), index as u32);
            self.shared.finish_question(guard, ItemResult::of(status));
        }
        self.next = self.batch.len();
    }
}

impl Drop for Inquiry {
    /// Items are left only where a turn panicked, or where all that are left were ended from outside.
    fn drop(&mut self) {
        self.end_rest(Status::Poisoned);
    }
}

/// The items that are asked about now. A guard that is dropped, in a panic, ends its item.
struct Turn<'t> {
    shared: &'t Shared,
    batch: &'t Batch,
    question: Question,
    guards: Vec<Option<ItemGuard>>,
    /// A key of a chain was not found.
    chain_ended: bool,
}

impl Turn<'_> {
    fn finish(&self, guard: ItemGuard, result: ItemResult) {
        let question = self.question;
        self.shared.finish_question(guard, result);
        if question.gives_back() {
            self.shared.relieve();
        }
    }

    /// Ends what the placement did not answer: what it let go because nobody wanted it any more has ended already.
    fn end_unanswered(&mut self) {
        for index in 0..self.guards.len() {
            if let Some(guard) = self.guards[index].take() {
                let error = Error::new(Status::Internal, "the storage gave no answer for this key");
                let result = failed(&guard, &error);
                self.finish(guard, result);
            }
        }
    }
}

impl Asking for Turn<'_> {
    fn begin(&mut self, index: usize) -> bool {
        let Some(guard) = self.guards.get_mut(index).and_then(Option::take) else { return false };
        let stopped = if self.shared.is_poisoned() { Some(Status::Poisoned) } else { self.batch.stopped() };
        if stopped.is_none() && guard.start() {
            self.guards[index] = Some(guard);
            return true;
        }
        // What was ended from outside has its result already, whatever stands here.
        self.finish(guard, ItemResult::of(stopped.unwrap_or(Status::Cancelled)));
        false
    }

    fn answer(&mut self, index: usize, answer: Result<Asked>) {
        let Some(guard) = self.guards.get_mut(index).and_then(Option::take) else { return };
        let result = match answer {
            Ok(Asked::Done { length }) => {
                ItemResult { object_length: length.unwrap_or(0), ..ItemResult::of(Status::Ok) }
            }
            Ok(Asked::NotFound) => {
                self.chain_ended |= self.question == Question::Lookup { chain: true };
                ItemResult::of(Status::NotFound)
            }
            Ok(Asked::Pinned) => ItemResult::of(Status::Pinned),
            Err(error) => failed(&guard, &error),
        };
        self.finish(guard, result);
    }

    fn deadline(&self) -> Option<Instant> {
        self.batch.deadline
    }
}
