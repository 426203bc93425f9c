//! The catalog of a dynamic store: which objects this process knows of, how much room they take, and
//! which leaves first. Other processes add and remove objects of the same store, so this is accounting
//! and recency, never the truth about what exists: a key is there if its file is.
//!
//! # Making room
//! [`ObjectCatalog::reserve`] counts the bytes of a coming put and names victims, which are out of the
//! catalog from then on; the caller unlinks them. One that may not go (another process pinned it)
//! comes back through [`ObjectCatalog::put_back`], and [`ObjectCatalog::make_room`] names others. What
//! was put back is *held*: it is not named again until a search for room has come up empty, so that
//! each search ends.
//!
//! # Locks
//! The *books* mutex orders every change, a *shard* mutex guards a part of the index for lookups;
//! order: books, then one shard. A lookup takes a shard alone. Neither is held across I/O.

mod books;
mod entry;
mod foresee;
mod room;
#[cfg(test)]
mod tests;

pub use room::{ObjectReservation, RoomRefused, Victim};

use std::collections::TryReserveError;

use crate::config::Eviction;
use crate::sync::{Arc, Mutex, MutexGuard, lock};

use self::books::Books;
use self::entry::Entry;
use super::chains::{Chains, Sight};
use super::index::{Index, tag_of};
use super::order::{self, Moment, Order};
use super::touches::Touches;

/// Most objects that a catalog remembers, which bounds its memory (about 100 bytes each, beside names).
///
/// When one more is seen, the first in the eviction order is forgotten: its file stays on storage, but its
/// bytes are no longer counted. A put into a store with a capacity limit evicts it instead.
pub const OBJECTS_MAX: u32 = 1 << 22;

/// Memory that one object takes at most beside its name, in bytes: while the index and the order grow, they are there
/// twice.
const OBJECT_BYTES_MAX: usize = 192;

/// Memory that the index takes in advance of its objects, in bytes: a piece for each of its shards, and as much to spare.
const INDEX_BYTES: usize = 4 << 20;

/// The known objects of a dynamic store. All methods may be called from any thread.
pub struct ObjectCatalog {
    index: Index,
    /// Under a policy that knows requests.
    chains: Option<Arc<Chains>>,
    touches: Touches,
    books: Mutex<Books>,
    capacity_bytes: Option<u64>,
    capacity_objects: Option<u32>,
    objects_max: u32,
}

/// The known objects at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectGauges {
    /// Objects known.
    pub keys: u32,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that puts under way will take.
    pub bytes_in_flight: u64,
    /// Objects pinned by this process.
    pub keys_pinned: u64,
    /// Objects put back because someone else holds them.
    pub keys_held: u64,
    /// Objects forgotten since open because there were more than [`OBJECTS_MAX`].
    pub forgotten: u64,
}

