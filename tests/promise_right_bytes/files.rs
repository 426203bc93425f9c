//! Files cut, emptied, removed, swapped, and pasted over.

use std::collections::BTreeMap;
use std::fs;

use crate::common::format::{self, Pool, Record, field};
use crate::common::status::{NOT_FOUND, OK};
use crate::common::{Scratch, Setup, Store};
use crate::{assert_goes_on, dynamic, key, pools, put_objects, reopen, right_or_absent};

const LENGTH: usize = 70_000;
const SLOTS: u32 = 24;

/// The records of a pool by the number of their key.
fn records(scratch: &Scratch) -> BTreeMap<usize, Record> {
    let number = |record: &Record| std::str::from_utf8(&record.key[5..]).unwrap().parse().unwrap();
    Pool::of(scratch).records().into_iter().map(|record| (number(&record), record)).collect()
}

/// Lengths to which a file of records of this length is cut, from long to short: inside trailer and payload, at their
/// ends, and to nothing.
fn cuts(record_bytes: u64) -> Vec<u64> {
    let mut lengths = vec![record_bytes - 1, record_bytes - 4095, record_bytes - 4096, record_bytes - 4097];
    lengths.extend([record_bytes / 2, 65_537, 65_536, 4097, 4096, 4095, 512, 1, 0]);
    lengths
}

/// A slot file is cut shorter and shorter under the open store. What was cut off is missed, what is left is right, the
/// other files are as they were, and what is put afterwards is kept.
#[test]
fn a_pool_file_cut_while_open_costs_what_was_cut() {
    for (name, setup) in pools() {
        let scratch = Scratch::new(name);
        // Else a record of which only the trailer is cut off is still found.
        let store = Store::open(&Setup { slots: SLOTS, sums_bytes: Some(0), ..setup.clone() }, &scratch);
        put_objects(&store, SLOTS as usize, LENGTH);
        let (pool, records) = (Pool::of(&scratch), records(&scratch));
        let path = &pool.files()[2];
        assert_eq!(records.values().filter(|record| record.path == *path).count(), 3);
        let slot = pool.slot_bytes;
        let inside = cuts(slot).into_iter();
        let lengths = inside.clone().map(|cut| 2 * slot + cut).chain(inside.clone().map(|cut| slot + cut));
        for length in lengths.chain(inside) {
            // The store writes a tombstone for what it misses, which makes the file longer again.
            format::truncate(path, length);
            let what = format!("{name}: cut to {length}");
            for (index, record) in &records {
                let is_whole = record.path != *path || record.end() <= length;
                assert_eq!(
                    right_or_absent(&store, *index, LENGTH, &what),
                    is_whole,
                    "{what}: object {index}"
                );
            }
        }
        let stats = store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots, stats.keys), (3, 3, u64::from(SLOTS) - 3));
        assert_goes_on(&store, LENGTH, name);
        assert_eq!(store.close(), OK);
    }
}

/// The same between a close and the next open, which makes the file whole again; also for files that are emptied,
/// longer than they should be, or gone.
#[test]
fn a_pool_file_cut_while_closed_costs_what_was_cut() {
    for as_after_a_crash in [false, true] {
        let scratch = Scratch::new("cut-closed");
        let setup = Setup { slots: SLOTS, chunk_bytes: 80_000, ..Setup::POOL };
        let mut store = Store::open(&setup, &scratch);
        let slot = Pool::of(&scratch).slot_bytes;
        let mut lengths = vec![Some(3 * slot + 4096), Some(3 * slot + 1), Some(2 * slot)];
        lengths.extend(cuts(slot).into_iter().map(|cut| Some(slot + cut)));
        lengths.push(None);
        for length in lengths {
            put_objects(&store, SLOTS as usize, LENGTH);
            let (pool, records) = (Pool::of(&scratch), records(&scratch));
            assert_eq!((records.len(), store.close()), (SLOTS as usize, OK));
            let path = &pool.files()[5];
            match length {
                Some(length) => format::truncate(path, length),
                None => fs::remove_file(path).unwrap(),
            }
            let what = format!("cut to {length:?}, crash: {as_after_a_crash}");
            store = reopen(&setup, &scratch, as_after_a_crash);
            for (index, record) in &records {
                // The zeros at a trailer's end come back when the file is made as long as before.
                let end = record.trailer_offset + (field::BLOCK_CHECKSUMS + 2 * 8) as u64;
                let is_whole = record.path != *path || length.is_some_and(|length| end <= length);
                assert_eq!(
                    right_or_absent(&store, *index, LENGTH, &what),
                    is_whole,
                    "{what}: object {index}"
                );
            }
            let lost = SLOTS as u64 - store.stats().keys;
            assert_eq!(store.stats().slots_free, lost, "{what}: what was cut off is room again");
            assert!(fs::metadata(path).unwrap().len() >= 3 * slot, "{what}");
            assert_goes_on(&store, LENGTH, &what);
        }
    }
}

