//! What a file in the directory is: an object of this store, a damaged one, or another program's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::{Objects, Reading, limits};
use crate::config::Layout;
use crate::error::{Error, Result};
use crate::layout::files::{ObjectName, Proof, Scanned, is_planted};
use crate::layout::record::{self, TRAILER_BYTES_MIN, Trailer};
use crate::memory::AlignedBuffer;
use crate::placement::Foreign;
use crate::sys::retry_on_interrupt;

/// Bytes of a trailer that are read on the word of a file's length alone. A longer one is read, and memory taken for it,
/// once its first page says that it is one and as long as that: a sparse file of any length costs a page.
const TRAILER_BYTES_UNASKED_MAX: u64 = 64 << 10;

impl Objects {
    /// What a file of this length is if it holds no trailer of ours where it should have one.
    pub(super) fn foreign(&self, bytes: u64) -> Foreign {
        match self.layout {
            Layout::Sharded => Foreign::Damaged,
            Layout::Lmcache if self.serves_unproven(bytes) => Foreign::Served { bytes },
            Layout::Lmcache => Foreign::Ignored,
        }
    }

    /// Whether another program's file of this length is served without a proof.
    pub(super) fn serves_unproven(&self, bytes: u64) -> bool {
        self.serve_unverified && bytes > 0 && self.unverified_bytes.is_none_or(|expected| bytes == expected)
    }

    /// Splits a file into padded payload and trailer. `None`: no put of a dynamic store made it.
    ///
    /// # Errors
    /// What reading answers.
    pub(super) fn split(&self, file: &File, bytes: u64) -> io::Result<Option<(u64, u64)>> {
        let Some((padded_bytes, trailer_bytes)) = limits::split_file(bytes) else { return Ok(None) };
        if trailer_bytes > TRAILER_BYTES_UNASKED_MAX {
            let mut head = AlignedBuffer::new(TRAILER_BYTES_MIN as usize)?;
            let Some(head) = head.as_mut_slice().get_mut(..TRAILER_BYTES_MIN as usize) else {
                return Ok(None);
            };
            if !read_whole(file, head, padded_bytes)? || record::announced_bytes(head) != Some(trailer_bytes)
            {
                return Ok(None);
            }
        }
        Ok(Some((padded_bytes, trailer_bytes)))
    }

    /// Reads the trailer of a file and hands it to `look`; `None` if there is none of ours.
    ///
    /// # Errors
    /// What reading answers: what cannot be read is not known to be missing.
    pub(super) fn with_trailer<T>(
        &self,
        file: &File,
        bytes: u64,
        look: impl FnOnce(&Trailer<'_>) -> T,
    ) -> io::Result<Option<T>> {
        let Some((padded_bytes, trailer_bytes)) = self.split(file, bytes)? else { return Ok(None) };
        let mut buffer = AlignedBuffer::new(usize::try_from(trailer_bytes).unwrap_or(usize::MAX))?;
        let Some(place) = buffer.as_mut_slice().get_mut(..trailer_bytes as usize) else { return Ok(None) };
        if !read_whole(file, place, padded_bytes)? {
            return Ok(None);
        }
        Ok(record::decode(place).ok().map(|trailer| look(&trailer)))
    }

    /// Whether an object's file ends with a trailer of ours.
    pub(super) fn has_trailer(&self, name: &ObjectName) -> bool {
        match self.files.open_read(name) {
            Ok(Some((file, bytes))) => matches!(self.with_trailer(&file, bytes, |_| ()), Ok(Some(()))),
            _ => false,
        }
    }

    /// Whether a file may be evicted or cleared. In the flat layout LMCache and others keep files too; only the
    /// trailer says that one is this store's.
    pub(super) fn is_ours(&self, scanned: &Scanned) -> bool {
        (self.layout == Layout::Sharded && scanned.proof == Proof::Name) || self.has_trailer(&scanned.name)
    }

    /// Opens an object's file. What stands in its place and is no file is not there for us.
    pub(super) fn open_file(&self, name: &ObjectName) -> Result<Option<(File, u64)>> {
        match self.files.open_read(name) {
            Err(error) if is_planted(&error) => {
                self.logger.warn(format_args!("{}: {error}; passed over", name.file_name()));
                Ok(None)
            }
            other => {
                other.map_err(|error| Error::os(format_args!("opening object {}", name.file_name()), &error))
            }
        }
    }

    /// The same; an empty file is not there either.
    pub(super) fn open_object(&self, name: &ObjectName) -> Result<Option<(File, u64)>> {
        Ok(self.open_file(name)?.filter(|(_, bytes)| *bytes > 0))
    }

    /// Removes the file that was read under this name, unless another has been published there since.
    pub(super) fn remove_read(&self, reading: &Reading) -> std::io::Result<()> {
        self.remove_file(&reading.name, &reading.file)
    }

    /// The same for a file that was opened otherwise.
    pub(super) fn remove_file(&self, name: &ObjectName, file: &File) -> std::io::Result<()> {
        let begun = self.unflushed.now();
        let Some((now, _)) = self.files.open_read(name)? else { return Ok(()) };
        let (now, then) = (retry_on_interrupt(|| now.metadata())?, retry_on_interrupt(|| file.metadata())?);
        if (now.dev(), now.ino()) == (then.dev(), then.ino()) {
            self.files.remove(name)?;
            self.unflushed.removed(self.files.id_of(name), begun);
        }
        Ok(())
    }
}

/// Fills `place` from the file; false if the file ends before.
fn read_whole(file: &File, place: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(place, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
