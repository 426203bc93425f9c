//! A record against its checksums. The payload is read a piece at a time, so that a look at the largest object takes no more
//! memory than one at a small one, unless its bytes are to be kept.

use crate::error::{Error, Result};
use crate::layout::record::{CHECKSUM_BLOCK_BYTES, Trailer};
use crate::memory::AlignedBuffer;
use crate::memory::bytes::checksum_bytes;

/// Bytes that are read at a time: whole blocks.
pub(super) const PIECE_BYTES: usize = 4 << 20;

const _: () = assert!(PIECE_BYTES.is_multiple_of(CHECKSUM_BLOCK_BYTES));

/// Memory for looking at records, one after the other.
#[derive(Debug, Default)]
pub struct Room {
    trailer: Option<AlignedBuffer>,
    payload: Option<AlignedBuffer>,
    keeps: bool,
}

/// Fills a piece from an offset of the payload on, or says why not.
pub(super) type ReadPiece<'a> = dyn FnMut(u64, &mut [u8]) -> std::result::Result<(), String> + 'a;

/// Why a payload is not proven.
#[derive(Debug)]
pub(super) enum Unproven {
    /// A block differs.
    Damaged(String),
    /// Reading answers this.
    Unreadable(String),
}

impl Room {
    /// Memory that holds on to the payload of the record that was proven last.
    pub fn keeping() -> Room {
        Room { keeps: true, ..Room::default() }
    }

    /// Takes that payload out; the buffer may be longer.
    pub fn take_payload(&mut self) -> Option<AlignedBuffer> {
        self.payload.take()
    }

    /// Takes a buffer out for a trailer of so many bytes; it comes back by [`Room::keep_trailer`].
    pub(super) fn take_trailer(&mut self, bytes: u64) -> Result<AlignedBuffer> {
        fitting(self.trailer.take(), bytes)
    }

    pub(super) fn keep_trailer(&mut self, buffer: AlignedBuffer) {
        self.trailer = Some(buffer);
    }

    /// Reads a payload through `read`, which fills what it is given from an offset on, and compares each block.
    pub(super) fn prove(
        &mut self,
        trailer: &Trailer<'_>,
        padded_bytes: u64,
        read: &mut ReadPiece<'_>,
    ) -> std::result::Result<(), Unproven> {
        let payload_bytes = trailer.identity().payload_bytes;
        let held = if self.keeps { padded_bytes } else { padded_bytes.min(PIECE_BYTES as u64) };
        let mut buffer = fitting(self.payload.take(), held)
            .map_err(|error| Unproven::Unreadable(error.message().to_owned()))?;
        let mut outcome = Ok(());
        let mut offset = 0;
        while offset < padded_bytes && outcome.is_ok() {
            let length = (padded_bytes - offset).min(PIECE_BYTES as u64) as usize;
            let at = if self.keeps { offset as usize } else { 0 };
            let piece = buffer.as_mut_slice().get_mut(at..at + length).unwrap_or_default();
            outcome = read(offset, piece).map_err(Unproven::Unreadable).and_then(|()| {
                let proper = (payload_bytes - offset).min(length as u64) as usize;
                compare(trailer, offset, piece.get(..proper).unwrap_or_default())
            });
            offset += length as u64;
        }
        self.payload = Some(buffer);
        outcome
    }
}

/// Compares the blocks of a piece, which begins with a whole one.
fn compare(trailer: &Trailer<'_>, offset: u64, piece: &[u8]) -> std::result::Result<(), Unproven> {
    let first = (offset / CHECKSUM_BLOCK_BYTES as u64) as usize;
    for (index, block) in (first..).zip(piece.chunks(CHECKSUM_BLOCK_BYTES)) {
        if trailer.block_checksum(index) != Some(checksum_bytes(block)) {
            return Err(Unproven::Damaged(format!(
                "block {} of {} ({} bytes from byte {} of the payload) does not have its checksum",
                index + 1,
                trailer.block_count(),
                block.len(),
                index * CHECKSUM_BLOCK_BYTES
            )));
        }
    }
    Ok(())
}

/// That buffer if it has as many bytes, else another one.
fn fitting(buffer: Option<AlignedBuffer>, bytes: u64) -> Result<AlignedBuffer> {
    if let Some(buffer) = buffer.filter(|buffer| buffer.len() as u64 >= bytes) {
        return Ok(buffer);
    }
    AlignedBuffer::new(usize::try_from(bytes).unwrap_or(usize::MAX))
        .map_err(|error| Error::os(format_args!("taking {bytes} bytes of memory for a record"), &error))
}
