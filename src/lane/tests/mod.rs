//! A lane with a device that answers when it is told to: what it has under way, and what it still takes.

mod front;
mod parked;
mod server;
mod sums;

use std::collections::VecDeque;
use std::io;

use super::*;
use crate::backend::{IoDirection, IoRequest, Stores, Target};
use crate::batch::{Batch, Wish};
use crate::config::CachePolicy;
use crate::error::Status;
use crate::layout::record::EffectiveKey;
use crate::log::{Level, Logger};
use crate::memory::{Arena, HostPtr, HostSlice, Staging, Stretch};
use crate::placement::slots::Slots;
use crate::sync::{Mutex, lock};
use crate::sys::event::Event;

const MIB: usize = 1 << 20;
const CHUNK_BYTES: usize = 32 * MIB;

/// A request that the device has.
struct Held {
    token: u32,
    direction: IoDirection,
    target: Target,
    offset: u64,
    slices: Vec<Stretch>,
    deadline: Option<Instant>,
    sum_block_bytes: Option<usize>,
}

impl Held {
    fn bytes(&self) -> usize {
        self.slices.iter().map(Stretch::length).sum()
    }

    fn sum(&self, from: usize, block_bytes: usize) -> u64 {
        let to = (from + block_bytes).min(self.bytes());
        crate::memory::bytes::checksum(&self.slices, from, to, &mut vec![0; block_bytes]).unwrap()
    }
}

/// The device: it does requests when [`Device::answer`] says so, and not before.
struct Device {
    /// Requests that its queue takes.
    depth: usize,
    held: VecDeque<Held>,
    done: Vec<IoCompletion>,
    /// How it answers the next reads in place of reading.
    refusals: VecDeque<io::Error>,
    /// Bytes that it answers the next reads with at most, though more were asked for.
    shortened: VecDeque<usize>,
    /// Whether the checksums that it brings along are wrong.
    lies: bool,
}

/// As deep as a ring.
const DEPTH: usize = 127;

impl Device {
    fn of_depth(depth: usize) -> Device {
        Device {
            depth,
            held: VecDeque::new(),
            done: Vec::new(),
            refusals: VecDeque::new(),
            shortened: VecDeque::new(),
            lies: false,
        }
    }

    fn answer(&mut self, count: usize) {
        for _ in 0..count.min(self.held.len()) {
            let Some(held) = self.held.pop_front() else { return };
            let refusal = (held.direction == IoDirection::Read).then(|| self.refusals.pop_front()).flatten();
            let result = match refusal {
                Some(error) => Err(error),
                None => crate::backend::transfer(held.direction, &held.target, held.offset, &held.slices),
            };
            let most = (held.direction == IoDirection::Read).then(|| self.shortened.pop_front()).flatten();
            let result = result.map(|moved| moved.min(most.unwrap_or(moved)));
            let mut completion = IoCompletion::new(held.token, result);
            if let Some(block_bytes) = held.sum_block_bytes {
                let blocks = 0..held.bytes().div_ceil(block_bytes);
                completion.sums = blocks.map(|block| held.sum(block * block_bytes, block_bytes)).collect();
                completion.sums.iter_mut().for_each(|sum| *sum ^= u64::from(self.lies));
            }
            self.done.push(completion);
        }
    }

    fn bytes_held(&self) -> usize {
        self.held.iter().map(Held::bytes).sum()
    }
}

struct DeviceQueue(Arc<Mutex<Device>>);

impl IoQueue for DeviceQueue {
    fn room(&self) -> usize {
        let device = lock(&self.0);
        device.depth - device.held.len() - device.done.len()
    }
    fn in_flight(&self) -> usize {
        let device = lock(&self.0);
        device.held.len() + device.done.len()
    }
    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        let IoRequest { token, direction, target, offset, slices, deadline, sum_block_bytes, .. } = *request;
        let (target, slices) = (target.clone(), slices.to_vec());
        let held = Held { token, direction, target, offset, slices, deadline, sum_block_bytes };
        lock(&self.0).held.push_back(held);
        Ok(())
    }
    fn has_completed(&mut self) -> bool {
        !lock(&self.0).done.is_empty()
    }
    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn wait(&mut self, _wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        completions.append(&mut lock(&self.0).done);
        Ok(())
    }
    fn register(&mut self, _index: u16, _region: HostSlice) -> io::Result<bool> {
        Ok(false)
    }
    fn unregister(&mut self, _index: u16) {}
}

