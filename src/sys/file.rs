//! Files: space, alignment for O_DIRECT, durability.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use super::signal::undisturbed;
use super::{check, retry_on_interrupt};

/// What O_DIRECT on a file asks of addresses and of offsets and lengths, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlignment {
    /// Of memory addresses.
    pub memory: u32,
    /// Of file offsets and of the length of each segment.
    pub offset: u32,
}

/// Assumed where the kernel does not tell: the page size, which every local file system accepts.
pub const DIRECT_ALIGNMENT_DEFAULT: DirectAlignment = DirectAlignment { memory: 4096, offset: 4096 };

/// Asks `statx(2)` for `STATX_DIOALIGN` (Linux 6.1). `None`: the file system has no O_DIRECT.
pub fn direct_alignment(file: &File) -> Option<DirectAlignment> {
    // SAFETY: statx is plain old data, for which all zeros is valid.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let (itself, mask) = (c"".as_ptr(), libc::STATX_DIOALIGN);
    // SAFETY: the path is an empty NUL-terminated string, allowed with AT_EMPTY_PATH; `stat` is writable.
    let ask =
        || check(unsafe { libc::statx(file.as_raw_fd(), itself, libc::AT_EMPTY_PATH, mask, &mut stat) });
    let asked = retry_on_interrupt(ask);
    if asked.is_err() || stat.stx_mask & libc::STATX_DIOALIGN == 0 {
        return Some(DIRECT_ALIGNMENT_DEFAULT);
    }
    if stat.stx_dio_offset_align == 0 {
        return None;
    }
    Some(DirectAlignment { memory: stat.stx_dio_mem_align.max(1), offset: stat.stx_dio_offset_align })
}

/// How an open file was opened (`F_GETFL` of `fcntl(2)`).
///
/// # Errors
/// What `fcntl(2)` answers.
pub fn flags(file: &File) -> io::Result<libc::c_int> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })
}

/// Opens the very same file once more, whatever its name is by now, with the same access and O_DIRECT if it has that, and
/// without any other flag.
///
/// # Errors
/// What `open(2)` answers for the entry in /proc.
pub fn reopen(file: &File) -> io::Result<File> {
    let flags = flags(file)? & (libc::O_ACCMODE | libc::O_DIRECT) | libc::O_CLOEXEC;
    let mut path = [0u8; 32];
    io::Write::write_fmt(&mut &mut path[..31], format_args!("/proc/self/fd/{}", file.as_raw_fd()))?;
    // SAFETY: the path ends with a NUL, and no flag makes a file.
    let descriptor = retry_on_interrupt(|| check(unsafe { libc::open(path.as_ptr().cast(), flags) }))?;
    // SAFETY: open returned a descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Reserves `length` bytes from `offset` on and extends the file over them.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot, `ENOSPC` where it has no room, `EFBIG` beyond `RLIMIT_FSIZE`.
pub fn allocate(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (offset, length) = (to_off_t(offset)?, to_off_t(length)?);
    // SAFETY: the descriptor is open; fallocate touches no memory of ours.
    let allocate = || check(unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, length) });
    undisturbed(|| retry_on_interrupt(allocate)).map(drop)
}

/// Gives the file a length without reserving anything.
///
/// # Errors
/// What `ftruncate(2)` answers, `EFBIG` beyond `RLIMIT_FSIZE`.
pub fn set_length(file: &File, length: u64) -> io::Result<()> {
    undisturbed(|| file.set_len(length))
}

/// Asks the file system that a file is on for something that it cannot know without its server.
///
/// # Errors
/// What `fstatvfs(3)` answers, `ENOTCONN` where a server in user space is gone.
pub fn file_system_answers(file: &File) -> io::Result<()> {
    // SAFETY: statvfs is plain old data, for which all zeros is valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` is writable.
    retry_on_interrupt(|| check(unsafe { libc::fstatvfs(file.as_raw_fd(), &mut stat) })).map(drop)
}

/// Bytes that an ordinary user can still write to the file's file system. `None`: it does not say.
pub fn available_bytes(file: &File) -> Option<u64> {
    // SAFETY: statvfs is plain old data, for which all zeros is valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` is writable.
    let asked = retry_on_interrupt(|| check(unsafe { libc::fstatvfs(file.as_raw_fd(), &mut stat) }));
    // A file system without a size of its own (some in user space) answers zeros.
    if asked.is_err() || stat.f_blocks == 0 {
        return None;
    }
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A number of bytes as the kernel's signed offset.
///
/// # Errors
/// `InvalidInput` past `i64::MAX`.
pub fn to_off_t(bytes: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "offset beyond the largest a file can have"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    use super::*;

    /// A file is opened again though its name is another file's by now, and without the flags that it had.
    #[test]
    fn a_file_is_opened_again_whatever_its_name_is() {
        let path = std::env::temp_dir().join(format!("nixl_store-reopen-{}", std::process::id()));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW);
        let first = options.open(&path).expect("made");
        first.write_all_at(b"first", 0).expect("written");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, b"other").expect("made");
        let again = reopen(&first).expect("opened again");
        std::fs::remove_file(&path).expect("removed");
        let mut bytes = [0; 5];
        again.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"first");
        assert_ne!(flags(&first).expect("flags") & libc::O_NOFOLLOW, 0);
        assert_eq!(flags(&again).expect("flags") & libc::O_NOFOLLOW, 0);
        assert_eq!(flags(&again).expect("flags") & libc::O_ACCMODE, libc::O_RDWR);
    }
}
