//! Page-aligned bytes for reads with O_DIRECT, and the page of zeros that makes a record absent.

use crate::error::{Error, Result, Status};
use crate::layout::record::{RECORD_ALIGNMENT, TOMBSTONE_BYTES};

const ALIGNMENT: usize = RECORD_ALIGNMENT as usize;

#[repr(align(4096))]
struct Page([u8; TOMBSTONE_BYTES]);

const _: () = assert!(align_of::<Page>() == ALIGNMENT);

static ZEROS: Page = Page([0; TOMBSTONE_BYTES]);

/// What a tombstone is written from.
pub(super) fn zeros() -> &'static [u8; TOMBSTONE_BYTES] {
    &ZEROS.0
}

/// Bytes on the heap that start at a page boundary.
pub(super) struct AlignedBuffer {
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` zero bytes.
    ///
    /// # Errors
    /// [`Status::OutOfMemory`].
    pub(super) fn new(length: usize) -> Result<AlignedBuffer> {
        let refuse = || Error::new(Status::OutOfMemory, format!("no memory for a buffer of {length} bytes"));
        let with_slack = length.checked_add(ALIGNMENT - 1).ok_or_else(refuse)?;
        let mut storage = Vec::new();
        storage.try_reserve_exact(with_slack).map_err(|_| refuse())?;
        storage.resize(with_slack, 0);
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        if start >= ALIGNMENT {
            return Err(refuse());
        }
        Ok(AlignedBuffer { storage, start, length })
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }

    /// The bytes, to be read into.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}