impl Drop for DeviceQueue {
    fn drop(&mut self) {
        // Nothing of a test's memory is used after it.
        lock(&self.0).held.clear();
    }
}

struct Memory;

impl Backend for Memory {
    fn path(&self) -> crate::backend::IoPath {
        crate::backend::IoPath::default()
    }
    fn reach(&self) -> Reach {
        Reach::HOST
    }
    fn stores(&self) -> Stores {
        Stores::Memory
    }
    fn lanes_default(&self, _medium: Medium) -> u32 {
        1
    }
    fn supports_direct_io(&self) -> bool {
        false
    }
    fn open_queue(&self, _waker: std::sync::Arc<Event>, _medium: Medium) -> io::Result<Box<dyn IoQueue>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn reads_mappings(&self, _medium: Medium) -> bool {
        false
    }
    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
        None
    }
}

struct Bench<P: Placement = Slots> {
    lane: Lane<P>,
    device: Arc<Mutex<Device>>,
    shared: Arc<Shared>,
}

impl Bench {
    fn new(slots: u32) -> Bench {
        // So that pieces are those of a device.
        Bench::on(slots, Medium::Device, Reach::HOST)
    }

    fn on(slots: u32, medium: Medium, reach: Reach) -> Bench {
        Bench::around(Arc::new(in_memory(slots)), DEPTH, medium, reach)
    }
}

fn in_memory(slots: u32) -> Slots {
    let backend: std::sync::Arc<dyn Backend> = std::sync::Arc::new(Memory);
    Slots::in_memory(
        slots,
        CHUNK_BYTES as u64,
        CachePolicy::Lru.into(),
        &backend,
        &Logger::to_stderr(Some(Level::Warn)),
    )
    .unwrap()
}

impl<P: Placement> Bench<P> {
    fn around(placement: Arc<P>, depth: usize, medium: Medium, reach: Reach) -> Bench<P> {
        let logger = Logger::to_stderr(Some(Level::Warn));
        let staging = Arc::new(Staging::new(8 * MIB, |bytes| Arena::new(bytes, false)).unwrap());
        let shared = Arc::new(Shared::new(1, 64, staging, logger).unwrap());
        let device = Arc::new(Mutex::new(Device::of_depth(depth)));
        let parts = Parts {
            copiers: None,
            shared: Arc::clone(&shared),
            placement,
            chores: Arc::new(Chores::new(Arc::clone(&shared))),
            medium,
            reach,
        };
        let lane = Lane::new(0, Box::new(DeviceQueue(Arc::clone(&device))), parts).unwrap();
        Bench { lane, device, shared }
    }

    fn submit(&self, direction: Direction, key: &str, memory: &mut [u8]) -> Arc<Batch> {
        self.submit_until(None, direction, key, memory)
    }

    fn submit_wish(&self, wish: Wish, direction: Direction, key: &str, memory: &mut [u8]) -> Arc<Batch> {
        self.submit_with(None, wish, direction, key, memory)
    }

    fn submit_until(
        &self,
        deadline: Option<Instant>,
        direction: Direction,
        key: &str,
        memory: &mut [u8],
    ) -> Arc<Batch> {
        self.submit_with(deadline, Wish::default(), direction, key, memory)
    }

