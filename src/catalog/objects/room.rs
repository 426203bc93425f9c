//! Room for puts: what is counted in advance, and which objects must go for it.

use super::books::Books;
use super::{Entry, ObjectCatalog, entry, tag_of};

/// Bytes counted for a put under way. End it with [`ObjectCatalog::commit`] or [`ObjectCatalog::cancel`].
#[derive(Debug)]
#[must_use = "bytes that are neither committed nor cancelled stay counted for ever"]
pub struct ObjectReservation {
    bytes: u64,
}

/// An object that was taken out of the catalog and is to be unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its digest.
    pub id: u128,
    /// Its name, where names are not made from digests.
    pub name: Option<Box<str>>,
    /// Its size.
    pub bytes: u64,
}

/// Why there is no room. Nothing was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomRefused {
    /// The put is larger than the whole capacity.
    TooLarge,
    /// Too little may be evicted now, but other puts are under way, whose objects may go afterwards.
    Busy,
    /// Too little may be evicted: the rest is pinned or held.
    Full,
}

impl ObjectCatalog {
    /// Counts the bytes of a coming put and names the objects that must go for it.
    ///
    /// # Errors
    /// Why there is no room; then nothing is counted and no object was taken out.
    pub fn reserve(&self, bytes: u64) -> Result<(ObjectReservation, Vec<Victim>), RoomRefused> {
        if self.capacity_bytes.is_some_and(|capacity| bytes > capacity) {
            return Err(RoomRefused::TooLarge);
        }
        let mut books = self.books();
        books.bytes_in_flight += u128::from(bytes);
        match self.evict_excess(&mut books, bytes) {
            Ok(victims) => Ok((ObjectReservation { bytes }, victims)),
            Err(refused) => {
                books.bytes_in_flight -= u128::from(bytes);
                Err(refused)
            }
        }
    }

    /// Names further objects that must go for a reservation, after some had to be put back.
    ///
    /// # Errors
    /// Why there is no room; the reservation still counts and should be cancelled.
    pub fn make_room(&self, reservation: &ObjectReservation) -> Result<Vec<Victim>, RoomRefused> {
        self.evict_excess(&mut self.books(), reservation.bytes)
    }

    /// A put completed: the object now has `bytes` bytes and is the newest.
    pub fn commit(&self, reservation: ObjectReservation, id: u128, name: Option<&str>, bytes: u64) {
        let mut books = self.books();
        books.bytes_in_flight -= u128::from(reservation.bytes);
        if self.update(&mut books, id, name, bytes) {
            let tag = tag_of(id);
            if let Some(entry) = self.index.shard(tag).get(tag, entry::is_id(id)).map(Entry::unpack) {
                books.renew(entry);
            }
        } else {
            self.add(&mut books, id, name, bytes, false);
        }
    }

    /// A put failed.
    pub fn cancel(&self, reservation: ObjectReservation) {
        self.books().bytes_in_flight -= u128::from(reservation.bytes);
    }

    /// A victim could not be unlinked because someone holds it. It is counted again, and not named
    /// again until a search for room has failed.
    pub fn put_back(&self, victim: Victim) {
        let mut books = self.books();
        if !self.update(&mut books, victim.id, victim.name.as_deref(), victim.bytes) {
            self.add(&mut books, victim.id, victim.name.as_deref(), victim.bytes, true);
        }
    }

    /// Names objects that must go to free at least `bytes`, or all that may go if that is less: for a
    /// device that is full before the capacity is, or without one.
    pub fn evict_at_least(&self, bytes: u64) -> Vec<Victim> {
        let mut books = self.books();
        let victims = self.take_bytes(&mut books, u128::from(bytes));
        if victims.is_empty() {
            self.end_holding(&mut books);
        }
        victims
    }

    /// Bytes by which the known objects and the puts under way exceed the capacity.
    pub fn excess_bytes(&self) -> u64 {
        u64::try_from(self.excess(&self.books())).unwrap_or(u64::MAX)
    }

    fn excess(&self, books: &Books) -> u128 {
        let limit = self.capacity_bytes.map_or(u128::MAX, u128::from);
        (books.bytes + books.bytes_in_flight).saturating_sub(limit)
    }

    /// Takes out what exceeds the capacity. `own` of the bytes in flight are the caller's.
    fn evict_excess(&self, books: &mut Books, own: u64) -> Result<Vec<Victim>, RoomRefused> {
        let excess = self.excess(books);
        if excess > books.bytes_evictable {
            self.end_holding(books);
            let others = books.bytes_in_flight > u128::from(own);
            return Err(if others { RoomRefused::Busy } else { RoomRefused::Full });
        }
        let mut victims = self.take_bytes(books, excess);
        if self.capacity_bytes.is_some() && books.keys >= self.objects_max {
            // Else the put's object would push an object out of the accounting.
            victims.extend(self.take_first(books));
        }
        Ok(victims)
    }

    fn take_bytes(&self, books: &mut Books, bytes: u128) -> Vec<Victim> {
        let mut victims = Vec::new();
        let mut freed = 0;
        while freed < bytes {
            let Some(victim) = self.take_first(books) else { break };
            freed += u128::from(victim.bytes);
            victims.push(victim);
        }
        victims
    }

    /// Takes out the object that leaves first.
    pub(super) fn take_first(&self, books: &mut Books) -> Option<Victim> {
        let node = books.order.first_victim()?;
        let tag = books.tag(node);
        let mut table = self.index.shard(tag);
        let found = table.find(tag, entry::is_node(node))?;
        let packed = table.at(found);
        let entry = Entry::unpack(packed);
        let victim = Victim { id: entry.id, name: entry::name(packed).map(Box::from), bytes: entry.bytes };
        table.remove(found);
        books.remove(entry);
        Some(victim)
    }

    /// Lets held objects be tried again: whoever held them may have let go.
    fn end_holding(&self, books: &mut Books) {
        for node in books.end_holding() {
            let tag = books.tag(node);
            let found = self.index.shard(tag).get(tag, entry::is_node(node)).map(Entry::unpack);
            if let Some(entry) = found.filter(|entry| entry.pins == 0) {
                books.unpark(entry);
            }
        }
    }
}
