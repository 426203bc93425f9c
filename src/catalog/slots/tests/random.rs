use super::helpers::*;
use super::*;
use crate::catalog::Asked;
use crate::catalog::testing::{EVERY_POLICY, Lcg, NaiveOrder, POLICIES};

/// One caller puts, gets, removes, pins and unpins at random in a small pool. Which key leaves for
/// each put must be what a list kept by hand says, under each policy, also with uses that were
/// noted but not yet applied.
#[test]
fn keys_leave_in_the_order_of_the_naive_model() {
    for policy in POLICIES {
        for seed in 0..30 {
            let mut random = Lcg::new(seed);
            let slots = 1 + random.below(8) as u32;
            let catalog = SlotCatalog::new(slots, policy.into()).unwrap();
            let mut model = NaiveOrder::new(policy);
            let mut stored: Vec<(u8, u32)> = Vec::new();
            for step in 0..500 {
                let key = random.below(12) as u8;
                let at = stored.iter().position(|entry| entry.0 == key);
                let place = format!("{policy:?} seed {seed} step {step}");
                match random.below(10) {
                    0..=2 => {
                        // With a slot to spare for the new bytes, or by eviction, of its own old ones first.
                        let own = at.filter(|&at| stored[at].1 == 0).map(|_| key);
                        let victim =
                            own.or_else(|| model.victims().into_iter().find(|&victim| victim != key));
                        let full = stored.len() as u32 == slots;
                        match catalog.reserve(digest(&[key]), &[key], false) {
                            Reserve::Slot(reservation) => {
                                assert_eq!(reservation.evicted(), full, "{place}");
                                if full {
                                    let victim =
                                        victim.unwrap_or_else(|| panic!("{place}: evicted a pinned key"));
                                    stored.retain(|entry| entry.0 != victim);
                                    model.remove(victim);
                                    assert!(!contains(&catalog, &[victim]), "{place}: {victim} had to leave");
                                }
                                clean(&catalog, catalog.publish(reservation, &[key], 100).clean);
                            }
                            Reserve::Full => {
                                assert!(full && victim.is_none(), "{place}");
                                continue;
                            }
                            Reserve::Declined => panic!("{place}: {policy:?} declines nothing"),
                            Reserve::Busy => panic!("{place}: nothing is under way"),
                        }
                        model.remove(key);
                        match stored.iter().find(|entry| entry.0 == key) {
                            Some(&(_, pins)) if pins > 0 => model.put_parked(key),
                            Some(_) => model.put(key),
                            None => {
                                stored.push((key, 0));
                                model.put(key);
                            }
                        }
                    }
                    3 => match (catalog.remove(digest(&[key]), &[key]), at) {
                        (Remove::Absent, None) => {}
                        (Remove::Pinned, Some(at)) => assert!(stored[at].1 > 0, "{place}"),
                        (Remove::Clean(dirty), Some(at)) => {
                            assert_eq!(stored.remove(at).1, 0, "{place}");
                            model.remove(key);
                            clean(&catalog, [dirty]);
                        }
                        other => panic!("{place}: {other:?}"),
                    },
                    4 => {
                        assert_eq!(catalog.pin(digest(&[key]), &[key]), at.is_some(), "{place}");
                        if let Some(at) = at {
                            stored[at].1 += 1;
                            model.park(key);
                        }
                    }
                    5 => {
                        let pinned = at.filter(|&at| stored[at].1 > 0);
                        assert_eq!(catalog.unpin(digest(&[key]), &[key]), pinned.is_some(), "{place}");
                        if let Some(at) = pinned {
                            stored[at].1 -= 1;
                            if stored[at].1 == 0 {
                                model.unpark(key);
                            }
                        }
                    }
                    _ => match catalog.acquire(digest(&[key]), &[key]) {
                        Some(lease) => {
                            assert!(at.is_some(), "{place}");
                            assert_eq!(catalog.release(lease), Release::Kept);
                            model.touch(key);
                        }
                        None => assert_eq!(at, None, "{place}"),
                    },
                }
                for key in 0..12 {
                    let known = stored.iter().any(|entry| entry.0 == key);
                    assert_eq!(contains(&catalog, &[key]), known, "{place} key {key}");
                }
            }
            audit(&catalog);
        }
    }
}