    fn submit_with(
        &self,
        deadline: Option<Instant>,
        wish: Wish,
        direction: Direction,
        key: &str,
        memory: &mut [u8],
    ) -> Arc<Batch> {
        let key = EffectiveKey::new(b"", key.as_bytes()).unwrap();
        let mut batch = Batch::default();
        batch.reset(direction);
        batch.deadline = deadline;
        batch.push_item(key.digest(), key.bytes(), wish);
        let (pointer, length) = (host_pointer(memory), memory.len());
        assert!(batch.push_stretch(Stretch::Host(HostSlice { pointer, length })));
        let batch = Arc::new(batch);
        self.shared.admit(direction, 1, None).unwrap();
        self.shared.submit(&batch);
        batch
    }

    /// One turn of the lane's loop, without its sleep.
    fn turn(&mut self) {
        self.lane.advance();
        let mut completions = Vec::new();
        self.lane.queue.wait(Wait::Poll, &mut completions).unwrap();
        completions.append(&mut self.lane.refused);
        completions.into_iter().for_each(|completion| self.lane.complete(completion));
        self.lane.advance();
    }

    /// Turns until the batch has ended, with a device that answers at once.
    fn finish(&mut self, batch: &Batch) -> Status {
        while !batch.is_done() {
            lock(&self.device).answer(usize::MAX);
            self.turn();
        }
        batch.summary()
    }

    fn put(&mut self, key: &str, memory: &mut [u8]) {
        let batch = self.submit(Direction::Put, key, memory);
        assert_eq!(self.finish(&batch), Status::Ok);
    }
}

fn host_pointer(memory: &mut [u8]) -> HostPtr {
    crate::memory::stretch::testing::pointer_to(memory)
}

/// A get of a large object does not fill the device's queue: what comes behind it is read at once, and finds as little
/// before it as keeps the device busy. The large one goes on as its pieces come back.
#[test]
fn a_large_get_leaves_room_for_others() {
    let mut bench = Bench::new(3);
    let (mut large, mut small) = (vec![7; CHUNK_BYTES], vec![8; 64 << 10]);
    bench.put("large", &mut large);
    bench.put("small", &mut small);
    let (mut into_large, mut into_small) = (vec![0; CHUNK_BYTES], vec![0; 64 << 10]);
    let large_batch = bench.submit(Direction::Get, "large", &mut into_large);
    bench.turn();
    let under_way = lock(&bench.device).bytes_held();
    assert!((8 * MIB..=20 * MIB).contains(&under_way), "{under_way} bytes of one get are under way");
    let before = lock(&bench.device).held.len();
    let small_batch = bench.submit(Direction::Get, "small", &mut into_small);
    bench.turn();
    assert!(lock(&bench.device).held.len() > before, "a get waits for all of a larger one to be pushed");
    // The device answers in order: the small one is done once what was before it is.
    lock(&bench.device).answer(before + 1);
    bench.turn();
    assert!(small_batch.is_done() && !large_batch.is_done());
    assert_eq!(bench.finish(&large_batch), Status::Ok);
    assert!(into_large == large && into_small == small);
}

/// The same where the queue is short, as that of few I/O threads is, or of a small `kernel_queue_size`: it is full before the large
/// get has as many bytes under way as it may. Each piece of it that comes back used to be followed by its next one.
#[test]
fn a_large_get_does_not_fill_a_short_queue() {
    const SHORT: usize = 6;
    let mut bench = Bench::around(Arc::new(in_memory(3)), SHORT, Medium::Device, Reach::HOST);
    let (mut large, mut small) = (vec![7; CHUNK_BYTES], vec![8; 64 << 10]);
    bench.put("large", &mut large);
    bench.put("small", &mut small);
    let (mut into_large, mut into_small) = (vec![0; CHUNK_BYTES], vec![0; 64 << 10]);
    let large_batch = bench.submit(Direction::Get, "large", &mut into_large);
    bench.turn();
    assert_eq!(lock(&bench.device).held.len(), SHORT / 2);
    let small_batch = bench.submit(Direction::Get, "small", &mut into_small);
    bench.turn();
    // What is before it is answered, and it.
    lock(&bench.device).answer(SHORT / 2 + 1);
    bench.turn();
    assert!(small_batch.is_done() && !large_batch.is_done());
    assert_eq!(bench.finish(&large_batch), Status::Ok);
    assert!(into_large == large && into_small == small);
}

