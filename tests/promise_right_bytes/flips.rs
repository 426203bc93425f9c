//! Bytes flipped anywhere.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::common::format::{self, BLOCK, Pool, Record, field};
use crate::common::status::{NOT_FOUND, OK};
use crate::common::{Layout, Scratch, Setup, Store, payload};
use crate::{assert_goes_on, key, put_objects, reopen, right_or_absent, stores};

/// Offsets in a record, from the start of its payload, that stand for every region and field.
fn offsets(record: &Record) -> Vec<u64> {
    let trailer = record.trailer_offset - record.payload_offset;
    let end = record.payload_bytes;
    let mut offsets = vec![0, 1, 4095, 4096, end / 2, end - 1, end, end + 1, trailer - 1];
    for block in 1..=end / BLOCK {
        offsets.extend([block * BLOCK - 1, block * BLOCK, block * BLOCK + 77]);
    }
    let fields = [
        field::MAGIC,
        field::MAGIC + 7,
        field::CHECKSUM,
        field::CHECKSUM + 7,
        field::FORMAT_VERSION,
        field::TRAILER_BYTES,
        field::TRAILER_BYTES + 3,
        field::POOL_ID,
        field::POOL_ID + 15,
        field::SLOT,
        field::SLOT + 7,
        field::GENERATION,
        field::GENERATION + 7,
        field::PAYLOAD_BYTES,
        field::PAYLOAD_BYTES + 1,
        field::PAYLOAD_BYTES + 7,
        field::BLOCK_BYTES,
        field::BLOCK_COUNT,
        field::KEY_BYTES,
        field::KEY_BYTES + 3,
        field::FLAGS,
        field::RESERVED,
        field::KEY - 1,
        field::KEY,
        field::KEY + 5,
        field::KEY + 1300,
        field::BLOCK_CHECKSUMS - 1,
        field::BLOCK_CHECKSUMS,
        field::BLOCK_CHECKSUMS + 8,
        field::BLOCK_CHECKSUMS + 31,
        field::BLOCK_CHECKSUMS + 32,
        record.trailer_bytes as usize - 1,
    ];
    offsets.extend(fields.map(|field| trailer + field as u64));
    offsets
}

/// The bits that are turned over in the n-th place.
fn mask(nth: usize) -> u8 {
    [0x01, 0x80, 0xff, 0x10][nth % 4]
}

/// One object for each of the sampled places is put, then damaged there, in the open store, after a clean close and
/// after a crash. Each get finds the right bytes or nothing; damage to payload or trailer is never served; each damaged
/// record that was met is counted, and taken out of use; the others are all there.
#[test]
fn a_flipped_byte_is_a_miss_and_never_wrong_bytes() {
    const LENGTH: usize = 198_000;
    for (name, setup) in stores() {
        for stage in ["open", "closed", "crashed"] {
            let what = format!("{name}, damaged while {stage}");
            let scratch = Scratch::new(name);
            // Of a get that goes by a record's trailer.
            let setup = Setup { slots: 80, sums_bytes: Some(0), ..setup.clone() };
            let mut store = Store::open(&setup, &scratch);
            put_objects(&store, 1, LENGTH);
            let count = offsets(&format::record_of(&scratch, setup.layout, &key(0))).len();
            put_objects(&store, count + 2, LENGTH);
            if stage != "open" {
                assert_eq!(store.close(), OK);
            }
            let records: Vec<_> = if setup.is_static() {
                let all = Pool::of(&scratch).records();
                let mut by_key: BTreeMap<_, _> = all.into_iter().map(|r| (r.key.clone(), r)).collect();
                (0..count).map(|index| by_key.remove(&format::effective(&key(index))).unwrap()).collect()
            } else {
                (0..count).map(|index| format::object(&scratch, setup.layout, &key(index))).collect()
            };
            for (index, record) in records.iter().enumerate() {
                let at = record.payload_offset + offsets(record)[index];
                format::flip(&record.path, at, mask(index));
            }
            if stage != "open" {
                store = reopen(&setup, &scratch, stage == "crashed");
            }
            let before = store.stats();
            assert_eq!((before.corruptions, before.quarantined_slots), (0, 0), "{what}");
            let mut missed = 0;
            for (index, record) in records.iter().enumerate() {
                let offset = offsets(record)[index];
                let place = format!("{what}: byte {offset} of the record");
                let found = right_or_absent(&store, index, LENGTH, &place);
                let is_padding =
                    (record.payload_bytes..record.trailer_offset - record.payload_offset).contains(&offset);
                assert!(!found || is_padding, "{place} is proven by nothing");
                assert_eq!(store.get(&key(index), &mut vec![0; LENGTH]).0 == OK, found, "{place}");
                missed += u64::from(!found);
            }
            for index in [count, count + 1] {
                assert!(right_or_absent(&store, index, LENGTH, &what), "{what}: a bystander");
            }
            let stats = store.stats();
            assert!(missed as usize >= count - 4, "{what}: {missed} of {count}");
            if stage == "crashed" && setup.is_static() {
                // The scan passed over damaged trailers; only damaged payload was left to be met.
                assert!(0 < stats.corruptions && stats.corruptions < missed, "{what}");
            } else if setup.layout == Layout::Lmcache {
                // Without its magic a file may be anybody's, and is left alone.
                assert_eq!(stats.corruptions, missed - 2, "{what}");
            } else {
                assert_eq!(stats.corruptions, missed, "{what}");
            }
            assert_eq!(store.logged("treated as not found") as u64, stats.corruptions, "{what}");
            if setup.is_static() {
                assert_eq!(stats.quarantined_slots, stats.corruptions, "{what}");
                let in_use = stats.keys + stats.slots_free + stats.quarantined_slots;
                assert_eq!(in_use, stats.slots, "{what}: a slot is lost or counted twice");
            }
            assert_goes_on(&store, LENGTH, &what);
            assert_eq!(store.close(), OK);
        }
    }
}

