//! What cuFile's codes mean, in words and as errors of the operating system.

use std::ffi::c_int;
use std::io;

use super::types::{Outcome, SUCCESS};

/// Codes begin above this.
const CODE_BASE: c_int = 5000;
/// `CU_FILE_CUDA_DRIVER_ERROR`, which carries a code of CUDA's.
const CUDA_DRIVER_ERROR: c_int = 5011;

/// Codes that have something to say to whoever reads a message. The name is in the reference.
const WORDS: &[(c_int, &str)] = &[
    (5001, "the kernel module nvidia-fs is not loaded, and cufile.json does not allow compatibility mode"),
    (5004, "the kernel module nvidia-fs is of another version than libcufile"),
    (5005, "the version of the kernel module nvidia-fs cannot be read"),
    (5006, "the driver is being closed"),
    (5007, "this platform has no GPUDirect Storage"),
    (5008, "this file system has no GPUDirect Storage, or udev does not know its device"),
    (5018, "no regular file"),
    (5019, "the file is open for reading only"),
    (5020, "the file is open without O_DIRECT"),
    (5022, "invalid argument"),
    (5025, "access is denied"),
    (5027, "the file is not registered"),
    (5028, "the file is registered already"),
    (5031, "the file cannot be opened a second time"),
    (5033, "the driver cannot be set up; libcufile of CUDA 12 needs libcuda.so.1"),
    (5034, "cufile.json disables this file system"),
    (5037, "the batch is full"),
    (5043, "no memory"),
];

/// An outcome as an error, if it is one.
pub(super) fn check(outcome: Outcome) -> Result<(), Code> {
    if outcome.code == SUCCESS { Ok(()) } else { Err(Code { code: outcome.code, cuda: outcome.cuda }) }
}

/// An error of cuFile's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) code: c_int,
    pub(super) cuda: c_int,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuFile error {}", self.code)?;
        if self.code == CUDA_DRIVER_ERROR {
            write!(f, ", CUDA error {}", self.cuda)?;
        }
        match WORDS.iter().find(|(code, _)| *code == self.code) {
            Some((_, words)) => write!(f, " ({words})"),
            None => Ok(()),
        }
    }
}

impl From<Code> for io::Error {
    fn from(code: Code) -> io::Error {
        let errno = match code.code {
            // CU_FILE_PERMISSION_DENIED
            5025 => libc::EACCES,
            // CU_FILE_INVALID_FILE_OPEN_FLAG: written through a descriptor that only reads
            5019 => libc::EBADF,
            // CU_FILE_INVALID_VALUE, CU_FILE_CUDA_POINTER_INVALID
            5012 | 5022 => libc::EINVAL,
            // CU_FILE_BATCH_FULL and the errors that the header says to try again later, but for those of a batch's state
            5037 | 5039 => libc::EAGAIN,
            // CU_FILE_NOMEM_ERROR, CU_FILE_GPU_MEMORY_PINNING_FAILED
            5036 | 5043 => libc::ENOMEM,
            _ => libc::EIO,
        };
        io::Error::from_raw_os_error(errno)
    }
}

/// The outcome of a transfer: bytes, -1 with `errno`, or a negative code.
///
/// # Errors
/// What it says.
pub(super) fn moved(answer: isize) -> io::Result<usize> {
    let last = io::Error::last_os_error();
    match usize::try_from(answer) {
        Ok(bytes) => Ok(bytes),
        // An error without a number is one all the same.
        Err(_) if answer == -1 => Err(match last.raw_os_error() {
            Some(errno) if errno > 0 && errno < CODE_BASE => last,
            // Seen for a write through a descriptor that only reads: errno has a code of cuFile's.
            Some(code) if code > CODE_BASE => Code { code, cuda: 0 }.into(),
            _ => io::Error::from_raw_os_error(libc::EIO),
        }),
        Err(_) => {
            let code = c_int::try_from(answer.unsigned_abs()).unwrap_or(c_int::MAX);
            // A negated errno, as some file systems' paths answer.
            if code < CODE_BASE {
                return Err(io::Error::from_raw_os_error(code));
            }
            Err(Code { code, cuda: 0 }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(answer: isize) -> Option<i32> {
        moved(answer).expect_err("an error").raw_os_error()
    }

    /// Each way in which a transfer says that it failed is an error of the system's that says the same.
    #[test]
    fn a_failed_transfer_is_an_error_of_the_systems() {
        assert_eq!(moved(0).expect("nothing moved"), 0);
        assert_eq!(moved(1 << 40).expect("much moved"), 1 << 40);
        for (set, told) in
            [(libc::ENOSPC, libc::ENOSPC), (libc::EINTR, libc::EINTR), (0, libc::EIO), (5019, libc::EBADF)]
        {
            // SAFETY: this thread's own errno.
            unsafe { *libc::__errno_location() = set };
            assert_eq!(errno(-1), Some(told), "errno {set}");
        }
        for (code, told) in
            [(5025, libc::EACCES), (5043, libc::ENOMEM), (5037, libc::EAGAIN), (5044, libc::EIO)]
        {
            assert_eq!(errno(-code), Some(told), "code {code}");
        }
        assert_eq!(errno(-(libc::EFAULT as isize)), Some(libc::EFAULT));
        assert_eq!(errno(isize::MIN), Some(libc::EIO));
    }

    /// A message has the number, which the reference explains, and words for those that users meet.
    #[test]
    fn a_code_is_told_with_its_number_and_in_words() {
        let told = |code| Code { code, cuda: 999 }.to_string();
        assert!(told(5001).contains("5001") && told(5001).contains("nvidia-fs"));
        assert!(told(5011).contains("CUDA error 999"));
        assert_eq!(told(5999), "cuFile error 5999");
    }
}