/// Two slot files change places. Every record in them is whole and has its checksums right, but lies in the wrong slot:
/// none is served, whichever way the index came back.
#[test]
fn swapped_pool_files_serve_nothing_of_each_other() {
    for as_after_a_crash in [false, true] {
        let scratch = Scratch::new("swapped");
        let setup = Setup { slots: SLOTS, chunk_bytes: 80_000, ..Setup::POOL };
        let store = Store::open(&setup, &scratch);
        put_objects(&store, SLOTS as usize, LENGTH);
        let (pool, records) = (Pool::of(&scratch), records(&scratch));
        assert_eq!(store.close(), OK);
        let swapped = [pool.files()[0].clone(), pool.files()[7].clone()];
        let aside = scratch.path().join("aside");
        fs::rename(&swapped[0], &aside).unwrap();
        fs::rename(&swapped[1], &swapped[0]).unwrap();
        fs::rename(&aside, &swapped[1]).unwrap();
        let store = reopen(&setup, &scratch, as_after_a_crash);
        for (index, record) in &records {
            let found = right_or_absent(&store, *index, LENGTH, &"swapped");
            assert_eq!(found, !swapped.contains(&record.path), "object {index}, crash: {as_after_a_crash}");
        }
        assert_goes_on(&store, LENGTH, &"swapped");
        assert_eq!(store.close(), OK);
    }
}

/// Files swapped, removed or replaced under an open store change nothing at all: it has its own open.
#[test]
fn a_pool_does_not_look_for_its_files_again() {
    let scratch = Scratch::new("renamed");
    let setup = Setup { slots: SLOTS, chunk_bytes: 80_000, ..Setup::POOL };
    let store = Store::open(&setup, &scratch);
    put_objects(&store, 20, LENGTH);
    let files = Pool::of(&scratch).files();
    fs::rename(&files[0], scratch.path().join("aside")).unwrap();
    fs::rename(&files[1], &files[0]).unwrap();
    fs::remove_file(&files[2]).unwrap();
    fs::write(&files[2], vec![0x55; 1 << 20]).unwrap();
    for index in 0..20 {
        assert!(right_or_absent(&store, index, LENGTH, &"renamed"), "object {index}");
    }
    put_objects(&store, 24, LENGTH);
    assert_eq!((store.stats().corruptions, store.stats().keys), (0, 24));
}

/// The bytes of one slot are pasted over another: the record is whole, with every checksum right, but is another key's
/// and another place's. The key that lived there is missed, the one that was copied still found.
#[test]
fn a_record_pasted_over_another_is_not_served() {
    for stage in ["open", "closed", "crashed"] {
        let scratch = Scratch::new("pasted");
        let setup = Setup { slots: SLOTS, chunk_bytes: 80_000, ..Setup::POOL };
        let mut store = Store::open(&setup, &scratch);
        put_objects(&store, SLOTS as usize, LENGTH);
        let records = records(&scratch);
        let pool = Pool::of(&scratch);
        if stage != "open" {
            assert_eq!(store.close(), OK);
        }
        let paste = |from: usize, to: usize| {
            let (path, offset) = pool.place(records[&from].slot as u32);
            let bytes = format::read(&path, offset, pool.slot_bytes as usize);
            let (path, offset) = pool.place(records[&to].slot as u32);
            format::write(&path, offset, &bytes);
        };
        paste(1, 2);
        paste(9, 3);
        paste(2, 4); // A copy of the copy.
        if stage != "open" {
            store = reopen(&setup, &scratch, stage == "crashed");
        }
        for index in 0..SLOTS as usize {
            let found = right_or_absent(&store, index, LENGTH, &stage);
            assert_eq!(found, !(2..=4).contains(&index), "{stage}: object {index}");
        }
        let met = if stage == "crashed" { 0 } else { 3 };
        assert_eq!(store.stats().corruptions, met, "{stage}");
        assert_goes_on(&store, LENGTH, &stage);
    }
}

/// A slot gets back what it held two puts ago: the right key in the right slot, with every checksum right, and out of
/// date. Restored from some backup, it is not the latest put's bytes and is missed.
#[test]
fn an_older_record_of_the_same_key_is_not_served() {
    for stage in ["open", "closed"] {
        let scratch = Scratch::new("outdated");
        let setup = Setup { slots: 2, chunk_bytes: 80_000, ..Setup::POOL };
        let mut store = Store::open(&setup, &scratch);
        let whole = |scratch: &Scratch, slot: u64| {
            let pool = Pool::of(scratch);
            let (path, offset) = pool.place(slot as u32);
            (path.clone(), offset, format::read(&path, offset, pool.slot_bytes as usize))
        };
        // With two slots, every second put of a key lands in the same one.
        assert_eq!(store.put(&key(0), &[1; LENGTH]), OK);
        let first = Pool::of(&scratch).find(&key(0));
        let (path, offset, old) = whole(&scratch, first.slot);
        assert_eq!((store.put(&key(0), &[2; LENGTH]), store.put(&key(0), &[3; LENGTH])), (OK, OK));
        let last = Pool::of(&scratch).find(&key(0));
        assert!(last.slot == first.slot && last.generation > first.generation);
        if stage == "closed" {
            assert_eq!(store.close(), OK);
        }
        format::write(&path, offset, &old);
        if stage == "closed" {
            store = reopen(&setup, &scratch, false);
        }
        assert_eq!(store.get(&key(0), &mut vec![0; LENGTH]), (NOT_FOUND, None), "{stage}");
        assert_eq!(store.stats().corruptions, 1, "{stage}");
        assert_eq!(store.put(&key(0), &[4; LENGTH]), OK);
        assert_eq!(store.fetch(&key(0), LENGTH), Some(vec![4; LENGTH]));
    }
}

