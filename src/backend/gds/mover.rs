//! What a thread does with the requests that it takes: one call of cuFile's after the other, or one batch of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::positioned::transfer;
use crate::backend::queue::IoDirection;
use crate::backend::threads::{Mover, Request};
use crate::cuda::ThreadContext;
use crate::cufile::{ALIGNMENT, Batch, Driver, Entry, Registered};
use crate::memory::Stretch;

/// Bytes that batches have under way in this process at most. A submission for which cuFile's pool of buffers has too little
/// waits for ever, as none of its entries ends before all have begun; by default that pool has 64 buffers of 1 MiB
/// (`posix_pool_slab_count` of cufile.json, seen with 1.14 and 1.20).
const BATCHED_BYTES_MAX: usize = 64 * BUFFER_BYTES;
/// Bytes of one such buffer: an entry takes whole ones.
const BUFFER_BYTES: usize = 1 << 20;

/// What of [`BATCHED_BYTES_MAX`] is taken. Of the process, because cuFile's pool is.
static BATCHED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A part of [`BATCHED_BYTES_MAX`], given back when dropped.
struct Share(usize);

impl Share {
    /// Makes it larger. False: others have the rest. Nobody waits here: a request goes without a batch then.
    fn grow(&mut self, bytes: usize) -> bool {
        let within = |taken: usize| taken.checked_add(bytes).filter(|&taken| taken <= BATCHED_BYTES_MAX);
        let taken = BATCHED_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        self.0 += if taken { bytes } else { 0 };
        taken
    }

