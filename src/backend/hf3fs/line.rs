//! One ring, with the requests that wait for room in it and the transfers that are under way.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::Duration;

use slab::Slab;

use super::bounce::{self, Bounce};
use super::request::Request;
use crate::backend::queue::IoDirection;
use crate::hf3fs::{Completed, Iov, Ring, Transfer};
use crate::memory::HostSlice;

/// The ring of one direction.
pub(super) struct Line {
    ring: Ring,
    /// Requests of which something is yet to be put in, by their place in the list of all.
    waiting: VecDeque<usize>,
    transfers: Slab<Entry>,
    /// Tells results of one use of an entry from those of another.
    uses: u32,
    /// Something was put in since the daemon was last told.
    is_untold: bool,
}

/// A transfer under way.
struct Entry {
    use_: u32,
    request: usize,
    part: Range<usize>,
    /// The piece of shared memory that it goes through, and the memory that it is for.
    bounced: Option<(u16, HostSlice)>,
}

/// What transfers go through.
pub(super) struct Memory<'a> {
    /// The staging buffer.
    pub(super) shared: &'a Iov,
    /// For everything else.
    pub(super) bounce: &'a mut Bounce,
}

impl Line {
    /// A line of `entries` that may be under way at a time, and so many requests.
    pub(super) fn new(ring: Ring, entries: usize) -> Line {
        Line {
            ring,
            waiting: VecDeque::with_capacity(entries),
            transfers: Slab::with_capacity(entries),
            uses: 0,
            is_untold: false,
        }
    }

    /// Transfers under way.
    pub(super) fn under_way(&self) -> usize {
        self.transfers.len()
    }

    /// Whether requests wait for room.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lines a request up.
    pub(super) fn push(&mut self, request: usize) {
        self.waiting.push_back(request);
    }

    /// Puts in what there is room for; `over` gets the requests that have ended by that.
    pub(super) fn fill(
        &mut self,
        requests: &mut Slab<Request>,
        memory: &mut Memory<'_>,
        over: &mut Vec<usize>,
    ) {
        while let Some(&index) = self.waiting.front() {
            let Some(request) = requests.get_mut(index) else {
                self.waiting.pop_front();
                continue;
            };
            let Some((at, slice)) = request.next() else {
                self.waiting.pop_front();
                if request.is_over() {
                    over.push(index);
                }
                continue;
            };
            if self.transfers.len() == self.transfers.capacity() {
                return;
            }
            match self.put_in(request, index, at, slice, memory) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => request.fail(at, error),
            }
        }
    }

    /// Puts in one transfer of a request. False: there is no room, in the ring or among the pieces.
    fn put_in(
        &mut self,
        request: &mut Request,
        index: usize,
        at: usize,
        slice: HostSlice,
        memory: &mut Memory<'_>,
    ) -> io::Result<bool> {
        let Some(file) = request.target.open_file()?.hf3fs() else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        let is_shared = memory.shared.holds(slice);
        let (through, bounced) = if is_shared {
            let length = memory.shared.in_one_block(slice.pointer, slice.length);
            (HostSlice { length, ..slice }, None)
        } else {
            let length = slice.length.min(bounce::PIECE_BYTES);
            let Some((piece, through)) = memory.bounce.take(length) else { return Ok(false) };
            (through, Some((piece, HostSlice { length, ..slice })))
        };
        if let (IoDirection::Write, Some((_, source))) = (request.direction, bounced) {
            bounce::copy(source, through)?;
        }
        let entry = self.transfers.vacant_entry();
        self.uses = self.uses.wrapping_add(1);
        let tag = u64::from(self.uses) << u32::BITS | entry.key() as u64;
        let transfer = Transfer {
            iov: if is_shared { memory.shared } else { memory.bounce.iov() },
            memory: through,
            file,
            offset: request.offset + at as u64,
            tag,
        };
        let put = self.ring.prepare(&transfer);
        match put {
            Ok(true) => {
                let part = at..at + through.length;
                request.advance(through.length);
                entry.insert(Entry { use_: self.uses, request: index, part, bounced });
                self.is_untold = true;
            }
            Ok(false) | Err(_) => {
                if let Some((piece, _)) = bounced {
                    memory.bounce.give_back(piece);
                }
            }
        }
        put
    }

    /// Tells the daemon of what was put in.
    pub(super) fn tell(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_untold) { self.ring.submit() } else { Ok(()) }
    }

    /// Takes in what has come, and where that is nothing waits for something for as long as `pause`; `over` gets the requests that
    /// have ended by that. True if anything came.
    ///
    /// # Errors
    /// The library breaks its own rules: nothing is known of what is under way any more.
    pub(super) fn take(
        &mut self,
        pause: Duration,
        requests: &mut Slab<Request>,
        memory: &mut Memory<'_>,
        over: &mut Vec<usize>,
    ) -> io::Result<bool> {
        if self.transfers.is_empty() {
            return Ok(false);
        }
        let (mut came, mut unknown) = (false, None);
        let transfers = &mut self.transfers;
        self.ring.take(pause, |Completed { tag, result }| {
            came = true;
            let key = (tag & u64::from(u32::MAX)) as usize;
            let is_known = transfers.get(key).is_some_and(|entry| u64::from(entry.use_) == tag >> u32::BITS);
            if !is_known {
                unknown = Some(tag);
                return;
            }
            let Entry { request: index, part, bounced, .. } = transfers.remove(key);
            let Some(request) = requests.get_mut(index) else { return };
            let mut result = moved(result, part.len());
            if let Some((piece, memory_of)) = bounced {
                if let (IoDirection::Read, Ok(bytes)) = (request.direction, &result) {
                    let target = HostSlice { length: *bytes, ..memory_of };
                    if let Err(error) = bounce::copy(memory.bounce.memory(piece, *bytes), target) {
                        result = Err(error);
                    }
                }
                memory.bounce.give_back(piece);
            }
            request.complete(&part, result);
            if request.is_over() {
                over.push(index);
            }
        })?;
        match unknown {
            None => Ok(came),
            Some(tag) => Err(io::Error::other(format!("3FS gave a result that nobody waits for ({tag:#x})"))),
        }
    }
}

/// A result of the library's as the system would have it.
fn moved(result: i64, length: usize) -> io::Result<usize> {
    match usize::try_from(result) {
        Ok(bytes) if bytes <= length => Ok(bytes),
        Ok(bytes) => Err(io::Error::other(format!("3FS says that it moved {bytes} of {length} bytes"))),
        Err(_) => Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result is bytes, an error number, or a lie.
    #[test]
    fn every_result_is_checked() {
        assert_eq!(moved(0, 10).expect("bytes"), 0);
        assert_eq!(moved(10, 10).expect("bytes"), 10);
        assert!(moved(11, 10).is_err());
        assert_eq!(moved(-5, 10).expect_err("an error").raw_os_error(), Some(libc::EIO));
        assert_eq!(moved(i64::MIN + 1, 10).expect_err("an error").raw_os_error(), Some(libc::EIO));
    }
}
