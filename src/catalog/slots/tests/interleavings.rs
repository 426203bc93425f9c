//! Model checking: a scheduler runs the same few threads through very many interleavings of their
//! locks and atomics, at random and by PCT (which finds bugs that need few ordered switches).
//!
//! Run with `cargo test --release --features shuttle shuttle_`. What it cannot find are errors of
//! memory ordering: all atomics are sequentially consistent there, and the queue of uses is opaque.

use crate::sync::{Arc, Mutex, lock, thread};

use super::*;

const ITERATIONS: usize = 20_000;
/// Ordering constraints between threads that PCT looks for at once.
const PCT_DEPTH: usize = 4;

/// What is being done to each slot on storage, to catch two who must not meet.
#[derive(Default)]
struct Spot {
    readers: u32,
    writers: u32,
    /// Generation of the valid record.
    record: Option<u64>,
}

/// A pool whose storage notices every breach of a slot.
struct Pool {
    catalog: SlotCatalog,
    spots: Vec<Mutex<Spot>>,
}

impl Pool {
    fn new(slots: u32, policy: CachePolicy) -> Arc<Pool> {
        let spots = (0..slots).map(|_| Mutex::default()).collect();
        Arc::new(Pool { catalog: SlotCatalog::new(slots, policy.into()).unwrap(), spots })
    }

    fn spot(&self, slot: u32) -> crate::sync::MutexGuard<'_, Spot> {
        lock(&self.spots[slot as usize])
    }

    /// Writes or tombstones a slot, in two steps between which others run.
    fn write(&self, slot: u32, record: Option<u64>) {
        {
            let mut spot = self.spot(slot);
            assert_eq!((spot.readers, spot.writers), (0, 0), "slot {slot} is written while in use");
            spot.writers = 1;
        }
        thread::yield_now();
        let mut spot = self.spot(slot);
        assert_eq!((spot.readers, spot.writers), (0, 1), "slot {slot} is read while written");
        *spot = Spot { readers: 0, writers: 0, record };
    }

    fn clean(&self, dirty: impl IntoIterator<Item = DirtySlot>) {
        let mut due: Vec<DirtySlot> = dirty.into_iter().collect();
        while let Some(dirty) = due.pop() {
            self.write(dirty.slot(), None);
            due.extend(self.catalog.slot_cleaned(dirty));
        }
    }

    /// Gets a key; checks that its bytes stay what they are as long as they are read.
    fn get(&self, key: &[u8]) {
        let Some(lease) = self.catalog.acquire(digest(key), key) else { return };
        {
            let mut spot = self.spot(lease.slot());
            assert_eq!(spot.writers, 0, "slot {} is read while written", lease.slot());
            assert_eq!(spot.record, Some(lease.generation()), "other bytes than promised");
            spot.readers += 1;
        }
        thread::yield_now();
        {
            let mut spot = self.spot(lease.slot());
            assert_eq!(spot.record, Some(lease.generation()), "the bytes changed under the reader");
            spot.readers -= 1;
        }
        if let Release::Clean(dirty) = self.catalog.release(lease) {
            self.clean([dirty]);
        }
    }

    fn put(&self, key: &[u8], fails: bool) {
        // Busy and full are answers: the put is given up, as spinning would never end here.
        let Reserve::Slot(reservation) = self.catalog.reserve(digest(key), key, false) else { return };
        self.write(reservation.slot(), Some(reservation.generation()));
        if fails {
            self.clean([self.catalog.abandon(reservation)]);
        } else {
            self.clean(self.catalog.publish(reservation, key, 10).clean);
        }
    }

    fn remove(&self, key: &[u8]) {
        if let Remove::Clean(dirty) = self.catalog.remove(digest(key), key) {
            self.clean([dirty]);
        }
    }

    /// When everyone is done: no slot lost, none freed twice, no free slot with a record.
    fn settle(&self) {
        audit(&self.catalog);
        let gauges = self.catalog.gauges();
        assert_eq!((gauges.slots_reserved, gauges.slots_leaving), (0, 0), "{gauges:?}");
        let ledger = self.catalog.ledger();
        for slot in 0..self.spots.len() as u32 {
            let record = self.spot(slot).record;
            assert_eq!(record.is_some(), ledger.state(slot) == State::Live, "slot {slot}: {record:?}");
        }
    }
}

/// Runs the threads over a pool that holds key k, through many interleavings.
fn check(slots: u32, policy: CachePolicy, threads: &'static [fn(&Pool)]) {
    let body = move || {
        let pool = Pool::new(slots, policy);
        pool.put(b"k", false);
        let handles: Vec<_> = threads
            .iter()
            .map(|&run| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || run(&pool))
            })
            .collect();
        for handle in handles {
            handle.join().expect("a thread found a breach");
        }
        pool.settle();
    };
    shuttle::check_random(body, ITERATIONS);
    shuttle::check_pct(body, ITERATIONS, PCT_DEPTH);
}

fn reader(pool: &Pool) {
    pool.get(b"k");
    pool.get(b"k");
}

fn evictor(pool: &Pool) {
    pool.put(b"x", false);
    pool.put(b"y", false);
}

fn replacer(pool: &Pool) {
    pool.put(b"k", false);
    pool.put(b"k", false);
}

fn failing_replacer(pool: &Pool) {
    pool.put(b"k", true);
    pool.put(b"k", false);
}

fn remover(pool: &Pool) {
    pool.remove(b"k");
    pool.remove(b"x");
}

fn clearer(pool: &Pool) {
    pool.clean(pool.catalog.clear().clean);
}

fn pinner(pool: &Pool) {
    if pool.catalog.pin(digest(b"k"), b"k") {
        assert!(contains(&pool.catalog, b"k"), "a pinned key left");
        thread::yield_now();
        assert!(contains(&pool.catalog, b"k"), "a pinned key left");
        assert!(pool.catalog.unpin(digest(b"k"), b"k"));
    }
}

/// Gets and puts race for one slot: none of the puts may get it while the bytes are being read.
#[test]
fn shuttle_a_slot_being_read_is_never_evicted() {
    check(1, CachePolicy::Lru, &[reader, reader, evictor]);
}

/// Gets race with puts of the same key: the readers keep their bytes, and of the readers and the
/// put exactly one cleans each slot.
#[test]
fn shuttle_replacing_never_harms_a_reader() {
    check(2, CachePolicy::Lfu, &[reader, replacer, reader]);
}

/// Gets race with removals: the same.
#[test]
fn shuttle_removing_never_harms_a_reader() {
    check(1, CachePolicy::Mru, &[reader, remover, reader]);
}

/// Everyone at once in two slots, where every put has to wait for, evict or replace another's.
#[test]
fn shuttle_no_slot_is_lost_or_used_twice() {
    check(2, CachePolicy::Lru, &[reader, evictor, failing_replacer, remover]);
    check(2, CachePolicy::Fifo, &[reader, replacer, clearer, remover]);
    check(3, CachePolicy::Lfu, &[reader, evictor, replacer, remover]);
}

/// A pin holds against whoever wants the slot.
#[test]
fn shuttle_a_pinned_key_stays() {
    check(1, CachePolicy::Lru, &[pinner, evictor, remover]);
    check(2, CachePolicy::Lru, &[pinner, replacer, clearer, evictor]);
}