    fn give_back(&mut self) {
        BATCHED_BYTES.fetch_sub(std::mem::take(&mut self.0), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// GDS_MT: reads and writes, a request at a time.
pub(super) struct Calls {
    /// Bytes of the largest.
    bytes_max: usize,
    /// cuFile looks for the context of a device's memory on the thread that names it.
    context: ThreadContext,
}

impl Calls {
    /// Calls of at most so many bytes, or somewhat fewer: transfers that are cut have to stay aligned.
    pub(super) fn new(bytes_max: usize) -> Calls {
        Calls {
            bytes_max: (bytes_max / ALIGNMENT * ALIGNMENT).max(ALIGNMENT),
            context: ThreadContext::default(),
        }
    }

    /// Sees to the context that a request's memory is of.
    fn enter(&mut self, request: &Request) -> io::Result<()> {
        match request.slices.iter().find_map(Stretch::device) {
            Some(device) => self.context.enter(device).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn run_one(&mut self, request: &Request) -> io::Result<usize> {
        self.enter(request)?;
        let Request { direction, target, offset, slices, .. } = request;
        let Some(file) = target.open_file()?.cufile().filter(|file| takes_all(file, request)) else {
            return transfer(*direction, target, *offset, slices);
        };
        let mut moved = 0;
        for memory in slices.iter().flat_map(|stretch| self.parts(stretch)) {
            let at = offset + moved as u64;
            let one = match direction {
                IoDirection::Read => file.read(at, &memory),
                IoDirection::Write => file.write(at, &memory),
            };
            match one {
                Ok(bytes) => {
                    moved += bytes;
                    if bytes < memory.length() {
                        break;
                    }
                }
                // What did move is a short transfer; the error comes again with the rest, if it is one that stays.
                Err(_) if moved > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// A stretch, cut into what one call takes.
    fn parts(&self, stretch: &Stretch) -> impl Iterator<Item = Stretch> + use<> {
        let (stretch, bytes_max) = (*stretch, self.bytes_max);
        (0..stretch.length().div_ceil(bytes_max)).map(move |part| {
            let from = part * bytes_max;
            stretch.part(from, (from + bytes_max).min(stretch.length()))
        })
    }
}

impl Mover for Calls {
    fn run(&mut self, requests: &mut [Request]) {
        for request in requests {
            request.result = self.run_one(request);
        }
    }
}

/// Whether all of a request is as the file was registered for.
fn takes_all(file: &Registered, request: &Request) -> bool {
    let mut at = request.offset;
    request.slices.iter().all(|stretch| {
        let taken = file.takes(stretch.addr(), stretch.length(), at);
        at += stretch.length() as u64;
        taken
    })
}

/// GDS: as many requests at a time as make a batch.
pub(super) struct Batched {
    batch: Batch,
    entries_max: usize,
    /// The requests that are in the batch, in their order, each with the number of its entries.
    batched: Vec<(usize, usize)>,
    share: Share,
    /// Does what no batch can.
    calls: Calls,
}

impl Batched {
    pub(super) fn new(driver: &Arc<Driver>, entries_max: usize, bytes_max: usize) -> Result<Batched, String> {
        let entries_max = entries_max.max(1);
        let batch = Batch::new(driver, entries_max)?;
        let batched = Vec::with_capacity(entries_max);
        Ok(Batched { batch, entries_max, batched, share: Share(0), calls: Calls::new(bytes_max) })
    }

    /// Entries that a request needs, and the buffers of cuFile's that these may take, in bytes.
    fn needs(&self, request: &Request) -> (usize, usize) {
        request.slices.iter().fold((0, 0), |(entries, bytes), stretch| {
            let parts = stretch.length().div_ceil(self.calls.bytes_max);
            // Each part may begin and end inside a buffer.
            let buffers = stretch.length().div_ceil(BUFFER_BYTES) + parts;
            (entries + parts, bytes + buffers * BUFFER_BYTES)
        })
    }

    /// Puts a request into the batch. False: it does not go there.
    fn add(&mut self, index: usize, request: &Request) -> bool {
        let Request { direction, target, offset, slices, .. } = request;
        let file = target.open_file().ok().and_then(|file| file.cufile());
        let Some(file) = file.filter(|file| takes_all(file, request)) else { return false };
        if self.calls.enter(request).is_err() {
            return false;
        }
        let before = self.batch.len();
        let mut at = *offset;
        for memory in slices.iter().flat_map(|stretch| self.calls.parts(stretch)) {
            let is_write = *direction == IoDirection::Write;
            if !self.batch.add(&Entry { file, is_write, offset: at, memory }) {
                return self.batch.take_back(before);
            }
            at += memory.length() as u64;
        }
        self.batched.push((index, self.batch.len() - before));
        true
    }

    /// Runs the batch, if there is anything in it.
    fn flush(&mut self, requests: &mut [Request]) {
        if self.batch.is_empty() {
            // What was taken for requests that went without it.
            return self.share.give_back();
        }
        let batched = &self.batched;
        let (mut next, mut done, mut moved, mut is_whole) = (0, 0, 0, true);
        let ran = self.batch.run(|bytes, asked| {
            let Some(&(index, entries)) = batched.get(next) else { return };
            // What lies behind an entry that was cut short is not the transfer's next part.
            moved += if is_whole { bytes } else { 0 };
            is_whole &= bytes == asked;
            done += 1;
            if done == entries {
                requests[index].result = Ok(moved);
                (next, done, moved, is_whole) = (next + 1, 0, 0, true);
            }
        });
        self.share.give_back();
        if ran.is_err() {
            // Which of them failed, and how, is found out by doing each again.
            for &(index, _) in &self.batched {
                requests[index].result = self.calls.run_one(&requests[index]);
            }
        }
        self.batched.clear();
    }
}

impl Mover for Batched {
    fn requests_max(&self) -> usize {
        self.entries_max
    }

    fn run(&mut self, requests: &mut [Request]) {
        for index in 0..requests.len() {
            let (entries, bytes) = self.needs(&requests[index]);
            let mut fits = self.batch.len() + entries <= self.entries_max && self.share.grow(bytes);
            if !fits {
                self.flush(requests);
                fits = entries <= self.entries_max && self.share.grow(bytes);
            }
            if !fits || !self.add(index, &requests[index]) {
                requests[index].result = self.calls.run_one(&requests[index]);
            }
        }
        self.flush(requests);
    }
}
