//! Records with every checksum right and everything else wrong, and random bytes of plausible size.
//!
//! A checksum proves no origin: whoever can write to the storage can compute it.

use std::fs;

use crate::common::format::{self, Pool, field, padded, trailer_bytes};
use crate::common::status::{NOT_FOUND, OK};
use crate::common::{Random, Scratch, Setup, Store};
use crate::{assert_goes_on, dynamic, key, pools, put_objects, reopen, right_or_absent, stores};

const LENGTH: usize = 70_000;

/// A field of a trailer and the value that it is forged to.
type Lie = (&'static str, usize, Vec<u8>);

fn lies() -> Vec<Lie> {
    let u32s = |name, at: usize, values: &[u32]| -> Vec<Lie> {
        values.iter().map(|value| (name, at, value.to_le_bytes().to_vec())).collect()
    };
    let u64s = |name, at: usize, values: &[u64]| -> Vec<Lie> {
        values.iter().map(|value| (name, at, value.to_le_bytes().to_vec())).collect()
    };
    let length = LENGTH as u64;
    let mut lies = u64s(
        "payload_bytes",
        field::PAYLOAD_BYTES,
        &[
            0,
            1,
            length - 1,
            length + 1,
            padded(length),
            padded(length) + 1,
            131_072,
            131_073,
            CHUNK + 1,
            1 << 32,
            1 << 48,
            i64::MAX as u64,
            u64::MAX - 4095,
            u64::MAX - 1,
            u64::MAX,
        ],
    );
    lies.extend(u32s("trailer_bytes", field::TRAILER_BYTES, &[0, 1, 4095, 8192, 1 << 31, u32::MAX]));
    lies.extend(u32s("format_version", field::FORMAT_VERSION, &[0, 2, u32::MAX]));
    lies.extend(u32s("checksum_block_bytes", field::BLOCK_BYTES, &[0, 1, 4096, 131_072, u32::MAX]));
    lies.extend(u32s("checksum_block_count", field::BLOCK_COUNT, &[0, 1, 3, 288, 289, u32::MAX]));
    lies.extend(u32s("key_bytes", field::KEY_BYTES, &[0, 1, 2, 9, 11, 1280, 1281, 1536, 1537, u32::MAX]));
    lies.extend(u32s("flags", field::FLAGS, &[1, 1 << 31]));
    lies.extend(u64s("slot", field::SLOT, &[0xffff_fffe, 1 << 32, 12_345]));
    lies.push(("pool_id", field::POOL_ID, vec![7; 16]));
    lies.push(("namespace", field::KEY, vec![3]));
    lies.push(("namespace", field::KEY, vec![255]));
    lies.push(("key", field::KEY + 1, b"other".to_vec()));
    lies.push(("block checksum", field::BLOCK_CHECKSUMS + 8, vec![0; 8]));
    lies.push(("magic", field::MAGIC, b"NXLSREC2".to_vec()));
    lies
}

const CHUNK: u64 = 80_000;

/// A trailer is decoded, and every number in it is checked against what must be before it is used: a length of 2^64 is
/// not allocated, a key of 2^32 bytes not read, another version not guessed at. The record is missed.
#[test]
fn a_forged_trailer_is_a_miss() {
    for (name, setup) in stores() {
        for stage in ["open", "closed", "crashed"] {
            let lies = lies();
            let scratch = Scratch::new(name);
            let slots = lies.len() as u32 + 8;
            let setup = Setup { slots, chunk_bytes: CHUNK, sums_bytes: Some(0), ..setup.clone() };
            let mut store = Store::open(&setup, &scratch);
            put_objects(&store, lies.len() + 1, LENGTH);
            let record = |index: usize| format::record_of(&scratch, setup.layout, &key(index));
            let records: Vec<_> = (0..lies.len()).map(record).collect();
            if stage != "open" {
                assert_eq!(store.close(), OK);
            }
            for ((_, at, value), record) in lies.iter().zip(&records) {
                record.forge(|trailer| trailer[*at..*at + value.len()].copy_from_slice(value));
            }
            if stage != "open" {
                store = reopen(&setup, &scratch, stage == "crashed");
            }
            for (index, (field, _, value)) in lies.iter().enumerate() {
                let what = format!("{name}, {stage}: {field} forged to {value:?}");
                // Room for whatever length the trailer claims and a slot or file could hold.
                let (status, _) = store.get(&key(index), &mut vec![0; 2 * CHUNK as usize]);
                assert_eq!(status, NOT_FOUND, "{what}");
            }
            assert!(right_or_absent(&store, lies.len(), LENGTH, &"a bystander"));
            assert_goes_on(&store, LENGTH, name);
            assert_eq!(store.close(), OK);
        }
    }
}

/// The generation of a record is forged, to the end of time or to before its beginning. The pool still opens, serves
/// what is right, and has generations left for what is put next, which no later scan
/// takes for damage.
#[test]
fn forged_generations_do_not_end_the_pool() {
    let bound = 1u64 << 63;
    let below = [bound - 1, bound - 2, bound - (1 << 40) - 1, (bound >> 1) + 1, bound >> 1, (bound >> 1) - 1];
    for generation in [u64::MAX, bound, 0].into_iter().chain(below) {
        let scratch = Scratch::new("generations");
        let setup = Setup { slots: 8, chunk_bytes: CHUNK, ..Setup::POOL };
        let store = Store::open(&setup, &scratch);
        put_objects(&store, 4, LENGTH);
        let record = Pool::of(&scratch).find(&key(1));
        assert_eq!(store.close(), OK);
        record.forge(|trailer| {
            trailer[field::GENERATION..field::GENERATION + 8].copy_from_slice(&generation.to_le_bytes());
        });
        for round in 0..4 {
            // Now from the snapshot, now by a scan.
            let store = reopen(&setup, &scratch, round != 2);
            let what = format!("generation {generation:#x}, round {round}");
            if round > 0 {
                let again = store.fetch(b"again", 100);
                assert_eq!(again, Some(vec![2; 100]), "{what}: the last put is forgotten");
            }
            for index in [0, 2, 3] {
                assert!(right_or_absent(&store, index, LENGTH, &what), "{what}: object {index}");
            }
            right_or_absent(&store, 1, LENGTH, &what);
            for version in 0..3u8 {
                assert_eq!(store.put(b"again", &[version; 100]), OK, "{what}");
                assert_eq!(store.fetch(b"again", 100), Some(vec![version; 100]), "{what}");
            }
            let closed = store.close();
            assert_eq!(closed, OK, "{what}: {}", crate::common::status::message());
        }
    }
}

/// Files of random bytes, zeros and half a record, of lengths that a record can have and of others, lie where objects
/// belong, from before the store was opened and since.
#[test]
fn garbage_is_a_miss() {
    let mut random = Random::new(0x6761_7262);
    for (name, setup) in dynamic() {
        for is_open in [true, false] {
            let scratch = Scratch::new(name);
            let mut store = Store::open(setup, &scratch);
            // Makes the shards' directories.
            put_objects(&store, 60, 100);
            put_objects(&store, 2, LENGTH);
            let sealed = fs::read(format::object_path(&scratch, setup.layout, &key(0))).unwrap();
            if !is_open {
                assert_eq!(store.close(), OK);
            }
            for index in 2..60 {
                let payload = [4096, 8192, 65_536, 131_072][index % 4];
                let length = (payload + trailer_bytes(payload)) as usize;
                let mut bytes = vec![0; length];
                match index % 5 {
                    0 => random.fill(&mut bytes),
                    1 => {
                        random.fill(&mut bytes);
                        bytes[payload as usize..payload as usize + 8].copy_from_slice(b"NXLSREC1");
                    }
                    2 => {}
                    3 => {
                        // The right magic and checksum over nothing.
                        bytes[payload as usize..payload as usize + 8].copy_from_slice(b"NXLSREC1");
                        format::seal(&mut bytes[payload as usize..]);
                    }
                    _ => {
                        bytes = vec![0x5a; random.between(1, 100_000)];
                    }
                }
                let path = format::object_path(&scratch, setup.layout, &key(index));
                fs::write(path, bytes).unwrap();
            }
            // Somebody else's record in its entirety, for a key that was never put.
            let path = format::object_path(&scratch, setup.layout, &key(60));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &sealed).unwrap();
            if !is_open {
                store = Store::open(setup, &scratch);
            }
            for index in 2..=60 {
                let what = format!("{name}: garbage {index}, open: {is_open}");
                assert!(!right_or_absent(&store, index, 100, &what), "{what}");
            }
            assert!(right_or_absent(&store, 1, LENGTH, &"a bystander"));
            assert_goes_on(&store, LENGTH, name);
        }
    }
}

