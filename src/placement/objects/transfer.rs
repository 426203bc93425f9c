//! A dynamic store around a transfer: open what is read, prepare and publish what is written.

use super::limits::{RecordBytes, record_bytes};
use super::{Draft, Objects, Reading};
use crate::catalog::RoomRefused;
use crate::config::Layout;
use crate::error::{Error, Result, Status};
use crate::layout::record;
use crate::placement::{Extent, Foreign, Key, Placement, PutPlace, Sink, Source};
use crate::sync::{Arc, Ordering};

impl Placement for Objects {
    type GetClaim = Reading;
    type PutClaim = Draft;

    fn payload_bytes_max(&self) -> Option<u64> {
        None
    }

    fn open_get(&self, key: &Key<'_>) -> Result<Option<Source<Reading>>> {
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
        let (padded_bytes, trailer_bytes, payload_bytes) = match (self.split(&file, bytes), foreign) {
            (Some((padded, trailer)), _) => (padded, trailer, None),
            (None, Foreign::Served { bytes }) => (record::padded(bytes).unwrap_or(bytes), 0, Some(bytes)),
            (None, Foreign::Ignored) => return Ok(None),
            (None, Foreign::Damaged) => {
                self.damaged.increment();
                self.logger.warn(format_args!(
                    "object {}: {bytes} bytes are no record; treated as not found and removed",
                    name.file_name()
                ));
                self.close_get(key, Reading { name, file, _permit: permit }, true);
                return Ok(None);
            }
        };
        let extent = Extent {
            file: Arc::clone(&file),
            mapping: None,
            payload_offset: 0,
            padded_bytes,
            trailer_bytes,
            pool_id: record::NO_POOL,
            slot: record::NO_SLOT,
            alignment: self.alignment(),
        };
        Ok(Some(Source {
            extent,
            payload_bytes,
            generation: None,
            foreign,
            claim: Reading { name, file, _permit: permit },
        }))
    }

    fn close_get(&self, _key: &Key<'_>, claim: Reading, corrupt: bool) {
        if !corrupt {
            return;
        }
        self.catalog.forget(self.files.id_of(&claim.name));
        // Whoever pinned it pinned bytes that are gone already.
        if let Err(error) = self.remove_read(&claim) {
            self.logger.error(format_args!("removing damaged object {}: {error}", claim.name.file_name()));
        }
    }

    fn open_put(&self, key: &Key<'_>, length: u64) -> Result<PutPlace<Draft>> {
        let permit = self.permit()?;
        let name = self.name(key)?;
        let RecordBytes { padded_bytes, trailer_bytes, bytes } = record_bytes(length)?;
        if self.rescan_is_due(bytes) {
            self.rescan();
        }
        let reservation = match self.reserve(bytes) {
            Ok(reservation) => reservation,
            Err(RoomRefused::Busy) => return Ok(PutPlace::Busy),
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
        let extent = Extent {
            file: temporary.share(),
            mapping: None,
            payload_offset: 0,
            padded_bytes,
            trailer_bytes,
            pool_id: record::NO_POOL,
            slot: record::NO_SLOT,
            alignment: self.alignment(),
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let claim =
            Draft { temporary, reservation, name, bytes, begun: self.unflushed.now(), _permit: permit };
        Ok(PutPlace::Ready(Sink { extent, generation, invalidate_first: false, hidden: true, claim }))
    }

    fn commit_put(&self, _key: &Key<'_>, claim: Draft, _length: u64) -> Result<()> {
        let Draft { temporary, reservation, name, bytes, begun, _permit } = claim;
        match self.publish(temporary, &name, begun) {
            Ok(()) => {
                self.catalog.commit(reservation, self.files.id_of(&name), self.flat(&name).as_deref(), bytes);
                Ok(())
            }
            Err(error) => {
                self.catalog.cancel(reservation);
                Err(Error::os(format_args!("publishing object {}", name.file_name()), &error))
            }
        }
    }

    fn abort_put(&self, claim: Draft, _touched: bool) {
        let Draft { temporary, reservation, .. } = claim;
        self.files.discard(temporary);
        self.catalog.cancel(reservation);
    }

    fn make_room(&self, bytes: u64) -> bool {
        self.evict_at_least(bytes)
    }
}
