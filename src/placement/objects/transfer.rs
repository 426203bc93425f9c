//! A dynamic store around a transfer: open what is read, prepare and publish what is written.
//!
//! All of it asks the file system, which may take its time, so lanes are given work for other threads.

use std::fs::File;
use std::io;

use super::limits::{RecordBytes, record_bytes};
use super::{Draft, Objects, Reading};
use crate::backend::Target;
use crate::catalog::RoomRefused;
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::files::ObjectName;
use crate::layout::record;
use crate::placement::{
    Answer, Extent, Foreign, GetWish, Key, Keys, Never, Placement, PutPlace, PutWish, Sink, Source,
    Tombstones, Work,
};
use crate::sync::{Arc, Ordering};

impl Placement for Objects {
    type GetClaim = Reading;
    type PutClaim = Draft;
    type TombClaim = Never;

    fn payload_bytes_max(&self) -> Option<u64> {
        None
    }

    fn find(self: &Arc<Self>, key: &Key<'_>) -> Answer<Result<Option<u64>>> {
        let (objects, key) = (Arc::clone(self), key.to_owned());
        Answer::later(move || objects.keep(&key.key()))
    }

    fn open_get(self: &Arc<Self>, key: &Key<'_>, _wish: GetWish) -> Answer<Result<Option<Source<Reading>>>> {
        let (objects, key) = (Arc::clone(self), key.to_owned());
        Answer::later(move || objects.begin_reading(&key.key()))
    }

    fn close_get(
        self: &Arc<Self>,
        _key: &Key<'_>,
        claim: Reading,
        corrupt: bool,
    ) -> Answer<Tombstones<Never>> {
        if !corrupt {
            return Answer::Now(Tombstones::NONE);
        }
        let objects = Arc::clone(self);
        Answer::later(move || {
            objects.remove_damaged(&claim);
            Tombstones::NONE
        })
    }

    fn open_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        length: u64,
        wish: PutWish,
    ) -> Answer<Result<PutPlace<Draft>>> {
        let (objects, key) = (Arc::clone(self), key.to_owned());
        Answer::later(move || objects.begin_writing(&key.key(), length, wish.must))
    }

    fn commit_put(
        self: &Arc<Self>,
        _key: &Key<'_>,
        claim: Draft,
        _length: u64,
    ) -> Answer<Result<Tombstones<Never>>> {
        let objects = Arc::clone(self);
        Answer::later(move || objects.commit(claim).map(|()| Tombstones::NONE))
    }

    fn abort_put(self: &Arc<Self>, claim: Draft, _touched: bool) -> Answer<Tombstones<Never>> {
        let objects = Arc::clone(self);
        Answer::later(move || {
            let Draft { temporary, reservation, .. } = claim;
            objects.files.discard(temporary);
            objects.catalog.cancel(reservation);
            Tombstones::NONE
        })
    }

    fn make_room(self: &Arc<Self>, bytes: u64) -> Answer<bool> {
        let objects = Arc::clone(self);
        Answer::later(move || objects.evict_at_least(bytes))
    }

    fn entombed(self: &Arc<Self>, claim: Never, _outcome: io::Result<()>) -> Answer<Tombstones<Never>> {
        match claim {}
    }

    fn background(self: &Arc<Self>) -> Option<Work<()>> {
        self.rescan_is_due().then(|| {
            let objects = Arc::clone(self);
            Work::new(move || objects.rescan())
        })
    }
}

impl Objects {
    /// Length of the object, for a put that may leave it as it is.
    fn keep(&self, key: &Key<'_>) -> Result<Option<u64>> {
        let length = self.length(key)?;
        if length.is_some() {
            self.catalog.keep(self.files.id_of(&self.name(key)?));
        }
        Ok(length)
    }

    fn begin_reading(&self, key: &Key<'_>) -> Result<Option<Source<Reading>>> {
        let permit = self.permit()?;
        let name = self.name(key)?;
        let id = self.files.id_of(&name);
        let Some((file, bytes)) = self.open_file(&name)? else {
            self.catalog.forget(id);
            return Ok(None);
        };
        let known = self.catalog.touch(id);
        if !known && self.layout == Layout::Sharded {
            self.observe(&name, bytes);
        }
        let file = Arc::new(file);
        let foreign = self.foreign(bytes);
        let parts = self
            .split(&file, bytes)
            .map_err(|error| Error::os(format_args!("reading object {}", name.file_name()), &error))?;
        let (padded_bytes, trailer_bytes, payload_bytes) = match (parts, foreign) {
            (Some((padded, trailer)), _) => (padded, trailer, None),
            (None, Foreign::Served { bytes }) => (record::padded(bytes).unwrap_or(bytes), 0, Some(bytes)),
            (None, Foreign::Ignored) => return Ok(None),
            (None, Foreign::Damaged) => {
                self.damaged.increment();
                self.logger.warn(format_args!(
                    "object {}: {bytes} bytes are no record; treated as not found and removed",
                    name.file_name()
                ));
                self.remove_damaged(&Reading { name, file, _permit: permit });
                return Ok(None);
            }
        };
        let extent = Extent {
            target: self.attach(&file, &name)?,
            payload_offset: 0,
            padded_bytes,
            trailer_bytes,
            pool_id: record::NO_POOL,
            slot: record::NO_SLOT,
            alignment: self.alignment(),
            piece_bytes: None,
        };
        Ok(Some(Source {
            extent,
            payload_bytes,
            generation: None,
            foreign,
            claim: Reading { name, file, _permit: permit },
        }))
    }

