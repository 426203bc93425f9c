//! Flushes that fail and flushes that answer OK, on a model of the page cache and the device under it.

use super::*;
use crate::catalog::testing::{EVERY_POLICY, Lcg};

const KEYS: u8 = 4;

struct Put {
    key: u8,
    generation: u64,
    /// Steps of the history at which it was reserved and, if it was, published.
    began: u64,
    published: Option<u64>,
    /// It was removed, and its record erased.
    erased: bool,
}

/// A slot's record, by the number of its put, as the page cache has it and as the device has it.
#[derive(Clone, Copy, Default)]
struct Slot {
    cached: Option<usize>,
    device: Option<usize>,
    dirty: bool,
}

impl Slot {
    fn write(&mut self, record: Option<usize>) {
        self.cached = record;
        self.dirty = true;
    }
}

struct History {
    catalog: SlotCatalog,
    slots: Vec<Slot>,
    puts: Vec<Put>,
    open: Vec<(Reservation, usize)>,
    dirty: Vec<DirtySlot>,
    /// Slots whose tombstone is written and not yet reported.
    tombstoned: Vec<DirtySlot>,
    /// When the sync under way began, and what was dirty then.
    sync: Option<(u64, Vec<Slot>)>,
}

impl History {
    fn erase(&mut self, dirty: DirtySlot) {
        self.write_tombstone(&dirty);
        self.dirty.extend(self.catalog.slot_cleaned(dirty));
    }

    fn write_tombstone(&mut self, dirty: &DirtySlot) {
        let slot = &mut self.slots[dirty.slot() as usize];
        if let Some(put) = slot.cached {
            self.puts[put].erased |= self.puts[put].published.is_some();
        }
        slot.write(None);
    }

    /// What a flush does before it syncs.
    fn write_anew(&mut self) {
        let mut from = 0;
        while let Some(Suspect { key, lease }) = self.catalog.suspect(from) {
            from = lease.slot() + 1;
            let slot = &mut self.slots[lease.slot() as usize];
            match slot.cached.filter(|&put| self.puts[put].generation == lease.generation()) {
                Some(put) => {
                    slot.write(Some(put));
                    self.catalog.written_anew(&lease);
                }
                None => assert!(self.catalog.forget(digest(&key), &key, &lease)),
            }
            if let Release::Clean(dirty) = self.catalog.release(lease) {
                self.erase(dirty);
            }
        }
        while let Some(dirty) = self.catalog.reclaim_suspect(0) {
            self.erase(dirty);
        }
    }

    fn end_sync(&mut self, random: &mut Lcg, place: &str) {
        let Some((began, before)) = self.sync.take() else { return };
        if random.below(2) == 0 {
            self.catalog.sync_failed(&|_| true);
            // The kernel has given up some of what was to be written; the rest went well.
            for slot in self.slots.iter_mut().filter(|slot| slot.dirty) {
                match random.below(3) {
                    0 => slot.dirty = false,
                    1 => (slot.device, slot.dirty) = (slot.cached, false),
                    _ => {}
                }
            }
            return;
        }
        // What was dirty when it began is on the device, as it was then or as it is now.
        for (slot, before) in self.slots.iter_mut().zip(&before) {
            if !before.dirty || !slot.dirty {
                continue;
            }
            let is_same = slot.cached == before.cached;
            slot.device = if is_same || random.below(2) == 0 { slot.cached } else { before.cached };
            slot.dirty &= slot.device != slot.cached;
        }
        self.catalog.sync_succeeded();
        for key in 0..KEYS {
            let Some(lease) = self.catalog.acquire(digest(&[key]), &[key]) else { continue };
            let record = self.slots[lease.slot() as usize].device.map(|put| &self.puts[put]);
            let is_covered = |put: &Put| (put.key, put.generation) == (key, lease.generation());
            let put = self.puts.iter().find(|put| is_covered(put)).expect("a stored key was put");
            if put.published < Some(began) {
                assert!(record.is_some_and(is_covered), "{place}: key {key} is not durable after a flush");
            }
            assert_eq!(self.catalog.release(lease), Release::Kept);
        }
    }

    /// After a flush that answered OK, with nothing under way: what a loss of power leaves.
    fn check_device(&self, place: &str) {
        for key in 0..KEYS {
            let records = self.slots.iter().filter_map(|slot| slot.device).map(|put| &self.puts[put]);
            let found = records.filter(|put| put.key == key).max_by_key(|put| put.generation);
            let stored = contains(&self.catalog, &[key]);
            assert_eq!(found.is_some(), stored, "{place}: key {key}");
            assert!(found.is_none_or(|put| !put.erased), "{place}: removed bytes of {key} come back");
            let newest = self.puts.iter().rfind(|put| put.key == key && put.published.is_some());
            if let Some((found, newest)) = found.zip(newest) {
                assert!(
                    newest.began <= found.published.unwrap_or(0),
                    "{place}: old bytes of {key} come back"
                );
            }
        }
    }
}

