//! A batch: transfers that cuFile starts with one call and of which it tells when they have ended.
//!
//! How it is used here is narrower than the interface allows, for reasons that were found out:
//!
//! - **All events at once.** A batch is waited for as a whole, with one call that has room for as many events as there are
//!   entries. Where `cuFileBatchIOGetStatus` hands over a part, it frees what the next call of it reads (1.20, files with
//!   O_DIRECT, seen by valgrind).
//! - **One submission at a time,** for the same reason.
//! - **After any error it is of no use.** One entry that fails swallows the events of those that had not been told yet, and
//!   the next submission ends the process by an assertion. So it is destroyed, which waits for what is under way, and the
//!   transfers are done once more, one by one.
//! - **Never cancelled.** After a cancel no events come, and nobody could tell when the memory is let go.

use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use super::driver::Driver;
use super::errors::{Code, check};
use super::file::{Registered, address_of};
use super::types::{BatchHandle, IoEvent, IoParams, MODE_BATCH, OPCODE_READ, OPCODE_WRITE, STATUS_COMPLETE};
use crate::memory::Stretch;
use crate::sys::file::to_off_t;
use crate::sys::room;

/// One transfer of a batch, within [`takes`](Registered::takes).
pub struct Entry<'a> {
    /// The file; kept until the batch has run.
    pub file: &'a Registered,
    /// Whether bytes go to the file.
    pub is_write: bool,
    /// First byte in the file.
    pub offset: u64,
    /// The memory.
    pub memory: Stretch,
}

/// A batch with room for so many entries, used by one thread at a time.
pub struct Batch {
    /// `None`: destroyed after an error, and not made anew yet.
    handle: Option<BatchHandle>,
    entries_max: usize,
    params: Vec<IoParams>,
    events: Vec<IoEvent>,
    driver: Arc<Driver>,
}

// SAFETY: the addresses in it are the entries' memory, which is vouched for on any thread, and cuFile's own.
unsafe impl Send for Batch {}

/// The batch did not run as a whole. What was under way has ended; each entry may have been done or not.
#[derive(Debug)]
pub struct Broken;

impl Batch {
    /// Sets one up.
    ///
    /// # Errors
    /// What cuFile answers, in words; what memory there is not.
    pub fn new(driver: &Arc<Driver>, entries_max: usize) -> Result<Batch, String> {
        let (params, events) = room::list(entries_max)
            .and_then(|params| Ok((params, room::list(entries_max)?)))
            .map_err(|error| error.to_string())?;
        let mut batch = Batch { handle: None, entries_max, params, events, driver: Arc::clone(driver) };
        batch.set_up().map_err(|code| format!("cuFileBatchIOSetUp for {entries_max} entries: {code}"))?;
        Ok(batch)
    }

    fn set_up(&mut self) -> Result<BatchHandle, Code> {
        if let Some(handle) = self.handle {
            return Ok(handle);
        }
        let mut handle = std::ptr::null_mut();
        let entries = c_uint::try_from(self.entries_max).unwrap_or(c_uint::MAX);
        // SAFETY: the place is writable.
        check(unsafe { (self.driver.library.batch_set_up)(&raw mut handle, entries) })?;
        self.handle = Some(handle);
        Ok(handle)
    }

    /// Adds an entry. False: there is no room, or no such offset.
    pub fn add(&mut self, entry: &Entry<'_>) -> bool {
        let Ok(file_offset) = to_off_t(entry.offset) else { return false };
        if self.params.len() == self.entries_max {
            return false;
        }
        // Its number, counted from 1: an event that is not filled has none.
        let cookie = self.params.len() + 1;
        self.params.push(IoParams {
            mode: MODE_BATCH,
            buffer: address_of(&entry.memory),
            file_offset,
            buffer_offset: 0,
            size: entry.memory.length(),
            handle: entry.file.handle(),
            opcode: if entry.is_write { OPCODE_WRITE } else { OPCODE_READ },
            cookie: std::ptr::without_provenance_mut(cookie),
        });
        true
    }

    /// Entries added and not yet run.
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Takes back the last entries, down to `entries` of them; false, for whoever gives up then.
    pub fn take_back(&mut self, entries: usize) -> bool {
        self.params.truncate(entries);
        false
    }

    /// Runs what was added, blocks until all of it has ended, and tells of each entry in turn how many bytes it moved and how
    /// many it was asked for. Afterwards the batch is empty.
    ///
    /// # Errors
    /// It did not run as a whole.
    pub fn run(&mut self, mut each: impl FnMut(usize, usize)) -> Result<(), Broken> {
        let ran = self.submit_and_wait();
        if ran.is_err() {
            self.destroy();
        } else {
            for (event, params) in self.events.iter().zip(&self.params) {
                each(event.moved.unsigned_abs(), params.size);
            }
        }
        self.params.clear();
        ran
    }

    fn submit_and_wait(&mut self) -> Result<(), Broken> {
        let handle = self.set_up().map_err(|_| Broken)?;
        let entries = self.params.len();
        let count = c_uint::try_from(entries).map_err(|_| Broken)?;
        let empty = IoEvent { cookie: std::ptr::null_mut(), status: 0, moved: -1 };
        self.events.clear();
        self.events.resize(entries, empty);
        let mut told = count;
        // SAFETY: parameters and events stay where they are until the batch has ended or is destroyed, and so does the memory
        // that they name (HostPtr's contract; the files are registered as long). No timeout: waits for all.
        unsafe {
            check((self.driver.library.batch_submit)(handle, count, self.params.as_mut_ptr(), 0))
                .map_err(|_| Broken)?;
            let (events, forever) = (self.events.as_mut_ptr(), std::ptr::null_mut());
            check((self.driver.library.batch_status)(handle, count, &raw mut told, events, forever))
                .map_err(|_| Broken)?;
        }
        if told != count {
            return Err(Broken);
        }
        self.put_in_order()
    }

    /// Brings the events into the order of their entries, which is none of theirs.
    fn put_in_order(&mut self) -> Result<(), Broken> {
        for index in 0..self.events.len() {
            loop {
                let event = self.events[index];
                let entry = event.cookie.addr().wrapping_sub(1);
                let is_right = event.status == STATUS_COMPLETE as c_int && event.moved >= 0;
                match self.params.get(entry) {
                    Some(params) if is_right && event.moved.unsigned_abs() <= params.size => {}
                    _ => return Err(Broken),
                }
                if entry == index {
                    break;
                }
                if self.events[entry].cookie == event.cookie {
                    // Told twice, so another one was not.
                    return Err(Broken);
                }
                self.events.swap(index, entry);
            }
        }
        Ok(())
    }

    fn destroy(&mut self) {
        if let Some(handle) = self.handle.take() {
            // SAFETY: set up, and destroyed once. It waits until the kernel has let go of what is under way.
            unsafe { (self.driver.library.batch_destroy)(handle) };
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.destroy();
    }
}
