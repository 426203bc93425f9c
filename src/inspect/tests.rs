//! What is being written is told from what is damaged; who owns a pool is told without asking for its lock.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::batch::{Direction, Wish};
use crate::config::Source;
use crate::layout::record::{TRAILER_BYTES_MIN, padded};
use crate::memory::{AlignedBuffer, Stretch};
use crate::store::{Store, SubmitOptions};

/// A static pool of one slot, and who looks at it.
struct Pool {
    directory: PathBuf,
    config: Config,
    options: OpenOptions,
}

impl Pool {
    fn new() -> Pool {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("nixl-store-inspect-{}-{unique}", std::process::id()));
        let yaml = format!(
            "nixl_buffer_device: cpu\nnixl_buffer_size: 4194304\nextra_config:\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n  \
             nixl_pool_size: 1\n  nixl_path: {}\n  nixl_store_chunk_bytes: {CHUNK_BYTES}\n",
            directory.display()
        );
        let config = Config::load(Source::Text(yaml.as_bytes()), &|_| None).unwrap();
        let options = OpenOptions::of_one_worker(Logger::silent());
        Pool { directory, config, options }
    }

    /// Puts one object, closes, and leaves the pool as a crash would: without a snapshot.
    fn put(&self, key: &[u8]) {
        let store = Store::open(&self.config, &self.options).unwrap();
        let buffer = AlignedBuffer::new(CHUNK_BYTES).unwrap();
        let mut batch = store.batch(Direction::Put, 1).unwrap();
        batch.item(key, Wish::default()).unwrap();
        batch.stretch(Stretch::Host(buffer.host_slice(0, CHUNK_BYTES))).unwrap();
        let ticket = batch.submit(SubmitOptions::default()).unwrap();
        store.ticket_wait(ticket, None, &mut |_, result, _| assert_eq!(result.status, Status::Ok)).unwrap();
        store.close().unwrap();
        fs::remove_file(self.directory.join("nixl_store_pool/snapshot")).unwrap();
    }

    fn look(&self) -> Inspection {
        Inspection::open(&self.config, &self.options).unwrap()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let path = self.directory.join("nixl_store_pool/slots-000.bin");
        File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const CHUNK_BYTES: usize = 100_000;

fn only_entry(seen: &Inspection) -> Entry {
    let mut entries = Vec::new();
    seen.survey(&mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

fn suspect(seen: &Inspection, entry: &Entry, room: &mut Room) -> Suspect {
    match seen.look(entry, room) {
        Look::Suspect(suspect) => suspect,
        other => panic!("{other:?}"),
    }
}

/// Bytes that do not match are damage only if the very same trailer stands over them when they are looked at again.
#[test]
fn what_changes_between_two_looks_is_not_damaged() {
    let (pool, mut room) = (Pool::new(), Room::default());
    pool.put(b"first");
    let seen = pool.look();
    let entry = only_entry(&seen);
    assert!(matches!(seen.look(&entry, &mut room), Look::Proven(_)));
    // Half a put: its payload has begun to overwrite the record before it.
    pool.write(500, b"second");
    let torn = suspect(&seen, &entry, &mut room);
    assert!(torn.damage.contains("block 1 of 2"), "{}", torn.damage);
    assert!(matches!(seen.settle(torn.clone(), &mut room), Verdict::Damaged(_)), "nobody went on with it");
    // Its trailer is there, and more of another put's payload.
    pool.put(b"second");
    pool.write(500, b"third");
    assert_eq!(seen.settle(torn.clone(), &mut room), Verdict::InFlux);
    // It is whole.
    pool.put(b"third");
    match seen.settle(torn.clone(), &mut room) {
        Verdict::Proven(record) => assert_eq!(&*record.key, b"\0third"),
        other => panic!("{other:?}"),
    }
    // It was removed.
    pool.write(padded(CHUNK_BYTES as u64).unwrap(), &[0; TRAILER_BYTES_MIN as usize]);
    assert_eq!(seen.settle(torn, &mut room), Verdict::Gone);
}

/// A snapshot counts only while it is there: an owner that opened the pool since may have changed every slot.
#[test]
fn a_snapshot_that_is_gone_accuses_nobody() {
    let (pool, mut room) = (Pool::new(), Room::default());
    pool.put(b"first");
    let snapshot = pool.directory.join("nixl_store_pool/snapshot");
    drop(Store::open(&pool.config, &pool.options).unwrap());
    assert!(snapshot.exists());
    let seen = pool.look();
    let entry = only_entry(&seen);
    pool.write(padded(CHUNK_BYTES as u64).unwrap(), &[0; TRAILER_BYTES_MIN as usize]);
    let torn = suspect(&seen, &entry, &mut room);
    assert!(matches!(seen.settle(torn.clone(), &mut room), Verdict::Damaged(_)));
    fs::remove_file(snapshot).unwrap();
    assert_eq!(seen.settle(torn, &mut room), Verdict::Gone);
    pool.put(b"second");
    assert!(matches!(seen.look(&entry, &mut room), Look::Proven(_)));
}

/// The owner is told while it has the pool, and its lock was never asked for.
#[test]
fn an_owner_is_seen_without_its_lock() {
    let pool = Pool::new();
    pool.put(b"key");
    assert_eq!(pool.look().facts().owner, Some(Ownership::Free));
    let store = Store::open(&pool.config, &pool.options).unwrap();
    match &pool.look().facts().owner {
        Some(Ownership::Held { by }) => assert!(by.starts_with(&format!("process {}", std::process::id()))),
        other => panic!("{other:?}"),
    }
    store.close().unwrap();
    assert_eq!(pool.look().facts().owner, Some(Ownership::Free));
}
