//! A batch of objects, put and got back, whatever becomes of each.

use nixl_store::capi::nixl_store_result_t;

use super::batch::Batch;
use super::payload::payload;
use super::status::{OK, Status};
use super::store::Store;

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
