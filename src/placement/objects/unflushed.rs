//! What was put and is not known to be durable: the list that a flush works off.
//!
//! Only what this process put is on it. An object leaves it when it was made durable, was removed, or was put by
//! somebody else meanwhile. One of which the file system said that bytes may be lost is *suspect*: that it says so once
//! and is silent the next time proves nothing, so it must be written anew or removed before a flush may answer OK.
//!
//! # Order
//! Every change takes a number of one clock. A flush works on a copy of the list, so that puts go on; what was put since
//! it was copied has a later number and stays. A put takes a number also before it writes its first byte: what was found
//! suspect after that may be the file that it published, and stays suspect.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::sync::{Mutex, lock};

/// Objects that are remembered one by one, which bounds the memory of a store that is never flushed: about 6 MiB, and
/// the names in layout `lmcache`. After more than that a flush goes through all files of the directory instead. A put
/// that made others durable to make room here would slow down stores that nobody flushes, and those are most.
pub(super) const PENDING_MAX: usize = 1 << 16;

/// An object to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Its digest.
    pub(super) id: u128,
    /// Its name, where that cannot be made from the digest.
    pub(super) name: Option<Box<str>>,
    /// Whether its bytes may be lost though its file looks well.
    pub(super) suspect: bool,
    published: u64,
    suspect_since: u64,
}

/// What a flush has to do.
#[derive(Debug)]
pub(super) struct Work {
    /// Objects to be made durable, the suspect ones first.
    pub(super) pending: Vec<Pending>,
    /// Whether more was put than is remembered, so that every file is to be made durable.
    pub(super) everything: bool,
    /// Whether every file is suspect.
    pub(super) everything_suspect: bool,
    taken: u64,
}

/// The list. All methods may be called from any thread.
pub(super) struct Unflushed {
    book: Mutex<Book>,
    pending_max: usize,
}

#[derive(Default)]
struct Book {
    clock: u64,
    pending: HashMap<u128, Noted>,
    /// When an object did not fit last; 0: all are on the list.
    overflowed: u64,
    /// When everything put until then became suspect last; 0: never.
    suspect: u64,
}

struct Noted {
    name: Option<Box<str>>,
    begun: u64,
    published: u64,
    /// 0: not suspect.
    suspect: u64,
}

impl Book {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The place of an object on the list; `None` if there is no room.
    fn place(&mut self, id: u128, pending_max: usize) -> Option<Entry<'_, u128, Noted>> {
        let is_new = !self.pending.contains_key(&id);
        let full = self.pending.len() >= pending_max;
        // Memory that cannot be had counts as no room: a put must not fail for it, nor end the process.
        if is_new && (full || self.pending.try_reserve(1).is_err()) {
            return None;
        }
        Some(self.pending.entry(id))
    }
}

impl Unflushed {
    /// An empty list of at most [`PENDING_MAX`] objects.
    pub(super) fn new() -> Unflushed {
        Unflushed::with_pending_max(PENDING_MAX)
    }

    pub(super) fn with_pending_max(pending_max: usize) -> Unflushed {
        Unflushed { book: Mutex::new(Book::default()), pending_max }
    }

    /// More is to be made durable than was put here: the next flush goes through all files.
    pub(super) fn assume_everything(&self) {
        let mut book = lock(&self.book);
        book.overflowed = book.tick();
    }

    /// A number of the clock, to be taken before an object is written or removed.
    pub(super) fn now(&self) -> u64 {
        lock(&self.book).tick()
    }

    /// An object was published by a put that began to write it at `begun`.
    pub(super) fn published(&self, id: u128, name: Option<Box<str>>, begun: u64) {
        let mut book = lock(&self.book);
        let published = book.tick();
        let Some(place) = book.place(id, self.pending_max) else {
            book.overflowed = published;
            return;
        };
        let noted = place.or_insert(Noted { name, begun, published, suspect: 0 });
        (noted.begun, noted.published) = (begun, published);
        if noted.suspect < begun {
            // The file that was suspect has been replaced.
            noted.suspect = 0;
        }
    }

    /// An object's file was removed by an attempt that began at `begun`.
    pub(super) fn removed(&self, id: u128, begun: u64) {
        let mut book = lock(&self.book);
        // One with a later number was put after the removal.
        if let Entry::Occupied(noted) = book.pending.entry(id)
            && noted.get().published < begun
        {
            noted.remove();
        }
    }

    /// What there is to do now. `None`: there is no memory for a copy of the list.
    pub(super) fn work(&self) -> Option<Work> {
        let mut book = lock(&self.book);
        let taken = book.tick();
        let mut pending = Vec::new();
        pending.try_reserve_exact(book.pending.len()).ok()?;
        pending.extend(book.pending.iter().map(|(&id, noted)| Pending {
            id,
            name: noted.name.clone(),
            suspect: noted.suspect > 0 || noted.begun < book.suspect,
            published: noted.published,
            suspect_since: noted.suspect,
        }));
        pending.sort_unstable_by_key(|pending| !pending.suspect);
        let everything = book.overflowed > 0;
        Some(Work { pending, everything, everything_suspect: everything && book.suspect > 0, taken })
    }

