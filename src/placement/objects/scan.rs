//! Learning what other processes put: every object's file is looked at, at open and now and then.

use std::time::{Duration, Instant, SystemTime};

use super::{Objects, limits};
use crate::catalog::{OBJECTS_MAX, turn_around};
use crate::error::{Error, Result, Status};
use crate::layout::files::{ObjectName, Scanned};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock};

/// Bytes put since the last scan, as a part of the capacity, after which other processes' files are
/// looked for again.
const RESCAN_CAPACITY_PART: u64 = 16;
/// The least time between two such scans.
const RESCAN_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// When the next scan is due, and whether one is under way.
pub(super) struct Rescan {
    pub(super) bytes_since: AtomicU64,
    last: Mutex<Instant>,
    running: AtomicBool,
}

impl Rescan {
    /// As after a scan.
    pub(super) fn new() -> Rescan {
        Rescan {
            bytes_since: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            running: AtomicBool::new(false),
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
impl Rescan {
    /// As if the last scan had been then.
    pub(super) fn set_last(&self, last: Instant) {
        *lock(&self.last) = last;
    }
}

/// What is kept of a file until all are known and can be taken in by age.
struct Seen {
    id: u128,
    /// Where it cannot be made from the id.
    name: Option<Box<str>>,
    bytes: u64,
    modified: SystemTime,
}

impl Objects {
    /// Takes every object into the catalog, the oldest first.
    ///
    /// # Errors
    /// What listing the directory answers; `OutOfMemory`.
    pub(super) fn scan(&self) -> Result<()> {
        let mut seen: Vec<Seen> = Vec::new();
        let mut refused = false;
        // What is left out has been said; whoever asks for a key there finds it or is told why not.
        let _ = self.files.scan(&mut |scanned| {
            if refused || !self.is_ours(&scanned) {
                return;
            }
            if seen.len() >= OBJECTS_MAX as usize {
                // The catalog would forget the oldest one by one; half of them at a time costs a sort and no more memory.
                let middle = seen.len() / 2;
                seen.select_nth_unstable_by_key(middle, |seen| std::cmp::Reverse(seen.modified));
                seen.truncate(middle);
            }
            if seen.len() == seen.capacity() && seen.try_reserve(seen.len().max(1)).is_err() {
                refused = true;
                return;
            }
            seen.push(self.seen(&scanned));
        })?;
        if refused {
            return Err(no_memory(seen.len()));
        }
        let unknown = seen.iter().filter(|seen| !self.catalog.contains(seen.id));
        let (objects, name_bytes) = unknown.fold((0, 0), |(objects, name_bytes), seen| {
            (objects + 1, name_bytes + seen.name.as_ref().map_or(0, |name| name.len()))
        });
        if !self.catalog.has_memory_for(objects, name_bytes) {
            return Err(no_memory(seen.len()));
        }
        seen.sort_unstable_by_key(|seen| seen.modified);
        turn_around(&mut seen, self.catalog.chains());
        for seen in seen {
            self.catalog.observe(seen.id, seen.name.as_deref(), seen.bytes);
        }
        Ok(())
    }

    fn seen(&self, scanned: &Scanned) -> Seen {
        Seen {
            id: self.files.id_of(&scanned.name),
            name: self.flat(&scanned.name).map(String::into_boxed_str),
            bytes: counted(scanned.bytes),
            modified: scanned.modified,
        }
    }

    /// Notes bytes that are about to be put.
    pub(super) fn note_put(&self, bytes: u64) {
        self.rescan.bytes_since.fetch_add(bytes, Ordering::Relaxed);
    }

    /// True: the caller is to have [`Objects::rescan`] called, where nobody waits for it; nobody else is told so before
    /// that has ended.
    pub(super) fn rescan_is_due(&self) -> bool {
        let Some(capacity) = self.capacity_bytes else { return false };
        self.rescan.bytes_since.load(Ordering::Relaxed) >= capacity / RESCAN_CAPACITY_PART
            && lock(&self.rescan.last).elapsed() >= RESCAN_INTERVAL_MIN
            && !self.rescan.running.swap(true, Ordering::AcqRel)
    }

    /// Looks for objects that other processes put. Puts and gets go on meanwhile: until it has ended they may exceed the
    /// capacity by what the catalog does not know of yet.
    pub(super) fn rescan(&self) {
        // Also where it panics, or no other would ever be due.
        let _ended = Ended(self);
        self.rescan.bytes_since.store(0, Ordering::Relaxed);
        if let Err(error) = self.scan() {
            self.logger.warn(format_args!("looking for other processes' objects: {error}"));
        }
    }

    /// Takes an object into the catalog, or corrects what is known of it.
    pub(super) fn observe(&self, name: &ObjectName, bytes: u64) {
        self.catalog.observe(self.files.id_of(name), self.flat(name).as_deref(), counted(bytes));
    }
}

fn no_memory(objects: usize) -> Error {
    Error::new(
        Status::OutOfMemory,
        format!("listing the objects of the store: no memory for more than {objects} of them"),
    )
}

/// The bytes that a file counts against the capacity. One of a length that no put made is damaged: if it counted, a
/// sparse file of terabytes would have every other object evicted.
fn counted(bytes: u64) -> u64 {
    limits::split_file(bytes).map_or(0, |_| bytes)
}

struct Ended<'a>(&'a Objects);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *lock(&self.0.rescan.last) = Instant::now();
        self.0.rescan.running.store(false, Ordering::Release);
    }
}
