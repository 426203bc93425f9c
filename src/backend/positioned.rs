//! One request, done by the calling thread with one system call.

use std::io;
use std::mem::MaybeUninit;

use super::queue::IoDirection;
use super::reach::IO_SLICES_MAX;
use super::target::Target;
use crate::memory::Stretch;
use crate::sys::file::to_off_t;

/// Moves the bytes of one request.
///
/// # Errors
/// What `preadv(2)` or `pwritev(2)` answers; `InvalidInput` for more than [`IO_SLICES_MAX`] stretches, or for memory
/// that the processor cannot reach.
pub fn transfer(
    direction: IoDirection,
    target: &Target,
    offset: u64,
    slices: &[Stretch],
) -> io::Result<usize> {
    let file = target.open_file()?;
    let refused = || io::Error::from(io::ErrorKind::InvalidInput);
    if slices.len() > IO_SLICES_MAX {
        return Err(refused());
    }
    // Not initialised as a whole: that would cost more than most requests.
    let mut vector = [const { MaybeUninit::<libc::iovec>::uninit() }; IO_SLICES_MAX];
    for (entry, stretch) in vector.iter_mut().zip(slices) {
        let slice = stretch.host().ok_or_else(refused)?;
        entry.write(libc::iovec { iov_base: slice.pointer.as_ptr().cast(), iov_len: slice.length });
    }
    let vector = vector.as_ptr().cast::<libc::iovec>();
    let (count, offset) = (slices.len() as libc::c_int, to_off_t(offset)?);
    let descriptor = file.descriptor();
    // SAFETY: the vector's first `count` entries are written, and describe memory that is valid until the request
    // completes, which is after this call (HostPtr's contract, and requests own the buffers of their jobs).
    let moved = unsafe {
        match direction {
            IoDirection::Read => libc::preadv(descriptor, vector, count, offset),
            IoDirection::Write => libc::pwritev(descriptor, vector, count, offset),
        }
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
