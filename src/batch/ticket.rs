//! The table of tickets: numbers that callers hold for batches under way.
//!
//! A number encodes place and generation, so a stale or invented one is recognised instead of followed.

use crossbeam_queue::ArrayQueue;

use super::Batch;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};

/// Tickets that one store may have outstanding: submitted and not yet waited for.
pub const TICKETS_MAX: u32 = 4096;

/// The table.
#[derive(Debug)]
pub struct TicketTable {
    places: Vec<Mutex<Place>>,
    free: ArrayQueue<u32>,
    /// A bit for each place that has a batch, so that who visits them all need not lock each place.
    occupied: Vec<AtomicU64>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    batch: Option<Arc<Batch>>,
}

/// A place taken for a batch that is about to be submitted.
#[derive(Debug)]
pub struct Reserved {
    index: u32,
    /// The number it will have.
    pub ticket: u64,
}

impl TicketTable {
    /// An empty table. Tables with different `salt` give different numbers, so that a ticket shown to the
    /// wrong store is recognised.
    pub fn new(salt: u32) -> TicketTable {
        let free = ArrayQueue::new(TICKETS_MAX as usize);
        for index in 0..TICKETS_MAX {
            // As many pushes as there is room for.
            let _ = free.push(index);
        }
        let place = |_| Mutex::new(Place { generation: salt, batch: None });
        let words = TICKETS_MAX.div_ceil(u64::BITS);
        TicketTable {
            places: (0..TICKETS_MAX).map(place).collect(),
            free,
            occupied: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Takes a place. `None`: all are taken.
    pub fn reserve(&self) -> Option<Reserved> {
        let index = self.free.pop()?;
        let place = lock(&self.places[index as usize]);
        Some(Reserved { index, ticket: number(index, place.generation) })
    }

    /// Puts the batch in its place.
    pub fn insert(&self, reserved: Reserved, batch: Arc<Batch>) {
        lock(&self.places[reserved.index as usize]).batch = Some(batch);
        let (word, bit) = self.mark(reserved.index);
        word.fetch_or(bit, Ordering::SeqCst);
    }

    fn mark(&self, index: u32) -> (&AtomicU64, u64) {
        (&self.occupied[(index / u64::BITS) as usize], 1 << (index % u64::BITS))
    }

    /// Gives an unused place back.
    pub fn cancel(&self, reserved: Reserved) {
        // There is room for every place.
        let _ = self.free.push(reserved.index);
    }

    /// The batch behind a ticket.
    pub fn get(&self, ticket: u64) -> Option<Arc<Batch>> {
        let (index, generation) = split(ticket)?;
        let place = lock(self.places.get(index as usize)?);
        if place.generation == generation { place.batch.clone() } else { None }
    }

    /// Ends a ticket and returns its batch; exactly one caller gets it.
    pub fn take(&self, ticket: u64) -> Option<Arc<Batch>> {
        let (index, generation) = split(ticket)?;
        let mut place = lock(self.places.get(index as usize)?);
        if place.generation != generation {
            return None;
        }
        let batch = place.batch.take()?;
        place.generation = place.generation.wrapping_add(1);
        drop(place);
        // Before the place is free for another batch.
        let (word, bit) = self.mark(index);
        word.fetch_and(!bit, Ordering::SeqCst);
        let _ = self.free.push(index);
        Some(batch)
    }

    /// Visits every outstanding batch that was inserted before.
    pub fn for_each(&self, visit: &mut dyn FnMut(&Arc<Batch>)) {
        for (word, places) in self.occupied.iter().zip(self.places.chunks(u64::BITS as usize)) {
            let mut bits = word.load(Ordering::SeqCst);
            while bits != 0 {
                let batch =
                    places.get(bits.trailing_zeros() as usize).and_then(|place| lock(place).batch.clone());
                bits &= bits - 1;
                if let Some(batch) = batch {
                    visit(&batch);
                }
            }
        }
    }
}

/// Index plus one, so that no ticket is 0.
fn number(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index + 1)
}

fn split(ticket: u64) -> Option<(u32, u32)> {
    let index = (ticket as u32).checked_sub(1)?;
    Some((index, (ticket >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ticket is good until it is taken, then for nobody; zero and invented numbers never are.
    #[test]
    fn stale_and_invented_tickets_are_recognised() {
        let table = TicketTable::new(7);
        for invented in [0, 1, u64::MAX, 1 << 32, u64::from(TICKETS_MAX) + 1] {
            assert!(table.get(invented).is_none() && table.take(invented).is_none());
        }
        let reserved = table.reserve().expect("free");
        let ticket = reserved.ticket;
        assert!(table.get(ticket).is_none());
        table.insert(reserved, Arc::new(Batch::default()));
        assert!(table.get(ticket).is_some());
        assert!(table.take(ticket).is_some());
        assert!(table.take(ticket).is_none() && table.get(ticket).is_none());
        let all: Vec<_> = std::iter::from_fn(|| table.reserve()).collect();
        assert_eq!(all.len(), TICKETS_MAX as usize);
        assert!(all.iter().all(|reserved| reserved.ticket != ticket));
    }
}
