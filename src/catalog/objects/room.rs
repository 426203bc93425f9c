//! Room for puts: what is counted in advance, and which objects must go for it.

use super::books::Books;
use super::{Added, Entry, ObjectCatalog, Sight, entry, tag_of};
use crate::catalog::order::{Admitted, Moment, Verdict, Victims};

/// Bytes counted for a put under way. End it with [`ObjectCatalog::commit`] or [`ObjectCatalog::cancel`].
#[derive(Debug)]
#[must_use = "bytes that are neither committed nor cancelled stay counted for ever"]
pub struct ObjectReservation {
    bytes: u64,
    /// 0 if the object replaces one that was known when the put began.
    objects: u32,
    /// The first 32 bits of the object's digest, when in which request its put was admitted, and why; `None`: nobody asked.
    admitted: Option<(u32, Moment, Admitted)>,
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
    /// The policy finds that the object is not worth displacing others for.
    Declined,
}

impl ObjectCatalog {
    /// Counts the bytes of a coming put of this object and names the objects that must go for it. The caller keeps the object
    /// from going away meanwhile: where objects are counted, one that is known already is not counted twice.
    ///
    /// `must`: whatever the policy finds, it is not declined. Neither is an object that is known, whose old bytes are not to
    /// stay.
    ///
    /// # Errors
    /// Why there is no room; then nothing is counted and no object was taken out.
    pub fn reserve(
        &self,
        id: u128,
        bytes: u64,
        must: bool,
    ) -> Result<(ObjectReservation, Vec<Victim>), RoomRefused> {
        if self.capacity_bytes.is_some_and(|capacity| bytes > capacity) {
            return Err(RoomRefused::TooLarge);
        }
        let tag = tag_of(id);
        let sight = self.sight(tag);
        let mut books = self.books();
        let moment = books.order.begin(sight);
        let known = self.index.shard(tag).get(tag, entry::is_id(id)).map(Entry::unpack);
        // A known object enters the order anew when its put is committed, and is judged then.
        let verdict = known.map_or_else(|| books.order.judge(tag, moment), |_| Verdict::default());
        let objects = u32::from(known.is_none());
        let reservation =
            ObjectReservation { bytes, objects, admitted: Some((tag, moment, verdict.admitted())) };
        books.bytes_in_flight += u128::from(bytes);
        books.objects_in_flight += objects;
        if !must
            && known.is_none()
            && books.order.declines()
            && self.is_to_be_declined(&books, moment, &verdict)
        {
            books.order.decline(tag, moment, &verdict);
            books.end(&reservation);
            return Err(RoomRefused::Declined);
        }
        match self.evict_excess(&mut books, &reservation) {
            Ok(victims) => {
                books.order.admit(tag, &verdict);
                Ok((reservation, victims))
            }
            Err(refused) => {
                books.end(&reservation);
                Err(refused)
            }
        }
    }

    /// Whether the policy declines a put that is counted already: what would have to leave for it is not idle for long enough.
    /// Where nothing may leave that is another question.
    fn is_to_be_declined(&self, books: &Books, moment: Moment, verdict: &Verdict) -> bool {
        let (mut bytes, mut objects) = (self.excess(books), self.excess_objects(books));
        if bytes == 0 && objects == 0 {
            return false;
        }
        if books.order.has_declined(moment) {
            return true;
        }
        let mut victims = books.order.victims(moment, true);
        while bytes > 0 || objects > 0 {
            let Some(node) = self.next_of_others(books, &mut victims) else {
                return victims.has_spared;
            };
            if !books.order.is_worth(node, moment, verdict) {
                return true;
            }
            let tag = books.tag(node);
            let found = self.index.shard(tag).get(tag, entry::is_node(node)).map(Entry::unpack);
            bytes = bytes.saturating_sub(found.map_or(0, |entry| u128::from(entry.bytes)));
            objects = objects.saturating_sub(1);
        }
        false
    }

    /// The next victim that is not of the request's own chain.
    pub(super) fn next_of_others(&self, books: &Books, victims: &mut Victims) -> Option<u32> {
        let is_coming = |node, moment: Moment| self.sight(books.tag(node)).request == moment.request;
        books.order.next_of_others(victims, is_coming)
    }

    /// Names further objects that must go for a reservation, after some had to be put back.
    ///
    /// # Errors
    /// Why there is no room; the reservation still counts and should be cancelled.
    pub fn make_room(&self, reservation: &ObjectReservation) -> Result<Vec<Victim>, RoomRefused> {
        self.evict_excess(&mut self.books(), reservation)
    }

    /// A put completed: the object now has `bytes` bytes and is the newest.
    pub fn commit(&self, reservation: ObjectReservation, id: u128, name: Option<&str>, bytes: u64) {
        let mut books = self.books();
        books.end(&reservation);
        let (moment, returns) = match reservation.admitted {
            Some((_, moment, admitted)) => (moment, admitted.returns),
            None => (books.order.begin(self.sight(tag_of(id))), false),
        };
        if self.update(&mut books, id, name, bytes) {
            let tag = tag_of(id);
            if let Some(entry) = self.index.shard(tag).get(tag, entry::is_id(id)).map(Entry::unpack) {
                books.renew(entry, moment);
            }
        } else {
            self.add(&mut books, Added { id, name, bytes, held: false, moment, returns });
        }
    }

    /// A put failed.
    pub fn cancel(&self, reservation: ObjectReservation) {
        let mut books = self.books();
        books.end(&reservation);
        if let Some((tag, moment, admitted)) = reservation.admitted {
            books.order.take_back(tag, moment, admitted);
        }
    }