impl ObjectCatalog {
    /// An empty catalog; `capacity_bytes` `None` is unlimited.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(eviction: Eviction, capacity_bytes: Option<u64>) -> Result<ObjectCatalog, TryReserveError> {
        ObjectCatalog::with_objects_max(eviction, capacity_bytes, None, OBJECTS_MAX)
    }

    /// An empty catalog of at most so many objects of any size, those that are being put included.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn of_objects(eviction: Eviction, capacity_objects: u32) -> Result<ObjectCatalog, TryReserveError> {
        ObjectCatalog::with_objects_max(eviction, None, Some(capacity_objects), OBJECTS_MAX)
    }

    fn with_objects_max(
        eviction: Eviction,
        capacity_bytes: Option<u64>,
        capacity_objects: Option<u32>,
        objects_max: u32,
    ) -> Result<ObjectCatalog, TryReserveError> {
        let chains = order::chains(eviction.policy)?;
        // Where everything is stored, nobody asks what was seen before.
        let has_bounds = capacity_bytes.is_some() || capacity_objects.is_some();
        let ghost_entries = if has_bounds { eviction.ghost_entries } else { 0 };
        let order = Order::new(Eviction { ghost_entries, ..eviction }, chains.as_ref(), None)?;
        Ok(ObjectCatalog {
            index: Index::new(objects_max),
            chains,
            touches: Touches::new(eviction.policy),
            books: Mutex::new(Books::new(order)),
            capacity_bytes,
            capacity_objects,
            objects_max,
        })
    }

    /// Where requests and their keys are written down, if the policy knows them.
    pub fn chains(&self) -> Option<&Arc<Chains>> {
        self.chains.as_ref()
    }

    /// Counts a use by a put that leaves the object as it is, under a policy that knows requests.
    pub fn keep(&self, id: u128) {
        if self.chains.is_some() {
            self.touch(id);
        }
    }

    /// Whether the object is known.
    pub fn contains(&self, id: u128) -> bool {
        let tag = tag_of(id);
        self.index.shard(tag).find(tag, entry::is_id(id)).is_some()
    }

    /// Size of the object in bytes, if it is known.
    pub fn length(&self, id: u128) -> Option<u64> {
        let tag = tag_of(id);
        self.index.shard(tag).get(tag, entry::is_id(id)).map(|packed| Entry::unpack(packed).bytes)
    }

    /// Size of the object in bytes, and what was noted beside it (0: nothing), if it is known.
    pub fn noted(&self, id: u128) -> Option<(u64, u16)> {
        let tag = tag_of(id);
        let entry = self.index.shard(tag).get(tag, entry::is_id(id)).map(Entry::unpack)?;
        Some((entry.bytes, entry.note))
    }

    /// Notes something beside an object that is known with this size. It is gone when the size changes.
    pub fn note(&self, id: u128, bytes: u64, note: u16) {
        let tag = tag_of(id);
        let _books = self.books();
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_id(id)) else { return };
        let entry = Entry::unpack(table.at(found));
        if entry.bytes == bytes {
            entry::rewrite(table.at_mut(found), &Entry { note, ..entry });
        }
    }

    /// The known objects whose ids begin with this byte and that are not pinned.
    pub fn unpinned_of(&self, top: u8) -> Vec<u128> {
        let mut ids = Vec::new();
        // The table in which all of them are: it has six bits of the tag, and tags are what ids begin with.
        let table = self.index.shard((u32::from(top) << 24).max(1));
        table.each_of(top, |packed| {
            let entry = Entry::unpack(packed);
            if entry.pins == 0 {
                ids.push(entry.id);
            }
        });
        ids
    }

    /// Counts a use. False: the object is not known.
    pub fn touch(&self, id: u128) -> bool {
        let tag = tag_of(id);
        let sight = self.sight(tag);
        {
            let table = self.index.shard(tag);
            let Some(packed) = table.get(tag, entry::is_id(id)) else { return false };
            // Noted under the shard's lock: whoever takes the object out and gives its place in the
            // order to another locks the books in between, and so applies the note first.
            if self.touches.note(Entry::unpack(packed).node, sight) {
                return true;
            }
        }
        let mut books = self.books();
        match self.index.shard(tag).get(tag, entry::is_id(id)).map(Entry::unpack) {
            Some(entry) => books.order.touch(entry.node, sight),
            None => return false,
        }
        true
    }

    /// An object was seen in a scan, or was found to exist or to have another size. Its place in the
    /// eviction order stays if it was known; else it enters as the newest.
    pub fn observe(&self, id: u128, name: Option<&str>, bytes: u64) {
        let mut books = self.books();
        if !self.update(&mut books, id, name, bytes) {
            let moment = books.order.begin(Sight::ALONE);
            self.add(&mut books, Added { id, name, bytes, held: false, moment, returns: false });
        }
    }

    /// Whether there is memory to take in so many more objects, whose names have so many bytes. It is taken in one piece
    /// and given back, since what is taken later, bit by bit, could not be refused any more.
    pub fn has_memory_for(&self, objects: usize, name_bytes: usize) -> bool {
        let bytes = objects.checked_mul(OBJECT_BYTES_MAX).and_then(|bytes| bytes.checked_add(name_bytes));
        let bytes = bytes.and_then(|bytes| bytes.checked_add(INDEX_BYTES));
        bytes.is_some_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
    }

    /// The object is gone. False: it was not known.
    pub fn forget(&self, id: u128) -> bool {
        let tag = tag_of(id);
        let mut books = self.books();
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_id(id)) else { return false };
        books.remove(Entry::unpack(table.at(found)));
        table.remove(found);
        true
    }

    /// Keeps the object from eviction until [`ObjectCatalog::unpin`] was called as often. False: the
    /// object is not known.
    pub fn pin(&self, id: u128) -> bool {
        let tag = tag_of(id);
        let mut books = self.books();
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_id(id)) else { return false };
        let entry = Entry::unpack(table.at(found));
        entry::rewrite(table.at_mut(found), &Entry { pins: entry.pins.saturating_add(1), ..entry });
        if entry.pins == 0 {
            books.park(entry);
            books.keys_pinned += 1;
        }
        true
    }

    /// Takes back one pin. The last one makes the object evictable again, as the most recent.
    /// False: the object is not known, or not pinned.
    pub fn unpin(&self, id: u128) -> bool {
        let tag = tag_of(id);
        let sight = self.sight(tag);
        let mut books = self.books();
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_id(id)) else { return false };
        let entry = Entry::unpack(table.at(found));
        match entry.pins {
            0 => return false,
            // More pins than can be counted: nobody knows any more which one is the last.
            u32::MAX => {}
            pins => entry::rewrite(table.at_mut(found), &Entry { pins: pins - 1, ..entry }),
        }
        if entry.pins == 1 {
            books.keys_pinned -= 1;
            if !books.is_held(entry.node) {
                books.unpark(entry, sight);
            }
        }
        true
    }

    /// Whether this process pins the object.
    pub fn is_pinned(&self, id: u128) -> bool {
        let tag = tag_of(id);
        self.index.shard(tag).get(tag, entry::is_id(id)).is_some_and(|packed| Entry::unpack(packed).pins > 0)
    }

    /// The known objects at this moment.
    pub fn gauges(&self) -> ObjectGauges {
        lock(&self.books).gauges()
    }

    /// Where the object with this tag stands in a request.
    fn sight(&self, tag: u32) -> Sight {
        self.chains.as_ref().map_or(Sight::ALONE, |chains| chains.sight(tag))
    }

    /// Locks the books, with the order up to date.
    fn books(&self) -> MutexGuard<'_, Books> {
        let mut books = lock(&self.books);
        self.touches.apply(&mut books.order);
        books
    }

    /// Sets size and name of a known object. False: it is not known.
    fn update(&self, books: &mut Books, id: u128, name: Option<&str>, bytes: u64) -> bool {
        let tag = tag_of(id);
        let mut table = self.index.shard(tag);
        let Some(found) = table.find(tag, entry::is_id(id)) else { return false };
        let old = Entry::unpack(table.at(found));
        books.resize(old, bytes);
        let note = if old.bytes == bytes { old.note } else { 0 };
        let old = Entry { note, ..old };
        let name = storable(name);
        if name.is_some() && entry::name(table.at(found)) != name {
            let renamed = Entry { bytes, named: true, ..old };
            table.remove(found);
            table.insert(tag, id as u64, &renamed.head(), name.unwrap_or_default().as_bytes());
        } else {
            entry::rewrite(table.at_mut(found), &Entry { bytes, ..old });
        }
        true
    }

    /// Takes in an object that is not known, as the newest; a held one out of reach of eviction.
    fn add(&self, books: &mut Books, added: Added<'_>) {
        let Added { id, name, bytes, held, moment, returns } = added;
        if books.keys >= self.objects_max {
            match self.take_first(books) {
                Some(_) => books.forgotten += 1,
                // Everything known is pinned: there is no room to know more.
                None => {
                    books.forgotten += 1;
                    return;
                }
            }
        }
        let tag = tag_of(id);
        let name = storable(name);
        let entry = Entry { id, bytes, node: books.take_node(tag), pins: 0, named: name.is_some(), note: 0 };
        self.index.shard(tag).insert(tag, id as u64, &entry.head(), name.unwrap_or_default().as_bytes());
        books.insert(entry, held, moment, returns);
    }
}

/// An object that was not known.
struct Added<'a> {
    id: u128,
    name: Option<&'a str>,
    bytes: u64,
    held: bool,
    moment: Moment,
    /// It was seen before.
    returns: bool,
}

/// No file system has longer names, so no file with one can be there.
fn storable(name: Option<&str>) -> Option<&str> {
    name.filter(|name| name.len() <= entry::NAME_BYTES_MAX)
}
