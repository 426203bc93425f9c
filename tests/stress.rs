//! Everything at once, on few keys and few slots: threads put, get, cut, gather, remove, pin, cancel, register and
//! ask, while other threads do the same to the same keys. Every object that a get delivers is verified to its last
//! byte. It is run under AddressSanitizer too.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "common/mod.rs"]
mod common;
#[cfg(feature = "obj")]
mod s3_common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::payload::Random;
use common::status::{
    BUSY, CANCELLED, INVALID_HANDLE, IO, NOT_FOUND, OK, PINNED, POOL_FULL, Status, TIMED_OUT, message,
};
use common::{Batch, Layout, Scratch, Setup, Store, Submit, payload};

const KIB: usize = 1 << 10;
/// Keys that all threads share; more than there are slots.
const KEYS: usize = 40;
/// Slots, few enough that every put evicts.
const SLOTS: u32 = 24;
/// Largest object; several pieces long, so that larger ones take the way of many writes.
const CHUNK_BYTES: usize = 1200 * KIB;
/// Steps of each thread. Enough for each kind of step to meet each other kind.
const STEPS: usize = 120;
const THREADS: u64 = 6;

fn key(number: usize) -> Vec<u8> {
    format!("stress-{number}").into_bytes()
}

/// An object that tells its own seed and length in its first 16 bytes, so that a reader knows all of it.
fn object(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = payload(seed, length);
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&(length as u64).to_le_bytes());
    bytes
}

#[track_caller]
fn verify(found: &[u8]) {
    let word = |at: usize| u64::from_le_bytes(found[at..at + 8].try_into().unwrap());
    assert_eq!(word(8), found.len() as u64, "an object of another length");
    payload::assert_same(found, &object(word(0), found.len()), &"an object that is not whole");
}

/// What a run may meet beside right bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// What is tried again and again may fail in the end.
    Foul,
}

struct Stress<'s> {
    store: &'s Store,
    seeds: &'s AtomicU64,
    random: Random,
    weather: Weather,
    /// Bytes of the largest object.
    largest: usize,
}

