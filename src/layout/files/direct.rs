//! Finds out at open whether O_DIRECT is to be had, by doing it once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::area::Area;
use crate::sync::Arc;
use crate::sys::file::{DirectAlignment, direct_alignment};
use crate::sys::file_size_limit;

/// Without O_DIRECT any address, offset and length will do.
pub(super) const BUFFERED: DirectAlignment = DirectAlignment { memory: 1, offset: 1 };

/// Offsets and lengths in a record are multiples of this.
const RECORD_ALIGNMENT_BYTES: u32 = 4096;

#[repr(align(4096))]
struct Page([u8; RECORD_ALIGNMENT_BYTES as usize]);

/// What O_DIRECT asks for in this area's file system, or why it cannot be used.
pub(super) fn probe(area: &Arc<Area>) -> io::Result<Result<DirectAlignment, String>> {
    let temporary = match area.create_temporary(true) {
        Ok(temporary) => temporary,
        Err(error) if refuses(&error) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error),
    };
    let Some(alignment) = direct_alignment(temporary.file()) else {
        return Ok(Err("its files have no O_DIRECT".to_owned()));
    };
    if alignment.offset > RECORD_ALIGNMENT_BYTES || alignment.memory > RECORD_ALIGNMENT_BYTES {
        return Ok(Err(format!(
            "it asks for an alignment of {} bytes, records have {RECORD_ALIGNMENT_BYTES}",
            alignment.offset.max(alignment.memory)
        )));
    }
    // Some file systems grant the open and refuse the transfer. A full disk says nothing about that.
    match write_page(temporary.file()) {
        Err(error) if refuses(&error) => Ok(Err(error.to_string())),
        _ => Ok(Ok(alignment)),
    }
}

fn write_page(file: &File) -> io::Result<()> {
    if file_size_limit() < u64::from(RECORD_ALIGNMENT_BYTES) {
        // The attempt would raise a signal. No put will get further either.
        return Ok(());
    }
    let page = Box::new(Page([0; RECORD_ALIGNMENT_BYTES as usize]));
    file.write_all_at(&page.0, 0)
}

fn refuses(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS))
}