    /// An object of [`Unflushed::work`] is durable, or is none any more.
    pub(super) fn settled(&self, done: &Pending) {
        let mut book = lock(&self.book);
        if let Entry::Occupied(noted) = book.pending.entry(done.id)
            && (noted.get().published, noted.get().suspect) == (done.published, done.suspect_since)
        {
            noted.remove();
        }
    }

    /// The file system said that an object's bytes may be lost.
    pub(super) fn failed(&self, lost: &Pending) {
        let mut book = lock(&self.book);
        let now = book.tick();
        let Some(place) = book.place(lost.id, self.pending_max) else {
            // With no room to remember which, all are.
            (book.suspect, book.overflowed) = (now, now);
            return;
        };
        let noted =
            place.or_insert(Noted { name: lost.name.clone(), begun: now, published: now, suspect: now });
        noted.suspect = now;
    }

    /// The file system said that bytes may be lost, and not whose.
    pub(super) fn all_failed(&self) {
        let mut book = lock(&self.book);
        book.suspect = book.tick();
    }

    /// All of a flush's work is done.
    pub(super) fn finished(&self, work: &Work) {
        let mut book = lock(&self.book);
        if book.overflowed <= work.taken {
            book.overflowed = 0;
        }
        if book.suspect <= work.taken {
            book.suspect = 0;
        }
    }
}

impl Pending {
    /// An object that is on no list, as a walk through the directory meets it.
    pub(super) fn met(id: u128, name: Option<Box<str>>, suspect: bool) -> Pending {
        Pending { id, name, suspect, published: 0, suspect_since: 0 }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    fn ids(work: &Work) -> Vec<(u128, bool)> {
        let mut ids: Vec<_> = work.pending.iter().map(|pending| (pending.id, pending.suspect)).collect();
        ids.sort_unstable();
        ids
    }

    fn put(list: &Unflushed, id: u128) {
        let begun = list.now();
        list.published(id, None, begun);
    }

    fn work(list: &Unflushed) -> Work {
        list.work().expect("memory")
    }

    /// A put that completes during a flush is not covered by it, whatever the flush synced.
    #[test]
    fn what_was_put_again_during_a_flush_stays_on_the_list() {
        let list = Unflushed::new();
        (1..4).for_each(|id| put(&list, id));
        let flush = work(&list);
        put(&list, 2);
        put(&list, 4);
        flush.pending.iter().for_each(|done| list.settled(done));
        list.finished(&flush);
        assert_eq!(ids(&work(&list)), [(2, false), (4, false)]);
    }

    /// A removal takes off the list what was put before it, not what was put since.
    #[test]
    fn a_removal_does_not_take_a_later_put_off_the_list() {
        let list = Unflushed::new();
        put(&list, 1);
        put(&list, 2);
        let removal = list.now();
        put(&list, 2);
        list.removed(1, removal);
        list.removed(2, removal);
        list.removed(3, removal);
        assert_eq!(ids(&work(&list)), [(2, false)]);
    }

    /// What failed stays suspect until it was written anew, which a put that was under way may or may not have done.
    #[test]
    fn a_suspect_object_is_cleared_by_a_put_that_began_later_only() {
        let list = Unflushed::new();
        (1..4).for_each(|id| put(&list, id));
        let flush = work(&list);
        let begun = list.now();
        flush.pending.iter().for_each(|lost| list.failed(lost));
        list.published(1, None, begun);
        put(&list, 2);
        let flush = work(&list);
        assert_eq!(ids(&flush), [(1, true), (2, false), (3, true)]);
        // A flush that copied the list before it became suspect does not clear it either.
        let early = work(&list);
        list.failed(&early.pending[0]);
        early.pending.iter().for_each(|done| list.settled(done));
        assert_eq!(ids(&work(&list)), [(early.pending[0].id, true)]);
    }

    /// More puts than are remembered: every file is to be synced, until a flush has done so that saw them all.
    #[test]
    fn more_than_fits_is_everything() {
        let list = Unflushed::with_pending_max(2);
        (1..4).for_each(|id| put(&list, id));
        let flush = work(&list);
        assert!(flush.everything && !flush.everything_suspect);
        assert_eq!(flush.pending.len(), 2);
        put(&list, 9);
        list.finished(&flush);
        assert!(work(&list).everything, "one did not fit since");
        let flush = work(&list);
        flush.pending.iter().for_each(|done| list.settled(done));
        list.finished(&flush);
        assert!(!work(&list).everything);
        // A failure that cannot be remembered makes all suspect.
        (1..3).for_each(|id| put(&list, id));
        list.failed(&Pending::met(7, None, false));
        let flush = work(&list);
        assert!(flush.everything && flush.everything_suspect);
        assert_eq!(ids(&flush), [(1, true), (2, true)]);
    }

    /// An error that names no file makes suspect what was put before it or was being put, and nothing put after it.
    #[test]
    fn an_error_without_a_name_is_everybodys() {
        let list = Unflushed::new();
        put(&list, 1);
        let begun = list.now();
        list.all_failed();
        list.published(2, None, begun);
        put(&list, 3);
        let flush = work(&list);
        assert_eq!(ids(&flush), [(1, true), (2, true), (3, false)]);
        flush.pending.iter().take(1).for_each(|done| list.settled(done));
        list.finished(&flush);
        assert_eq!(work(&list).pending.len(), 2);
        assert!(work(&list).pending.iter().all(|pending| !pending.suspect), "nothing is suspect for ever");
    }
}
