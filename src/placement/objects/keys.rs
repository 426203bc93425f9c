//! Questions about keys of a dynamic store, and their removal and pinning: the file system answers.

use super::Objects;
use super::limits::record_bytes;
use crate::batch::Question;
use crate::catalog::Chains;
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::files::{Evicted, ObjectName, is_planted};
use crate::placement::{Asked, Gauges, Key, Keys};
use crate::sync::Arc;

impl Keys for Objects {
    fn chains(&self) -> Option<Arc<Chains>> {
        self.catalog.chains().cloned()
    }

    fn chain_id(&self, key: &Key<'_>) -> u128 {
        self.name(key).map_or(key.digest, |name| self.files.id_of(&name))
    }

    fn plan(&self, ids: &[u128], length: u64) -> usize {
        let gauges = self.catalog.gauges();
        let mean = gauges.bytes / u64::from(gauges.keys).max(1);
        let bytes =
            if length == 0 { mean } else { record_bytes(length).map_or(u64::MAX, |parts| parts.bytes) };
        self.catalog.plan(ids, bytes)
    }

    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        let known = self.catalog.contains(id);
        if self.presence_cache && known {
            return Ok(true);
        }
        if self.presence_cache_only {
            return Ok(false);
        }
        // What this process never met is mostly not there, and that costs one system call to learn.
        if !known && self.files.is_absent(&name) {
            return Ok(false);
        }
        // In the flat layout a name alone does not tell whether the object may be served.
        if self.layout == Layout::Lmcache && !self.serve_unverified {
            return Ok(self.length(key)?.is_some());
        }
        let found = match self.files.stat(&name) {
            Ok(found) => found,
            // A link or a directory in its place is no object, and must not end a whole prefix match.
            Err(error) if is_planted(&error) => None,
            Err(error) => {
                return Err(Error::os(format_args!("looking for object {}", name.file_name()), &error));
            }
        };
        match found {
            // LMCache may be writing it still: only a record, or a file of the right length, is one.
            Some(bytes) if self.layout == Layout::Lmcache && !self.serves_unproven(bytes) => {
                Ok(self.length(key)?.is_some())
            }
            Some(bytes) if bytes > 0 => Ok(true),
            _ => {
                self.catalog.forget(id);
                Ok(false)
            }
        }
    }

    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        let name = self.name(key)?;
        let Some((file, bytes)) = self.open_object(&name)? else { return Ok(None) };
        let ours = self.with_trailer(&file, bytes, |trailer| {
            let identity = trailer.identity();
            (identity.key == key.effective).then_some(identity.payload_bytes)
        });
        let ours =
            ours.map_err(|error| Error::os(format_args!("reading object {}", name.file_name()), &error))?;
        Ok(match ours {
            Some(length) => length,
            None if self.layout == Layout::Lmcache && self.serves_unproven(bytes) => Some(bytes),
            None => None,
        })
    }

    fn remove(&self, key: &Key<'_>) -> Result<Status> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        let mut is_another = false;
        let evicted = self
            .unlink_if(&name, || {
                is_another = self.is_another_keys(&name, key);
                !is_another
            })
            .map_err(|error| Error::os(format_args!("removing object {}", name.file_name()), &error))?;
        if evicted == Evicted::Pinned {
            return Ok(Status::Pinned);
        }
        if is_another {
            return Ok(Status::NotFound);
        }
        self.catalog.forget(id);
        Ok(if evicted == Evicted::Removed { Status::Ok } else { Status::NotFound })
    }

    fn pin(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        self.files
            .pin(id)
            .map_err(|error| Error::os(format_args!("pinning object {}", name.file_name()), &error))?;
        // Only now is the file safe from others; it may have gone before.
        let found = self.open_object(&name);
        let Ok(Some((_, bytes))) = found else {
            // Nobody will take back a pin that was not told of.
            let unpinned = self.files.unpin(id);
            found?;
            self.catalog.forget(id);
            return unpinned.map(|_| false).map_err(|error| unpinning(&name, &error));
        };
        self.observe(&name, bytes);
        // What the catalog does not count as pinned it may name as a victim; the lock keeps it all the same.
        self.catalog.pin(id);
        Ok(true)
    }

    fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        // The count behind the lock is the one that counts: what the catalog knows of a file goes with the file.
        if !self.files.unpin(id).map_err(|error| unpinning(&name, &error))? {
            return Ok(false);
        }
        self.catalog.unpin(id);
        // A pin made the catalog know it; another program's file must not become one to evict.
        if self.layout == Layout::Lmcache && !self.catalog.is_pinned(id) && !self.has_trailer(&name) {
            self.catalog.forget(id);
        }
        Ok(true)
    }

    fn look_up(&self, key: &Key<'_>) -> Result<Asked> {
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        let known = self.catalog.contains(id);
        if self.presence_cache && known {
            // Only its file has the length, and is not to be asked.
            return Ok(Asked::Done { length: None });
        }
        // As in `contains`: what this process never met is mostly not there.
        if self.presence_cache_only || !known && self.files.is_absent(&name) {
            return Ok(Asked::NotFound);
        }
        let length = self.length(key)?;
        if known && length.is_none() && self.files.is_absent(&name) {
            self.catalog.forget(id);
        }
        Ok(length.map_or(Asked::NotFound, |length| Asked::Done { length: Some(length) }))
    }

    fn answers_at_once(&self, question: Question) -> bool {
        self.presence_cache_only && matches!(question, Question::Lookup { .. })
    }

    fn clear(&self) -> Result<u64> {
        let mut found = Vec::new();
        let left_out = self.files.scan(&mut |scanned| found.push(scanned))?;
        let mut removed = 0;
        for scanned in found {
            if !self.is_ours(&scanned) {
                continue;
            }
            let evicted = self.unlink(&scanned.name).map_err(|error| {
                Error::os(format_args!("removing object {}", scanned.name.file_name()), &error)
            })?;
            if evicted != Evicted::Pinned {
                self.catalog.forget(self.files.id_of(&scanned.name));
                removed += u64::from(evicted == Evicted::Removed);
            }
        }
        left_out.map_or(Ok(removed), Err)
    }

    fn sync(&self) -> Result<()> {
        self.flush()
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }

    fn abandon_after_fork(&self) {
        self.files.abandon_after_fork();
    }

    fn gauges(&self) -> Gauges {
        let gauges = self.catalog.gauges();
        Gauges {
            keys: u64::from(gauges.keys),
            bytes: gauges.bytes,
            evictions: self.evictions.get(),
            files_damaged: self.damaged.get(),
            capacity_bytes: self.capacity_bytes.unwrap_or(0),
            keys_pinned: self.files.pinned(),
            ..Gauges::default()
        }
    }
}

impl Objects {
    /// Whether a file holds a whole record of a key other than `key`. Names of the layout lmcache are not one to one. What cannot be
    /// read, or holds no record, is whoever's asks for it by its name.
    fn is_another_keys(&self, name: &ObjectName, key: &Key<'_>) -> bool {
        if self.layout != Layout::Lmcache {
            return false;
        }
        let Ok(Some((file, bytes))) = self.files.open_read(name) else { return false };
        let is_another = self.with_trailer(&file, bytes, |trailer| trailer.identity().key != key.effective);
        matches!(is_another, Ok(Some(true)))
    }
}

fn unpinning(name: &ObjectName, error: &std::io::Error) -> Error {
    Error::os(format_args!("unpinning object {}", name.file_name()), error)
}