    /// Takes what did not prove right out of the store.
    fn remove_damaged(&self, claim: &Reading) {
        self.catalog.forget(self.files.id_of(&claim.name));
        // Whoever pinned it pinned bytes that are gone already.
        if let Err(error) = self.remove_read(claim) {
            self.logger.error(format_args!("removing damaged object {}: {error}", claim.name.file_name()));
        }
    }

    /// Whether another process has put the object, which this one did not know. Its old bytes must not stay where new ones come.
    fn learn_of(&self, name: &ObjectName) -> bool {
        match self.files.stat(name) {
            Ok(Some(bytes)) => {
                self.observe(name, bytes);
                true
            }
            // A put that cannot even look is declined as it was.
            _ => false,
        }
    }

    pub(super) fn begin_writing(&self, key: &Key<'_>, length: u64, must: bool) -> Result<PutPlace<Draft>> {
        let permit = self.permit()?;
        let name = self.name(key)?;
        let RecordBytes { padded_bytes, trailer_bytes, bytes } = record_bytes(length)?;
        let id = self.files.id_of(&name);
        let mut reserved = self.reserve(id, bytes, must);
        if matches!(reserved, Err(RoomRefused::Declined)) && self.learn_of(&name) {
            reserved = self.reserve(id, bytes, must);
        }
        let reservation = match reserved {
            Ok(reservation) => {
                self.note_put(bytes);
                reservation
            }
            Err(RoomRefused::Busy) => return Ok(PutPlace::Busy),
            Err(RoomRefused::Declined) => return Ok(PutPlace::Declined),
            Err(RoomRefused::TooLarge) => {
                return Err(Error::new(
                    Status::TooLarge,
                    format!("object of {length} bytes takes {bytes}, more than nixl_store_capacity_bytes"),
                ));
            }
            Err(RoomRefused::Full) => {
                return Err(Error::new(
                    Status::PoolFull,
                    "nixl_store_capacity_bytes is reached and everything is pinned; unpin keys or raise it",
                ));
            }
        };
        let temporary = match self.create(&name, bytes) {
            Ok(temporary) => temporary,
            Err(error) => {
                self.catalog.cancel(reservation);
                return Err(error);
            }
        };
        let target = match self.attach(&temporary.share(), &name) {
            Ok(target) => target,
            Err(error) => {
                self.catalog.cancel(reservation);
                return Err(error);
            }
        };
        let extent = Extent {
            target,
            payload_offset: 0,
            padded_bytes,
            trailer_bytes,
            pool_id: record::NO_POOL,
            slot: record::NO_SLOT,
            alignment: self.alignment(),
            piece_bytes: None,
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let claim =
            Draft { temporary, reservation, name, bytes, begun: self.unflushed.now(), _permit: permit };
        Ok(PutPlace::Ready(Sink { extent, generation, invalidate_first: false, hidden: true, claim }))
    }

    pub(super) fn commit(&self, claim: Draft) -> Result<()> {
        let Draft { temporary, reservation, name, bytes, begun, _permit } = claim;
        let id = self.files.id_of(&name);
        // Between its name and its entry in the catalog an eviction of the older file would meet this one.
        let _alone = self.files.alone(id);
        match self.publish(temporary, &name, begun) {
            Ok(()) => {
                self.catalog.commit(reservation, id, self.flat(&name).as_deref(), bytes);
                Ok(())
            }
            Err(error) => {
                self.catalog.cancel(reservation);
                Err(Error::os(format_args!("publishing object {}", name.file_name()), &error))
            }
        }
    }

    fn attach(&self, file: &Arc<File>, name: &ObjectName) -> Result<Target> {
        let attached = self.backend.attach(Arc::clone(file));
        attached.map_err(|error| Error::os(format_args!("attaching object {}", name.file_name()), &error))
    }
}