impl Stress<'_> {
    #[track_caller]
    fn allow(&self, status: Status, wanted: &[Status]) {
        let is_weather = self.weather == Weather::Foul && [IO, TIMED_OUT].contains(&status);
        assert!(is_weather || wanted.contains(&status), "{status:?}: {}", message());
    }

    fn length(&mut self) -> usize {
        match self.random.below(4) {
            0 => self.random.between(16, 5000),
            1 => 64 * KIB,
            2 => self.random.between(60 * KIB, 300 * KIB),
            // The largest are rare: they are most of the work.
            _ if self.largest > CHUNK_BYTES && self.random.below(4) == 0 => {
                self.random.between(self.largest / 2, self.largest)
            }
            _ => self.random.between(1000 * KIB, CHUNK_BYTES),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        key(self.random.below(KEYS))
    }

    fn object(&mut self) -> Vec<u8> {
        let length = self.length();
        object(self.seeds.fetch_add(1, Ordering::Relaxed), length)
    }

    fn step(&mut self) {
        let key = self.key();
        match self.random.below(16) {
            0..=2 => {
                let object = self.object();
                let status = self.store.put(&key, &object);
                self.allow(status, &[OK, POOL_FULL]);
            }
            3..=5 => {
                let mut buffer = vec![0; self.largest];
                let (status, length) = self.store.get(&key, &mut buffer);
                self.allow(status, &[OK, NOT_FOUND]);
                if status == OK {
                    verify(&buffer[..length.unwrap()]);
                }
            }
            6 => self.put_batch(),
            7 | 8 => self.get_batch(),
            9 => self.range(&key),
            10 => {
                let status = self.store.remove(&key);
                self.allow(status, &[OK, NOT_FOUND, PINNED]);
            }
            11 => {
                if self.store.pin(&key) == OK {
                    // Another thread's removal is refused while it is pinned, so the pin is there to take back;
                    // only a record that proved wrong goes in spite of it, and here none does.
                    assert_eq!(self.store.unpin(&key), OK);
                }
            }
            12 => {
                let keys: Vec<Vec<u8>> = (0..8).map(|_| self.key()).collect();
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                if self.weather == Weather::Fair {
                    assert!(self.store.prefix_match(&keys) <= keys.len());
                }
                let stats = self.store.stats();
                assert_eq!(stats.corruptions, 0);
            }
            13 => self.registered(&key),
            14 => self.lent(&key),
            _ => self.cancelled(),
        }
    }

    fn put_batch(&mut self) {
        let objects: Vec<Vec<u8>> = (0..5).map(|_| self.object()).collect();
        let mut puts = Batch::new();
        for object in &objects {
            puts.put(&self.key(), object);
        }
        let (_, results) = self.store.put_batch(&puts);
        results.iter().for_each(|result| self.allow(Status(result.status), &[OK, POOL_FULL]));
    }

    fn get_batch(&mut self) {
        let mut buffers: Vec<Vec<u8>> = (0..6).map(|_| vec![0; self.largest]).collect();
        let mut gets = Batch::new();
        for buffer in &mut buffers {
            gets.get(&key(self.random.below(KEYS)), buffer);
        }
        let (_, results) = self.store.get_batch(&gets);
        drop(gets);
        for (buffer, result) in buffers.iter().zip(results) {
            match Status(result.status) {
                OK => verify(&buffer[..result.bytes as usize]),
                status => self.allow(status, &[NOT_FOUND]),
            }
        }
    }

    /// A range cannot tell whose it is, but the beginning of an object can.
    fn range(&mut self, key: &[u8]) {
        let mut head = [0; 16];
        let mut gets = Batch::new();
        gets.range(key, 0, &mut head);
        let (status, results) = self.store.get_batch(&gets);
        drop(gets);
        if status == OK {
            let length = u64::from_le_bytes(head[8..].try_into().unwrap());
            assert_eq!(length, results[0].object_length);
        }
    }

    fn registered(&mut self, key: &[u8]) {
        let mut buffer = vec![0; self.largest];
        assert_eq!(self.store.register(buffer.as_mut_ptr(), buffer.len()), OK);
        let (status, length) = self.store.get(key, &mut buffer);
        if status == OK {
            verify(&buffer[..length.unwrap()]);
        }
        assert_eq!(self.store.unregister(buffer.as_mut_ptr()), OK);
    }

    fn lent(&mut self, key: &[u8]) {
        let object = self.object();
        let Ok(lent) = self.store.allocate(object.len()) else { return };
        // SAFETY: the store lent that many bytes to this thread alone.
        let memory = unsafe { std::slice::from_raw_parts_mut(lent, object.len()) };
        memory.copy_from_slice(&object);
        self.allow(self.store.put(key, memory), &[OK, POOL_FULL]);
        assert_eq!(self.store.free(lent), OK);
    }

    fn cancelled(&mut self) {
        let objects: Vec<Vec<u8>> = (0..4).map(|_| self.object()).collect();
        let queue = self.store.queue();
        let mut puts = Batch::new();
        for object in &objects {
            puts.put(&self.key(), object);
        }
        let options = Submit { queue: Some(&queue), user_data: 7, ..Submit::default() };
        let pending = self.store.submit_puts(&puts, options).unwrap();
        assert_eq!(pending.cancel(), OK);
        let completion = queue.take(1);
        assert_eq!((completion[0].ticket, completion[0].user_data), (pending.ticket(), 7));
        let (_, results) = pending.wait();
        results.iter().for_each(|result| self.allow(Status(result.status), &[OK, POOL_FULL, CANCELLED]));
    }
}

fn run(name: &str, setup: Setup) {
    let chunk_bytes = CHUNK_BYTES as u64;
    run_in(name, Setup { slots: SLOTS, chunk_bytes, ..setup }, Weather::Fair, STEPS);
}

fn run_in(name: &str, setup: Setup, weather: Weather, steps: usize) {
    let scratch = Scratch::new(name);
    let largest = setup.chunk_bytes as usize;
    let store = Store::open(&setup, &scratch);
    let seeds = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, seeds) = (&store, &seeds);
            scope.spawn(move || {
                let mut stress = Stress { store, seeds, random: Random::new(thread + 1), weather, largest };
                (0..steps).for_each(|_| stress.step());
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.corruptions, stats.quarantined_slots, stats.items_in_flight), (0, 0, 0));
    assert!(stats.keys > 0 && stats.gets_hit > 0 && stats.puts_ok > 0);
    assert_eq!(store.close(), OK);
}

/// A pool on storage, with so little staging memory and so short a queue that everything waits for everything.
#[test]
fn a_pool_under_every_load_gives_right_bytes() {
    run(
        "stress-pool",
        Setup { buffer_bytes: 1 << 20, kernel_queue_size: 16, queue_items: 16, ..Setup::POOL },
    );
}

/// The same without io_uring.
#[test]
fn a_pool_moved_by_threads_gives_right_bytes() {
    run("stress-threads", Setup { uring: false, ..Setup::POOL });
}

/// A file per key, with a capacity that few of them fill.
#[test]
fn files_under_every_load_give_right_bytes() {
    let capacity_bytes = u64::from(SLOTS) * CHUNK_BYTES as u64 / 3;
    run("stress-files", Setup { layout: Layout::Sharded, capacity_bytes, ..Setup::FILES });
}

