//! Shared memory for what does not lie in any: trailers, tails and tombstones. The daemon reaches nothing else, so they are copied.

use std::io;

use crate::hf3fs::Iov;
use crate::memory::HostSlice;

/// Bytes of one piece: as many as a block of checksums covers, which is what a tail has at most.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Pieces of one iov.
pub(super) struct Bounce {
    iov: Iov,
    free: Vec<u16>,
}

impl Bounce {
    /// Cuts an iov into pieces.
    pub(super) fn new(iov: Iov) -> Bounce {
        let pieces = (iov.memory().length / PIECE_BYTES).min(usize::from(u16::MAX));
        Bounce { iov, free: (0..pieces as u16).rev().collect() }
    }

    /// Takes a piece of at most [`PIECE_BYTES`] bytes, if one is free.
    pub(super) fn take(&mut self, bytes: usize) -> Option<(u16, HostSlice)> {
        let piece = self.free.pop()?;
        Some((piece, self.memory(piece, bytes)))
    }

    /// The first bytes of a piece.
    pub(super) fn memory(&self, piece: u16, bytes: usize) -> HostSlice {
        let pointer = self.iov.memory().pointer.offset(usize::from(piece) * PIECE_BYTES);
        HostSlice { pointer, length: bytes.min(PIECE_BYTES) }
    }

    /// Gives a piece back.
    pub(super) fn give_back(&mut self, piece: u16) {
        self.free.push(piece);
    }

    /// What the pieces lie in.
    pub(super) fn iov(&self) -> &Iov {
        &self.iov
    }
}

/// Copies from one place to another of the same length.
///
/// # Errors
/// None of them: both are memory of the host.
pub(super) fn copy(from: HostSlice, to: HostSlice) -> io::Result<()> {
    crate::memory::bytes::scatter_slice(from.into(), &[to.into()], 0)
        .map_err(|_| io::Error::from(io::ErrorKind::Unsupported))
}
