//! Pins that other processes see: one byte of one file for each object, locked by who pins it.
//!
//! Open-file-description locks (`fcntl(2)`) belong to an open file, so the kernel drops them when
//! its last process dies, and on network file systems the server does. A pin is a read lock, an
//! eviction holds the write lock, and the file itself stays empty. Pins and evictions go
//! through two open files: locks of the same one never conflict, and unlocking after an eviction
//! would drop a pin.
//!
//! The kernel does not count the read locks of one open file, so they are counted here, and a count and its lock change
//! in one step: were there a moment between them, an unpin could take the lock away under a pin that was just counted.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::alone::{Alone, AtWork};
use crate::log::Logger;
use crate::sync::{Mutex, MutexGuard, lock, thread};
use crate::sys::dir::{Dir, OpenMode};
use crate::sys::lock::{ByteLock, let_go_in_child, try_lock_byte};

/// The file whose bytes are locked.
const PINS: &str = ".nixl_store+pins";
/// Bits of an id that choose its byte; two more would leave the range of file offsets.
const OFFSET_BITS: u32 = 62;
/// A byte that no id chooses, to find out whether there are locks at all.
const PROBE_OFFSET: u64 = 1 << OFFSET_BITS;
/// Parts that the counts of pins are kept in, each with a lock of its own: pins of other objects seldom wait.
const PIN_STRIPES: usize = 64;

/// How long a pin tries to get past evictions. One lasts as long as an unlink, which on a busy disk that discards takes a
/// large part of a second; this is for a device that hangs.
const PIN_WAIT_MAX: Duration = Duration::from_secs(10);
/// The pause between attempts.
const PIN_PAUSE: Duration = Duration::from_millis(1);

/// What became of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The object is gone.
    Removed,
    /// It was kept: a process pins it, this one or another, or another is evicting it.
    Pinned,
    /// There was no such object.
    Absent,
}

/// This process's side of the pins of a store.
#[derive(Debug)]
pub(super) struct Pins {
    pinning: File,
    evicting: File,
    // The write locks of two threads do not conflict, so the second would evict under the first
    // one's lock and lose it when that ends.
    at_work: AtWork,
    // For each byte that is locked, how often it is pinned.
    counts: [Mutex<HashMap<u64, u64>>; PIN_STRIPES],
    supported: bool,
}

impl Pins {
    /// Opens the file of pins in the store's directory.
    pub(super) fn open(root: &Dir, logger: &Logger) -> io::Result<Pins> {
        let mode = OpenMode { write: true, create: true, ..OpenMode::default() };
        let pinning = root.open_file(OsStr::new(PINS), mode)?;
        let evicting = root.open_file(OsStr::new(PINS), mode)?;
        let supported = match try_lock_byte(&evicting, PROBE_OFFSET, ByteLock::Write) {
            Ok(()) => try_lock_byte(&evicting, PROBE_OFFSET, ByteLock::Unlock).map(|()| true)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => {
                logger.warn(format_args!(
                    "{}: the file system has no byte locks ({error}); pins of other processes cannot be \
                     seen and this process's cannot be shown to them",
                    root.path().display()
                ));
                false
            }
        };
        Ok(Pins {
            pinning,
            evicting,
            at_work: AtWork::default(),
            counts: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            supported,
        })
    }

    /// Shows other processes that the object may not be evicted, until it was unpinned as often.
    pub(super) fn pin(&self, id: u128) -> io::Result<()> {
        if !self.supported {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let offset = offset(id);
        let mut since = None;
        loop {
            match self.try_pin(offset) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if since.get_or_insert_with(Instant::now).elapsed() >= PIN_WAIT_MAX {
                        return Err(error);
                    }
                    thread::sleep(PIN_PAUSE);
                }
                other => return other,
            }
        }
    }

    fn try_pin(&self, offset: u64) -> io::Result<()> {
        let mut counts = self.counts(offset);
        if let Some(count) = counts.get_mut(&offset) {
            *count += 1;
            return Ok(());
        }
        counts.try_reserve(1).map_err(|_| io::ErrorKind::OutOfMemory)?;
        try_lock_byte(&self.pinning, offset, ByteLock::Read)?;
        counts.insert(offset, 1);
        Ok(())
    }

    /// Takes one pin back. False: there is none.
    pub(super) fn unpin(&self, id: u128) -> io::Result<bool> {
        let offset = offset(id);
        let mut counts = self.counts(offset);
        match counts.get_mut(&offset) {
            None => return Ok(false),
            Some(1) => {
                try_lock_byte(&self.pinning, offset, ByteLock::Unlock)?;
                counts.remove(&offset);
            }
            Some(count) => *count -= 1,
        }
        Ok(true)
    }

    /// Bytes that this process has locked.
    pub(super) fn pinned(&self) -> u64 {
        self.counts.iter().map(|counts| lock(counts).len() as u64).sum()
    }

    fn counts(&self, offset: u64) -> MutexGuard<'_, HashMap<u64, u64>> {
        lock(&self.counts[(offset % PIN_STRIPES as u64) as usize])
    }

    /// In a forked child: see [`let_go_in_child`].
    pub(super) fn abandon_after_fork(&self) {
        let_go_in_child(&self.pinning);
        let_go_in_child(&self.evicting);
    }

    /// Keeps this process from evicting the object, and whoever asks for the same, while the answer lives.
    pub(super) fn alone(&self, id: u128) -> Alone<'_> {
        self.at_work.enter(offset(id))
    }

    /// Runs `remove` while nobody can pin the object; it says whether there was one.
    pub(super) fn evict(&self, id: u128, remove: impl FnOnce() -> io::Result<bool>) -> io::Result<Evicted> {
        let _alone = self.alone(id);
        if self.supported {
            match try_lock_byte(&self.evicting, offset(id), ByteLock::Write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Evicted::Pinned);
                }
                other => other?,
            }
        }
        let removed = remove();
        if self.supported {
            try_lock_byte(&self.evicting, offset(id), ByteLock::Unlock)?;
        }
        Ok(if removed? { Evicted::Removed } else { Evicted::Absent })
    }
}

fn offset(id: u128) -> u64 {
    id as u64 & ((1 << OFFSET_BITS) - 1)
}
