//! A batch of objects, put and got back, whatever becomes of each.

use std::time::{Duration, Instant};

use nixl_store::capi::nixl_store_result_t;

use super::batch::{Batch, Pending, Submit};
use super::memory::Memory;
use super::payload::payload;
use super::status::{OK, Status, TIMED_OUT};
use super::store::Store;

/// How long something may take that takes no time, on a machine that may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn key(index: usize) -> Vec<u8> {
    format!("key {index}").into_bytes()
}

pub fn statuses(results: &[nixl_store_result_t]) -> Vec<Status> {
    results.iter().map(|result| Status(result.status)).collect()
}

/// Puts and gets a batch; both answers of each item, with every byte of those found compared.
#[track_caller]
pub fn put_and_get(store: &Store, items: usize, bytes: usize) -> (Vec<Status>, Vec<Status>) {
    let objects: Vec<_> = (0..items).map(|index| payload(index as u64, bytes)).collect();
    let mut puts = Batch::new();
    objects.iter().enumerate().for_each(|(index, object)| puts.put(&key(index), object));
    let put = statuses(&store.put_batch(&puts).1);
    let mut buffers = vec![vec![0; bytes]; items];
    let mut gets = Batch::new();
    buffers.iter_mut().enumerate().for_each(|(index, buffer)| gets.get(&key(index), buffer));
    let got = statuses(&store.get_batch(&gets).1);
    drop(gets);
    for (index, (buffer, object)) in buffers.iter().zip(&objects).enumerate() {
        assert!(got[index] != OK || buffer == object, "item {index} has wrong bytes");
    }
    (put, got)
}

/// Begins gets of one object, each into memory of its own, so that whoever writes there after their end is found out.
pub fn begin_gets<'s>(
    store: &'s Store,
    key: &[u8],
    count: usize,
    bytes: usize,
) -> (Vec<Memory>, Pending<'s, 'static>) {
    let memory: Vec<_> = (0..count).map(|_| Memory::new(bytes)).collect();
    let mut gets = Batch::new();
    memory.iter().for_each(|memory| gets.raw(key, vec![memory.segment(0..bytes)], None));
    let pending = store.submit_gets(&gets, Submit::default()).unwrap();
    (memory, pending)
}

/// From now on whoever touches it ends this process.
pub fn close_off(memory: &[Memory]) {
    memory.iter().for_each(|memory| memory.protect(libc::PROT_NONE));
}

/// Whether all of it holds the object, once it may be read again.
pub fn all_hold(memory: &[Memory], object: &[u8]) -> bool {
    memory.iter().for_each(|memory| memory.protect(libc::PROT_READ));
    memory.iter().all(|memory| memory.bytes()[..object.len()] == *object)
}

/// What serves the store stands still, and is told to by `stand_still`. Items that nobody has taken yet end at their deadline; the
/// others once it goes on, with their bytes.
#[track_caller]
pub fn deadlines_are_kept(store: &Store, bytes: usize, stand_still: impl Fn(bool)) {
    let object = payload(1, bytes);
    assert_eq!(store.put(b"key", &object), OK);
    stand_still(true);
    let mut buffers = vec![vec![0; bytes]; 256];
    let mut gets = Batch::new();
    buffers.iter_mut().for_each(|buffer| gets.get(b"key", buffer));
    let begun = Instant::now();
    let pending = store.submit_gets(&gets, Submit { timeout_ms: 300, ..Submit::default() }).unwrap();
    // The items that wait are ended by the clock, which nobody can see but by the statistics.
    while store.stats().timed_out == 0 {
        assert!(begun.elapsed() < PATIENCE, "no item ended");
        std::thread::yield_now();
    }
    stand_still(false);
    let (status, results) = pending.wait();
    assert_eq!(status, TIMED_OUT);
    let in_time = results.iter().filter(|result| result.status == OK.0).count();
    assert!(in_time > 0 && in_time < results.len(), "{in_time} of {} were started", results.len());
    drop(gets);
    for (result, buffer) in results.iter().zip(&buffers) {
        assert!(result.status != OK.0 || *buffer == object);
    }
}
