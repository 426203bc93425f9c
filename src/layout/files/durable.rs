//! Making objects durable, each by itself.
//!
//! `syncfs(2)` alone does not do that everywhere: FUSE file systems never hear of it. What every file system hears of is
//! `fsync(2)`, of a file for its bytes and of a directory for the names in it. Directories in which a name came or went
//! are noted here, 256 bits for the shards; which files were put is for the caller to know.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::name::{self, ObjectName};
use super::{FileStore, Temporary, is_planted, present};
use crate::config::Layout;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::at::Purpose;
use crate::sys::dir::Dir;
use crate::sys::retry_on_interrupt;

/// Shards that one word of marks covers.
const SHARDS_PER_WORD: usize = 64;
/// Words for the shards that two hexadecimal digits name.
const WORDS: usize = 256 / SHARDS_PER_WORD;

/// The directories whose names changed since they were last synced. In the flat layout the first mark stands for the
/// store's own directory.
#[derive(Debug, Default)]
pub(super) struct ChangedDirectories([AtomicU64; WORDS]);

impl ChangedDirectories {
    /// Notes a change. To be called after it and before it is reported as done.
    pub(super) fn mark(&self, name: &ObjectName) {
        self.mark_shard(name.digest().map_or(0, |digest| (digest >> 120) as u8));
    }

    fn mark_shard(&self, shard: u8) {
        let (word, bit) = (usize::from(shard) / SHARDS_PER_WORD, usize::from(shard) % SHARDS_PER_WORD);
        self.0[word].fetch_or(1 << bit, Ordering::AcqRel);
    }

    /// Takes all marks off and names the shards that had one.
    fn take(&self) -> Vec<u8> {
        let mut shards = Vec::new();
        for (at, word) in self.0.iter().enumerate() {
            let bits = word.swap(0, Ordering::AcqRel);
            let marked = (0..SHARDS_PER_WORD).filter(|bit| bits & 1 << bit != 0);
            shards.extend(marked.map(|bit| (at * SHARDS_PER_WORD + bit) as u8));
        }
        shards
    }
}

impl FileStore {
    /// Has everything on the file system written back, as far as the file system hears of it.
    ///
    /// # Errors
    /// What `syncfs(2)` answers. It tells also of write-back that failed before, of files of which nothing else does: of
    /// one whose inode left memory since, `fsync(2)` knows nothing any more.
    pub fn sync_file_system(&self) -> io::Result<()> {
        match self.root.sync_file_system() {
            // A sandbox that does not have it: each file and directory is synced besides.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            other => other,
        }
    }

    /// Opens an object's file to sync it, and to read it through the page cache; `None` if there is none that is this
    /// process's.
    ///
    /// # Errors
    /// What opening answers.
    pub fn open_to_sync(&self, name: &ObjectName) -> io::Result<Option<File>> {
        let opened = self.walk.open(&self.root, name.path().whole(), Purpose::Read { direct: false });
        let file = match present(opened) {
            Ok(Some(fd)) => File::from(fd),
            Ok(None) => return Ok(None),
            Err(error) if is_planted(&error) => return Ok(None),
            // Another user's process has put its own there since.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(retry_on_interrupt(|| file.metadata())?.is_file().then_some(file))
    }

    /// Publishes a copy of an object in place of `old`, unless that has been replaced or removed since: a newer object is
    /// never hidden by the older one. For a moment the object is not there.
    ///
    /// # Errors
    /// What the system answers; the object may then be gone.
    pub fn replace(&self, mut copy: Temporary, old: &File) -> io::Result<()> {
        let Some(place) = copy.take_place() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (path, old) = (place.name.path(), retry_on_interrupt(|| old.metadata())?);
        let parent = place.parent(&self.root);
        // What is moved away is looked at where nobody else can replace it any more.
        let Some(moved) = present(copy.take_in(parent, path.leaf()))? else { return Ok(()) };
        self.changed.mark(&place.name);
        let linked = if moved.identity()? == (old.dev(), old.ino()) {
            copy.link(parent, path.leaf())
        } else {
            moved.link(parent, path.leaf())
        };
        self.changed.mark(&place.name);
        match linked {
            // Somebody has put the object meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Makes the names durable that came and went since the last time.
    ///
    /// # Errors
    /// What the first directory answers that failed; it will be synced again the next time, and no other is left out. A
    /// later success is then to be believed: kernels keep names in a journal, which does not work again once it failed.
    pub fn sync_directories(&self) -> io::Result<()> {
        let shards = self.changed.take();
        if shards.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        let mut note = |synced: io::Result<()>, shard: u8| {
            if let Err(error) = synced {
                self.changed.mark_shard(shard);
                if outcome.is_ok() {
                    outcome = Err(error);
                }
            }
        };
        if self.layout == Layout::Sharded {
            let objects = self.root.existing_subdir(name::OBJECTS.to_str().unwrap_or_default());
            match present(objects) {
                Ok(Some(objects)) => {
                    for &shard in &shards {
                        note(sync_subdirectory(&objects, &format!("{shard:02x}")), shard);
                    }
                    // Shards that are new.
                    note(supported(objects.sync()), 0);
                }
                // Somebody removed it, and what it held.
                Ok(None) => {}
                Err(error) if is_planted(&error) => {}
                Err(error) => {
                    let errno = error.raw_os_error();
                    note(Err(error), 0);
                    let same =
                        || errno.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
                    shards.iter().for_each(|&shard| note(Err(same()), shard));
                }
            }
        }
        // The objects of the flat layout; else the directory of them.
        note(supported(self.root.sync()), 0);
        outcome
    }
}

fn sync_subdirectory(parent: &Dir, name: &str) -> io::Result<()> {
    match present(parent.existing_subdir(name)) {
        Ok(Some(directory)) => supported(directory.sync()),
        Ok(None) => Ok(()),
        Err(error) if is_planted(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Some network file systems have no `fsync(2)` of directories: their servers keep names in order by themselves.
fn supported(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS)) =>
        {
            Ok(())
        }
        other => other,
    }
}
