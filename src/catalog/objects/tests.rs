#![cfg(not(feature = "shuttle"))]

use std::collections::VecDeque;

use super::*;
use crate::catalog::Asked;
use crate::catalog::testing::{EVERY_POLICY, Lcg, NaiveOrder, POLICIES};
use crate::catalog::touches::PENDING_MAX;
use crate::config::CachePolicy;

/// Ids spread like digests, from a small number.
fn id(n: u64) -> u128 {
    twox_hash::XxHash3_128::oneshot(&n.to_le_bytes())
}

fn ids(victims: &[Victim]) -> Vec<u128> {
    victims.iter().map(|victim| victim.id).collect()
}

/// Checks the sums against what the index holds.
fn audit(catalog: &ObjectCatalog) {
    let books = catalog.books();
    assert!(books.order.audit(), "the eviction order is broken");
    let (mut keys, mut bytes, mut evictable, mut pinned, mut objects) = (0, 0, 0, 0, 0);
    for (node, _) in books.order.oldest_first() {
        let tag = books.tag(node);
        let table = catalog.index.shard(tag);
        let entry =
            Entry::unpack(table.get(tag, entry::is_node(node)).expect("an object in the order is known"));
        let stays = entry.pins > 0 || books.is_held(node);
        assert_eq!(books.order.is_parked(node), stays);
        keys += 1;
        bytes += u128::from(entry.bytes);
        pinned += u64::from(entry.pins > 0);
        evictable += if stays { 0 } else { u128::from(entry.bytes) };
        objects += u32::from(!stays);
    }
    assert_eq!(books.objects_evictable, objects);
    assert_eq!(
        (books.keys, books.bytes, books.bytes_evictable, books.keys_pinned),
        (keys, bytes, evictable, pinned)
    );
    assert_eq!(catalog.index.len(), keys as usize);
}

/// Objects are put, seen, used, pinned and forgotten at random. Which leaves first must be what a list
/// kept by hand says, under each policy, and the sums must stay right.
#[test]
fn objects_leave_in_the_order_of_the_naive_model() {
    for policy in POLICIES {
        for seed in 0..20 {
            let mut random = Lcg::new(seed);
            let catalog = ObjectCatalog::new(policy.into(), None).unwrap();
            let mut model = NaiveOrder::new(policy);
            let mut pins = [None::<u32>; 10];
            for step in 0..500 {
                let n = random.below(10);
                let known = &mut pins[n as usize];
                let bytes = random.below(1000);
                let place = format!("{policy:?} seed {seed} step {step}");
                match random.below(9) {
                    0 => {
                        catalog.observe(id(n), None, bytes);
                        if known.is_none() {
                            *known = Some(0);
                            model.put(n);
                        }
                    }
                    1 => {
                        let (reservation, victims) =
                            catalog.reserve(0, bytes, false).expect("there is no limit");
                        assert!(victims.is_empty());
                        catalog.commit(reservation, id(n), None, bytes);
                        model.remove(n);
                        match *known.get_or_insert(0) {
                            0 => model.put(n),
                            _ => model.put_parked(n),
                        }
                    }
                    2 => {
                        assert_eq!(catalog.forget(id(n)), known.take().is_some(), "{place}");
                        model.remove(n);
                    }
                    3 => {
                        assert_eq!(catalog.pin(id(n)), known.is_some(), "{place}");
                        if let Some(pins) = known {
                            *pins += 1;
                            model.park(n);
                        }
                    }
                    4 => {
                        assert_eq!(catalog.unpin(id(n)), known.is_some_and(|pins| pins > 0), "{place}");
                        if let Some(pins @ 1..) = known {
                            *pins -= 1;
                            if *pins == 0 {
                                model.unpark(n);
                            }
                        }
                    }
                    5 if step % 5 == 0 => {
                        let victims = catalog.evict_at_least(1);
                        let expected = model.victims();
                        for (victim, n) in victims.iter().zip(&expected) {
                            assert_eq!(victim.id, id(*n), "{place}");
                            model.remove(*n);
                            pins[*n as usize] = None;
                        }
                        assert_eq!(victims.is_empty(), expected.is_empty(), "{place}");
                    }
                    _ => {
                        assert_eq!(catalog.touch(id(n)), known.is_some(), "{place}");
                        model.touch(n);
                    }
                }
                for (n, known) in (0..).zip(&pins) {
                    assert_eq!(catalog.contains(id(n)), known.is_some(), "{place} object {n}");
                }
            }
            audit(&catalog);
        }
    }
}

