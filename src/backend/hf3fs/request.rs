//! One request on its way through a ring: cut into transfers that a ring takes, and put together again from their results.

use std::io;
use std::ops::Range;

use crate::backend::queue::{IoCompletion, IoDirection};
use crate::backend::target::Target;
use crate::memory::{HostSlice, Stretch};

/// A request that was pushed and not handed back.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) token: u32,
    pub(super) direction: IoDirection,
    pub(super) target: Target,
    /// First byte in the file.
    pub(super) offset: u64,
    pub(super) slices: Vec<Stretch>,
    /// Where the next transfer begins: in which slice, at which byte of it, at which byte of the request.
    slice: usize,
    byte: usize,
    at: usize,
    /// Transfers whose results are to come.
    under_way: usize,
    /// Up to where the bytes came, without a gap, as far as results tell: the first that was short or failed.
    end: usize,
    /// The error of what failed at `end`.
    error: Option<io::Error>,
}

impl Request {
    pub(super) fn new(
        token: u32,
        direction: IoDirection,
        target: Target,
        offset: u64,
        slices: Vec<Stretch>,
    ) -> Request {
        let end = slices.iter().map(Stretch::length).sum();
        Request {
            token,
            direction,
            target,
            offset,
            slices,
            slice: 0,
            byte: 0,
            at: 0,
            under_way: 0,
            end,
            error: None,
        }
    }

    /// What is next to be put in, in one piece of memory, and at which byte of the request that is. `None`: nothing.
    pub(super) fn next(&self) -> Option<(usize, HostSlice)> {
        if self.at >= self.end {
            // All of it, or something before it was short or failed: what lies behind that would be moved in vain.
            return None;
        }
        let slice = self.slices.get(self.slice)?.host()?;
        Some((self.at, slice.skip(self.byte)))
    }

    /// That many bytes of [`Request::next`] were put in.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.under_way += 1;
        self.at += bytes;
        self.byte += bytes;
        if self.slices.get(self.slice).is_some_and(|slice| self.byte >= slice.length()) {
            self.slice += 1;
            self.byte = 0;
        }
    }

    /// Takes in the result of the transfer of those bytes.
    pub(super) fn complete(&mut self, part: &Range<usize>, result: io::Result<usize>) {
        self.under_way -= 1;
        self.stop(part, result);
    }

    /// A transfer at that byte could not be put in.
    pub(super) fn fail(&mut self, at: usize, error: io::Error) {
        self.stop(&(at..at + 1), Err(error));
    }

    fn stop(&mut self, part: &Range<usize>, result: io::Result<usize>) {
        let (end, error) = match result {
            Ok(moved) => (part.start + moved, None),
            Err(error) => (part.start, Some(error)),
        };
        if end < part.end && end < self.end {
            (self.end, self.error) = (end, error);
        }
    }

    /// Whether nothing is under way and nothing is left to be put in.
    pub(super) fn is_over(&self) -> bool {
        self.under_way == 0 && self.next().is_none()
    }

    /// How it ended. What came before an error is a short transfer: the error comes again with the rest, if it is one that stays.
    pub(super) fn into_completion(self) -> (IoCompletion, Vec<Stretch>) {
        let result = match self.error {
            Some(error) if self.end == 0 => Err(error),
            _ => Ok(self.end),
        };
        (IoCompletion::new(self.token, result), self.slices)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::memory::AlignedBuffer;

    const KIB: usize = 1 << 10;

    fn request(buffer: &AlignedBuffer, lengths: &[usize]) -> Request {
        let mut from = 0;
        let slices = lengths.iter().map(|&length| {
            from += length;
            Stretch::Host(buffer.host_slice(from - length, from))
        });
        let target = Target::file(Arc::new(File::open("/dev/null").expect("there")));
        Request::new(7, IoDirection::Read, target, 0, slices.collect())
    }

    /// Puts all in, in pieces of at most so many bytes; where each begins and ends.
    fn put_in(request: &mut Request, bytes_max: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        while let Some((at, slice)) = request.next() {
            let bytes = slice.length.min(bytes_max);
            request.advance(bytes);
            parts.push(at..at + bytes);
        }
        parts
    }

    /// Every byte is in one transfer, none crosses from one stretch of memory to the next, and results come in any order.
    #[test]
    fn a_request_is_cut_and_put_together() {
        let buffer = AlignedBuffer::new(100 * KIB).expect("memory");
        let mut whole = request(&buffer, &[3 * KIB, 64 * KIB, KIB]);
        let parts = put_in(&mut whole, 16 * KIB);
        assert_eq!(parts.len(), 1 + 4 + 1);
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        for part in parts.iter().rev() {
            assert!(!whole.is_over());
            whole.complete(part, Ok(part.len()));
        }
        assert!(whole.is_over());
        let (completion, slices) = whole.into_completion();
        assert_eq!((completion.token, completion.result.expect("done")), (7, 68 * KIB));
        assert_eq!(slices.len(), 3);
    }

    /// What came counts up to the first gap, whichever result came first.
    #[test]
    fn bytes_behind_a_gap_do_not_count() {
        let buffer = AlignedBuffer::new(100 * KIB).expect("memory");
        let error = || Err(io::Error::from_raw_os_error(libc::EIO));
        let ended = |results: &[(usize, io::Result<usize>)]| {
            let mut request = request(&buffer, &[16 * KIB; 4]);
            let parts = put_in(&mut request, 16 * KIB);
            let mut left = [true; 4];
            for (index, result) in results {
                left[*index] = false;
                let result =
                    result.as_ref().map(|&moved| moved).map_err(|_| io::Error::from_raw_os_error(libc::EIO));
                request.complete(&parts[*index], result);
            }
            for (index, _) in left.iter().enumerate().filter(|(_, left)| **left) {
                request.complete(&parts[index], Ok(parts[index].len()));
            }
            assert!(request.is_over());
            request.into_completion().0.result.map_err(|error| error.raw_os_error())
        };
        assert_eq!(ended(&[(2, Ok(4 * KIB))]), Ok(36 * KIB));
        assert_eq!(ended(&[(3, Ok(0)), (1, Ok(KIB))]), Ok(17 * KIB));
        assert_eq!(ended(&[(1, Ok(KIB)), (3, Ok(0))]), Ok(17 * KIB));
        assert_eq!(ended(&[(0, Ok(0)), (1, error())]), Ok(0), "the end of the file comes before the error");
        assert_eq!(ended(&[(1, error()), (2, Ok(0))]), Ok(16 * KIB));
        assert_eq!(ended(&[(0, error())]), Err(Some(libc::EIO)));
    }

    /// After a failure nothing more is put in, and what is under way is waited for.
    #[test]
    fn nothing_is_put_in_behind_a_failure() {
        let buffer = AlignedBuffer::new(100 * KIB).expect("memory");
        let mut request = request(&buffer, &[16 * KIB; 4]);
        request.advance(16 * KIB);
        let (at, _) = request.next().expect("more");
        request.fail(at, io::Error::from_raw_os_error(libc::EBADF));
        assert!(request.next().is_none());
        assert!(!request.is_over());
        request.complete(&(0..16 * KIB), Ok(16 * KIB));
        assert!(request.is_over());
        assert_eq!(request.into_completion().0.result.expect("what came before it"), 16 * KIB);
    }
}
