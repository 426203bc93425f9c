//! Questions about keys of a store in a bucket, their removal and pinning, one at a time and for a thread that may wait.
//!
//! Pins bind this process alone: no server has a lock that dies with its holder.

use std::time::{Duration, Instant};

use super::in_use::{Change, Turn};
use super::look::Seen;
use super::sizes::RecordBytes;
use super::{Buckets, Core, Kind};
use crate::batch::Question;
use crate::catalog::Chains;
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::bucket::listing::{self, Bounds};
use crate::layout::files::ObjectName;
use crate::placement::{Asked, Asking, Gauges, Key, Keys, OwnedKey};
use crate::s3::FailureKind;
use crate::sync::{Arc, AtomicBool};

/// How long a removal waits for a put of the same key that is under way.
pub(super) const TURN_TIME_MAX: Duration = Duration::from_secs(10);
/// Objects that one clear lists at a time.
const CLEARED_AT_ONCE: usize = 100_000;

impl Keys for Buckets {
    fn chains(&self) -> Option<Arc<Chains>> {
        self.core.catalog.chains().cloned()
    }

    fn chain_id(&self, key: &Key<'_>) -> u128 {
        self.core.name(key).map_or(key.digest, |name| self.core.names.id_of(&name))
    }

    fn plan(&self, ids: &[u128], length: u64) -> usize {
        let gauges = self.core.catalog.gauges();
        let mean = gauges.bytes / u64::from(gauges.keys).max(1);
        let bytes =
            if length == 0 { mean } else { RecordBytes::of(length).map_or(u64::MAX, RecordBytes::whole) };
        self.core.catalog.plan(ids, bytes)
    }

    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        let core = &self.core;
        let name = core.name(key)?;
        let id = core.names.id_of(&name);
        let known = core.catalog.contains(id);
        if core.is_pool() || (core.rules.presence_cache && known) {
            return Ok(known);
        }
        if core.rules.presence_cache_only {
            return Ok(false);
        }
        // In the flat layout a name alone does not tell whether the object may be served.
        if core.names.layout() == Layout::Lmcache {
            return Ok(self.length(key)?.is_some());
        }
        let (asking, whole) = (Arc::clone(core), core.names.whole(&name));
        let head = core.bucket.client.block_on(async move { asking.bucket.client.head(&whole, None).await });
        match head {
            Ok(head) => Ok(RecordBytes::split(head.bytes).is_some()),
            Err(failure) if failure.kind() == FailureKind::Missing => {
                core.forget(id);
                Ok(false)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        let (core, key) = (Arc::clone(&self.core), key.to_owned());
        self.core.bucket.client.block_on(async move { core.length(&key, None).await })
    }

    fn look_up(&self, key: &Key<'_>) -> Result<Asked> {
        if let Some(known) = self.core.known(key)? {
            return Ok(known);
        }
        Ok(self.length(key)?.map_or(Asked::NotFound, |length| Asked::Done { length: Some(length) }))
    }

    fn remove(&self, key: &Key<'_>) -> Result<Status> {
        let (core, key) = (Arc::clone(&self.core), key.to_owned());
        let name = core.name(&key.key())?;
        let id = core.names.id_of(&name);
        let Some(turn) = core.in_use.turn(id, Change::Other, Instant::now() + TURN_TIME_MAX) else {
            return Err(busy("removing", &key));
        };
        let asked = self.core.bucket.client.block_on(async move {
            let asked = core.take_out(&key, &name, None, &turn).await;
            drop(turn);
            asked
        })?;
        Ok(match asked {
            Asked::Done { .. } => Status::Ok,
            Asked::NotFound => Status::NotFound,
            Asked::Pinned => Status::Pinned,
        })
    }

    fn pin(&self, key: &Key<'_>) -> Result<bool> {
        let (core, key) = (Arc::clone(&self.core), key.to_owned());
        let name = core.name(&key.key())?;
        let id = core.names.id_of(&name);
        let Some(turn) = core.in_use.turn(id, Change::Other, Instant::now() + TURN_TIME_MAX) else {
            return Err(busy("pinning", &key));
        };
        self.core.bucket.client.block_on(async move { core.pin(&key, &name, None, &turn).await })
    }

    fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        self.core.unpin(key)
    }

