//! How long a record is before it was asked for: remembered, or guessed from the memory that it is to go into.
//!
//! A get whose guess is right takes one request; a wrong one is corrected by the answer and remembered, so that the next
//! get of that key, and the next one with as much memory, guess right.

use std::collections::HashMap;

use crate::layout::record;
use crate::placement::GetWish;
use crate::placement::objects::OBJECT_BYTES_MAX;
use crate::sync::{Mutex, lock};

/// Objects whose size is remembered beside the catalog, about 50 bytes each.
const REMEMBERED_MAX: usize = 1 << 16;

/// The parts of the object that a record takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordBytes {
    /// Payload with its padding.
    pub(super) padded: u64,
    /// Trailer behind it.
    pub(super) trailer: u64,
}

impl RecordBytes {
    /// What a record of `payload_bytes` takes; `None` if no put makes one.
    pub(super) fn of(payload_bytes: u64) -> Option<RecordBytes> {
        let padded = record::padded(payload_bytes).filter(|_| payload_bytes <= OBJECT_BYTES_MAX)?;
        Some(RecordBytes { padded, trailer: record::trailer_bytes(padded)? })
    }

    /// What an object of `bytes` bytes is made of, if it is a record that a put may have made.
    pub(super) fn split(bytes: u64) -> Option<RecordBytes> {
        let (padded, trailer) = record::split_file(bytes)?;
        (padded <= OBJECT_BYTES_MAX).then_some(RecordBytes { padded, trailer })
    }

    /// Both.
    pub(super) fn whole(self) -> u64 {
        self.padded + self.trailer
    }
}

/// What is known of sizes beside the catalog.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Of objects that the catalog does not know, or must not: another program's.
    met: Mutex<HashMap<u128, u64>>,
    /// Memory of the get whose guess was corrected last, and what the object had.
    corrected: Mutex<Option<(u64, u64)>>,
}

impl Sizes {
    /// The size of an object as it was met.
    pub(super) fn met(&self, id: u128) -> Option<u64> {
        lock(&self.met).get(&id).copied()
    }

    /// The size that an object has if it fills the memory as one did before, or just fits into it. `None`: nothing
    /// tells, as a range says nothing of the whole.
    pub(super) fn guess(&self, wish: GetWish) -> Option<u64> {
        if wish.range_offset.is_some() {
            return None;
        }
        let corrected = *lock(&self.corrected);
        match corrected {
            Some((capacity, bytes)) if capacity == wish.capacity && !wish.exact => Some(bytes),
            _ => RecordBytes::of(wish.capacity).map(RecordBytes::whole),
        }
    }

    /// An object turned out to have this size.
    pub(super) fn learn(&self, id: u128, wish: Option<GetWish>, bytes: u64) {
        let mut met = lock(&self.met);
        if met.len() >= REMEMBERED_MAX && !met.contains_key(&id) {
            // Which ones go is of no matter: it costs each of them one request.
            let mut keep = false;
            met.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        met.insert(id, bytes);
        drop(met);
        if let Some(wish) = wish.filter(|wish| wish.range_offset.is_none() && !wish.exact) {
            *lock(&self.corrected) = Some((wish.capacity, bytes));
        }
    }

    /// The object is gone, or of another size now.
    pub(super) fn forget(&self, id: u128) {
        lock(&self.met).remove(&id);
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    fn wish(capacity: u64) -> GetWish {
        GetWish { capacity, range_offset: None, exact: false, deadline: None }
    }

    /// A get with memory that just fits guesses right at once, one with more to spare from its second time on.
    #[test]
    fn a_guess_is_right_from_the_second_time_on() {
        let sizes = Sizes::default();
        let chunk = RecordBytes::of(1 << 20).unwrap();
        assert_eq!(chunk.whole(), (1 << 20) + 4096);
        assert_eq!(sizes.guess(wish(1 << 20)), Some(chunk.whole()));
        assert_ne!(sizes.guess(wish(2 << 20)), Some(chunk.whole()));
        sizes.learn(7, Some(wish(2 << 20)), chunk.whole());
        assert_eq!(sizes.met(7), Some(chunk.whole()));
        assert_eq!(sizes.guess(wish(2 << 20)), Some(chunk.whole()), "another key, as much memory");
        assert_eq!(sizes.guess(wish(1 << 20)), Some(chunk.whole()));
        let exact = GetWish { exact: true, ..wish(2 << 20) };
        assert_eq!(sizes.guess(exact), RecordBytes::of(2 << 20).map(RecordBytes::whole));
        assert_eq!(sizes.guess(GetWish { range_offset: Some(0), ..wish(4096) }), None);
        sizes.forget(7);
        assert_eq!(sizes.met(7), None);
    }

    /// What the network tells of sizes takes a bounded amount of memory.
    #[test]
    fn so_many_sizes_are_remembered_and_no_more() {
        let sizes = Sizes::default();
        for id in 0..3 * REMEMBERED_MAX as u128 {
            sizes.learn(id, None, 4096);
        }
        assert!(lock(&sizes.met).len() <= REMEMBERED_MAX);
        assert_eq!(sizes.met(3 * REMEMBERED_MAX as u128 - 1), Some(4096));
    }

    /// A size that no put makes is no record's, whatever a server claims.
    #[test]
    fn a_size_is_believed_up_to_the_largest_object() {
        for payload in [1, 4096, 4097, 70_000, 32 << 20, OBJECT_BYTES_MAX] {
            let parts = RecordBytes::of(payload).unwrap();
            assert_eq!(RecordBytes::split(parts.whole()), Some(parts));
        }
        assert_eq!(RecordBytes::of(0), None);
        assert_eq!(RecordBytes::of(OBJECT_BYTES_MAX + 1), None);
        for bytes in [0, 1, 4096, 8191, u64::MAX, u64::MAX - 4095] {
            assert_eq!(RecordBytes::split(bytes), None, "{bytes}");
        }
    }
}
