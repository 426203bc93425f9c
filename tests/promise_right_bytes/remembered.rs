//! Checksums that a static pool keeps in memory: they prove what is read as those in the trailers do, and are never another record's.

use nixl_store::capi::NIXL_STORE_ITEM_FRONT;

use crate::common::format::{self, BLOCK, Pool, Record, field};
use crate::common::status::{NOT_FOUND, OK, Status};
use crate::common::{Batch, Scratch, Setup, Store, payload};
use crate::{assert_goes_on, key, pools, put_objects, reopen, right_or_absent};

/// Three checksum blocks, the last one with an end of its own.
const LENGTH: usize = 190_000;
/// Bytes that the sums of a slot take: of four blocks, as a chunk has, and one number more.
const ROW_BYTES: u64 = 8 * (4 + 1);

fn erase_trailer(record: &Record) {
    format::write(&record.path, record.trailer_offset, &vec![0; record.trailer_bytes as usize]);
}

fn flip_a_sum(record: &Record) {
    format::flip(&record.path, record.trailer_offset + field::BLOCK_CHECKSUMS as u64 + 8, 1);
}

/// Gets a part of an object. `flags` go with it.
fn range(store: &Store, index: usize, offset: usize, length: usize, flags: u32) -> Status {
    let mut part = vec![0; length];
    let mut gets = Batch::new();
    gets.range(&key(index), offset as u64, &mut part);
    gets.flag(flags);
    let (status, _) = store.get_batch(&gets);
    drop(gets);
    assert!(status != OK || part == payload(index as u64, LENGTH)[offset..offset + length], "object {index}");
    status
}

/// Gets an object from the front.
fn front(store: &Store, index: usize) -> Status {
    let mut object = vec![0; LENGTH];
    let mut gets = Batch::new();
    gets.get(&key(index), &mut object);
    gets.flag(NIXL_STORE_ITEM_FRONT);
    let (status, _) = store.get_batch(&gets);
    drop(gets);
    assert!(status != OK || object == payload(index as u64, LENGTH), "object {index}");
    status
}

/// What this process has put it proves without trailers: a byte of the payload that was turned over is a miss all the same, whole, in
/// part and from the front. Trailers alone matter to the next open, which has nothing else.
#[test]
fn payloads_are_proven_without_their_trailers() {
    for (name, setup) in pools() {
        for as_after_a_crash in [false, true] {
            let scratch = Scratch::new(name);
            let setup = Setup { slots: 40, ..setup.clone() };
            let store = Store::open(&setup, &scratch);
            put_objects(&store, 12, LENGTH);
            let records: Vec<_> = (0..12).map(|index| Pool::of(&scratch).find(&key(index))).collect();
            let places = [0, BLOCK - 1, BLOCK, 2 * BLOCK + 77, LENGTH as u64 - 1, 100_000];
            for (record, at) in records.iter().zip(places) {
                erase_trailer(record);
                format::flip(&record.path, record.payload_offset + at, 0x10);
            }
            records[6..9].iter().for_each(erase_trailer);
            records[9..12].iter().for_each(flip_a_sum);
            for (index, &place) in places.iter().enumerate().take(4) {
                let (at, what) = (place as usize, format!("{name}: byte {place}"));
                let block = at / BLOCK as usize * BLOCK as usize;
                let other = (block + BLOCK as usize) % (3 * BLOCK as usize);
                assert_eq!(range(&store, index, other, 10_000, 0), OK, "{what}: another block");
                let status = match index {
                    0 => range(&store, index, at, 10, 0),
                    1 => range(&store, index, block, 10, NIXL_STORE_ITEM_FRONT),
                    2 => front(&store, index),
                    _ => store.get(&key(index), &mut vec![0; LENGTH]).0,
                };
                assert_eq!(status, NOT_FOUND, "{what}");
                assert_eq!(store.contains(&key(index)), NOT_FOUND, "{what}");
            }
            for index in 4..6 {
                assert!(!right_or_absent(&store, index, LENGTH, &name));
            }
            for index in 6..12 {
                assert!(right_or_absent(&store, index, LENGTH, &name), "{name}: object {index}");
                assert_eq!((front(&store, index), range(&store, index, 70_000, 60_000, 0)), (OK, OK));
            }
            let stats = store.stats();
            assert_eq!((stats.corruptions, stats.quarantined_slots, stats.keys), (6, 6, 6), "{name}");
            assert_eq!(store.logged("treated as not found"), 6, "{name}");
            assert_eq!(store.close(), OK);
            let store = reopen(&setup, &scratch, as_after_a_crash);
            for index in 0..12 {
                assert!(
                    !right_or_absent(&store, index, LENGTH, &name),
                    "{name}: object {index} is proven by nothing"
                );
            }
            assert_goes_on(&store, LENGTH, &name);
            assert_eq!(store.close(), OK);
        }
    }
}

