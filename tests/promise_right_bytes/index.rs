//! What a pool knows of itself, damaged: its snapshot and its manifest.

use std::fs;
use std::path::PathBuf;

use twox_hash::XxHash3_64;

use crate::common::format::{self, Pool};
use crate::common::status::{FORMAT, OK};
use crate::common::{Random, Scratch, Setup, Store};
use crate::{assert_goes_on, key, put_objects, right_or_absent};

const LENGTH: usize = 5000;
const SLOTS: u32 = 16;
const KEYS: usize = 12;
const SETUP: Setup = Setup { slots: SLOTS, chunk_bytes: 8192, ..Setup::POOL };

/// A closed pool of [`KEYS`] objects, and its snapshot.
struct Closed {
    scratch: Scratch,
    path: PathBuf,
    snapshot: Vec<u8>,
}

impl Closed {
    fn new() -> Closed {
        let scratch = Scratch::new("index");
        let store = Store::open(&SETUP, &scratch);
        put_objects(&store, KEYS, LENGTH);
        assert_eq!(store.close(), OK);
        let path = scratch.data().join("nixl_store_pool/snapshot");
        let snapshot = fs::read(&path).unwrap();
        Closed { scratch, path, snapshot }
    }

    /// Opens the pool with this as its snapshot; how many objects were found, all of them right.
    fn found_with(&self, snapshot: &[u8], what: &dyn std::fmt::Display) -> usize {
        fs::write(&self.path, snapshot).unwrap();
        let store = Store::open(&SETUP, &self.scratch);
        assert!(!self.path.exists(), "{what}: the snapshot stays while slots change");
        let found = (0..KEYS).filter(|&index| right_or_absent(&store, index, LENGTH, what)).count();
        assert_goes_on(&store, LENGTH, what);
        for index in 90_000..90_004 {
            assert_eq!(store.remove(&key(index)), OK, "{what}");
        }
        assert_eq!(store.close(), OK, "{what}");
        found
    }
}

/// Flips, cuts, tails and garbage: a snapshot that is not whole is not believed, and the slots are asked instead, which
/// have everything.
#[test]
fn a_damaged_snapshot_costs_a_scan_and_no_object() {
    let closed = Closed::new();
    let length = closed.snapshot.len();
    assert_eq!(length, 64 + KEYS * (32 + 10) + 16);
    // Every byte of the header, the first entries and the footer, and a sample between.
    let flips = (0..200).chain((200..length - 40).step_by(29)).chain(length - 40..length);
    for at in flips {
        let mut snapshot = closed.snapshot.clone();
        snapshot[at] ^= 1 << (at % 8);
        assert_eq!(closed.found_with(&snapshot, &format_args!("byte {at} flipped")), KEYS, "byte {at}");
    }
    for cut in [0, 1, 8, 63, 64, 65, 79, 80, 100, length / 2, length - 17, length - 16, length - 1] {
        let found = closed.found_with(&closed.snapshot[..cut], &format_args!("cut to {cut}"));
        assert_eq!(found, KEYS, "cut to {cut}");
    }
    let mut random = Random::new(5);
    for extra in [1, 16, 4096, 1 << 20] {
        let mut tail = vec![0; extra];
        random.fill(&mut tail);
        let longer = [&closed.snapshot[..], &tail].concat();
        assert_eq!(closed.found_with(&longer, &format_args!("{extra} bytes longer")), KEYS);
        assert_eq!(closed.found_with(&tail, &format_args!("{extra} bytes of garbage")), KEYS);
    }
}

/// Snapshots whose checksum is right and whose content is not. Lies that show are not believed; one that does not show
/// (a key in another key's slot) costs those keys when they are got, since each get proves its record.
#[test]
fn a_forged_snapshot_never_leads_to_wrong_bytes() {
    const ENTRY: usize = 64;
    const STEP: usize = 32 + 10;
    let closed = Closed::new();
    let set = |at: usize, value: &[u8]| {
        let value = value.to_vec();
        forged(&closed.snapshot, |snapshot| snapshot[at..at + value.len()].copy_from_slice(&value))
    };
    assert_eq!(
        closed.found_with(&forged(&closed.snapshot, |_| {}), &"the right snapshot sealed again"),
        KEYS
    );
    let count_at = closed.snapshot.len() - 16;
    let refused = [
        ("a slot past the last", set(ENTRY, &SLOTS.to_le_bytes())),
        ("a slot far past the last", set(ENTRY, &u32::MAX.to_le_bytes())),
        ("a slot twice", set(ENTRY, &closed.snapshot[ENTRY + STEP..ENTRY + STEP + 4])),
        ("a key twice", set(ENTRY + 32, &closed.snapshot[ENTRY + STEP + 32..ENTRY + 2 * STEP])),
        ("an empty key", set(ENTRY + 4, &1u32.to_le_bytes())),
        ("a key past the end", set(ENTRY + 4, &u32::MAX.to_le_bytes())),
        ("a key of 1281 bytes", set(ENTRY + 4, &1281u32.to_le_bytes())),
        ("a payload of nothing", set(ENTRY + 16, &0u64.to_le_bytes())),
        ("a payload of 2^64 - 1", set(ENTRY + 16, &u64::MAX.to_le_bytes())),
        ("a payload larger than a chunk", set(ENTRY + 16, &8193u64.to_le_bytes())),
        ("a generation from the future", set(ENTRY + 8, &(1u64 << 40).to_le_bytes())),
        ("a next generation past the end", set(32, &u64::MAX.to_le_bytes())),
        ("no next generation", set(32, &0u64.to_le_bytes())),
        ("another pool", set(16, &[9; 16])),
        ("another version", set(8, &2u32.to_le_bytes())),
        ("2^64 - 1 entries", set(count_at, &u64::MAX.to_le_bytes())),
        ("one entry too few", set(count_at, &(KEYS as u64 - 1).to_le_bytes())),
        ("a namespace longer than its key", set(ENTRY + 32, &[200])),
    ];
    for (lie, snapshot) in refused {
        assert_eq!(closed.found_with(&snapshot, &lie), KEYS, "{lie}");
    }
    let exchange = forged(&closed.snapshot, |snapshot| {
        let (one, other) = snapshot.split_at_mut(ENTRY + STEP);
        one[ENTRY..ENTRY + 4].swap_with_slice(&mut other[..4]);
    });
    // What these name exists, and only the gets tell that it is something else.
    let believed = [
        ("frequency", set(ENTRY + 24, &u32::MAX.to_le_bytes()), KEYS),
        ("two keys exchanged", exchange, KEYS - 2),
        ("another payload length", set(ENTRY + 16, &4000u64.to_le_bytes()), KEYS - 1),
        ("another generation", set(ENTRY + 8, &2u64.to_le_bytes()), KEYS - 1),
        ("an empty slot", set(ENTRY, &(SLOTS - 1).to_le_bytes()), KEYS - 1),
    ];
    for (lie, snapshot, wanted) in believed {
        let fresh = Closed::new();
        // The same content; only the pool's number differs.
        let own = forged(&snapshot, |snapshot| snapshot[16..32].copy_from_slice(&fresh.snapshot[16..32]));
        assert_eq!(fresh.found_with(&own, &lie), wanted, "{lie}");
    }
}

