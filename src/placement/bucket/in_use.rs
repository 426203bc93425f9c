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
    changing: Option<Change>,
    /// Threads that wait for the turn.
    waiting: u32,
}

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A put, whose end lets those go on that wait for something to be given back.
    Put,
    /// A removal, an eviction, a pin: a request or two, of whose end nobody is told who does not wait for it.
    Other,
}

/// Why there is no turn now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The object is being read, or put.
    ByTransfer,
    /// Somebody has it for a moment.
    ForAMoment,
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

    /// The turn at putting an object, unless somebody has one at it.
    pub(super) fn try_put(self: &Arc<Self>, id: u128) -> Result<Turn, Taken> {
        self.try_turn_for(id, Change::Put, |_| true)
    }

    /// The turn at an object, unless somebody has it.
    pub(super) fn try_turn(self: &Arc<Self>, id: u128) -> Option<Turn> {
        self.try_turn_for(id, Change::Other, |_| true).ok()
    }

    /// The same, also not while the object is being read.
    pub(super) fn try_turn_unread(self: &Arc<Self>, id: u128) -> Result<Turn, Taken> {
        self.try_turn_for(id, Change::Other, |found| found.readers == 0)
    }

    /// The turn at an object, as soon as nobody has it; `None`: not before `deadline`.
    pub(super) fn turn(self: &Arc<Self>, id: u128, change: Change, deadline: Instant) -> Option<Turn> {
        let mut uses = lock(&self.uses);
        while let Some(found) = uses.get_mut(&id).filter(|found| found.changing.is_some()) {
            let left = deadline.checked_duration_since(Instant::now())?;
            found.waiting += 1;
            uses = match self.ended.wait_timeout(uses, left) {
                Ok((uses, _)) => uses,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if let Some(found) = uses.get_mut(&id) {
                found.waiting = found.waiting.saturating_sub(1);
            }
        }
        uses.entry(id).or_default().changing = Some(change);
        Some(Turn { in_use: Arc::clone(self), id })
    }

    fn try_turn_for(
        self: &Arc<Self>,
        id: u128,
        change: Change,
        may: impl Fn(&Use) -> bool,
    ) -> Result<Turn, Taken> {
        let mut uses = lock(&self.uses);
        match uses.get(&id) {
            Some(Use { changing: Some(Change::Other), .. }) => return Err(Taken::ForAMoment),
            Some(Use { changing: Some(Change::Put), .. }) => return Err(Taken::ByTransfer),
            Some(found) if !may(found) => return Err(Taken::ByTransfer),
            _ => {}
        }
        uses.entry(id).or_default().changing = Some(change);
        Ok(Turn { in_use: Arc::clone(self), id })
    }

    fn end(&self, id: u128, end: impl FnOnce(&mut Use)) {
        let mut uses = lock(&self.uses);
        let Some(found) = uses.get_mut(&id) else { return };
        end(found);
        // A wake-up is a system call, so it is made only for somebody who waits.
        let is_awaited = found.waiting > 0 && found.changing.is_none();
        if found.readers == 0 && found.changing.is_none() && found.waiting == 0 {
            uses.remove(&id);
        }
        drop(uses);
        if is_awaited {
            self.ended.notify_all();
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
        self.in_use.end(self.id, |found| found.changing = None);
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
        assert_eq!(in_use.try_turn_unread(1).unwrap_err(), Taken::ByTransfer);
        let turn = in_use.try_put(1).expect("a put may replace what is read");
        assert_eq!(in_use.try_put(1).unwrap_err(), Taken::ByTransfer);
        assert!(in_use.try_turn(1).is_none());
        assert!(in_use.try_turn(2).is_some());
        assert!(in_use.turn(1, Change::Other, Instant::now() + Duration::from_millis(5)).is_none());
        drop((turn, reader));
        let removal = in_use.try_turn_unread(1).expect("nobody is at it");
        assert_eq!(
            in_use.try_put(1).unwrap_err(),
            Taken::ForAMoment,
            "nobody would wake who waits for it to end"
        );
        drop(removal);
        assert!(lock(&in_use.uses).is_empty(), "nothing is remembered of what has ended");
    }

    /// Whoever waits for a turn gets it when it is given back.
    #[test]
    fn a_turn_that_is_given_back_goes_to_who_waits() {
        let in_use = Arc::new(InUse::default());
        let turn = in_use.try_put(1);
        std::thread::scope(|scope| {
            let waiting = scope
                .spawn(|| in_use.turn(1, Change::Put, Instant::now() + Duration::from_secs(60)).is_some());
            drop(turn);
            assert!(waiting.join().unwrap());
        });
    }
}