/// After a crash a slot that had been given up turns up again with an old record of a key that was put since. The newer
/// put wins, now and after the next crash.
#[test]
fn the_newest_record_wins_after_a_crash() {
    let scratch = Scratch::new("newest");
    let setup = Setup { slots: 4, chunk_bytes: 80_000, ..Setup::POOL };
    let store = Store::open(&setup, &scratch);
    assert_eq!(store.put(&key(0), &[1; LENGTH]), OK);
    let old = Pool::of(&scratch).find(&key(0));
    let length = (old.end() - old.payload_offset) as usize;
    let bytes = format::read(&old.path, old.payload_offset, length);
    assert_eq!(store.put(&key(0), &[2; LENGTH]), OK);
    assert_eq!(store.close(), OK);
    assert!(Pool::of(&scratch).find(&key(0)).slot != old.slot);
    format::write(&old.path, old.payload_offset, &bytes);
    for _ in 0..2 {
        let store = reopen(&setup, &scratch, true);
        assert_eq!(store.fetch(&key(0), LENGTH), Some(vec![2; LENGTH]));
        assert_eq!((store.stats().keys, store.stats().corruptions), (1, 0));
        assert_eq!(store.close(), OK);
        assert!(Pool::of(&scratch).find(&key(0)).slot != old.slot, "the older one is erased");
    }
}

/// An object's own file is cut, at every kind of place, while the store is open and while it is closed; so are files
/// that get longer, or get a few pages more that make their length that of another record.
#[test]
fn an_object_file_cut_or_extended_is_a_miss() {
    for (name, setup) in dynamic() {
        for is_open in [true, false] {
            let scratch = Scratch::new(name);
            let mut store = Store::open(setup, &scratch);
            put_objects(&store, 1, LENGTH);
            let record = format::object(&scratch, setup.layout, &key(0));
            let whole = record.end();
            let mut lengths = cuts(whole);
            lengths.extend([whole + 1, whole + 512, whole + 4096, whole + 65_536, 1 << 40]);
            put_objects(&store, lengths.len() + 1, LENGTH);
            if !is_open {
                assert_eq!(store.close(), OK);
            }
            for (index, length) in lengths.iter().enumerate() {
                let path = format::object_path(&scratch, setup.layout, &key(index));
                format::truncate(&path, *length);
            }
            if !is_open {
                store = Store::open(setup, &scratch);
            }
            for (index, length) in lengths.iter().enumerate() {
                let what = format!("{name}: {length} instead of {whole} bytes, open: {is_open}");
                assert!(!right_or_absent(&store, index, LENGTH, &what), "{what}");
                // Whatever stands there, the next put takes its place.
                put_objects(&store, index + 1, LENGTH);
                assert!(right_or_absent(&store, index, LENGTH, &what), "{what}: put again");
            }
            assert!(right_or_absent(&store, lengths.len(), LENGTH, &"a bystander"));
            if setup.layout == crate::Layout::Sharded {
                assert_eq!(store.stats().corruptions, lengths.len() as u64, "{name}, open: {is_open}");
            }
            assert_goes_on(&store, LENGTH, name);
        }
    }
}

/// One object's file takes another's place, moved, copied or linked. It is a whole record, of another key: not served,
/// whoever asks first.
#[test]
fn another_keys_file_is_not_served() {
    for (name, setup) in dynamic() {
        let scratch = Scratch::new(name);
        let store = Store::open(setup, &scratch);
        put_objects(&store, 8, LENGTH);
        let path = |index: usize| format::object_path(&scratch, setup.layout, &key(index));
        fs::rename(path(0), path(1)).unwrap();
        fs::copy(path(2), path(3)).unwrap();
        fs::remove_file(path(5)).unwrap();
        fs::hard_link(path(4), path(5)).unwrap();
        for (index, is_there) in
            [(1, false), (0, false), (3, false), (2, true), (5, false), (4, true), (6, true), (7, true)]
        {
            let found = right_or_absent(&store, index, LENGTH, name);
            assert_eq!(found, is_there, "{name}: object {index}");
            assert_eq!(store.contains(&key(index)), if is_there { OK } else { NOT_FOUND }, "{name}: {index}");
        }
        put_objects(&store, 8, LENGTH);
        for index in 0..8 {
            assert!(right_or_absent(&store, index, LENGTH, name), "{name}: object {index} put again");
        }
    }
}
