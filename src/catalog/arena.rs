//! Memory for the records of one shard: byte strings of any length up to [`RECORD_BYTES_MAX`],
//! packed into chunks and named by a 32-bit place.
//!
//! Not the heap, for three reasons: a place is 4 bytes where a boxed slice is 16, which leaves room
//! for a sparser and thus faster table; a record costs 2 bytes and rounding to [`GRANULE_BYTES`]
//! where the heap takes 8 and rounds to 16; and a put does not allocate.
//!
//! Freed space is kept by size and used again for that size or, split, for smaller ones. It is not
//! joined again; when keys of other lengths come and more than half of the memory lies idle, the
//! arena asks for [`Arena::compact`] instead, which bounds it to about twice what it holds.

use std::collections::TryReserveError;

use super::filled;

/// Records begin at multiples of this.
const GRANULE_BYTES: usize = 8;
/// Memory is taken in pieces of this size.
const CHUNK_BYTES: usize = 32 * 1024;
const CHUNK_GRANULES: usize = CHUNK_BYTES / GRANULE_BYTES;
/// Longest record.
pub(super) const RECORD_BYTES_MAX: usize = 2046;
/// Each record is preceded by its length.
const LENGTH_BYTES: usize = size_of::<u16>();
/// Sizes of records in granules: `1..SIZES`.
const SIZES: usize = (LENGTH_BYTES + RECORD_BYTES_MAX).div_ceil(GRANULE_BYTES) + 1;
/// Idle memory below which compacting is not worth its while.
const COMPACT_CHUNKS_MIN: usize = 4;
/// End of a list of free places.
const NIL: u32 = u32::MAX;

/// A record's place, in granules.
pub(super) type Place = u32;

pub(super) struct Arena {
    chunks: Vec<Box<[u8]>>,
    /// For each size in granules the first free place of that size; its first bytes name the next.
    free: [u32; SIZES],
    /// Granules of the last chunk that were never used.
    rest: usize,
    /// Granules that records occupy.
    used: usize,
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena { chunks: Vec::new(), free: [NIL; SIZES], rest: 0, used: 0 }
    }

    /// Stores a record made of two parts. The parts together are at most [`RECORD_BYTES_MAX`].
    pub(super) fn store(&mut self, head: &[u8], tail: &[u8]) -> Place {
        let length = head.len() + tail.len();
        let place = self.take(granules(length));
        let (prefix, record) = self.bytes_mut(place).split_at_mut(LENGTH_BYTES);
        prefix.copy_from_slice(&(length as u16).to_le_bytes());
        record[..head.len()].copy_from_slice(head);
        record[head.len()..length].copy_from_slice(tail);
        place
    }

    /// Sees to it that the next [`Arena::store`] of this many bytes needs no memory.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn make_room(&mut self, record_bytes: usize) -> Result<(), TryReserveError> {
        let size = granules(record_bytes);
        let is_freed = self.free.get(size..).is_some_and(|lists| lists.iter().any(|&head| head != NIL));
        if self.rest < size && !is_freed {
            let chunk = filled(0, CHUNK_BYTES)?;
            self.chunks.try_reserve(1)?;
            self.add_chunk(chunk);
        }
        Ok(())
    }

    /// The record at a place that [`Arena::store`] gave.
    #[inline]
    pub(super) fn get(&self, place: Place) -> &[u8] {
        let at = place as usize;
        let bytes = &self.chunks[at / CHUNK_GRANULES][at % CHUNK_GRANULES * GRANULE_BYTES..];
        let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        &bytes[LENGTH_BYTES..LENGTH_BYTES + length]
    }

    /// The same, to be changed in place.
    pub(super) fn get_mut(&mut self, place: Place) -> &mut [u8] {
        let bytes = self.bytes_mut(place);
        let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        &mut bytes[LENGTH_BYTES..LENGTH_BYTES + length]
    }

    /// Frees a record.
    pub(super) fn free(&mut self, place: Place) {
        let size = granules(self.get(place).len());
        self.used -= size;
        self.give(place, size);
    }

    /// Whether so much memory lies idle that the records should move to a new arena.
    pub(super) fn is_sparse(&self) -> bool {
        self.chunks.len() >= COMPACT_CHUNKS_MIN && self.used * 2 < self.chunks.len() * CHUNK_GRANULES
    }

    /// Moves all records to a new arena. `places` are all places in use; each is replaced by the new.
    pub(super) fn compact<'a>(&mut self, places: impl Iterator<Item = &'a mut Place>) {
        let mut compacted = Arena::new();
        for place in places {
            *place = compacted.store(self.get(*place), &[]);
        }
        *self = compacted;
    }

    fn take(&mut self, size: usize) -> Place {
        self.used += size;
        if let Some(place) = self.take_freed(size) {
            return place;
        }
        if self.rest < size {
            self.add_chunk(vec![0; CHUNK_BYTES].into_boxed_slice());
        }
        let place = self.end() - self.rest as u32;
        self.rest -= size;
        place
    }

    fn add_chunk(&mut self, chunk: Box<[u8]>) {
        if self.rest > 0 {
            self.give(self.end() - self.rest as u32, self.rest);
        }
        self.chunks.push(chunk);
        self.rest = CHUNK_GRANULES;
    }

    /// A freed place of this size, else one split off from the next larger that there is.
    fn take_freed(&mut self, size: usize) -> Option<Place> {
        let found = (size..SIZES).find(|&larger| self.free[larger] != NIL)?;
        let place = self.free[found];
        let bytes = self.bytes_mut(place);
        self.free[found] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if found > size {
            self.give(place + size as u32, found - size);
        }
        Some(place)
    }

    fn give(&mut self, place: Place, size: usize) {
        let next = std::mem::replace(&mut self.free[size], place);
        self.bytes_mut(place)[..size_of::<u32>()].copy_from_slice(&next.to_le_bytes());
    }

    /// The place behind the last chunk.
    fn end(&self) -> Place {
        (self.chunks.len() * CHUNK_GRANULES) as Place
    }

    /// From a place to the end of its chunk.
    fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        let at = place as usize;
        &mut self.chunks[at / CHUNK_GRANULES][at % CHUNK_GRANULES * GRANULE_BYTES..]
    }
}