    fn ask(&self, question: Question, keys: &[Key<'_>], asking: &mut dyn Asking) {
        self.core.ask(question, keys, asking);
    }

    fn answers_at_once(&self, question: Question) -> bool {
        question == Question::Unpin
    }

    fn clear(&self) -> Result<u64> {
        let core = &self.core;
        let mut removed = 0;
        loop {
            let listing = Arc::clone(core);
            let (cleared, is_whole) = core.bucket.client.block_on(async move {
                let stop = Arc::new(AtomicBool::new(false));
                let bounds = Bounds { objects_max: CLEARED_AT_ONCE, deadline: None, stop };
                let listed = listing::all(&listing.bucket.client, &listing.names, &bounds).await?;
                let is_whole = listed.is_whole;
                Ok::<_, Error>((listing.clear_found(listed.found).await?, is_whole))
            })?;
            removed += cleared;
            if is_whole || cleared == 0 {
                return Ok(removed);
            }
        }
    }

    fn sync(&self) -> Result<()> {
        // What a server acknowledged is durable.
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.keeper.close(&self.core);
        Ok(())
    }

    fn abandon_after_fork(&self) {
        self.keeper.abandon();
    }

    fn gauges(&self) -> Gauges {
        let core = &self.core;
        let gauges = core.catalog.gauges();
        let (slots, capacity_bytes) = match core.kind {
            Kind::Pool { object_count, chunk_bytes, .. } => {
                (u64::from(object_count), u64::from(object_count).saturating_mul(chunk_bytes))
            }
            Kind::Dynamic => (0, core.rules.capacity_bytes.unwrap_or(0)),
        };
        Gauges {
            keys: u64::from(gauges.keys),
            bytes: gauges.bytes,
            slots,
            slots_free: slots.saturating_sub(u64::from(gauges.keys)),
            slots_quarantined: 0,
            evictions: core.evictions.get(),
            files_damaged: core.damaged.get(),
            capacity_bytes,
            keys_pinned: gauges.keys_pinned,
        }
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        // An open that fails later closes nothing; the lease must not stay, nor the thread.
        self.keeper.close(&self.core);
    }
}

/// A put of the key does not end.
pub(super) fn busy(what: &str, key: &OwnedKey) -> Error {
    Error::new(
        Status::Busy,
        format!(
            "{what} key {}: a put of it has been under way for {} s",
            key.key().shown(),
            TURN_TIME_MAX.as_secs()
        ),
    )
}

impl Core {
    /// What is known of a key without asking the server.
    ///
    /// # Errors
    /// A key that has no name.
    pub(super) fn known(&self, key: &Key<'_>) -> Result<Option<Asked>> {
        let name = self.name(key)?;
        let id = self.names.id_of(&name);
        let Some((bytes, note)) = self.catalog.noted(id) else {
            let is_known = self.is_pool() || self.rules.presence_cache_only;
            return Ok(is_known.then_some(Asked::NotFound));
        };
        let length = payload_of(bytes, note);
        let is_answer = (self.is_pool() && length.is_some()) || self.rules.presence_cache;
        Ok(is_answer.then_some(Asked::Done { length }))
    }

    /// Length of a stored object, as its trailer tells.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn length(
        self: &Arc<Self>,
        key: &OwnedKey,
        deadline: Option<Instant>,
    ) -> Result<Option<u64>> {
        let name = self.name(&key.key())?;
        let id = self.names.id_of(&name);
        if self.is_pool() {
            match self.catalog.noted(id) {
                None => return Ok(None),
                Some((bytes, note)) => {
                    if let Some(length) = payload_of(bytes, note) {
                        return Ok(Some(length));
                    }
                }
            }
        }
        let Some(seen) = self.look(&name, deadline).await? else {
            // A put that completes meanwhile is in the catalog already, and stays.
            if let Some(_turn) = self.in_use.try_turn(id) {
                self.forget(id);
            }
            return Ok(None);
        };
        let length = self.payload_in(&key.key(), &seen);
        if let Some(length) = length
            && seen.ours.is_some()
        {
            self.sizes.learn(id, None, seen.bytes);
            self.catalog.note(id, seen.bytes, note_of(length));
        }
        Ok(length)
    }