    /// A victim could not be unlinked because someone holds it. It is counted again, and not named
    /// again until a search for room has failed.
    pub fn put_back(&self, victim: Victim) {
        let mut books = self.books();
        if !self.update(&mut books, victim.id, victim.name.as_deref(), victim.bytes) {
            let moment = books.order.begin(Sight::ALONE);
            let Victim { id, name, bytes } = &victim;
            let (name, bytes) = (name.as_deref(), *bytes);
            self.add(&mut books, Added { id: *id, name, bytes, held: true, moment, returns: false });
        }
    }

    /// Names objects that must go to free at least `bytes`, or all that may go if that is less: for a
    /// device that is full before the capacity is, or without one.
    pub fn evict_at_least(&self, bytes: u64) -> Vec<Victim> {
        let mut books = self.books();
        let victims = self.take_bytes(&mut books, u128::from(bytes), None);
        if victims.is_empty() {
            self.end_holding(&mut books);
        }
        victims
    }

    /// Names the objects that must go where more were found than the capacity has room for. No put is under way.
    pub fn take_excess(&self) -> Vec<Victim> {
        let mut books = self.books();
        let nothing = ObjectReservation { bytes: 0, objects: 0, admitted: None };
        self.evict_excess(&mut books, &nothing).unwrap_or_default()
    }

    /// Bytes by which the known objects and the puts under way exceed the capacity.
    pub fn excess_bytes(&self) -> u64 {
        u64::try_from(self.excess(&self.books())).unwrap_or(u64::MAX)
    }

    fn excess(&self, books: &Books) -> u128 {
        let limit = self.capacity_bytes.map_or(u128::MAX, u128::from);
        (books.bytes + books.bytes_in_flight).saturating_sub(limit)
    }

    /// The same in objects, where those are counted.
    fn excess_objects(&self, books: &Books) -> u32 {
        let objects = books.keys.saturating_add(books.objects_in_flight);
        self.capacity_objects.map_or(0, |capacity| objects.saturating_sub(capacity))
    }

    /// Takes out what exceeds the capacity. `own` is the caller's part of what is in flight.
    fn evict_excess(&self, books: &mut Books, own: &ObjectReservation) -> Result<Vec<Victim>, RoomRefused> {
        let (excess, objects) = (self.excess(books), self.excess_objects(books));
        let others = books.bytes_in_flight > u128::from(own.bytes) || books.objects_in_flight > own.objects;
        if excess > books.bytes_evictable || objects > books.objects_evictable {
            self.end_holding(books);
            return Err(if others { RoomRefused::Busy } else { RoomRefused::Full });
        }
        let moment = own.admitted.map(|(_, moment, _)| moment);
        // What was judged is what goes.
        let asks = moment.filter(|_| books.order.declines());
        // A prompt that is put anew is counted twice while it is. What it has just stored must not go for that: its other puts
        // end, and what they replace is room. A new key has no such room to wait for.
        if excess > 0
            && own.objects == 0
            && others
            && moment.is_some_and(|moment| {
                self.next_to_go(books, asks).is_some_and(|node| books.order.is_own(node, moment))
            })
        {
            return Err(RoomRefused::Busy);
        }
        let mut victims = self.take_bytes(books, excess, asks);
        while (victims.len() as u64) < u64::from(objects) {
            let Some(victim) = self.take_next(books, asks) else { break };
            victims.push(victim);
        }
        if self.capacity_bytes.is_some() && books.keys >= self.objects_max {
            // Else the put's object would push an object out of the accounting.
            victims.extend(self.take_first(books));
        }
        Ok(victims)
    }

    fn take_bytes(&self, books: &mut Books, bytes: u128, asks: Option<Moment>) -> Vec<Victim> {
        let mut victims = Vec::new();
        let mut freed = 0;
        while freed < bytes {
            let Some(victim) = self.take_next(books, asks) else { break };
            freed += u128::from(victim.bytes);
            victims.push(victim);
        }
        victims
    }

    /// Takes out the object that leaves first, if it can be none of the request that asks.
    fn take_next(&self, books: &mut Books, asks: Option<Moment>) -> Option<Victim> {
        let node = self.next_to_go(books, asks)?;
        self.take(books, node)
    }

    fn next_to_go(&self, books: &Books, asks: Option<Moment>) -> Option<u32> {
        let of_others = asks.and_then(|moment| {
            let mut victims = books.order.victims(moment, true);
            self.next_of_others(books, &mut victims)
        });
        of_others.or_else(|| books.order.first_victim())
    }

    /// Takes out the object that leaves first.
    pub(super) fn take_first(&self, books: &mut Books) -> Option<Victim> {
        let node = books.order.first_victim()?;
        self.take(books, node)
    }

    fn take(&self, books: &mut Books, node: u32) -> Option<Victim> {
        let tag = books.tag(node);
        let mut table = self.index.shard(tag);
        let found = table.find(tag, entry::is_node(node))?;
        let packed = table.at(found);
        let entry = Entry::unpack(packed);
        let victim = Victim { id: entry.id, name: entry::name(packed).map(Box::from), bytes: entry.bytes };
        table.remove(found);
        books.evict(entry);
        Some(victim)
    }

    /// Lets held objects be tried again: whoever held them may have let go.
    fn end_holding(&self, books: &mut Books) {
        for node in books.end_holding() {
            let tag = books.tag(node);
            let found = self.index.shard(tag).get(tag, entry::is_node(node)).map(Entry::unpack);
            if let Some(entry) = found.filter(|entry| entry.pins == 0) {
                books.unpark(entry, Sight::ALONE);
            }
        }
    }
}

impl Books {
    /// A put is over.
    fn end(&mut self, reservation: &ObjectReservation) {
        let ObjectReservation { bytes, objects, .. } = *reservation;
        self.bytes_in_flight -= u128::from(bytes);
        self.objects_in_flight -= objects;
    }
}