fn granules(record_bytes: usize) -> usize {
    (LENGTH_BYTES + record_bytes).div_ceil(GRANULE_BYTES)
}

/// Memory that a record of this length takes beside its own bytes, for the catalogs' estimates.
#[cfg(all(test, not(feature = "shuttle")))]
pub(super) fn overhead_bytes(record_bytes: usize) -> usize {
    granules(record_bytes) * GRANULE_BYTES - record_bytes
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::catalog::testing::Lcg;

    /// Records of all lengths come and go, and now and then the arena is compacted. Every record must
    /// keep its bytes, which two overlapping records could not.
    #[test]
    fn records_keep_their_bytes() {
        for seed in 0..6 {
            let mut random = Lcg::new(seed);
            let mut arena = Arena::new();
            let mut model: Vec<(Place, Vec<u8>)> = Vec::new();
            for step in 0..30_000u64 {
                let most = if step / 6000 % 2 == 0 { 100 } else { RECORD_BYTES_MAX as u64 };
                if model.len() < 400 && random.below(5) < 3 {
                    let length = random.below(most + 1) as usize;
                    let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
                    let (head, tail) = bytes.split_at(length / 3);
                    model.push((arena.store(head, tail), bytes));
                } else if !model.is_empty() {
                    let (place, bytes) = model.swap_remove(random.below(model.len() as u64) as usize);
                    assert_eq!(arena.get(place), bytes, "seed {seed} step {step}");
                    arena.free(place);
                }
                if random.below(1000) == 0 {
                    arena.compact(model.iter_mut().map(|(place, _)| place));
                }
                if step % 1000 == 0 {
                    for (place, bytes) in &model {
                        assert_eq!(arena.get(*place), bytes, "seed {seed} step {step}");
                    }
                    let used: usize = model.iter().map(|(_, bytes)| granules(bytes.len())).sum();
                    assert_eq!(arena.used, used, "seed {seed} step {step}");
                }
            }
        }
    }

    /// Keys of one length leave and longer ones come, again and again. The freed places are too
    /// short for them, so without compacting each length would leave its memory behind.
    #[test]
    fn memory_stays_within_twice_what_is_held() {
        let mut arena = Arena::new();
        let mut held: std::collections::VecDeque<(Place, usize)> = std::collections::VecDeque::new();
        let most = 40 * CHUNK_BYTES;
        let mut bytes = 0;
        for length in (10..RECORD_BYTES_MAX).step_by(100) {
            for _ in 0..most / length {
                while bytes + length > most {
                    let (place, freed) = held.pop_front().expect("something is held");
                    arena.free(place);
                    bytes -= freed;
                }
                if arena.is_sparse() {
                    arena.compact(held.iter_mut().map(|(place, _)| place));
                }
                held.push_back((arena.store(&vec![1; length], &[]), length));
                bytes += length;
            }
            let needed = (arena.used * GRANULE_BYTES).div_ceil(CHUNK_BYTES);
            assert!(arena.chunks.len() <= 2 * needed + 1, "{} chunks for {needed}", arena.chunks.len());
        }
    }

    /// A key that replaces one of the same length must take its place: a full pool of equal keys
    /// would otherwise grow with every put.
    #[test]
    fn freed_space_is_used_again() {
        let mut arena = Arena::new();
        let mut places: Vec<Place> = (0..5000).map(|_| arena.store(&[1; 90], &[])).collect();
        let chunks = arena.chunks.len();
        for round in 0..100_000 {
            let at = round % places.len();
            arena.free(places[at]);
            places[at] = arena.store(&[2; 90], &[]);
        }
        assert_eq!(arena.chunks.len(), chunks);
    }
}