/// Puts of random sizes begin, complete and fail in a store with a capacity. What is stored and under
/// way must never exceed it, and a refusal must not cost anyone an object.
#[test]
fn the_capacity_is_never_exceeded() {
    for seed in 0..40 {
        let mut random = Lcg::new(seed);
        let capacity = 1000;
        let catalog = ObjectCatalog::new(EVERY_POLICY[seed as usize % 5].into(), Some(capacity)).unwrap();
        let mut open = Vec::new();
        for _ in 0..800 {
            let n = random.below(12);
            if let Some(chains) = catalog.chains().filter(|_| random.below(5) == 0) {
                let ids: Vec<u128> = (0..1 + random.below(5)).map(|_| id(random.below(12))).collect();
                let mut chain = chains.ask(None, Asked::Stored, ids.len(), ids[ids.len() - 1]);
                ids.into_iter().for_each(|id| chain.add(id));
            }
            match random.below(8) {
                0..=2 => {
                    let bytes = random.below(capacity + 50);
                    let before = catalog.gauges();
                    match catalog.reserve(id(n), bytes, random.below(4) == 0) {
                        Ok((reservation, _)) => open.push((reservation, n, bytes)),
                        Err(refused) => {
                            assert_eq!(refused == RoomRefused::TooLarge, bytes > capacity);
                            assert_eq!(catalog.gauges(), before);
                        }
                    }
                }
                3 | 4 if !open.is_empty() => {
                    let (reservation, n, bytes) = open.swap_remove(random.below(open.len() as u64) as usize);
                    catalog.commit(reservation, id(n), None, bytes);
                }
                5 if !open.is_empty() => {
                    let (reservation, ..) = open.swap_remove(random.below(open.len() as u64) as usize);
                    catalog.cancel(reservation);
                }
                6 => drop(catalog.pin(id(n))),
                _ => drop(catalog.unpin(id(n))),
            }
            let gauges = catalog.gauges();
            assert!(gauges.bytes + gauges.bytes_in_flight <= capacity, "seed {seed}: {gauges:?}");
            assert_eq!(catalog.excess_bytes(), 0);
            audit(&catalog);
        }
    }
}

/// Three different answers for three different things to do: give up, try again later, unpin.
#[test]
fn a_refusal_says_why() {
    let catalog = ObjectCatalog::new(CachePolicy::Lru.into(), Some(100)).unwrap();
    assert_eq!(catalog.reserve(0, 101, false).expect_err("it cannot fit"), RoomRefused::TooLarge);
    let (under_way, _) = catalog.reserve(0, 60, false).expect("the store is empty");
    assert_eq!(catalog.reserve(0, 60, false).expect_err("the other put is there"), RoomRefused::Busy);
    catalog.commit(under_way, id(1), None, 60);
    assert!(catalog.pin(id(1)));
    assert_eq!(catalog.reserve(0, 60, false).expect_err("it is pinned"), RoomRefused::Full);
    assert!(catalog.unpin(id(1)));
    let (reservation, victims) = catalog.reserve(0, 60, false).expect("it may go now");
    assert_eq!(ids(&victims), [id(1)]);
    catalog.cancel(reservation);
    assert_eq!(catalog.gauges(), ObjectGauges::default());
}

/// A victim pinned by another process comes back. The search goes on to others, ends when there are
/// none, and later searches try the victim again: the other process may have let go of it. Under
/// MRU, what came back last would be the first to be named again.
#[test]
fn a_victim_that_was_put_back_is_not_named_again_in_the_same_search() {
    for policy in POLICIES {
        let catalog = ObjectCatalog::new(policy.into(), Some(30)).unwrap();
        for n in 0..3 {
            catalog.observe(id(n), Some("name"), 10);
        }
        let (reservation, mut victims) = catalog.reserve(0, 10, false).expect("all may go");
        let mut seen = Vec::new();
        let refused = loop {
            for victim in victims.drain(..) {
                assert!(!seen.contains(&victim.id), "{policy:?}: named twice");
                assert_eq!(victim.name.as_deref(), Some("name"));
                seen.push(victim.id);
                catalog.put_back(victim);
                audit(&catalog);
            }
            match catalog.make_room(&reservation) {
                Ok(more) if more.is_empty() => panic!("{policy:?}: there is no room yet"),
                Ok(more) => victims = more,
                Err(refused) => break refused,
            }
        };
        assert_eq!((refused, seen.len()), (RoomRefused::Full, 3), "{policy:?}");
        catalog.cancel(reservation);
        assert_eq!(catalog.gauges().bytes, 30);

        let (reservation, victims) = catalog.reserve(0, 10, false).expect("they are tried again");
        assert_eq!(victims.len(), 1);
        catalog.commit(reservation, id(7), None, 10);
        audit(&catalog);
    }
}

