//! Files: space, alignment for O_DIRECT, durability.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

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

/// Tells a file that is published whole and never written again from another one that was under its name.
pub fn fingerprint(found: &Metadata) -> u64 {
    let written_ns = found.mtime().wrapping_mul(1_000_000_000).wrapping_add(found.mtime_nsec());
    found.ino().rotate_left(32) ^ written_ns.cast_unsigned() ^ found.size()
}

/// Asks `statx(2)` for `STATX_DIOALIGN` (Linux 6.1). `None`: the file system has no O_DIRECT.
pub fn direct_alignment(file: &File) -> Option<DirectAlignment> {
    #[cfg(test)]
    if testing::is_without_direct() {
        return None;
    }
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

/// Fills `out` from the file. What lies behind its end is zeros, and so is what was never written where the file system does
/// not keep such bytes (some answer a read of them as if the file ended there).
///
/// # Errors
/// What `pread(2)` answers.
pub fn read_or_zeros(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    let mut rest = out;
    let mut at = offset;
    while !rest.is_empty() {
        let read = retry_on_interrupt(|| file.read_at(rest, at))?;
        if read == 0 {
            break;
        }
        at = at.saturating_add(read as u64);
        rest = rest.get_mut(read..).unwrap_or_default();
    }
    rest.fill(0);
    Ok(())
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

/// File systems without O_DIRECT are rare by now; a test may see one.
#[cfg(test)]
pub mod testing {
    use std::cell::Cell;

    thread_local! {
        static WITHOUT_DIRECT: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `run` as if on a file system without O_DIRECT.
    pub fn without_direct<T>(run: impl FnOnce() -> T) -> T {
        WITHOUT_DIRECT.set(true);
        let answer = run();
        WITHOUT_DIRECT.set(false);
        answer
    }

    pub(super) fn is_without_direct() -> bool {
        WITHOUT_DIRECT.get()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

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

    /// Bytes that are not there read as zeros, whatever the memory held: a file's first bytes are not taken for its last.
    #[test]
    fn what_was_never_written_reads_as_zeros() {
        let path = std::env::temp_dir().join(format!("nixl_store-zeros-{}", std::process::id()));
        std::fs::write(&path, b"abc").expect("written");
        let file = File::open(&path).expect("opened");
        std::fs::remove_file(&path).expect("removed");
        for (offset, expected) in [(0, b"abc\0\0"), (2, b"c\0\0\0\0"), (3, &[0; 5]), (1 << 40, &[0; 5])] {
            let mut out = [0xee; 5];
            read_or_zeros(&file, &mut out, offset).expect("read");
            assert_eq!(&out, expected, "at {offset}");
        }
    }
}
