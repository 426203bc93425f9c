//! Flushing: what was put is made durable, each file by itself and the directories that name it.
//!
//! `syncfs(2)` goes first: it writes everything back in one sweep, and tells of failures of which nothing else would. On
//! ext4, XFS and their like that is all there is to do, at the cost of one flush of the device's cache. Elsewhere, on
//! FUSE and network file systems, each file that was put since the last flush is synced after it, several at a time as
//! each waits for the device or the server, and last the directories.
//!
//! A file whose sync failed is written anew by the next flush: into a new file, with what can be read and its checksums
//! prove, which takes the old one's place. To write over the old one would not do: ext4 then reports success for blocks
//! that it still takes for unwritten, and reads zeros from them after the next mount. What cannot be proven is removed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::unflushed::{Pending, Work};
use super::{Objects, limits};
use crate::error::{Error, Result, Status};
use crate::layout::files::ObjectName;
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES, NO_POOL, NO_SLOT, Trailer};
use crate::memory::AlignedBuffer;
use crate::memory::bytes::checksum_bytes;
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use crate::sys::thread::{STACK_BYTES, spawn_scoped};
use crate::sys::{file_size_limit, retry_on_interrupt};

/// Files or directories that a flush syncs at a time.
const SYNCS_MAX: usize = 16;
/// Entries of a list that are worth one more thread.
const ENTRIES_PER_THREAD: usize = 4;
/// Files of a walk through the directory that are synced together.
const WALK_FILES: usize = 4096;
/// What became of an object that was to be made durable.
enum Outcome {
    /// It is durable, or there is none of this process's any more.
    Durable,
    /// It was suspect and was written anew.
    Rewritten,
    /// It was suspect and could not be proven; it was removed.
    Removed,
}

/// Why a suspect file was not written anew.
enum NotRewritten {
    /// It cannot be read or proven right.
    Unproven(String),
    /// Writing failed, which says nothing about the file; it may succeed later.
    Failed(io::Error),
}

/// What a flush has come to. Its threads share it.
#[derive(Default)]
struct Tally {
    rewritten: usize,
    removed: usize,
    failed: usize,
    first: Option<Error>,
}

impl Objects {
    /// Makes every put durable that completed before.
    ///
    /// # Errors
    /// What the file system answers. Later flushes fail too until what may be lost was written anew or removed.
    pub(super) fn flush(&self) -> Result<()> {
        let _alone = lock(&self.flushing);
        let Some(mut work) = self.unflushed.work() else {
            return Err(Error::new(Status::OutOfMemory, "flushing: no memory for the list of what was put"));
        };
        let tally = Mutex::new(Tally::default());
        // Before the sweep, which then tells of what fails here, and not the next flush's.
        let others = work.pending.iter().position(|pending| !pending.suspect).unwrap_or(work.pending.len());
        let others = work.pending.split_off(others);
        self.make_all_durable(&work.pending, &tally);
        let mut walked = Ok(());
        if work.everything_suspect {
            walked = self.walk_durable(&work, &tally);
        }
        let swept = self.sweep();
        if swept.is_ok() && self.files.syncs_as_a_whole() {
            others.iter().for_each(|pending| self.unflushed.settled(pending));
        } else if swept.is_ok() {
            self.make_all_durable(&others, &tally);
            if work.everything && !work.everything_suspect {
                walked = self.walk_durable(&work, &tally);
            }
        }
        let named = if self.files.syncs_as_a_whole() { Ok(()) } else { self.sync_directories() };
        let Tally { rewritten, removed, failed, first } =
            tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if rewritten + removed > 0 {
            self.logger.warn(format_args!(
                "after a flush that failed, {rewritten} objects were written anew and {removed} removed"
            ));
        }
        if let Some(error) = first {
            // The same failures are told once more by a sweep. What they leave suspect is so already.
            drop(self.sweep());
            let message =
                format!("flushing: {failed} objects are not known to be durable; {}", error.message());
            return Err(Error::with_os_error(error.status(), error.os_error(), message));
        }
        swept?;
        walked?;
        named.map_err(|error| Error::os("flushing: syncing the directories of objects", &error))?;
        self.unflushed.finished(&work);
        Ok(())
    }

