//! Which objects this process is at: those that are read, and the one turn at changing each.
//!
//! A put, an eviction and a removal of one key are one after the other, so that the catalog and the bucket agree on which
//! was the last; an eviction passes over what is being read. Other processes are not bound by any of it.

use std::collections::HashMap;
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, lock};

/// The objects that somebody here is at, few at any time.
#[derive(Debug, Default)]
pub(super) struct InUse {
    uses: Mutex<HashMap<u128, Use>>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Use {
    readers: u32,
    is_changing: bool,
}

/// An object is being read while this lives.
#[derive(Debug)]
pub struct Reader {
    in_use: Arc<InUse>,
    id: u128,
}

/// The right to change an object; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    in_use: Arc<InUse>,
    id: u128,
}

impl InUse {
    /// Begins to read an object.
    pub(super) fn read(self: &Arc<Self>, id: u128) -> Reader {
        lock(&self.uses).entry(id).or_default().readers += 1;
        Reader { in_use: Arc::clone(self), id }
    }

    /// The turn at an object, unless somebody has it.
    pub(super) fn try_turn(self: &Arc<Self>, id: u128) -> Option<Turn> {
        self.try_turn_if(id, |_| true)
    }

    /// The same, also not while the object is being read.
    pub(super) fn try_turn_unread(self: &Arc<Self>, id: u128) -> Option<Turn> {
        self.try_turn_if(id, |found| found.readers == 0)
    }

    /// The turn at an object, as soon as nobody has it; `None`: not before `deadline`.
    pub(super) fn turn(self: &Arc<Self>, id: u128, deadline: Instant) -> Option<Turn> {
        let mut uses = lock(&self.uses);
        while uses.get(&id).is_some_and(|found| found.is_changing) {
            let left = deadline.checked_duration_since(Instant::now())?;
            uses = match self.ended.wait_timeout(uses, left) {
                Ok((uses, _)) => uses,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        uses.entry(id).or_default().is_changing = true;
        Some(Turn { in_use: Arc::clone(self), id })
    }

    fn try_turn_if(self: &Arc<Self>, id: u128, may: impl Fn(&Use) -> bool) -> Option<Turn> {
        let mut uses = lock(&self.uses);
        if uses.get(&id).is_some_and(|found| found.is_changing || !may(found)) {
            return None;
        }
        uses.entry(id).or_default().is_changing = true;
        Some(Turn { in_use: Arc::clone(self), id })
    }

    fn end(&self, id: u128, end: impl FnOnce(&mut Use)) {
        let mut uses = lock(&self.uses);
        let Some(found) = uses.get_mut(&id) else { return };
        end(found);
        if found.readers == 0 && !found.is_changing {
            uses.remove(&id);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.in_use.end(self.id, |found| found.readers = found.readers.saturating_sub(1));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.in_use.end(self.id, |found| found.is_changing = false);
        self.in_use.ended.notify_all();
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Changes of one object take turns; what is being read is not evicted, and may be replaced.
    #[test]
    fn one_changes_an_object_at_a_time_and_none_evicts_what_is_read() {
        let in_use = Arc::new(InUse::default());
        let reader = in_use.read(1);
        assert!(in_use.try_turn_unread(1).is_none());
        let turn = in_use.try_turn(1).expect("a put may replace what is read");
        assert!(in_use.try_turn(1).is_none());
        assert!(in_use.try_turn(2).is_some());
        assert!(in_use.turn(1, Instant::now() + Duration::from_millis(5)).is_none());
        drop((turn, reader));
        assert!(in_use.try_turn_unread(1).is_some());
        assert!(lock(&in_use.uses).is_empty(), "nothing is remembered of what has ended");
    }

    /// Whoever waits for a turn gets it when it is given back.
    #[test]
    fn a_turn_that_is_given_back_goes_to_who_waits() {
        let in_use = Arc::new(InUse::default());
        let turn = in_use.try_turn(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| in_use.turn(1, Instant::now() + Duration::from_secs(60)).is_some());
            drop(turn);
            assert!(waiting.join().unwrap());
        });
    }
}
