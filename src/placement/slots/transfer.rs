//! A static pool around a transfer: the slot that is read, the slot that is written. Nothing here waits for storage: the
//! catalog is memory, and tombstones are written by the lane.

use super::Slots;
use crate::catalog::{DirtySlot, Lease, Release, Reservation, Reserve};
use crate::error::{Error, Result, Status};
use crate::layout::record::Trailer;
use crate::placement::{
    Answer, BlockSums, Foreign, GetWish, Key, Placement, PutPlace, PutWish, Sink, Source, Tombstones,
};
use crate::sync::Arc;
use std::io;

impl Placement for Slots {
    type GetClaim = Lease;
    type PutClaim = Reservation;
    type TombClaim = DirtySlot;

    fn payload_bytes_max(&self) -> Option<u64> {
        Some(self.geometry.chunk_bytes())
    }

    fn find(self: &Arc<Self>, key: &Key<'_>) -> Answer<Result<Option<u64>>> {
        Answer::Now(Ok(self.catalog.keep(key.digest, key.effective)))
    }

    fn open_get(self: &Arc<Self>, key: &Key<'_>, _wish: GetWish) -> Answer<Result<Option<Source<Lease>>>> {
        let Some(lease) = self.catalog.acquire(key.digest, key.effective) else {
            return Answer::Now(Ok(None));
        };
        Answer::Now(match self.extent(lease.slot(), lease.length()) {
            Ok(extent) => Ok(Some(Source {
                extent,
                payload_bytes: Some(lease.length()),
                generation: Some(lease.generation()),
                foreign: Foreign::Damaged,
                claim: lease,
            })),
            Err(error) => {
                self.catalog.quarantine(key.digest, key.effective, &lease);
                self.release(lease);
                Err(error)
            }
        })
    }

    fn close_get(
        self: &Arc<Self>,
        key: &Key<'_>,
        claim: Lease,
        corrupt: bool,
    ) -> Answer<Tombstones<DirtySlot>> {
        if corrupt {
            self.catalog.quarantine(key.digest, key.effective, &claim);
        }
        Answer::Now(match self.catalog.release(claim) {
            Release::Clean(dirty) => self.tombstones([dirty]),
            Release::Kept => Tombstones::NONE,
        })
    }

    fn open_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        length: u64,
        wish: PutWish,
    ) -> Answer<Result<PutPlace<Reservation>>> {
        if !self.catalog.is_any_unclean() {
            return Answer::Now(self.find_room(key, length, wish.must));
        }
        // A slot that could not be cleaned may get another chance, which has to wait for storage.
        let (slots, key) = (Arc::clone(self), key.to_owned());
        Answer::later(move || slots.find_room(&key.key(), length, wish.must))
    }

    fn commit_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        claim: Reservation,
        length: u64,
    ) -> Answer<Result<Tombstones<DirtySlot>>> {
        let published = self.catalog.publish(claim, key.effective, length);
        Answer::Now(Ok(self.tombstones(published.clean)))
    }

    fn abort_put(self: &Arc<Self>, claim: Reservation, touched: bool) -> Answer<Tombstones<DirtySlot>> {
        let dirty =
            if touched { Some(self.catalog.abandon(claim)) } else { self.catalog.abandon_unwritten(claim) };
        Answer::Now(self.tombstones(dirty))
    }

    fn make_room(self: &Arc<Self>, _bytes: u64) -> Answer<bool> {
        // Slots are preallocated; a full device is not for want of evictions.
        Answer::Now(false)
    }

    fn sums(&self, lease: &Lease) -> Option<BlockSums<'_>> {
        self.sums.known(lease.slot(), lease.generation(), lease.length())
    }

    fn learn(&self, lease: &Lease, trailer: &Trailer<'_>) {
        let sum_of = |block| trailer.block_checksum(block);
        self.sums.learn(lease.slot(), lease.generation(), trailer.block_count(), sum_of);
    }

    fn learn_put(&self, reservation: &Reservation, sums: &[u64]) {
        let sum_of = |block: usize| sums.get(block).copied();
        self.sums.learn(reservation.slot(), reservation.generation(), sums.len(), sum_of);
    }

    fn entombed(
        self: &Arc<Self>,
        claim: DirtySlot,
        outcome: io::Result<()>,
    ) -> Answer<Tombstones<DirtySlot>> {
        if outcome.is_ok() {
            return Answer::Now(self.tombstones(self.cleaned(claim, Ok(()))));
        }
        // What a lane's queue could not write may be written otherwise, or may not need to be.
        let slots = Arc::clone(self);
        Answer::later(move || {
            // Where this fails too, the slot is out of use for now, and the log says so.
            drop(slots.clean(claim));
            Tombstones::NONE
        })
    }
}

impl Slots {
    fn find_room(&self, key: &Key<'_>, length: u64, must: bool) -> Result<PutPlace<Reservation>> {
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
        let reservation = match self.reserve(key, must) {
            Reserve::Slot(reservation) => reservation,
            Reserve::Busy => return Ok(PutPlace::Busy),
            Reserve::Declined => return Ok(PutPlace::Declined),
            Reserve::Full => {
                return Err(Error::new(
                    Status::PoolFull,
                    "every slot is pinned or out of use; unpin keys or use a larger pool",
                ));
            }
        };
        // Before anything is written there.
        self.sums.forget(reservation.slot());
        if reservation.evicted() {
            self.evictions.increment();
        }
        match self.extent(reservation.slot(), length) {
            Ok(extent) => Ok(PutPlace::Ready(Sink {
                extent,
                generation: reservation.generation(),
                invalidate_first: reservation.evicted() && self.outlives_process,
                hidden: false,
                claim: reservation,
            })),
            Err(error) => {
                if let Some(dirty) = self.catalog.abandon_unwritten(reservation) {
                    self.catalog.not_cleaned(dirty);
                }
                Err(error)
            }
        }
    }

    /// Ends a read whose slot cannot be told; what it leaves is not to be used.
    fn release(&self, lease: Lease) {
        if let Release::Clean(dirty) = self.catalog.release(lease) {
            self.catalog.not_cleaned(dirty);
        }
    }
}