/// Everything at once, with many puts, reads and cleanings left open. Whatever happens, every slot is
/// accounted for after every call, and when all is ended the pool has all its slots but the
/// quarantined.
#[test]
fn no_slot_is_ever_lost() {
    for seed in 0..300 {
        let mut random = Lcg::new(seed);
        let slots = 1 + random.below(6) as u32;
        let catalog = SlotCatalog::new(slots, EVERY_POLICY[seed as usize % 5].into()).unwrap();
        let mut puts: Vec<(Reservation, [u8; 1])> = Vec::new();
        let mut leases: Vec<(Lease, [u8; 1])> = Vec::new();
        let mut dirty: Vec<DirtySlot> = Vec::new();
        let mut pick = Lcg::new(seed + 1000);
        let mut any = move |length: usize| pick.below(length as u64) as usize;
        for _ in 0..600 {
            let key = [random.below(5) as u8];
            let digest = digest(&key);
            if random.below(6) == 0 {
                announce(&catalog, &mut random);
            }
            match random.below(16) {
                0..=3 => {
                    if let Reserve::Slot(reservation) = catalog.reserve(digest, &key, random.below(3) == 0) {
                        puts.push((reservation, key));
                    }
                }
                4..=6 if !puts.is_empty() => {
                    let (reservation, key) = puts.swap_remove(any(puts.len()));
                    dirty.extend(catalog.publish(reservation, &key, 9).clean);
                }
                7 if !puts.is_empty() => {
                    let (reservation, _) = puts.swap_remove(any(puts.len()));
                    dirty.push(catalog.abandon(reservation));
                }
                8 if !puts.is_empty() => {
                    let (reservation, _) = puts.swap_remove(any(puts.len()));
                    dirty.extend(catalog.abandon_unwritten(reservation));
                }
                9 | 10 => leases.extend(catalog.acquire(digest, &key).map(|lease| (lease, key))),
                11 if !leases.is_empty() => {
                    let (lease, key) = leases.swap_remove(any(leases.len()));
                    if random.below(20) == 0 {
                        catalog.quarantine(super::digest(&key), &key, &lease);
                    }
                    if let Release::Clean(slot) = catalog.release(lease) {
                        dirty.push(slot);
                    }
                }
                12 => {
                    if let Remove::Clean(slot) = catalog.remove(digest, &key) {
                        dirty.push(slot);
                    }
                }
                13 if random.below(2) == 0 => drop(catalog.pin(digest, &key)),
                13 => drop(catalog.unpin(digest, &key)),
                14 if random.below(20) == 0 => dirty.extend(catalog.clear().clean),
                _ if !dirty.is_empty() => {
                    let slot = dirty.swap_remove(any(dirty.len()));
                    if random.below(100) == 0 {
                        catalog.not_cleaned(slot);
                    } else {
                        dirty.extend(catalog.slot_cleaned(slot));
                    }
                }
                _ => {}
            }
            audit(&catalog);
        }

        for (lease, _) in leases {
            if let Release::Clean(slot) = catalog.release(lease) {
                dirty.push(slot);
            }
        }
        dirty.extend(puts.into_iter().map(|(reservation, _)| catalog.abandon(reservation)));
        clean(&catalog, dirty);
        audit(&catalog);
        let gauges = catalog.gauges();
        assert_eq!((gauges.slots_reserved, gauges.slots_leaving), (0, 0), "seed {seed}: {gauges:?}");
    }
}

/// Somebody looks a chain of a few keys up, or goes on with a request by its number.
fn announce(catalog: &SlotCatalog, random: &mut Lcg) {
    let Some(chains) = catalog.chains() else { return };
    let keys: Vec<u128> = (0..1 + random.below(4)).map(|_| digest(&[random.below(5) as u8])).collect();
    let name = (random.below(2) == 0).then(|| random.below(3));
    let mut chain = match random.below(2) {
        0 => chains.ask(None, Asked::Stored, keys.len(), keys[keys.len() - 1]),
        _ => chains.join(name, keys.len(), keys[0], keys[keys.len() - 1]),
    };
    keys.into_iter().for_each(|key| chain.add(key));
}