/// A snapshot with something changed and its checksum made right.
fn forged(snapshot: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut changed = snapshot[..snapshot.len() - 8].to_vec();
    change(&mut changed);
    let checksum = XxHash3_64::oneshot(&changed);
    [changed, checksum.to_le_bytes().to_vec()].concat()
}

/// A snapshot of long ago is put back, as a restored backup would. It names keys, slots and generations that are not any
/// more: what it says is proven by each get, and what is wrong is a miss.
#[test]
fn a_snapshot_of_long_ago_never_leads_to_wrong_bytes() {
    let closed = Closed::new();
    let store = Store::open(&SETUP, &closed.scratch);
    for index in 0..KEYS {
        // Twice, so that each lies in a slot that was another's.
        for _ in 0..2 {
            assert_eq!(store.put(&key(index), &crate::payload(index as u64, LENGTH)), OK);
        }
    }
    for index in 100..100 + KEYS {
        assert_eq!(store.put(&key(index), &crate::payload(index as u64, LENGTH)), OK);
    }
    assert_eq!(store.close(), OK);
    fs::write(&closed.path, &closed.snapshot).unwrap();
    let store = Store::open(&SETUP, &closed.scratch);
    for index in (0..KEYS).chain(100..100 + KEYS) {
        right_or_absent(&store, index, LENGTH, &"a snapshot of long ago");
    }
    put_objects(&store, KEYS, LENGTH);
    for index in 0..KEYS {
        right_or_absent(&store, index, LENGTH, &"put again");
    }
}

/// The manifest is the one thing that a pool cannot be read without. Any damage to it is refused with a message that
/// names it, and nothing is touched: with the right one back, everything is there.
#[test]
fn a_damaged_manifest_is_refused_and_nothing_touched() {
    let closed = Closed::new();
    let path = closed.scratch.data().join("nixl_store_pool/manifest");
    let manifest = fs::read(&path).unwrap();
    let pool = Pool::of(&closed.scratch);
    let hashes = || -> Vec<u64> {
        let files = pool.files().into_iter().chain([closed.path.clone()]);
        files.map(|path| format::file_hash(&path)).collect()
    };
    let before = hashes();
    let refused = |bytes: &[u8], what: &dyn std::fmt::Display| {
        fs::write(&path, bytes).unwrap();
        let (status, message) = Store::try_open(&SETUP, &closed.scratch).err().expect("refused");
        assert_eq!(status, FORMAT, "{what}: {message}");
        assert!(message.contains("nixl_store_pool"), "{what}: {message}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
    };
    for at in 0..manifest.len() {
        let mut damaged = manifest.clone();
        damaged[at] ^= 1 << (at % 8);
        refused(&damaged, &format_args!("byte {at} flipped"));
    }
    for cut in [0, 1, 8, 16, 255] {
        refused(&manifest[..cut], &format_args!("cut to {cut}"));
    }
    refused(&[&manifest[..], &[0]].concat(), &"one byte longer");
    for (at, value) in [
        (40, vec![0; 4]),
        (40, vec![0xff; 4]),
        (44, vec![0; 4]),
        (44, vec![0xff; 4]),
        (48, vec![0; 8]),
        (48, vec![0xff; 8]),
        (56, vec![0xff; 8]),
        (16, vec![2, 0, 0, 0]),
        (20, vec![2, 0, 0, 0]),
        (24, vec![0; 16]),
    ] {
        let mut forged = manifest.clone();
        forged[at..at + value.len()].copy_from_slice(&value);
        // The manifest is sealed as a trailer is.
        format::seal(&mut forged);
        refused(&forged, &format_args!("{value:?} at {at}"));
    }
    fs::remove_file(&path).unwrap();
    let (status, message) = Store::try_open(&SETUP, &closed.scratch).err().expect("refused");
    assert_eq!(status, FORMAT, "a pool that lost its manifest: {message}");
    assert_eq!(hashes(), before, "something was touched");
    fs::write(&path, manifest).unwrap();
    let store = Store::open(&SETUP, &closed.scratch);
    for index in 0..KEYS {
        assert!(right_or_absent(&store, index, LENGTH, &"with the manifest back"), "object {index}");
    }
}