    /// The payload that an object has for this key; `None`: it is not this key's, or nothing to be served.
    pub(super) fn payload_in(&self, key: &Key<'_>, seen: &Seen) -> Option<u64> {
        match &seen.ours {
            Some(ours) if *ours.key == *key.effective && ours.pool_id == self.pool_id() => {
                Some(ours.payload_bytes)
            }
            Some(_) => None,
            None => self.serves_unproven(seen.bytes).then_some(seen.bytes),
        }
    }

    /// Removes a key unless it is pinned here.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn take_out(
        self: &Arc<Self>,
        key: &OwnedKey,
        name: &ObjectName,
        deadline: Option<Instant>,
        turn: &Turn,
    ) -> Result<Asked> {
        let id = self.names.id_of(name);
        if self.catalog.is_pinned(id) {
            return Ok(Asked::Pinned);
        }
        if self.is_pool() {
            if !self.catalog.contains(id) {
                return Ok(Asked::NotFound);
            }
        } else if self.names.layout() == Layout::Lmcache {
            // Names of this layout are not one to one: a whole record of another key stays, also one that comes between the look and
            // the removal.
            let Some(seen) = self.look(name, deadline).await? else {
                self.forget(id);
                return Ok(Asked::NotFound);
            };
            if seen.ours.as_ref().is_some_and(|ours| *ours.key != *key.key().effective) {
                return Ok(Asked::NotFound);
            }
            self.remove_version(name, seen.bytes, seen.version.as_ref(), turn).await?;
            return Ok(Asked::Done { length: None });
        } else {
            // A removal answers the same whether there was something or not.
            match self.bucket.client.head(&self.names.whole(name), deadline).await {
                Ok(_) => {}
                Err(failure) if failure.kind() == FailureKind::Missing => {
                    self.forget(id);
                    return Ok(Asked::NotFound);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        self.remove(name, turn).await?;
        Ok(Asked::Done { length: None })
    }

    /// Keeps this process from evicting a key; false if it is not stored. The turn keeps removals and evictions out, which
    /// look for pins when it is theirs.
    ///
    /// # Errors
    /// What the server answers.
    pub(super) async fn pin(
        self: &Arc<Self>,
        key: &OwnedKey,
        name: &ObjectName,
        deadline: Option<Instant>,
        _turn: &Turn,
    ) -> Result<bool> {
        let id = self.names.id_of(name);
        if self.is_pool() {
            return Ok(self.catalog.pin(id));
        }
        let seen = self.look(name, deadline).await?;
        let Some(seen) = seen.filter(|seen| self.payload_in(&key.key(), seen).is_some()) else {
            return Ok(false);
        };
        self.observe(name, seen.bytes);
        if let Some(ours) = &seen.ours {
            self.catalog.note(id, seen.bytes, note_of(ours.payload_bytes));
        }
        Ok(self.catalog.pin(id))
    }

    /// Takes a pin back.
    ///
    /// # Errors
    /// A key that has no name.
    pub(super) fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        let name = self.name(key)?;
        let id = self.names.id_of(&name);
        let was_pinned = self.catalog.unpin(id);
        // A pin made the catalog know it; another program's object must not become one to evict.
        if was_pinned && self.names.layout() == Layout::Lmcache && !self.catalog.is_pinned(id) {
            let is_proven = self.catalog.noted(id).is_some_and(|(_, note)| note != 0);
            if !is_proven {
                self.catalog.forget(id);
            }
        }
        Ok(was_pinned)
    }
}

/// A payload's length as it is noted beside an object's size: by how much its padding exceeds it, and one, so that 0 says
/// nothing.
pub(super) fn note_of(payload_bytes: u64) -> u16 {
    let padding = crate::layout::record::padded(payload_bytes).map_or(0, |padded| padded - payload_bytes);
    padding as u16 + 1
}

/// The length that was so noted.
pub(super) fn payload_of(bytes: u64, note: u16) -> Option<u64> {
    let padding = u64::from(note.checked_sub(1)?);
    RecordBytes::split(bytes)?.padded.checked_sub(padding)
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    /// What is noted beside a size gives the length back, to the byte.
    #[test]
    fn a_length_is_noted_beside_its_size() {
        for payload in [1, 4095, 4096, 4097, 1 << 20, (32 << 20) - 1] {
            let bytes = RecordBytes::of(payload).unwrap().whole();
            assert_eq!(payload_of(bytes, note_of(payload)), Some(payload));
            assert_eq!(payload_of(bytes, 0), None);
        }
    }
}