/// Gets under way are bounded, however many there are; a lane that has reached the bound takes no more, and says so.
#[test]
fn gets_under_way_are_bounded() {
    const OBJECTS: usize = 12;
    let mut bench = Bench::new(OBJECTS as u32 + 1);
    let mut objects = vec![vec![1; CHUNK_BYTES]; OBJECTS];
    for (index, object) in objects.iter_mut().enumerate() {
        bench.put(&format!("key-{index}"), object);
    }
    let batches: Vec<_> = objects
        .iter_mut()
        .enumerate()
        .map(|(index, object)| bench.submit(Direction::Get, &format!("key-{index}"), object))
        .collect();
    bench.turn();
    let under_way = lock(&bench.device).bytes_held();
    assert!(under_way <= bench.lane.bounds.read_bytes_max + 4 * MIB, "{under_way} bytes are under way");
    assert_eq!(bench.lane.takes(), Takes::Nothing);
    assert!(bench.shared.has_waiting(Takes::Gets), "some wait for whoever can take them");
    for batch in &batches {
        assert_eq!(bench.finish(batch), Status::Ok);
    }
    assert_eq!((bench.lane.takes(), bench.lane.is_idle()), (Takes::Both, true));
}

/// The buffer that a record's tail and trailer are read into belongs to the request while that is under way. Nobody looks
/// into it before.
#[test]
fn a_buffer_travels_with_its_request() {
    let mut bench = Bench::new(2);
    let mut object = vec![3; 3 * MIB + 100];
    bench.put("key", &mut object);
    let mut target = vec![0; 3 * MIB + 100];
    let batch = bench.submit(Direction::Get, "key", &mut target);
    bench.turn();
    let (_, job) = bench.lane.jobs.iter().next().unwrap();
    assert!(job.all_pushed && job.buffer.is_none());
    // All but the last request, which brings the tail.
    let held = lock(&bench.device).held.len();
    lock(&bench.device).answer(held - 1);
    bench.turn();
    let (_, job) = bench.lane.jobs.iter().next().unwrap();
    assert!(job.buffer.is_none() && job.in_flight == 1);
    assert_eq!(bench.finish(&batch), Status::Ok);
    assert!(target == object);
}

/// A read of bytes that were never written ends early, at once or after some, on file systems that keep no zeros for them.
/// Whichever request of a get meets that, the get is a miss and no error of the device.
#[test]
fn a_get_of_what_was_never_written_is_a_miss() {
    let mut object = vec![3; 3 * MIB + 100];
    let requests = {
        let mut bench = Bench::new(2);
        bench.put("key", &mut object);
        let mut target = vec![0; object.len()];
        let _batch = bench.submit(Direction::Get, "key", &mut target);
        bench.turn();
        lock(&bench.device).held.len()
    };
    assert!(requests > 2);
    for at in 0..requests {
        for ends in [&[0][..], &[8192, 0], &[8192 + 100, 100]] {
            let mut bench = Bench::new(2);
            bench.put("key", &mut object);
            let mut target = vec![0; object.len()];
            let batch = bench.submit(Direction::Get, "key", &mut target);
            bench.turn();
            let whole = std::iter::repeat_n(usize::MAX, at);
            // What follows an end that is not the last is asked for behind all others.
            let others = std::iter::repeat_n(usize::MAX, requests - at - 1);
            let (first, rest) = ends.split_first().unwrap();
            let answers = whole.chain([*first]).chain(others).chain(rest.iter().copied());
            lock(&bench.device).shortened.extend(answers);
            assert_eq!(bench.finish(&batch), Status::NotFound, "request {at} ends {ends:?}");
            assert_eq!(batch.result(batch.item(0)).os_error, 0);
            assert!(bench.lane.is_idle() && !bench.shared.has_holders());
        }
    }
}