/// An object that is held elsewhere and pinned here stays after either ends.
#[test]
fn held_and_pinned_objects_stay_until_both_end() {
    let catalog = ObjectCatalog::new(CachePolicy::Lru.into(), Some(10)).unwrap();
    catalog.observe(id(1), None, 10);
    let (reservation, mut victims) = catalog.reserve(0, 10, false).expect("it may go");
    catalog.put_back(victims.pop().expect("one had to go"));
    assert!(catalog.pin(id(1)) && catalog.unpin(id(1)));
    audit(&catalog);
    assert!(catalog.pin(id(1)));
    assert_eq!(catalog.make_room(&reservation).expect_err("it is held"), RoomRefused::Full);
    assert_eq!(catalog.make_room(&reservation).expect_err("it is pinned"), RoomRefused::Full);
    audit(&catalog);
    assert!(catalog.unpin(id(1)));
    assert_eq!(ids(&catalog.make_room(&reservation).expect("it may go")), [id(1)]);
    audit(&catalog);
}

/// A scan sees objects that are known: that is no use of them. A put of one is.
#[test]
fn seeing_an_object_again_is_no_use_of_it() {
    let catalog = ObjectCatalog::new(CachePolicy::Lru.into(), None).unwrap();
    for n in 0..3 {
        catalog.observe(id(n), None, 10);
    }
    catalog.observe(id(0), None, 15);
    let (reservation, _) = catalog.reserve(0, 20, false).expect("there is no limit");
    catalog.commit(reservation, id(1), None, 20);
    assert_eq!(
        (catalog.length(id(0)), catalog.length(id(1)), catalog.length(id(9))),
        (Some(15), Some(20), None)
    );
    assert_eq!(catalog.gauges().bytes, 45);
    let victims = catalog.evict_at_least(u64::MAX);
    assert_eq!(ids(&victims), [id(0), id(2), id(1)]);
    assert_eq!(catalog.gauges(), ObjectGauges::default());
}

/// In the layout where names are not made from digests, the victim's name is all that tells its object.
#[test]
fn names_stay_with_their_objects() {
    let catalog = ObjectCatalog::new(CachePolicy::Fifo.into(), None).unwrap();
    catalog.observe(id(1), Some("first"), 1);
    catalog.observe(id(2), None, 1);
    catalog.observe(id(3), Some("third"), 1);
    catalog.observe(id(2), Some("second"), 1);
    catalog.observe(id(3), Some("renamed to something longer"), 1);
    catalog.observe(id(1), None, 2);
    catalog.observe(id(4), Some(&"x".repeat(10_000)), 1);
    audit(&catalog);
    let victims = catalog.evict_at_least(u64::MAX);
    let names: Vec<_> = victims.iter().map(|victim| victim.name.as_deref()).collect();
    assert_eq!(names, [Some("first"), Some("second"), Some("renamed to something longer"), None]);
}

/// Memory is bounded: beyond the limit the oldest object is forgotten, which shows. A put into a store
/// with a capacity has it evicted instead, so that nothing stays on storage uncounted.
#[test]
fn no_more_objects_are_remembered_than_allowed() {
    let catalog = ObjectCatalog::with_objects_max(CachePolicy::Lru.into(), Some(1000), None, 3).unwrap();
    for n in 0..5 {
        catalog.observe(id(n), None, 1);
        audit(&catalog);
    }
    assert!(!catalog.contains(id(1)) && catalog.contains(id(2)) && catalog.contains(id(4)));
    assert_eq!((catalog.gauges().keys, catalog.gauges().forgotten), (3, 2));

    let (reservation, victims) = catalog.reserve(0, 1, false).expect("there is room");
    assert_eq!(ids(&victims), [id(2)]);
    catalog.commit(reservation, id(5), None, 1);
    assert_eq!((catalog.gauges().keys, catalog.gauges().forgotten), (3, 2));

    for n in 3..6 {
        assert!(catalog.pin(id(n)));
    }
    catalog.observe(id(6), None, 1);
    assert!(!catalog.contains(id(6)), "all that is remembered is pinned");
    assert_eq!((catalog.gauges().keys, catalog.gauges().forgotten), (3, 3));
    audit(&catalog);
}

