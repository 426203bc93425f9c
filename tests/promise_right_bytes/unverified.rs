//! Files that LMCache wrote, which carry no checksum: served only if the configuration says so, and counted apart.

use std::fs;

use crate::common::payload::assert_same;
use crate::common::status::{BUFFER_TOO_SMALL, NOT_FOUND, OK, OUT_OF_RANGE};
use crate::common::{Batch, Cut, Layout, Pieces, Scratch, Setup, Store, payload};

/// Of one byte, of pages, of a record's own length, and with ends of every kind.
const LENGTHS: &[usize] = &[1, 511, 4096, 5000, 8192, 65_536, 69_632, 200_001, 1 << 20, (1 << 20) + 4097];

const LMCACHE: Setup = Setup { layout: Layout::Lmcache, ..Setup::FILES };

fn setups() -> Vec<Setup> {
    let mut setups = vec![LMCACHE, Setup { direct_io: false, ..LMCACHE }];
    if cfg!(feature = "fault-injection") {
        setups.push(Setup { fault: "short:3,eintr:5,eagain:7", ..LMCACHE });
        setups.push(Setup { fault: "short:2,eintr:3", direct_io: false, ..LMCACHE });
    }
    setups
}

fn name(index: usize) -> Vec<u8> {
    format!("model-hash-{index}").into_bytes()
}

fn write_files(scratch: &Scratch) {
    fs::create_dir_all(scratch.data()).unwrap();
    for (index, length) in LENGTHS.iter().enumerate() {
        let path = scratch.data().join(std::str::from_utf8(&name(index)).unwrap());
        fs::write(path, payload(index as u64, *length)).unwrap();
    }
}

/// A Python LMCache and an engine share a directory, and the engine trusts it. Whole, in part, into memory of every
/// shape, too little or too much of it: what LMCache wrote is served as it is, to its last odd byte.
#[test]
fn what_lmcache_wrote_is_served_where_that_is_asked_for() {
    for setup in setups() {
        let scratch = Scratch::new("unverified");
        write_files(&scratch);
        let store = Store::open(&Setup { serve_unverified: true, ..setup.clone() }, &scratch);
        let mut served = 0;
        for (index, &length) in LENGTHS.iter().enumerate() {
            let (key, object) = (name(index), payload(index as u64, length));
            let what = format!("{length} bytes, direct: {}, {}", setup.direct_io, setup.fault);
            assert_eq!((store.contains(&key), store.length(&key)), (OK, (OK, length as u64)), "{what}");
            for (beyond, cut) in [
                (0, Cut::Whole { offset: 0 }),
                (0, Cut::Whole { offset: 3 }),
                (5000, Cut::Whole { offset: 0 }),
                (17, Cut::Ragged { pieces: 9, seed: 1 }),
                (0, Cut::Even { piece: 4096, gap: 4096, offset: 0 }),
            ] {
                let target = Pieces::new(length + beyond, cut);
                let mut gets = Batch::new();
                gets.pieces(&key, &target);
                let (status, results) = store.get_batch(&gets);
                assert_eq!((status, results[0].bytes), (OK, length as u64), "{what}, {cut:?}");
                target.assert_holds(&object, &what);
                served += 1;
            }
            for (offset, part) in
                [(0, 1), (length / 2, length - length / 2), (length - 1, 1), (length / 3, 1)]
            {
                let mut buffer = vec![0; part];
                let mut gets = Batch::new();
                gets.range(&key, offset as u64, &mut buffer);
                assert_eq!(store.get_batch(&gets).0, OK, "{what}: {part} from {offset}");
                drop(gets);
                assert_same(&buffer, &object[offset..offset + part], &what);
                served += 1;
            }
            let mut buffer = vec![0; length + 1];
            let mut gets = Batch::new();
            gets.range(&key, 0, &mut buffer);
            assert_eq!(store.get_batch(&gets).0, OUT_OF_RANGE, "{what}");
            drop(gets);
            if length > 1 {
                assert_eq!(
                    store.get(&key, &mut buffer[..length - 1]),
                    (BUFFER_TOO_SMALL, Some(length)),
                    "{what}"
                );
            }
        }
        let stats = store.stats();
        assert_eq!((stats.gets_unverified, stats.gets_hit, stats.corruptions), (served, served, 0));
        let gets = stats.gets_hit + stats.gets_failed;
        assert!(!setup.fault.is_empty() || stats.short_transfers <= 2 * gets, "{}", stats.short_transfers);
        assert_eq!(store.close(), OK);
    }
}

/// Without being asked to, the store serves nothing that it cannot prove, and does not touch it either.
#[test]
fn what_lmcache_wrote_is_not_there_where_it_is_not_asked_for() {
    for setup in setups() {
        let scratch = Scratch::new("unasked");
        write_files(&scratch);
        let store = Store::open(&setup, &scratch);
        for (index, length) in LENGTHS.iter().enumerate() {
            let key = name(index);
            assert_eq!((store.contains(&key), store.length(&key).0), (NOT_FOUND, NOT_FOUND), "{length}");
            assert_eq!(store.fetch(&key, 2 << 20), None, "{length}");
        }
        assert_eq!(store.clear(), 0, "nothing of these is the store's to clear");
        assert_eq!((store.stats().corruptions, store.stats().gets_unverified), (0, 0));
        assert_eq!(store.close(), OK);
        for (index, length) in LENGTHS.iter().enumerate() {
            let path = scratch.data().join(std::str::from_utf8(&name(index)).unwrap());
            assert!(fs::read(path).unwrap() == payload(index as u64, *length), "{length}");
        }
    }
}

/// What this store wrote itself has its checksum, and is held to it also where unproven files are served.
#[test]
fn the_stores_own_objects_are_verified_all_the_same() {
    let scratch = Scratch::new("mixed");
    let setup = Setup { serve_unverified: true, ..LMCACHE };
    let store = Store::open(&setup, &scratch);
    for index in 0..2 {
        assert_eq!(store.put(&name(index), &payload(index as u64, 70_000)), OK);
        let record = crate::common::format::object(&scratch, Layout::Lmcache, &name(index));
        let at = if index == 0 { record.payload_offset } else { record.trailer_offset + 100 };
        crate::common::format::flip(&record.path, at, 1);
        let (status, _) = store.get(&name(index), &mut vec![0; 1 << 20]);
        assert_eq!(status, NOT_FOUND, "object {index}");
    }
    assert_eq!((store.stats().corruptions, store.stats().gets_unverified), (2, 0));
}
