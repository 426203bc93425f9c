use super::*;
use crate::catalog::testing::{EVERY_POLICY, Lcg};

const KEYS: u8 = 3;

/// A put as the outside saw it. Times count the steps of the history.
struct Put {
    key: u8,
    generation: u64,
    began: u64,
    /// When the caller was told how it ended.
    ended: Option<u64>,
    completed: bool,
}

/// What each slot holds on storage: the number of the put whose valid record it is.
type Storage = Vec<Option<usize>>;

/// A put of this key that began after `put` had ended, and completed: then `put` is outdated.
fn newer(puts: &[Put], put: usize) -> Option<usize> {
    let ended = puts[put].ended?;
    puts.iter().position(|other| other.key == puts[put].key && other.completed && other.began > ended)
}

/// Recovery: for each key the record of the highest generation.
fn recover(storage: &Storage, puts: &[Put], key: u8) -> Option<usize> {
    let records = storage.iter().flatten().copied().filter(|&put| puts[put].key == key);
    records.max_by_key(|&put| puts[put].generation)
}

/// Puts, reads, removals, evictions, failed puts, failed reads and failed tombstones in random
/// order, on a model of the storage that keeps a slot's old record until the new one is written. After
/// every step the process may be killed: then for no key may recovery find bytes that a completed
/// put had replaced. At every step, too, a free slot must have no record, and a reader must find in
/// its slot what it was promised.
#[test]
fn a_crash_at_any_step_never_brings_back_older_bytes() {
    for seed in 0..2000 {
        let mut random = Lcg::new(seed);
        let slots = 1 + random.below(4) as u32;
        let catalog = SlotCatalog::new(slots, EVERY_POLICY[seed as usize % 5].into()).unwrap();
        let mut storage: Storage = vec![None; slots as usize];
        let mut puts: Vec<Put> = Vec::new();
        let mut open: Vec<(Reservation, usize, bool)> = Vec::new();
        let mut failed: Vec<(u32, usize)> = Vec::new();
        let mut leases: Vec<(Lease, u8)> = Vec::new();
        let mut dirty: Vec<DirtySlot> = Vec::new();
        let broken_tombstones = seed % 3 == 0;

        for now in 1..300 {
            let key = random.below(u64::from(KEYS)) as u8;
            let digest = digest(&[key]);
            let pick = |random: &mut Lcg, length: usize| random.below(length as u64) as usize;
            match random.below(14) {
                0..=2 => {
                    if let Reserve::Slot(reservation) = catalog.reserve(digest, &[key], false) {
                        let generation = reservation.generation();
                        puts.push(Put { key, generation, began: now, ended: None, completed: false });
                        open.push((reservation, puts.len() - 1, false));
                    }
                }
                3 | 4 if !open.is_empty() => {
                    let at = pick(&mut random, open.len());
                    let (reservation, put, written) = &mut open[at];
                    storage[reservation.slot() as usize] = Some(*put);
                    *written = true;
                }
                5..=7 => {
                    if let Some(at) = open.iter().position(|entry| entry.2) {
                        let (reservation, put, _) = open.swap_remove(at);
                        let key = puts[put].key;
                        dirty.extend(catalog.publish(reservation, &[key], 1).clean);
                        puts[put].completed = true;
                        puts[put].ended = Some(now);
                    }
                }
                8 if !open.is_empty() => {
                    let at = pick(&mut random, open.len());
                    let (reservation, put, written) = open.swap_remove(at);
                    let slot = reservation.slot();
                    let due = if written || random.below(2) == 0 {
                        Some(catalog.abandon(reservation))
                    } else {
                        catalog.abandon_unwritten(reservation)
                    };
                    match due {
                        // The caller is told once the slot is clean.
                        Some(_) => failed.push((slot, put)),
                        None => puts[put].ended = Some(now),
                    }
                    dirty.extend(due);
                }
                9 => leases.extend(catalog.acquire(digest, &[key]).map(|lease| (lease, key))),
                10 if !leases.is_empty() => {
                    let at = pick(&mut random, leases.len());
                    let (lease, key) = leases.swap_remove(at);
                    if random.below(10) == 0 {
                        catalog.quarantine(super::digest(&[key]), &[key], &lease);
                    }
                    if let Release::Clean(slot) = catalog.release(lease) {
                        dirty.push(slot);
                    }
                }
                11 => {
                    if let Remove::Clean(slot) = catalog.remove(digest, &[key]) {
                        dirty.push(slot);
                    }
                }
                _ if !dirty.is_empty() => {
                    let slot = dirty.swap_remove(pick(&mut random, dirty.len()));
                    let number = slot.slot();
                    if broken_tombstones && random.below(8) == 0 {
                        catalog.not_cleaned(slot);
                        dirty.extend(
                            catalog
                                .reclaim_of(digest)
                                .into_iter()
                                .chain((random.below(4) == 0).then(|| catalog.reclaim(0)).flatten()),
                        );
                    } else {
                        storage[number as usize] = None;
                        dirty.extend(catalog.slot_cleaned(slot));
                    }
                    if let Some(at) = failed.iter().position(|entry| entry.0 == number) {
                        puts[failed.swap_remove(at).1].ended = Some(now);
                    }
                }
                _ => {}
            }

            let place = format!("seed {seed} step {now}");
            for key in 0..KEYS {
                if let Some(found) = recover(&storage, &puts, key) {
                    assert_eq!(newer(&puts, found), None, "{place}: a crash brings back old bytes of {key}");
                }
                if let Some(lease) = catalog.acquire(super::digest(&[key]), &[key]) {
                    let found = storage[lease.slot() as usize].expect("a stored key has a record");
                    assert_eq!(
                        (puts[found].key, puts[found].generation),
                        (key, lease.generation()),
                        "{place}"
                    );
                    assert_eq!(newer(&puts, found), None, "{place}: a get finds old bytes of {key}");
                    assert_eq!(catalog.release(lease), Release::Kept);
                }
            }
            for (lease, key) in &leases {
                let found = storage[lease.slot() as usize].map(|put| (puts[put].key, puts[put].generation));
                assert_eq!(found, Some((*key, lease.generation())), "{place}: a reader lost its bytes");
            }
            let ledger = catalog.ledger();
            for slot in (0..slots).filter(|&slot| ledger.state(slot) == State::Free) {
                assert_eq!(storage[slot as usize], None, "{place}: free slot {slot} has a record");
            }
        }
        audit(&catalog);
    }
}