/// Uses are noted by the place in the order. A use of an object that has left must not count for the
/// object that got its place, and none may be dropped.
#[test]
fn uses_count_for_their_object_only() {
    let catalog = ObjectCatalog::new(CachePolicy::Lfu.into(), None).unwrap();
    catalog.observe(id(1), None, 1);
    (0..5).for_each(|_| assert!(catalog.touch(id(1))));
    assert!(catalog.forget(id(1)));
    catalog.observe(id(2), None, 1);
    catalog.observe(id(3), None, 1);
    (0..PENDING_MAX + 3).for_each(|_| assert!(catalog.touch(id(3))));
    (0..PENDING_MAX + 2).for_each(|_| assert!(catalog.touch(id(2))));
    assert_eq!(ids(&catalog.evict_at_least(1)), [id(2)]);
    assert_eq!(ids(&catalog.evict_at_least(1)), [id(3)]);
    assert!(catalog.evict_at_least(1).is_empty());
}

/// Many threads work on the same few objects; afterwards the sums must still be those of the objects.
#[test]
fn sums_hold_under_concurrency() {
    let catalog = ObjectCatalog::new(CachePolicy::Lru.into(), Some(500)).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let catalog = &catalog;
            scope.spawn(move || {
                let mut random = Lcg::new(seed);
                for _ in 0..5000 {
                    let n = random.below(20);
                    match random.below(6) {
                        0 | 1 => {
                            if let Ok((reservation, victims)) = catalog.reserve(0, 100, false) {
                                if random.below(4) == 0 {
                                    victims.into_iter().for_each(|victim| catalog.put_back(victim));
                                }
                                catalog.commit(reservation, id(n), None, random.below(100));
                            }
                        }
                        2 => drop(catalog.forget(id(n))),
                        3 => drop(catalog.pin(id(n)) && catalog.unpin(id(n))),
                        _ => drop(catalog.touch(id(n))),
                    }
                }
            });
        }
    });
    audit(&catalog);
    assert_eq!(catalog.gauges().bytes_in_flight, 0);
}

/// A pool of so many objects never has more, those under way included; a put of a key that it has takes no second place.
#[test]
fn objects_are_counted_where_a_pool_has_so_many() {
    let catalog = ObjectCatalog::of_objects(CachePolicy::Lru.into(), 3).unwrap();
    for n in 0..3 {
        let (reservation, victims) = catalog.reserve(id(n), 100, false).expect("there is room");
        assert!(victims.is_empty());
        catalog.commit(reservation, id(n), None, 100);
    }
    // One that replaces, however large, and one that is new.
    let (again, victims) = catalog.reserve(id(0), 9_000, false).expect("it takes its own place");
    assert!(victims.is_empty());
    let (new, victims) = catalog.reserve(id(7), 1, false).expect("one leaves");
    assert_eq!(ids(&victims), [id(0)], "the oldest; who evicts passes over what is being put");
    catalog.put_back(victims[0].clone());
    assert_eq!(ids(&catalog.make_room(&new).expect("another one leaves")), [id(1)]);
    catalog.commit(again, id(0), None, 9_000);
    catalog.commit(new, id(7), None, 1);
    audit(&catalog);
    assert_eq!(catalog.gauges().keys, 3);
    // All pinned: full, and nothing is lost; a put under way may free a place.
    for n in [0, 2, 7] {
        assert!(catalog.pin(id(n)));
    }
    assert_eq!(catalog.reserve(id(8), 1, false).unwrap_err(), RoomRefused::Full);
    let (replaced, _) = catalog.reserve(id(2), 1, false).expect("a pinned key may be put again");
    catalog.cancel(replaced);
    audit(&catalog);
    // More than there may be were found at open.
    let found = ObjectCatalog::of_objects(CachePolicy::Lru.into(), 2).unwrap();
    (0..5).for_each(|n| found.observe(id(n), None, 1));
    assert_eq!(ids(&found.take_excess()), [id(0), id(1), id(2)]);
    assert!(found.take_excess().is_empty());
}

