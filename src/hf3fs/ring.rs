//! A ring: what is to be read, or written, goes in, and results come out, by memory that the daemon shares.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client::Client;
use super::file::Registered;
use super::memory::Iov;
use super::types::{MadeRing, RawCqe};
use crate::memory::HostSlice;

/// Results that are taken at a time.
const RESULTS_MAX: usize = 64;

/// A ring for reads or for writes, used by one thread at a time. Made and destroyed by the client's thread.
pub struct Ring {
    raw: Option<MadeRing>,
    for_read: bool,
    results: Box<[RawCqe; RESULTS_MAX]>,
    client: Arc<Client>,
}

// SAFETY: the results are plain numbers here; see `MadeRing`.
unsafe impl Send for Ring {}

/// What is to be moved.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    /// Of which the memory is.
    pub iov: &'a Iov,
    /// Within one block of the iov, and not empty.
    pub memory: HostSlice,
    /// The file, which is not let go of before the result came.
    pub file: &'a Registered,
    /// First byte in the file.
    pub offset: u64,
    /// Comes back with the result.
    pub tag: u64,
}

/// A result.
#[derive(Clone, Copy, Debug)]
pub struct Completed {
    /// The transfer's.
    pub tag: u64,
    /// Bytes moved, or a negative error number.
    pub result: i64,
}

impl Ring {
    /// Makes one that takes `entries` at a time.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    pub fn new(client: &Arc<Client>, entries: u32, for_read: bool) -> io::Result<Ring> {
        let raw = Some(client.make_ring(entries, for_read)?);
        Ok(Ring {
            raw,
            for_read,
            results: Box::new([RawCqe::EMPTY; RESULTS_MAX]),
            client: Arc::clone(client),
        })
    }

    /// Puts a transfer in, which the daemon may begin at once. False: the ring is full for now. That may be long before it has as
    /// many under way as it takes: room comes back in the order of batches.
    ///
    /// # Errors
    /// What the library answers; the transfer is not in.
    pub fn prepare(&mut self, transfer: &Transfer<'_>) -> io::Result<bool> {
        let (Some(made), Some(iov)) = (&self.raw, transfer.iov.raw()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let HostSlice { pointer, length } = transfer.memory;
        let offset = usize::try_from(transfer.offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: ring and iov are alive, the memory is in the iov and is kept until the result came (HostPtr's contract), the file
        // is registered. The tag is a number to the library.
        let answer = unsafe {
            (self.client.library().prepare)(
                &raw const made.0.raw,
                iov,
                self.for_read,
                pointer.as_ptr().cast(),
                transfer.file.descriptor(),
                offset,
                length as u64,
                transfer.tag as usize as *const c_void,
            )
        };
        match answer {
            full if full == -libc::EAGAIN => Ok(false),
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(true),
        }
    }

    /// Tells the daemon of what was put in.
    ///
    /// # Errors
    /// What the library answers.
    pub fn submit(&mut self) -> io::Result<()> {
        let Some(made) = &self.raw else { return Ok(()) };
        // SAFETY: the ring is alive.
        let answer = unsafe { (self.client.library().submit)(&raw const made.0.raw) };
        if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(()) }
    }

    /// Hands over what has come; where that is nothing it waits for something for as long as `pause`.
    ///
    /// # Errors
    /// What the library answers.
    pub fn take(&mut self, pause: Duration, mut completed: impl FnMut(Completed)) -> io::Result<()> {
        let Some(made) = &self.raw else { return Ok(()) };
        let until = (!pause.is_zero()).then(|| deadline(pause));
        let least = i32::from(until.is_some());
        let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        loop {
            // SAFETY: the ring is alive, and there is room for so many results. The time is on CLOCK_REALTIME.
            let answer = unsafe {
                (self.client.library().wait)(
                    &raw const made.0.raw,
                    self.results.as_mut_ptr(),
                    RESULTS_MAX as i32,
                    least,
                    until,
                )
            };
            let count = match answer {
                nothing
                    if nothing == -libc::EAGAIN || nothing == -libc::ETIMEDOUT || nothing == -libc::EINTR =>
                {
                    0
                }
                error if error < 0 => return Err(io::Error::from_raw_os_error(-error)),
                count => (count as usize).min(RESULTS_MAX),
            };
            for result in self.results.iter().take(count) {
                completed(Completed { tag: result.userdata as usize as u64, result: result.result });
            }
            // A full list: there may be more.
            if count < RESULTS_MAX {
                return Ok(());
            }
        }
    }
}

/// The moment that lies `pause` ahead, on CLOCK_REALTIME, which is the library's.
fn deadline(pause: Duration) -> libc::timespec {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + pause;
    libc::timespec {
        tv_sec: since.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(since.subsec_nanos()),
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(made) = self.raw.take() {
            self.client.destroy_ring(made);
        }
    }
}