/// Objects in a bucket behind a network that breaks now and then in every way that passes, some of them large enough to
/// go in parts: right bytes, no upload left behind, and no connection.
#[cfg(feature = "obj")]
mod objects {
    use std::path::Path;
    use std::sync::{Mutex, OnceLock};
    use std::time::Duration;

    use super::*;
    use crate::s3_common::{BUCKET, Fault, Kind, Proxy, Rule, Server, parameters, prefix_of};

    /// Large enough for two parts.
    const LARGEST: usize = 6 << 20;
    /// Steps of each thread; each costs some requests.
    const STEPS: usize = 30;

    fn proxy() -> &'static Proxy {
        static PROXY: OnceLock<Proxy> = OnceLock::new();
        PROXY.get_or_init(|| {
            let proxy = Proxy::new();
            let writes = |fault| Rule::on(Kind::Put, fault).or_on(Kind::Part);
            proxy.add(Rule::any(Fault::Reset).every(71));
            proxy.add(Rule::any(Fault::LoseAnswer).every(83));
            proxy.add(Rule::any(Fault::answer(503, "SlowDown")).every(59));
            proxy.add(Rule::on(Kind::Get, Fault::ResetInAnswer(30_000)).every(37));
            proxy.add(Rule::on(Kind::Get, Fault::CutAnswer(100_000)).every(41));
            proxy.add(Rule::on(Kind::Get, Fault::Trickle(20_000, Duration::from_millis(1))).every(13));
            proxy.add(writes(Fault::ResetInRequest(40_000)).every(31));
            proxy.add(writes(Fault::AnswerEarly { status: 503, code: "SlowDown" }).every(43));
            proxy
        })
    }

    fn behind_the_proxy(path: &Path) -> (String, Vec<(&'static str, String)>) {
        let mut parameters = parameters(&proxy().endpoint());
        parameters.push(("crtMinLimit", (5 << 20).to_string()));
        (prefix_of(path), parameters)
    }

    fn run(name: &'static str, layout: Layout) {
        // One after the other: the proxy is theirs in turn.
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let capacity_bytes = 40 << 20;
        let setup = Setup {
            layout,
            capacity_bytes,
            slots: SLOTS,
            chunk_bytes: LARGEST as u64,
            ..Setup::objects(behind_the_proxy)
        };
        run_in(name, setup, Weather::Foul, STEPS);
        proxy().wait_until_idle();
        let uploads = Server::of_this_process().client().uploads(BUCKET, name);
        assert!(uploads.is_empty(), "{uploads:?}");
        drop(turn);
    }

    #[test]
    fn objects_behind_a_bad_network_give_right_bytes() {
        run("stress-objects", Layout::Sharded);
    }

    #[test]
    fn a_pool_behind_a_bad_network_gives_right_bytes() {
        run("stress-bucket-pool", Layout::Static);
    }
}

/// The store is closed while threads use it. Each of their calls ends with an answer or with the word that it is
/// closing or closed; none hangs, and none touches memory that is gone.
#[test]
fn closing_under_load_ends_every_call() {
    for round in 0..20 {
        let scratch = Scratch::new("stress-close");
        let store = Store::open(&Setup { slots: SLOTS, ..Setup::POOL }, &scratch);
        let closed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (store, closed) = (&store, &closed);
                scope.spawn(move || {
                    let mut random = Random::new(round * 10 + thread);
                    loop {
                        let object = object(thread, 200 * KIB);
                        let mut puts = Batch::new();
                        (0..3).for_each(|_| puts.put(&key(random.below(KEYS)), &object));
                        match store.submit_puts(&puts, Submit::default()) {
                            Ok(pending) => {
                                // Consumed by this thread, or ended with the store: the handle is stale then.
                                let (status, _) = pending.wait();
                                assert!([OK, POOL_FULL, INVALID_HANDLE].contains(&status), "{status:?}");
                            }
                            Err(BUSY) => {}
                            Err(status) => {
                                assert!(
                                    [common::status::CLOSING, INVALID_HANDLE].contains(&status),
                                    "{status:?}"
                                );
                                break;
                            }
                        }
                        if closed.load(Ordering::SeqCst) && store.contains(b"x") == INVALID_HANDLE {
                            break;
                        }
                    }
                });
            }
            while store.stats().puts_ok < 6 {
                std::thread::yield_now();
            }
            assert_eq!(store.close(), OK);
            closed.store(true, Ordering::SeqCst);
        });
    }
}

/// But for the pool without io_uring, which is the same there, and for objects in a bucket.
#[test]
fn once_more_over_hf3fs() {
    common::hf3fs::once_more(&["a_pool_moved_by_threads", "objects::"], 4);
}