    /// Has the whole file system written back. If that fails, everything that is not flushed is suspect.
    fn sweep(&self) -> Result<()> {
        self.files.sync_file_system().map_err(|error| {
            self.unflushed.all_failed();
            Error::os(
                "flushing: syncfs of nixl_path failed, and what was put since the last flush may be lost; the next \
                 flush writes it anew",
                &error,
            )
        })
    }

    /// Makes every file of the store durable, whoever put it: more was put than was remembered.
    fn walk_durable(&self, work: &Work, tally: &Mutex<Tally>) -> Result<()> {
        let mut met = Vec::new();
        met.try_reserve_exact(WALK_FILES).map_err(|_| {
            Error::new(Status::OutOfMemory, "flushing: no memory to walk through the directory of objects")
        })?;
        let left_out = self.files.scan(&mut |scanned| {
            let name = self.flat(&scanned.name).map(String::into_boxed_str);
            met.push(Pending::met(self.files.id_of(&scanned.name), name, work.everything_suspect));
            if met.len() == WALK_FILES {
                self.make_all_durable(&met, tally);
                met.clear();
            }
        })?;
        self.make_all_durable(&met, tally);
        // What could not be listed was not made durable either.
        left_out.map_or(Ok(()), Err)
    }

    /// Works the list off.
    fn make_all_durable(&self, pending: &[Pending], tally: &Mutex<Tally>) {
        self.side_by_side(pending, |pending| self.settle(pending, tally));
    }

    /// Makes the names durable that came and went.
    fn sync_directories(&self) -> io::Result<()> {
        let shards = self.files.take_changed_shards();
        if shards.is_empty() {
            return Ok(());
        }
        let first = Mutex::new(Ok(()));
        self.side_by_side(&shards, |&shard| {
            if let Err(error) = self.files.sync_shard(shard) {
                let mut first = lock(&first);
                *first = std::mem::replace(&mut *first, Ok(())).and(Err(error));
            }
        });
        let synced = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The directories of the shards, in which some may be new.
        synced.and(self.files.sync_root())
    }

