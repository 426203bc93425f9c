//! The page of zeros that makes a record absent: recovery does not see what has none of a trailer's magic.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::Status;
use crate::layout::record::TOMBSTONE_BYTES;
use crate::memory::aligned::PAGE_BYTES;
use crate::memory::{AlignedBuffer, zero_page};

/// Attempts in a row that may write nothing (EINTR, EAGAIN) before the error counts, as for a transfer.
const FRUITLESS_ATTEMPTS_MAX: u32 = 100;

const _: () = assert!(TOMBSTONE_BYTES == PAGE_BYTES);

/// Writes a tombstone over the trailer at `offset`. No transfer may be under way there.
///
/// # Errors
/// What `pwrite(2)` answers, or EINTR and EAGAIN if they do not end; the record may then still be there.
pub fn write(file: &File, offset: u64) -> io::Result<()> {
    let mut rest: &[u8] = zero_page();
    let mut at = offset;
    let mut fruitless = 0;
    while !rest.is_empty() {
        match file.write_at(rest, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                at = at.saturating_add(written as u64);
                fruitless = 0;
            }
            Err(error) if is_passing(&error) && fruitless < FRUITLESS_ATTEMPTS_MAX => fruitless += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a tombstone that failed with `error` is not needed: in a sparse file on a full disk, what cannot be
/// written for want of room was never written, and reads as zeros.
pub fn is_needless(file: &File, offset: u64, error: &io::Error) -> bool {
    let is_full = Status::from_os_error(error.raw_os_error().unwrap_or(0)) == Status::NoSpace;
    let Ok(mut page) = AlignedBuffer::new(TOMBSTONE_BYTES) else { return false };
    is_full
        && file.read_exact_at(page.as_mut_slice(), offset).is_ok()
        && page.as_slice() == zero_page().as_slice()
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}
