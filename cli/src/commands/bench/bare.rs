//! The bare side: `pwrite(2)` and `pread(2)` on one file of the same file system, from many threads, of the same bytes in the same
//! memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nixl_store::memory::AlignedBuffer;
use rustix::fs::{FallocateFlags, Mode, OFlags};

use super::library::Measured;
use crate::output::Failure;

/// Threads, as many as the library takes where it does reads and writes.
pub const THREADS: usize = 16;
/// Bytes of one call: a larger one gains nothing, and fewer calls than threads leave some of them without work.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// The file.
pub struct Bare {
    file: File,
    piece_bytes: usize,
}

impl Bare {
    /// Makes it in the directory, with room for so many bytes.
    ///
    /// # Errors
    /// What the system answers.
    pub fn new(directory: &Path, size: u64, bytes: u64, direct: bool) -> Result<Bare, Failure> {
        let path = directory.join(format!("bare-{size}"));
        let failed = |error: io::Error| Failure::os(&format!("making {}", path.display()), &error);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let flags = if direct { flags | OFlags::DIRECT } else { flags };
        let file =
            rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        // Where the file system cannot reserve, the round that warms up makes the room.
        let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
        // O_DIRECT wants whole pages.
        let piece_bytes = size.min(PIECE_BYTES_MAX).next_multiple_of(4096) as usize;
        Ok(Bare { file: File::from(file), piece_bytes })
    }

    /// Writes the first `bytes` of the memory, as many pieces as the time allows.
    ///
    /// # Errors
    /// What `pwrite(2)` answers.
    pub fn write(&self, source: &AlignedBuffer, bytes: u64, time_max: Duration) -> Result<Measured, Failure> {
        let pieces = source.as_slice()[..whole(source.len(), bytes)].chunks(self.piece_bytes);
        self.each(pieces, time_max, |piece, offset| self.file.write_all_at(piece, offset))
    }

    /// Reads the first `bytes` into the memory.
    ///
    /// # Errors
    /// What `pread(2)` answers.
    pub fn read(
        &self,
        target: &mut AlignedBuffer,
        bytes: u64,
        time_max: Duration,
    ) -> Result<Measured, Failure> {
        let length = whole(target.len(), bytes);
        let pieces = target.as_mut_slice()[..length].chunks_mut(self.piece_bytes);
        self.each(pieces, time_max, |piece, offset| self.file.read_exact_at(piece, offset))
    }

    /// Hands pieces to the threads, each of which takes the next one that is left.
    fn each<P: AsRef<[u8]> + Send>(
        &self,
        pieces: impl Iterator<Item = P> + Send,
        time_max: Duration,
        act: impl Fn(P, u64) -> io::Result<()> + Sync,
    ) -> Result<Measured, Failure> {
        let left = Mutex::new((pieces, 0u64));
        let failed = Mutex::new(None);
        let begun = Instant::now();
        let next = || {
            let mut left = left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if left.1 > 0 && begun.elapsed() >= time_max {
                return None;
            }
            let piece = left.0.next()?;
            let offset = left.1;
            left.1 += piece.as_ref().len() as u64;
            Some((piece, offset))
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some((piece, offset)) = next() {
                        if let Err(error) = act(piece, offset) {
                            *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                            return;
                        }
                    }
                });
            }
        });
        let time = begun.elapsed();
        if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Err(Failure::os("bare reads and writes", &error));
        }
        let bytes = left.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).1;
        Ok(Measured { bytes, time })
    }
}

/// So many bytes in whole pages, as far as there are any.
fn whole(length: usize, bytes: u64) -> usize {
    (bytes.next_multiple_of(4096) as usize).min(length)
}