/// What is noted beside an object is gone with its size; objects are told by the beginning of their ids.
#[test]
fn a_note_lasts_as_long_as_the_size() {
    let catalog = ObjectCatalog::new(CachePolicy::Lru.into(), None).unwrap();
    catalog.observe(id(1), Some("name"), 10);
    catalog.note(id(1), 11, 5);
    assert_eq!(catalog.noted(id(1)), Some((10, 0)), "noted for another size");
    catalog.note(id(1), 10, 5);
    catalog.observe(id(1), Some("longer name"), 10);
    assert_eq!(catalog.noted(id(1)), Some((10, 5)));
    catalog.observe(id(1), None, 12);
    assert_eq!(catalog.noted(id(1)), Some((12, 0)));
    assert_eq!(catalog.noted(id(2)), None);

    let mut expected: Vec<u128> = (0..2000).map(id).filter(|id| id >> 120 == 0xab).collect();
    (0..2000).for_each(|n| catalog.observe(id(n), None, 1));
    catalog.observe(3, None, 1);
    assert!(catalog.pin(expected[0]));
    let mut found = catalog.unpinned_of(0xab);
    found.sort_unstable();
    expected.remove(0);
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(catalog.unpinned_of(0).contains(&3));
}

/// A key of a batch that is put again at once is the newest of all, and not what its place in the batch says: else it would
/// have to leave for the next one of the same batch.
#[test]
fn a_key_that_is_put_again_is_the_newest() {
    for policy in [CachePolicy::Lru, CachePolicy::Reuse] {
        let catalog = ObjectCatalog::new(policy.into(), Some(1600)).unwrap();
        let put = |n: u64| {
            let (reservation, victims) = catalog.reserve(id(n), 100, true).expect("something may go");
            catalog.commit(reservation, id(n), None, 100);
            ids(&victims)
        };
        let announce = || {
            let mut chain = catalog.chains().unwrap().join(None, 16, id(0), id(15));
            (0..16).for_each(|n| chain.add(id(n)));
        };
        announce();
        (0..16).for_each(|n| assert!(put(n).is_empty()));
        announce();
        assert_eq!(put(10), [id(15)], "{policy:?}");
        // Room for one is left, as its old bytes are gone.
        assert!(put(100).is_empty());
        for (new, leaves) in [(101, 14), (102, 13), (103, 12), (104, 11), (105, 9)] {
            assert_eq!(put(new), [id(leaves)], "{policy:?}");
        }
        audit(&catalog);
    }
}

/// A prompt that is put anew is counted twice while it is, but what it has just stored does not go for that: its puts wait for
/// one another. What others have stored goes at once.
#[test]
fn a_prompt_that_is_put_anew_pushes_out_nothing_of_itself() {
    for policy in [CachePolicy::Lru, CachePolicy::Reuse] {
        for others in [0, 2] {
            let catalog = ObjectCatalog::new(policy.into(), Some(1000)).unwrap();
            let mut waited = 0;
            let reserve = |n: u64| catalog.reserve(id(n), 100, true).map(|(reservation, _)| reservation);
            for n in 100..100 + others {
                catalog.commit(reserve(n).unwrap(), id(n), None, 100);
            }
            for _ in 0..2 {
                let mut chain = catalog.chains().unwrap().join(None, 8, id(0), id(7));
                (0..8).for_each(|n| chain.add(id(n)));
                drop(chain);
                let mut under_way = VecDeque::new();
                for n in 0..8 {
                    let reservation = loop {
                        match reserve(n) {
                            Ok(reservation) => break reservation,
                            Err(refused) => assert_eq!(refused, RoomRefused::Busy),
                        }
                        waited += 1;
                        let (n, reservation) = under_way.pop_front().expect("somebody is waited for");
                        catalog.commit(reservation, id(n), None, 100);
                    };
                    under_way.push_back((n, reservation));
                }
                under_way
                    .into_iter()
                    .for_each(|(n, reservation)| catalog.commit(reservation, id(n), None, 100));
            }
            assert!((0..8).all(|n| catalog.contains(id(n))), "{policy:?}, {others} of others");
            assert!(waited > 0 && catalog.gauges().keys == 8, "{policy:?}, {others} of others");
        }
    }
}