/// Not sampled but all: every single byte of a record, payload, padding and trailer, is flipped in a slot of its own.
#[test]
fn every_byte_of_a_record_is_proven() {
    const LENGTH: usize = 4000;
    const RECORD_BYTES: usize = 4096 + 4096;
    let scratch = Scratch::new("every-byte");
    let setup =
        Setup { slots: RECORD_BYTES as u32 + 8, chunk_bytes: 4096, sums_bytes: Some(0), ..Setup::POOL };
    let store = Store::open(&setup, &scratch);
    put_objects(&store, RECORD_BYTES, LENGTH);
    let pool = Pool::of(&scratch);
    let files: BTreeMap<PathBuf, File> = pool
        .files()
        .into_iter()
        .map(|path| (path.clone(), OpenOptions::new().read(true).write(true).open(path).unwrap()))
        .collect();
    for record in pool.records() {
        let index: usize = std::str::from_utf8(&record.key[5..]).unwrap().parse().unwrap();
        let (file, at) = (&files[&record.path], record.payload_offset + index as u64);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (index % 8))], at).unwrap();
    }
    for index in 0..RECORD_BYTES {
        let found = right_or_absent(&store, index, LENGTH, &format_args!("byte {index}"));
        assert_eq!(found, (LENGTH..4096).contains(&index), "only the padding's byte {index} says nothing");
    }
    let stats = store.stats();
    assert_eq!(stats.corruptions, RECORD_BYTES as u64 - 96);
    assert_eq!(stats.quarantined_slots, stats.corruptions);
    assert_goes_on(&store, LENGTH, &"after all that");
}

/// A part of an object is proven by the checksums of the blocks that it touches: damage elsewhere may cost it nothing,
/// damage in its own blocks always does.
#[test]
fn a_range_is_proven_block_by_block() {
    const LENGTH: usize = 190_000;
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { slots: 40, ..setup.clone() }, &scratch);
        let ranges =
            [(0, 10), (65_535, 1), (65_536, 65_536), (70_000, 90_000), (131_072, 58_928), (189_999, 1)];
        put_objects(&store, 3 * ranges.len(), LENGTH);
        for (nth, (offset, length)) in ranges.into_iter().enumerate() {
            for block in 0..3u64 {
                let index = nth * 3 + block as usize;
                let record = format::record_of(&scratch, setup.layout, &key(index));
                format::flip(&record.path, record.payload_offset + block * BLOCK + 50, 0x04);
                let mut part = vec![0; length];
                let mut gets = crate::common::Batch::new();
                gets.range(&key(index), offset as u64, &mut part);
                let (status, _) = store.get_batch(&gets);
                drop(gets);
                let what = format!("{name}: {length} bytes from {offset}, damage in block {block}");
                let touched = (offset as u64 / BLOCK..=(offset + length - 1) as u64 / BLOCK).contains(&block);
                assert_eq!(status, if touched { NOT_FOUND } else { OK }, "{what}");
                if !touched {
                    let object = payload(index as u64, LENGTH);
                    assert!(part == object[offset..offset + length], "{what}");
                }
            }
        }
    }
}

/// A slot that once gave back other bytes than were put is not trusted again while the store is open: puts fill every
/// other slot and evict from them, and never this one. The next open gives it another chance, by snapshot or by scan.
#[test]
fn a_quarantined_slot_is_not_used_again() {
    const LENGTH: usize = 5000;
    let scratch = Scratch::new("quarantine");
    let setup = Setup { slots: 8, chunk_bytes: 8192, ..Setup::POOL };
    let mut store = Store::open(&setup, &scratch);
    put_objects(&store, 8, LENGTH);
    let bad = Pool::of(&scratch).find(&key(3));
    format::flip(&bad.path, bad.payload_offset + 10, 0xff);
    assert!(!right_or_absent(&store, 3, LENGTH, &"the damaged object"));
    assert_eq!(store.contains(&key(3)), NOT_FOUND);
    let stats = store.stats();
    assert_eq!((stats.keys, stats.slots_free, stats.quarantined_slots), (7, 0, 1));
    for round in 0..3 {
        put_objects(&store, 30, LENGTH);
        assert_eq!(store.stats().keys, 7, "round {round}");
        let slots: Vec<_> = Pool::of(&scratch).records().iter().map(|record| record.slot).collect();
        assert!(!slots.contains(&bad.slot), "round {round}: {slots:?}");
        assert_eq!(slots.len(), 7, "round {round}");
    }
    assert_eq!(store.clear(), 7);
    assert_eq!(store.stats().slots_free, 7);
    assert_eq!(store.close(), OK);
    store = Store::open(&setup, &scratch);
    let stats = store.stats();
    assert_eq!((stats.slots_free, stats.quarantined_slots), (8, 0));
    put_objects(&store, 8, LENGTH);
    assert_eq!(store.stats().keys, 8);
}
