//! A file that cuFile knows.

use std::ffi::{c_long, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::driver::Driver;
use super::errors::{check, moved};
use super::types::{Description, FdOrPointer, FileHandle, GETNEWFD_FAILED, HANDLE_TYPE_FD, IO_NOT_SUPPORTED};
use crate::memory::Stretch;
use crate::sys::file::{flags, reopen, to_off_t};

/// What cuFile asks of addresses, lengths and offsets on files with O_DIRECT, in bytes (API Reference Guide, `cuFileRead`).
pub const ALIGNMENT: usize = 4096;

/// What became of an attempt to make a file known to cuFile.
#[derive(Debug)]
pub enum Registration {
    /// cuFile moves its bytes.
    Done(Registered),
    /// It is open with O_DIRECT, and cuFile could not open it once more without: it goes by the name, and that is another
    /// file's by now or nobody's, or there are no descriptors left.
    Nameless,
    /// cuFile does not serve it, for this reason: not this file system, or not as it is.
    Refused(String),
}

/// A registered file; deregistered when dropped, before its descriptor can be closed.
pub struct Registered {
    handle: FileHandle,
    /// Open with O_DIRECT.
    is_direct: bool,
    driver: Arc<Driver>,
    /// What is registered. cuFile keeps the number of the descriptor.
    _file: File,
}

// SAFETY: a handle is an entry in cuFile's table, and all of its functions may be called from any thread (API Reference
// Guide, "All APIs are thread-safe").
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registration {
    /// Registers an open file, through a descriptor of its own: cuFile refuses one with O_NOFOLLOW or O_NOATIME, and takes
    /// each descriptor once.
    ///
    /// # Errors
    /// A shortage of the process, which says nothing of the file.
    pub fn of(driver: &Arc<Driver>, file: &File) -> io::Result<Registration> {
        let file = reopen(file)?;
        let mut description = Description {
            kind: HANDLE_TYPE_FD,
            descriptor: FdOrPointer { pointer: std::ptr::null_mut() },
            operations: std::ptr::null(),
        };
        description.descriptor.fd = file.as_raw_fd();
        let mut handle = std::ptr::null_mut();
        // SAFETY: both places are writable, the descriptor is open.
        let outcome = check(unsafe { (driver.library.register)(&raw mut handle, &raw mut description) });
        match outcome {
            Ok(()) => {
                let is_direct = flags(&file).is_ok_and(|flags| flags & libc::O_DIRECT != 0);
                let driver = Arc::clone(driver);
                Ok(Registration::Done(Registered { handle, is_direct, driver, _file: file }))
            }
            Err(code) if code.code == GETNEWFD_FAILED => Ok(Registration::Nameless),
            Err(code) if code.code == IO_NOT_SUPPORTED => Ok(Registration::Refused(code.to_string())),
            Err(code) => match io::Error::from(code) {
                shortage if shortage.raw_os_error() == Some(libc::ENOMEM) => Err(shortage),
                _ => Ok(Registration::Refused(code.to_string())),
            },
        }
    }
}

impl Registered {
    pub(super) fn handle(&self) -> FileHandle {
        self.handle
    }

    /// Whether this transfer goes through the descriptor that was registered. What is not aligned goes through another one on
    /// the same name, which cuFile opens for it, and the name may be another file's by now.
    pub fn takes(&self, address: usize, length: usize, offset: u64) -> bool {
        !self.is_direct
            || (address | length).is_multiple_of(ALIGNMENT) && offset.is_multiple_of(ALIGNMENT as u64)
    }

    /// Reads at most [`request_bytes_max`](super::Properties::request_bytes_max) bytes; fewer at the end of the file.
    ///
    /// # Errors
    /// What the system or cuFile answers.
    pub fn read(&self, offset: u64, memory: &Stretch) -> io::Result<usize> {
        let offset = to_off_t(offset)?;
        // SAFETY: the memory is valid until the request completes, which is after this call (HostPtr's contract).
        moved(unsafe {
            (self.driver.library.read)(self.handle, address_of(memory), memory.length(), offset as c_long, 0)
        })
    }

    /// Writes; as [`read`](Registered::read).
    ///
    /// # Errors
    /// What the system or cuFile answers.
    pub fn write(&self, offset: u64, memory: &Stretch) -> io::Result<usize> {
        let offset = to_off_t(offset)?;
        // SAFETY: as for reads.
        moved(unsafe {
            (self.driver.library.write)(self.handle, address_of(memory), memory.length(), offset as c_long, 0)
        })
    }
}

/// The address of the first byte. The offset that goes with it is always 0, which is right on any memory: in batches on host
/// memory an offset is ignored, and every event says that it is complete all the same.
pub(super) fn address_of(memory: &Stretch) -> *mut c_void {
    memory.as_ptr().cast()
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered, and no request names it any more: whoever pushes one keeps its target.
        unsafe { (self.driver.library.deregister)(self.handle) };
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("is_direct", &self.is_direct).finish_non_exhaustive()
    }
}