    /// Does the work for each entry of a list, on a few threads where it is long: each waits for storage most of the time.
    fn side_by_side<T: Sync>(&self, list: &[T], work: impl Fn(&T) + Sync) {
        let next = AtomicUsize::new(0);
        let run = || {
            while let Some(entry) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(entry);
            }
        };
        let most = SYNCS_MAX.min(self.open_files_max as usize);
        let helpers = (list.len() / ENTRIES_PER_THREAD).min(most.saturating_sub(1));
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                // Where no thread is to be had, the others do its part.
                if spawn_scoped(scope, "nixl-flush", STACK_BYTES, run).is_err() {
                    break;
                }
            }
            run();
        });
    }

    fn settle(&self, pending: &Pending, tally: &Mutex<Tally>) {
        let Some(name) = self.name_behind(pending.id, pending.name.as_deref()) else {
            return self.unflushed.settled(pending);
        };
        let outcome = self.make_durable(&name, pending);
        let mut tally = lock(tally);
        match outcome {
            Ok(Outcome::Durable) => {}
            Ok(Outcome::Rewritten) => tally.rewritten += 1,
            Ok(Outcome::Removed) => tally.removed += 1,
            Err(error) => {
                tally.failed += 1;
                tally.first.get_or_insert(error);
                return;
            }
        }
        self.unflushed.settled(pending);
    }

    fn make_durable(&self, name: &ObjectName, pending: &Pending) -> Result<Outcome> {
        let failed = |what: &str, error: &io::Error| {
            Error::os(format_args!("{what} object {}", name.file_name()), error)
        };
        if !pending.suspect {
            let opened = self.files.open_to_sync(name).map_err(|error| failed("opening", &error))?;
            return match opened.map(|file| file.sync_all()) {
                None | Some(Ok(())) => Ok(Outcome::Durable),
                Some(Err(error)) => {
                    self.unflushed.failed(pending);
                    Err(failed("syncing", &error))
                }
            };
        }
        let opened = self.files.open_to_sync(name).map_err(|error| failed("opening", &error))?;
        let Some(file) = opened else { return Ok(Outcome::Durable) };
        let why = match self.rewrite(name, &file) {
            Ok(()) => return Ok(Outcome::Rewritten),
            Err(NotRewritten::Unproven(why)) => why,
            Err(NotRewritten::Failed(error)) if error.kind() == io::ErrorKind::StorageFull => {
                "there is no room to write it anew".to_owned()
            }
            Err(NotRewritten::Failed(error)) => return Err(failed("writing anew", &error)),
        };
        self.remove_file(name, &file).map_err(|error| failed("removing", &error))?;
        self.catalog.forget(pending.id);
        self.damaged.increment();
        self.logger.warn(format_args!(
            "object {}: it may not be on storage as it was put, and {why}; treated as not found and removed",
            name.file_name()
        ));
        Ok(Outcome::Removed)
    }

    /// Copies a record to a new file, each block only after its checksum proved it, makes that durable and gives it the
    /// old one's name.
    fn rewrite(&self, name: &ObjectName, file: &File) -> std::result::Result<(), NotRewritten> {
        let unproven = |why: &str| NotRewritten::Unproven(why.to_owned());
        let read = |error: io::Error| NotRewritten::Unproven(format!("reading it fails: {error}"));
        let memory = |_| NotRewritten::Failed(io::ErrorKind::OutOfMemory.into());
        let bytes = retry_on_interrupt(|| file.metadata()).map_err(NotRewritten::Failed)?.len();
        let (padded_bytes, trailer_bytes) =
            self.split(file, bytes).map_err(read)?.ok_or_else(|| unproven("it is no record"))?;
        if bytes > file_size_limit() {
            return Err(NotRewritten::Failed(io::Error::from_raw_os_error(libc::EFBIG)));
        }
        let mut trailer = AlignedBuffer::new(trailer_bytes as usize).map_err(memory)?;
        let Some(trailer) = trailer.as_mut_slice().get_mut(..trailer_bytes as usize) else {
            return Err(unproven("it is no record"));
        };
        file.read_exact_at(trailer, padded_bytes).map_err(read)?;
        let decoded =
            record::decode(trailer).map_err(|invalid| NotRewritten::Unproven(invalid.to_string()))?;
        if !self.is_record_of(&decoded, name, padded_bytes) {
            return Err(unproven("its trailer is another record's"));
        }
        let fresh = self.files.create_temporary(name, bytes).map_err(NotRewritten::Failed)?;
        let mut block = AlignedBuffer::new(CHECKSUM_BLOCK_BYTES).map_err(memory)?;
        let payload_bytes = decoded.identity().payload_bytes;
        for index in 0..decoded.block_count() {
            let start = index as u64 * CHECKSUM_BLOCK_BYTES as u64;
            let whole = (padded_bytes - start).min(CHECKSUM_BLOCK_BYTES as u64) as usize;
            let payload = (payload_bytes - start).min(CHECKSUM_BLOCK_BYTES as u64) as usize;
            let Some(block) = block.as_mut_slice().get_mut(..whole) else {
                return Err(unproven("it is no record"));
            };
            file.read_exact_at(block, start).map_err(read)?;
            let sum = block.get(..payload).map(checksum_bytes);
            if sum.is_none() || sum != decoded.block_checksum(index) {
                return Err(unproven("its payload checksum does not match"));
            }
            fresh.file().write_all_at(block, start).map_err(NotRewritten::Failed)?;
        }
        fresh.file().write_all_at(trailer, padded_bytes).map_err(NotRewritten::Failed)?;
        fresh.file().sync_all().map_err(NotRewritten::Failed)?;
        self.files.replace(fresh, file).map_err(NotRewritten::Failed)
    }

    /// Whether a trailer is that of a record which a put of this store could have left under this name.
    fn is_record_of(&self, trailer: &Trailer<'_>, name: &ObjectName, padded_bytes: u64) -> bool {
        let identity = trailer.identity();
        let key = identity.key.get(1 + self.namespace_bytes..).unwrap_or_default();
        let named = self.files.name_of(record::digest(identity.key), key);
        (identity.pool_id, identity.slot) == (NO_POOL, NO_SLOT)
            && record::padded(identity.payload_bytes) == Some(padded_bytes)
            && identity.payload_bytes <= limits::OBJECT_BYTES_MAX
            && named.is_ok_and(|named| named == *name)
    }
}
