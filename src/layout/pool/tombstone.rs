//! The page of zeros that makes a record absent: recovery does not see what has none of a trailer's magic.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::Status;
use crate::layout::record::TOMBSTONE_BYTES;
use crate::memory::arena::PAGE_BYTES;
use crate::memory::{AlignedBuffer, zero_page};
use crate::sys::file::read_or_zeros;
use crate::sys::signal::undisturbed;

/// Attempts in a row that may write nothing (EINTR, EAGAIN) before the error counts, as for a transfer.
const FRUITLESS_ATTEMPTS_MAX: u32 = 100;

const _: () = assert!(TOMBSTONE_BYTES == PAGE_BYTES);

/// Writes a tombstone over the trailer at `offset`. No transfer may be under way there.
///
/// # Errors
/// What `pwrite(2)` answers, or EINTR and EAGAIN if they do not end; the record may then still be there.
pub fn write(file: &File, offset: u64) -> io::Result<()> {
    write_whole(file, zero_page(), offset)
}

/// Writes all of `bytes`, as [`write`] does.
///
/// # Errors
/// As for [`write`].
pub fn write_whole(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    undisturbed(|| all(bytes, offset, |rest, at| file.write_at(rest, at)))
}

fn all(
    bytes: &[u8],
    offset: u64,
    mut write_at: impl FnMut(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut rest = bytes;
    let mut at = offset;
    let mut fruitless = 0;
    while !rest.is_empty() {
        match write_at(rest, at) {
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
/// written for want of room was never written, and reads as zeros, or as the end of the file.
pub fn is_needless(file: &File, offset: u64, error: &io::Error) -> bool {
    let is_full = Status::from_os_error(error.raw_os_error().unwrap_or(0)) == Status::NoSpace;
    let Ok(mut page) = AlignedBuffer::new(TOMBSTONE_BYTES) else { return false };
    is_full
        && read_or_zeros(file, page.as_mut_slice(), offset).is_ok()
        && page.as_slice() == zero_page().as_slice()
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal or a busy device costs an attempt, not the slot; one that stays busy is told in the end.
    #[test]
    fn passing_errors_are_retried_within_a_bound() {
        for number in [libc::EINTR, libc::EAGAIN] {
            let mut written = Vec::new();
            let mut calls = 0;
            all(b"abcdef", 10, |rest, at| {
                calls += 1;
                if calls % 3 != 0 {
                    return Err(io::Error::from_raw_os_error(number));
                }
                written.push((at, rest[0]));
                Ok(rest.len().min(2))
            })
            .unwrap();
            assert_eq!(written, [(10, b'a'), (12, b'c'), (14, b'e')]);

            let mut calls = 0;
            let outcome = all(b"abc", 0, |_, _| {
                calls += 1;
                Err(io::Error::from_raw_os_error(number))
            });
            assert_eq!(outcome.unwrap_err().raw_os_error(), Some(number));
            assert_eq!(calls, FRUITLESS_ATTEMPTS_MAX + 1);
        }
        let outcome = all(b"abc", 0, |_, _| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(all(b"abc", 0, |_, _| Ok(0)).is_err());
    }
}