/// Random bytes all over the slot files of a pool: nothing is found, nothing is wrong, and every slot that was not met
/// with a get can be used.
#[test]
fn a_pool_full_of_garbage_is_an_empty_pool() {
    for (name, setup) in pools() {
        for stage in ["open", "closed", "crashed"] {
            let scratch = Scratch::new(name);
            let setup = Setup { slots: 16, chunk_bytes: CHUNK, ..setup.clone() };
            let mut store = Store::open(&setup, &scratch);
            put_objects(&store, 8, LENGTH);
            if stage != "open" {
                assert_eq!(store.close(), OK);
            }
            let mut random = Random::new(16);
            for path in Pool::of(&scratch).files() {
                let mut bytes = vec![0; fs::metadata(&path).unwrap().len() as usize];
                random.fill(&mut bytes);
                format::write(&path, 0, &bytes);
            }
            if stage != "open" {
                store = reopen(&setup, &scratch, stage == "crashed");
            }
            for index in 0..8 {
                assert!(!right_or_absent(&store, index, LENGTH, &name), "{name}, {stage}: object {index}");
            }
            let stats = store.stats();
            assert_eq!(stats.keys + stats.slots_free + stats.quarantined_slots, 16, "{name}, {stage}");
            put_objects(&store, 8, LENGTH);
            for index in 0..8 {
                assert!(right_or_absent(&store, index, LENGTH, &name), "{name}, {stage}: put again {index}");
            }
        }
    }
}
