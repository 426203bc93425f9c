//! A static pool around a transfer: the slot that is read, the slot that is written.

use super::Slots;
use crate::catalog::{Lease, Release, Reservation, Reserve};
use crate::error::{Error, Result, Status};
use crate::placement::{Foreign, Key, Placement, PutPlace, Sink, Source};

impl Placement for Slots {
    type GetClaim = Lease;
    type PutClaim = Reservation;

    fn payload_bytes_max(&self) -> Option<u64> {
        Some(self.geometry.chunk_bytes())
    }

    fn open_get(&self, key: &Key<'_>) -> Result<Option<Source<Lease>>> {
        let Some(lease) = self.catalog.acquire(key.digest, key.effective) else {
            return Ok(None);
        };
        match self.extent(lease.slot(), lease.length()) {
            Ok(extent) => Ok(Some(Source {
                extent,
                payload_bytes: Some(lease.length()),
                generation: Some(lease.generation()),
                foreign: Foreign::Damaged,
                claim: lease,
            })),
            Err(error) => {
                self.close_get(key, lease, true);
                Err(error)
            }
        }
    }

    fn close_get(&self, key: &Key<'_>, claim: Lease, corrupt: bool) {
        if corrupt {
            self.catalog.quarantine(key.digest, key.effective, &claim);
        }
        if let Release::Clean(dirty) = self.catalog.release(claim) {
            drop(self.clean(dirty));
        }
    }

    fn open_put(&self, key: &Key<'_>, length: u64) -> Result<PutPlace<Reservation>> {
        if length > self.geometry.chunk_bytes() {
            return Err(Error::new(
                Status::TooLarge,
                format!(
                    "object of {length} bytes; a slot of this pool holds {} (chunk_bytes in the open options, else \
                     nixl_store_chunk_bytes, else nixl_buffer_size / nixl_pool_size)",
                    self.geometry.chunk_bytes()
                ),
            ));
        }
        let reservation = match self.reserve(key.digest) {
            Reserve::Slot(reservation) => reservation,
            Reserve::Busy => return Ok(PutPlace::Busy),
            Reserve::Full => {
                return Err(Error::new(
                    Status::PoolFull,
                    "every slot is pinned or out of use; unpin keys or use a larger pool",
                ));
            }
        };
        if reservation.evicted() {
            self.evictions.increment();
        }
        match self.extent(reservation.slot(), length) {
            Ok(extent) => Ok(PutPlace::Ready(Sink {
                extent,
                generation: reservation.generation(),
                // In memory nothing outlives the process that could find the old one.
                invalidate_first: reservation.evicted() && self.outlives_process,
                hidden: false,
                claim: reservation,
            })),
            Err(error) => {
                self.abort_put(reservation, false);
                Err(error)
            }
        }
    }

    fn commit_put(&self, key: &Key<'_>, claim: Reservation, length: u64) -> Result<()> {
        let published = self.catalog.publish(claim, key.effective, length);
        published.clean.into_iter().for_each(|dirty| drop(self.clean(dirty)));
        Ok(())
    }

    fn abort_put(&self, claim: Reservation, touched: bool) {
        let dirty =
            if touched { Some(self.catalog.abandon(claim)) } else { self.catalog.abandon_unwritten(claim) };
        dirty.into_iter().for_each(|dirty| drop(self.clean(dirty)));
    }

    fn make_room(&self, _bytes: u64) -> bool {
        // Slots are preallocated; a full device is not for want of evictions.
        false
    }
}