/// The next open reads a record's trailer once, with whatever get comes first, be it of a part. From then on it is not needed.
#[test]
fn a_trailer_is_read_once_after_an_open() {
    for (name, setup) in pools() {
        for as_after_a_crash in [false, true] {
            let scratch = Scratch::new(name);
            let store = Store::open(setup, &scratch);
            put_objects(&store, 6, LENGTH);
            let records: Vec<_> = (0..6).map(|index| Pool::of(&scratch).find(&key(index))).collect();
            assert_eq!(store.close(), OK);
            let store = reopen(setup, &scratch, as_after_a_crash);
            assert!(right_or_absent(&store, 0, LENGTH, &name));
            assert_eq!(range(&store, 1, 10, 10, 0), OK);
            assert_eq!(front(&store, 2), OK);
            assert_eq!(range(&store, 3, 140_000, 10, NIXL_STORE_ITEM_FRONT), OK);
            records.iter().for_each(erase_trailer);
            for index in 0..6 {
                let found = right_or_absent(&store, index, LENGTH, &name);
                assert_eq!(found, index < 4, "{name}: object {index}");
                let status = range(&store, index, 140_000, 10, NIXL_STORE_ITEM_FRONT);
                assert_eq!(status, if found { OK } else { NOT_FOUND }, "{name}: object {index}");
            }
            format::flip(&records[1].path, records[1].payload_offset + 2 * BLOCK, 1);
            assert_eq!(range(&store, 1, 10, 10, 0), OK);
            assert!(!right_or_absent(&store, 1, LENGTH, &name), "{name}: the block that was not read before");
            assert_eq!(store.stats().corruptions, 3, "{name}");
        }
    }
}

/// The same by what the device is asked for. The first get of a part is two reads, the trailer is one of them; then each is one. With
/// the setting at 0 each is two.
#[cfg(feature = "fault-injection")]
#[test]
fn the_reads_of_a_get_are_those_of_its_payload() {
    use crate::common::status::IO;
    for (name, setup) in pools() {
        for (sums_bytes, expected) in
            [(None, [OK, OK, IO]), (Some(ROW_BYTES), [OK, OK, IO]), (Some(0), [OK, IO, OK])]
        {
            let scratch = Scratch::new(name);
            let store = Store::open(setup, &scratch);
            put_objects(&store, 1, LENGTH);
            assert_eq!(store.close(), OK);
            let setup = Setup { fault: "eio_read:4", sums_bytes, ..setup.clone() };
            let store = Store::open(&setup, &scratch);
            for (nth, expected) in expected.into_iter().enumerate() {
                assert_eq!(range(&store, 0, 10, 10, 0), expected, "{name}, {sums_bytes:?}: get {nth}");
            }
            assert_eq!(store.stats().corruptions, 0, "{name}");
        }
    }
}

/// Memory for some of the slots: those have their sums, and the others read trailers.
#[test]
fn where_memory_is_short_the_first_slots_have_sums() {
    const SLOTS: u32 = 16;
    for (name, setup) in pools() {
        for rows in [0, 1, 5, 15, 16, 17] {
            let scratch = Scratch::new(name);
            let sums_bytes = Some(rows * ROW_BYTES + (ROW_BYTES - 1));
            let store = Store::open(&Setup { slots: SLOTS, sums_bytes, ..setup.clone() }, &scratch);
            put_objects(&store, SLOTS as usize, LENGTH);
            let records = Pool::of(&scratch).records();
            assert_eq!(records.len(), SLOTS as usize);
            records.iter().for_each(flip_a_sum);
            for record in &records {
                let index = std::str::from_utf8(&record.key[5..]).unwrap().parse().unwrap();
                let found = right_or_absent(&store, index, LENGTH, &name);
                assert_eq!(found, record.slot < rows, "{name}: slot {} with room for {rows}", record.slot);
            }
            let told = store.logged("fit nixl_store_index_sums_bytes");
            assert_eq!(told, usize::from((1..16).contains(&rows)), "{name}, {rows}");
        }
    }
}

/// Slots change hands, by eviction, replacement and removal: what is in one is proven by its own sums, and has them from the put on.
#[test]
fn a_slot_that_changes_hands_has_the_sums_of_what_it_holds() {
    for (name, setup) in pools() {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { slots: 3, ..setup.clone() }, &scratch);
        for round in 0..12 {
            match round % 3 {
                // Evicts, once the pool is full.
                0 => put_objects(&store, 3 + round, LENGTH),
                1 => assert_eq!(store.put(&key(0), &payload(0, LENGTH)), OK),
                _ => {
                    assert_eq!(store.remove(&key(0)), OK);
                    assert_eq!(store.put(&key(0), &payload(0, LENGTH)), OK);
                }
            }
            let records = Pool::of(&scratch).records();
            let indices: Vec<usize> = records
                .iter()
                .map(|record| std::str::from_utf8(&record.key[5..]).unwrap().parse().unwrap())
                .collect();
            records.iter().for_each(flip_a_sum);
            for index in indices {
                assert!(
                    right_or_absent(&store, index, LENGTH, &name),
                    "{name}, round {round}: object {index}"
                );
            }
            // Back again, so that the records can be told by others.
            records.iter().for_each(flip_a_sum);
        }
        assert_eq!(store.stats().corruptions, 0, "{name}");
    }
}
