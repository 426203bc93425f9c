//! Objects that tell which key and version they are, in a store and out of it.

use super::api::Store;
use super::chunk;

pub fn put(store: &Store, key: &str, version: u64, length: usize) {
    store.put(key, &chunk::fill(key, version, length)).unwrap_or_else(|failure| panic!("{key}: {failure}"));
}

/// The version that a key holds, got into `capacity` bytes, every byte checked.
pub fn version(store: &Store, key: &str, capacity: usize) -> Option<u64> {
    let found = store.get(key, capacity).unwrap_or_else(|failure| panic!("{key}: {failure}"));
    found.map(|payload| chunk::read(key, &payload).unwrap_or_else(|wrong| panic!("{wrong}")))
}
