//! The pool's promises, each on a real directory.

mod all_hosts;
mod creation;
mod damage;
mod habits;
mod late_writes;
mod ownership;
mod restart;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::steps::under_test::{Event, with};
use super::*;
use crate::layout::record::{EffectiveKey, Identity, encode};
use crate::log::Level;
use crate::memory::AlignedBuffer;

const NAME: &str = "nixl_store_pool";

/// A directory that disappears with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nixl-store-pool-{}-{unique}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// The pool's own directory.
    fn pool(&self) -> PathBuf {
        self.0.join(NAME)
    }

    /// Whether the file system below can reserve space; a few cannot, and pools there are sparse.
    fn can_reserve(&self) -> bool {
        let path = self.0.join("reserve");
        let outcome = crate::sys::file::allocate(&fs::File::create(&path).unwrap(), 0, 4096);
        fs::remove_file(path).unwrap();
        outcome.is_ok()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.pool().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A logger that keeps what it is told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Log {
    fn logger(&self) -> Logger {
        let lines = self.0.clone();
        Logger::new(
            Arc::new(move |record| lines.lock().unwrap().push((record.level, record.message.to_owned()))),
            Some(Level::Debug),
        )
    }

    fn warnings(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(level, _)| *level <= Level::Warn).map(|(_, line)| line.clone()).collect()
    }
}

fn parameters() -> PoolParameters {
    PoolParameters {
        slot_count: 20,
        chunk_bytes: 100_000,
        chunk_size_tokens: 256,
        direct_io: false,
        habits: Habits::default(),
    }
}

fn open(scratch: &Scratch) -> (Pool, Recovered) {
    open_logged(scratch).0
}

fn open_logged(scratch: &Scratch) -> ((Pool, Recovered), Vec<String>) {
    let log = Log::default();
    let opened = Pool::open(&scratch.0, NAME, &parameters(), &log.logger()).unwrap();
    (opened, log.warnings())
}

/// The same with other parameters.
fn open_as(scratch: &Scratch, parameters: &PoolParameters) -> (Pool, Recovered) {
    Pool::open(&scratch.0, NAME, parameters, &Log::default().logger()).unwrap()
}

fn refusal(scratch: &Scratch, parameters: &PoolParameters) -> Error {
    Pool::open(&scratch.0, NAME, parameters, &Log::default().logger()).map(|_| ()).unwrap_err()
}

/// Puts a record as the store would: payload and trailer in one go, right-aligned.
fn put(pool: &Pool, slot: u32, generation: u64, key: &str, payload_bytes: u64) {
    let key = EffectiveKey::new(b"", key.as_bytes()).unwrap();
    let geometry = pool.geometry();
    let place = pool.place(slot);
    let start = geometry.payload_offset(place, payload_bytes).unwrap();
    let trailer_at = (geometry.trailer_offset(place) - start) as usize;
    let mut bytes = AlignedBuffer::new(trailer_at + geometry.trailer_bytes() as usize).unwrap();
    let (payload, trailer) = bytes.as_mut_slice().split_at_mut(trailer_at);
    payload[..payload_bytes as usize].fill(generation as u8);
    let sums: Vec<u64> = payload[..payload_bytes as usize]
        .chunks(record::CHECKSUM_BLOCK_BYTES)
        .map(twox_hash::XxHash3_64::oneshot)
        .collect();
    let identity =
        Identity { pool_id: pool.pool_id(), slot: slot.into(), generation, payload_bytes, key: key.bytes() };
    encode(trailer, &identity, &sums).unwrap();
    pool.files()[place.file_index as usize].write_all_at(bytes.as_slice(), start).unwrap();
}

fn effective(key: &str) -> Box<[u8]> {
    EffectiveKey::new(b"", key.as_bytes()).unwrap().bytes().into()
}

/// What a pool holds, as key, slot, generation and length.
type Held = Vec<(Box<[u8]>, u32, u64, u64)>;

fn held(recovered: &Recovered) -> Held {
    let mut list: Held = recovered
        .entries
        .iter()
        .map(|entry| {
            (recovered.keys.get(entry.key).into(), entry.slot, entry.generation, entry.payload_bytes)
        })
        .collect();
    list.sort();
    list
}

/// Puts ten keys of different lengths; what the next open has to find.
fn fill(pool: &Pool) -> Held {
    let mut list = Held::new();
    for n in 0..10u32 {
        let (slot, generation, payload_bytes) = ((n * 7) % 20, u64::from(n) + 1, 1 + u64::from(n) * 11_000);
        let key = format!("key {n}");
        put(pool, slot, generation, &key, payload_bytes);
        list.push((effective(&key), slot, generation, payload_bytes));
    }
    list.sort();
    list
}

fn snapshot(pool: &Pool, held: &Held) -> Result<()> {
    snapshot_with(pool, &[], held)
}

/// Makes the checksum of a snapshot right again.
fn seal(snapshot: &mut [u8]) {
    let body = snapshot.len() - 8;
    let sum = twox_hash::XxHash3_64::oneshot(&snapshot[..body]);
    snapshot[body..].copy_from_slice(&sum.to_le_bytes());
}

fn snapshot_with(pool: &Pool, out_of_use: &[OutOfUse], held: &Held) -> Result<()> {
    let mut entries = held.iter().map(|(key, slot, generation, payload_bytes)| SnapshotEntry {
        slot: *slot,
        generation: *generation,
        payload_bytes: *payload_bytes,
        frequency: slot + 1,
        key,
    });
    pool.write_snapshot(11, out_of_use, &mut entries)
}

/// Everything below a directory: names, modes, contents.
fn image(path: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        let contents = if metadata.is_dir() {
            found.extend(image(&path));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (metadata.mode(), contents));
    }
    found
}

/// The steps that `run` goes through, counted by letting it crash at each until it no longer does.
/// After each crash `check` sees what is left.
fn crash_at_every_step(mut run: impl FnMut(), mut check: impl FnMut(u32)) -> u32 {
    for at in 0.. {
        let survived = with(at, Event::Crash, &mut run).is_some();
        check(at);
        if survived {
            return at;
        }
        assert!(at < 1000, "it never ends");
    }
    unreachable!()
}