/// Puts, removals, write-back by the kernel, pages that it drops, and syncs that begin, go on while other things happen,
/// and fail half of the time. Whenever one succeeds, each key that was put before it began is on the device; and when
/// nothing is under way, the device holds just what the index says.
#[test]
fn a_flush_that_answers_ok_covers_whatever_failed_before() {
    for seed in 0..3000 {
        let mut random = Lcg::new(seed);
        let slots = 1 + random.below(6) as u32;
        let mut history = History {
            catalog: SlotCatalog::new(slots, EVERY_POLICY[seed as usize % 5].into()).unwrap(),
            slots: vec![Slot::default(); slots as usize],
            puts: Vec::new(),
            open: Vec::new(),
            dirty: Vec::new(),
            tombstoned: Vec::new(),
            sync: None,
        };
        for now in 1..200 {
            let place = format!("seed {seed} step {now}");
            let key = random.below(u64::from(KEYS)) as u8;
            let pick = |random: &mut Lcg, length: usize| random.below(length as u64) as usize;
            match random.below(12) {
                0..=2 => {
                    if let Reserve::Slot(reservation) = history.catalog.reserve(digest(&[key]), &[key], false)
                    {
                        let generation = reservation.generation();
                        history.slots[reservation.slot() as usize].write(Some(history.puts.len()));
                        history.open.push((reservation, history.puts.len()));
                        history.puts.push(Put {
                            key,
                            generation,
                            began: now,
                            published: None,
                            erased: false,
                        });
                    }
                }
                3..=5 if !history.open.is_empty() => {
                    let at = pick(&mut random, history.open.len());
                    let (reservation, put) = history.open.swap_remove(at);
                    let key = [history.puts[put].key];
                    if random.below(8) == 0 {
                        history.dirty.push(history.catalog.abandon(reservation));
                    } else {
                        let published = history.catalog.publish(reservation, &key, 1);
                        history.puts[put].published = (!published.superseded).then_some(now);
                        history.dirty.extend(published.clean);
                    }
                }
                6 => {
                    if let Remove::Clean(dirty) = history.catalog.remove(digest(&[key]), &[key]) {
                        history.dirty.push(dirty);
                    }
                }
                7 if !history.dirty.is_empty() => {
                    let at = pick(&mut random, history.dirty.len());
                    let dirty = history.dirty.swap_remove(at);
                    history.write_tombstone(&dirty);
                    history.tombstoned.push(dirty);
                }
                7 | 11 if !history.tombstoned.is_empty() => {
                    let at = pick(&mut random, history.tombstoned.len());
                    let dirty = history.tombstoned.swap_remove(at);
                    history.dirty.extend(history.catalog.slot_cleaned(dirty));
                }
                8 => {
                    let at = pick(&mut random, slots as usize);
                    let slot = &mut history.slots[at];
                    if slot.dirty {
                        (slot.device, slot.dirty) = (slot.cached, false);
                    } else if !history.open.iter().any(|(reservation, _)| reservation.slot() as usize == at) {
                        slot.cached = slot.device;
                    }
                }
                9 | 10 if history.sync.is_none() => {
                    history.write_anew();
                    history.catalog.sync_begins();
                    history.sync = Some((now, history.slots.clone()));
                }
                _ => history.end_sync(&mut random, &place),
            }
            audit(&history.catalog);
        }

        let place = format!("seed {seed}, at the end");
        history.end_sync(&mut random, &place);
        for (reservation, put) in std::mem::take(&mut history.open) {
            let published = history.catalog.publish(reservation, &[history.puts[put].key], 1);
            history.puts[put].published = (!published.superseded).then_some(200);
            history.dirty.extend(published.clean);
        }
        for dirty in std::mem::take(&mut history.tombstoned) {
            history.dirty.extend(history.catalog.slot_cleaned(dirty));
        }
        while let Some(dirty) = history.dirty.pop() {
            history.erase(dirty);
        }
        history.write_anew();
        while let Some(dirty) = history.catalog.reclaim(0).or_else(|| history.dirty.pop()) {
            history.erase(dirty);
        }
        history.catalog.sync_begins();
        history.slots.iter_mut().for_each(|slot| {
            if slot.dirty {
                (slot.device, slot.dirty) = (slot.cached, false);
            }
        });
        history.catalog.sync_succeeded();
        history.check_device(&place);
        audit(&history.catalog);
    }
}
