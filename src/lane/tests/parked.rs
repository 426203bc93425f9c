//! What is parked: a put for want of a slot, a get for want of a descriptor. Neither waits for the other.

use super::*;
use crate::catalog::{DirtySlot, Lease, Reservation};
use crate::error::{Error, Result};
use crate::placement::{Answer, Gauges, GetWish, Key, Keys, PutPlace, PutWish, Source, Tombstones};
use crate::sync::{AtomicBool, Ordering};

/// A pool whose gets find no descriptor while `is_short` says so, as those of a dynamic store may.
struct Short {
    slots: Arc<Slots>,
    is_short: AtomicBool,
}

impl Keys for Short {
    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        self.slots.contains(key)
    }
    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        self.slots.length(key)
    }
    fn remove(&self, key: &Key<'_>) -> Result<Status> {
        self.slots.remove(key)
    }
    fn pin(&self, key: &Key<'_>) -> Result<bool> {
        self.slots.pin(key)
    }
    fn unpin(&self, key: &Key<'_>) -> Result<bool> {
        self.slots.unpin(key)
    }
    fn clear(&self) -> Result<u64> {
        self.slots.clear()
    }
    fn sync(&self) -> Result<()> {
        self.slots.sync()
    }
    fn close(&self) -> Result<()> {
        self.slots.close()
    }
    fn abandon_after_fork(&self) {
        self.slots.abandon_after_fork();
    }
    fn gauges(&self) -> Gauges {
        self.slots.gauges()
    }
}

impl Placement for Short {
    type GetClaim = Lease;
    type PutClaim = Reservation;
    type TombClaim = DirtySlot;

    fn payload_bytes_max(&self) -> Option<u64> {
        self.slots.payload_bytes_max()
    }
    fn find(self: &Arc<Self>, key: &Key<'_>) -> Answer<Result<Option<u64>>> {
        self.slots.find(key)
    }
    fn open_get(self: &Arc<Self>, key: &Key<'_>, wish: GetWish) -> Answer<Result<Option<Source<Lease>>>> {
        if self.is_short.load(Ordering::SeqCst) {
            let error = io::Error::from_raw_os_error(libc::EMFILE);
            return Answer::Now(Err(Error::os("opening an object", &error)));
        }
        self.slots.open_get(key, wish)
    }
    fn close_get(
        self: &Arc<Self>,
        key: &Key<'_>,
        claim: Lease,
        corrupt: bool,
    ) -> Answer<Tombstones<DirtySlot>> {
        self.slots.close_get(key, claim, corrupt)
    }
    fn open_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        length: u64,
        wish: PutWish,
    ) -> Answer<Result<PutPlace<Reservation>>> {
        self.slots.open_put(key, length, wish)
    }
    fn commit_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        claim: Reservation,
        length: u64,
    ) -> Answer<Result<Tombstones<DirtySlot>>> {
        self.slots.commit_put(key, claim, length)
    }
    fn abort_put(self: &Arc<Self>, claim: Reservation, touched: bool) -> Answer<Tombstones<DirtySlot>> {
        self.slots.abort_put(claim, touched)
    }
    fn make_room(self: &Arc<Self>, bytes: u64) -> Answer<bool> {
        self.slots.make_room(bytes)
    }
    fn entombed(
        self: &Arc<Self>,
        claim: DirtySlot,
        outcome: io::Result<()>,
    ) -> Answer<Tombstones<DirtySlot>> {
        self.slots.entombed(claim, outcome)
    }
}

/// Every slot is being read or written, so a put is parked, and a get is parked behind it for want of a descriptor. The get
/// goes on when there is one, though nothing has come free for the put; so does a get that comes after.
#[test]
fn a_parked_put_keeps_no_parked_get_waiting() {
    const LENGTH: usize = 64 << 10;
    let placement = Arc::new(Short { slots: Arc::new(in_memory(2)), is_short: AtomicBool::new(false) });
    let mut bench = Bench::around(Arc::clone(&placement), DEPTH, Medium::Device, Reach::HOST);
    let mut stored = vec![1; LENGTH];
    bench.put("stored", &mut stored);
    let (mut reading, mut writing) = (vec![0; LENGTH], vec![2; LENGTH]);
    let reader = bench.submit(Direction::Get, "stored", &mut reading);
    let writer = bench.submit(Direction::Put, "written", &mut writing);
    let (mut for_put, mut for_get, mut for_later) = (vec![3; LENGTH], vec![0; LENGTH], vec![0; LENGTH]);
    let put = bench.submit(Direction::Put, "parked", &mut for_put);
    bench.turn();
    placement.is_short.store(true, Ordering::SeqCst);
    let get = bench.submit(Direction::Get, "stored", &mut for_get);
    bench.turn();
    let parked = |bench: &Bench<Short>| (bench.lane.parked_gets.len(), bench.lane.parked_puts.len());
    assert_eq!(parked(&bench), (1, 1));

    let held = lock(&bench.device).held.len();
    placement.is_short.store(false, Ordering::SeqCst);
    bench.turn();
    assert_eq!(parked(&bench), (0, 1));
    assert_eq!(lock(&bench.device).held.len(), held + 1, "the get is not read");
    let later = bench.submit(Direction::Get, "stored", &mut for_later);
    bench.turn();
    assert_eq!(lock(&bench.device).held.len(), held + 2, "a get that came later is not read");

    for batch in [&reader, &writer, &get, &later, &put] {
        assert_eq!(bench.finish(batch), Status::Ok);
    }
    assert!([&reading, &for_get, &for_later].into_iter().all(|read| *read == stored));
    assert!(bench.lane.is_idle());
}
