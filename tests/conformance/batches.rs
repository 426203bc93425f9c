//! Batches: every item has an end of its own.

use crate::common::status::{BUFFER_TOO_SMALL, NOT_FOUND, OK, OUT_OF_RANGE, Status, TOO_LARGE};
use crate::common::{Batch, Cut, Pieces, payload};
use crate::{Case, KIB, MIB, Setup};

/// A lookup for a chain of chunks finds some and misses others. Each item says which it was, the whole says that
/// something was missing, and a miss leaves its neighbours' bytes alone.
pub fn hits_and_misses_of_a_batch_are_told_apart(case: &Case) {
    const ITEMS: usize = 150;
    let opened = case.open(ITEMS as u32, 16 * KIB);
    let store = &opened.store;
    let key = |index: usize| format!("chunk-{index}").into_bytes();
    let is_there = |index: usize| index.is_multiple_of(2) || index.is_multiple_of(5);
    let objects: Vec<_> =
        (0..ITEMS).map(|index| payload(index as u64, 1 + index * 577 % (16 * KIB))).collect();
    let mut puts = Batch::new();
    for index in (0..ITEMS).filter(|&index| is_there(index)) {
        puts.put(&key(index), &objects[index]);
    }
    let stored = puts.len() as u64;
    let (status, results) = store.put_batch(&puts);
    assert_eq!((status, results.len() as u64), (OK, stored));

    let offset = |index: usize| if index.is_multiple_of(3) { 0 } else { index };
    let targets: Vec<_> = (0..ITEMS)
        .map(|index| Pieces::new(objects[index].len(), Cut::Whole { offset: offset(index) }))
        .collect();
    let mut gets = Batch::new();
    for (index, target) in targets.iter().enumerate() {
        gets.pieces(&key(index), target);
    }
    let (status, results) = store.get_batch(&gets);
    assert_eq!(status, NOT_FOUND);
    for (index, result) in results.iter().enumerate() {
        let found = Status(result.status);
        if is_there(index) {
            assert_eq!((found, result.bytes), (OK, objects[index].len() as u64), "item {index}");
            targets[index].assert_holds(&objects[index], &format_args!("item {index}"));
        } else {
            assert_eq!((found, result.bytes, result.object_length), (NOT_FOUND, 0, 0), "item {index}");
            targets[index].assert_guards(&format_args!("around item {index}"));
        }
    }
    let stats = store.stats();
    assert_eq!((stats.gets_hit, stats.gets_missed, stats.gets_failed), (stored, ITEMS as u64 - stored, 0));
    opened.end();
}

/// Two items of one batch have the same key. Both puts succeed and one of them stands, as a whole; two gets of it
/// see the same object.
pub fn one_key_twice_in_a_batch_is_one_of_both(case: &Case) {
    let opened = case.open(8, MIB);
    let store = &opened.store;
    let objects: Vec<_> = [5000, 200 * KIB, 1, MIB, 64 * KIB, 70 * KIB]
        .into_iter()
        .enumerate()
        .map(|(seed, size)| payload(seed as u64, size))
        .collect();
    for round in 0..8 {
        let mut puts = Batch::new();
        for index in 0..objects.len() {
            puts.put(b"key", &objects[(round + index) % objects.len()]);
        }
        let (status, results) = store.put_batch(&puts);
        assert_eq!(status, OK);
        assert!(results.iter().all(|result| Status(result.status) == OK));
        let (mut one, mut other) = (vec![0; MIB], vec![0; MIB]);
        let mut gets = Batch::new();
        gets.get(b"key", &mut one);
        gets.get(b"key", &mut other);
        let (status, results) = store.get_batch(&gets);
        drop(gets);
        assert_eq!(status, OK);
        let length = results[0].bytes as usize;
        assert_eq!(length, results[1].bytes as usize);
        assert!(one[..length] == other[..length]);
        assert!(objects.contains(&one[..length].to_vec()), "a mixture of puts");
        assert_eq!(store.stats().keys, 1);
    }
    opened.end();
}

/// One batch holds items that must fail, each in its own way, among items that must not. The summary is the first
/// error; the others are not touched by it.
pub fn errors_land_on_their_items(case: &Case) {
    let setup = Setup { capacity_bytes: 4 * MIB as u64, ..case.setup.clone() };
    let opened = case.open_with(Setup { slots: 8, chunk_bytes: MIB as u64, ..setup });
    let store = &opened.store;
    let (small, large) = (payload(1, 3000), payload(2, 5 * MIB));
    let mut puts = Batch::new();
    puts.put(b"one", &small);
    puts.put(b"too-large", &large);
    puts.put(b"two", &small);
    let (status, results) = store.put_batch(&puts);
    assert_eq!(status, TOO_LARGE);
    assert_eq!(results.iter().map(|r| Status(r.status)).collect::<Vec<_>>(), [OK, TOO_LARGE, OK]);
    assert_eq!(store.contains(b"too-large"), NOT_FOUND);

    let targets: Vec<_> = [3000, 2999, 10, 3000, 100]
        .into_iter()
        .map(|room| Pieces::new(room, Cut::Whole { offset: 9 }))
        .collect();
    let mut gets = Batch::new();
    gets.pieces(b"one", &targets[0]);
    gets.pieces(b"two", &targets[1]);
    gets.pieces_range(b"two", 2991, &targets[2]);
    gets.pieces(b"none", &targets[3]);
    gets.pieces_range(b"one", 2900, &targets[4]);
    let (status, results) = store.get_batch(&gets);
    assert_eq!(status, BUFFER_TOO_SMALL);
    assert_eq!(
        results.iter().map(|r| Status(r.status)).collect::<Vec<_>>(),
        [OK, BUFFER_TOO_SMALL, OUT_OF_RANGE, NOT_FOUND, OK]
    );
    targets[0].assert_holds(&small, &"the first item");
    targets[4].assert_holds(&small[2900..], &"the last item");
    let stats = store.stats();
    assert_eq!((stats.puts_ok, stats.puts_failed), (2, 1));
    assert_eq!((stats.gets_hit, stats.gets_missed, stats.gets_failed), (2, 1, 2));
    opened.end();
}
