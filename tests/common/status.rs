//! Statuses that show their names when an assertion fails.

use std::ffi::CStr;
use std::fmt;

use nixl_store::capi::*;

/// A status of the C API.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub nixl_store_status_t);

pub const OK: Status = Status(NIXL_STORE_OK);
pub const NOT_FOUND: Status = Status(NIXL_STORE_NOT_FOUND);
pub const IN_PROGRESS: Status = Status(NIXL_STORE_IN_PROGRESS);
pub const NOT_ADMITTED: Status = Status(NIXL_STORE_NOT_ADMITTED);
pub const PINNED: Status = Status(NIXL_STORE_PINNED);
pub const INVALID_ARGUMENT: Status = Status(NIXL_STORE_ERROR_INVALID_ARGUMENT);
pub const INVALID_HANDLE: Status = Status(NIXL_STORE_ERROR_INVALID_HANDLE);
pub const IO: Status = Status(NIXL_STORE_ERROR_IO);
pub const NO_SPACE: Status = Status(NIXL_STORE_ERROR_NO_SPACE);
pub const POOL_FULL: Status = Status(NIXL_STORE_ERROR_POOL_FULL);
pub const BUFFER_TOO_SMALL: Status = Status(NIXL_STORE_ERROR_BUFFER_TOO_SMALL);
pub const TOO_LARGE: Status = Status(NIXL_STORE_ERROR_TOO_LARGE);
pub const OUT_OF_RANGE: Status = Status(NIXL_STORE_ERROR_OUT_OF_RANGE);
pub const BUSY: Status = Status(NIXL_STORE_ERROR_BUSY);
pub const TIMED_OUT: Status = Status(NIXL_STORE_ERROR_TIMED_OUT);
pub const CANCELLED: Status = Status(NIXL_STORE_ERROR_CANCELLED);
pub const CLOSING: Status = Status(NIXL_STORE_ERROR_CLOSING);
pub const POISONED: Status = Status(NIXL_STORE_ERROR_POISONED);
pub const FORMAT: Status = Status(NIXL_STORE_ERROR_FORMAT);
pub const NO_RESULT: Status = Status(NIXL_STORE_ERROR_NO_RESULT);
pub const OUT_OF_MEMORY: Status = Status(NIXL_STORE_ERROR_OUT_OF_MEMORY);

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: a constant string, never NULL.
        let name = unsafe { CStr::from_ptr(nixl_store_status_name(self.0)) };
        write!(f, "{} ({})", name.to_string_lossy(), self.0)
    }
}

/// What the library says about this thread's last failed call.
pub fn message() -> String {
    // SAFETY: never NULL, NUL-terminated, valid until this thread's next call.
    unsafe { CStr::from_ptr(nixl_store_error_message()) }.to_string_lossy().into_owned()
}
