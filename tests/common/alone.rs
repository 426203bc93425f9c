//! The stand-in for 3FS's client library is one for the whole process, and what a test sets there holds for all: tests take turns.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hf3fs::{self, Standin, What};

/// The stand-in for as long as a test has it alone. At the end of a test that did not fail, nothing was left behind in it.
pub struct Alone {
    _turn: MutexGuard<'static, ()>,
    /// Files that were registered with a daemon that died: it cannot be told to forget them.
    lost: Cell<u64>,
}

impl Alone {
    /// Waits until no other test has it.
    pub fn new() -> Alone {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let standin = hf3fs::standin();
        standin.reset();
        Alone { _turn: turn, lost: Cell::new(standin.count(What::FilesLive)) }
    }

    /// What lives: memory, rings, registered files.
    pub fn alive(&self) -> (u64, u64, u64) {
        let files = self.count(What::FilesLive) - self.lost.get();
        (self.count(What::IovsLive), self.count(What::RingsLive), files)
    }

    /// A new daemon in the place of the one that died.
    pub fn revive(&self) {
        self.restart();
        self.reset();
        self.lost.set(self.count(What::FilesLive));
    }

    /// What was made since the test began.
    pub fn made(&self) -> (u64, u64, u64) {
        (self.count(What::IovsMade), self.count(What::RingsMade), self.count(What::FilesRegistered))
    }
}

impl Deref for Alone {
    type Target = Standin;

    fn deref(&self) -> &Standin {
        hf3fs::standin()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.alive(), (0, 0, 0), "memory, rings or files that nobody gave back");
            assert_eq!(self.count(What::UnderWay), 0);
        } else {
            self.revive();
        }
        self.reset();
    }
}
