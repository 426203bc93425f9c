//! What a lane asked the placement, and the answers: at once, or through the mailbox.

use super::Lane;
use crate::batch::{ItemGuard, ItemResult};
use crate::error::Result;
use crate::placement::{Answer, Placement, PutPlace, Source, Tombstones};

/// An answer, with the item that it is for.
pub(super) enum Reply<P: Placement> {
    /// A get's record was looked for. `alone`: no other item held anything when it was asked for.
    GetOpened {
        guard: ItemGuard,
        /// How often that was done before.
        reopened: u32,
        found: Result<Option<Source<P::GetClaim>>>,
        alone: bool,
    },
    /// A record that was not any more what had been opened is given back.
    Stale { guard: ItemGuard, reopened: u32, due: Tombstones<P::TombClaim> },
    /// A put that keeps what is stored has looked whether something is.
    Found { guard: ItemGuard, attempts: u32, found: Result<Option<u64>> },
    /// A put's room was looked for.
    PutOpened { guard: ItemGuard, attempts: u32, place: Result<PutPlace<P::PutClaim>>, alone: bool },
    /// A put was published.
    Committed { guard: ItemGuard, bytes_staged: u64, outcome: Result<Tombstones<P::TombClaim>> },
    /// A put that met a full device has given its room back.
    Full { guard: ItemGuard, attempts: u32, os_error: i32, due: Tombstones<P::TombClaim> },
    /// Room was made on a full device, if that could be done.
    RoomMade { guard: ItemGuard, attempts: u32, os_error: i32, made: bool },
    /// An item has given back all it held.
    Closed { guard: ItemGuard, result: ItemResult, due: Tombstones<P::TombClaim> },
    /// A tombstone is written, or given up; others are due because of that.
    Entombed { epilogue: usize, due: Tombstones<P::TombClaim> },
}

impl<P: Placement> Lane<P> {
    /// Takes an answer in, now or when it comes. `then` adds the item that it is for.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        answer: Answer<T>,
        then: impl FnOnce(T) -> Reply<P> + Send + 'static,
    ) {
        match answer {
            Answer::Now(answer) => self.receive(then(answer)),
            Answer::Later(work) if self.is_callers => self.receive(then(work.run())),
            Answer::Later(work) => {
                self.asked += 1;
                self.chores.ask(work, then, &self.mailbox);
            }
        }
    }

    /// Takes in what has come through the mailbox.
    pub(super) fn take_answers(&mut self) {
        while let Some(reply) = self.mailbox.pop() {
            self.asked -= 1;
            if self.shared.is_poisoned() {
                // Its item ends with it, and what it holds is given back.
                drop(reply);
            } else {
                self.receive(reply);
            }
        }
        self.asked -= self.mailbox.take_lost();
    }

    fn receive(&mut self, reply: Reply<P>) {
        match reply {
            Reply::GetOpened { guard, reopened, found, alone } => {
                self.get_opened(guard, reopened, found, alone);
            }
            Reply::Stale { guard, reopened, due } => {
                self.shared.let_go();
                self.write_tombstones(due, None);
                self.get_was_stale(guard, reopened);
            }
            Reply::Found { guard, attempts, found } => self.put_found(guard, attempts, found),
            Reply::PutOpened { guard, attempts, place, alone } => {
                self.put_opened(guard, attempts, place, alone);
            }
            Reply::Committed { guard, bytes_staged, outcome } => {
                self.put_committed(guard, bytes_staged, outcome);
            }
            Reply::Full { guard, attempts, os_error, due } => {
                self.shared.let_go();
                self.write_tombstones(due, None);
                self.put_met_full_device(guard, attempts, os_error);
            }
            Reply::RoomMade { guard, attempts, os_error, made } => {
                self.room_was_made(guard, attempts, made, os_error);
            }
            Reply::Entombed { epilogue, due } => self.entombed(epilogue, due),
            Reply::Closed { guard, result, due } => {
                self.shared.let_go();
                self.finish_after(guard, result, due);
            }
        }
    }
}
