//! Whether a file that was opened with O_DIRECT can be read so: some file systems grant the open and refuse the transfer, or ask for
//! more than the alignment of records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::record::RECORD_ALIGNMENT;
use crate::memory::AlignedBuffer;
use crate::sys::file::direct_alignment;

/// Whether an error says that O_DIRECT is not to be had.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Whether this file, which is open with O_DIRECT, is read a record's page at a time.
pub(super) fn reads_directly(file: &File) -> bool {
    let fits = direct_alignment(file)
        .is_some_and(|needed| RECORD_ALIGNMENT.is_multiple_of(u64::from(needed.memory.max(needed.offset))));
    let Ok(mut page) = AlignedBuffer::new(RECORD_ALIGNMENT as usize) else { return false };
    fits && !matches!(file.read_at(page.as_mut_slice(), 0), Err(error) if is_refusal(&error))
}
