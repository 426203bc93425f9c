//! What a store is asked to do, over and over: every call that an engine makes for each request.

use std::ptr;

use nixl_store::capi::*;

use crate::common::Store;
use crate::common::cuda::{Block, Kind, driver};
use crate::common::status::{NOT_FOUND, OK, Status, message};
use crate::common::streams::Stream;
use crate::request::{Request, Shape};

/// Segments of an item that is scattered.
const SEGMENTS: usize = 16;
/// Batches that are under way at a time.
const BATCHES: usize = 8;
/// Numbers of keys that nobody puts.
const ABSENT: u64 = 1 << 40;
/// Batches submitted at a time at the start: more than are under way later, with those that a lane is just letting go.
const BATCHES_WARM: usize = 2 * BATCHES;

/// A store and the memory of its user, all of it made before anything is counted.
pub struct Work {
    store: Store,
    one: Request,
    whole: Request,
    scattered: Request,
    ranges: Request,
    many: Vec<Request>,
    chain: Box<[nixl_store_key_t]>,
    queue: *mut nixl_store_queue_t,
    queue_fd: i32,
    /// A stream to be ordered with, for those that are.
    stream: Option<Stream>,
    /// Memory for the stream to work on.
    device: Option<Block>,
    /// Number of the next key that was never put.
    fresh: u64,
}

/// An operation and what failing messages call it.
pub type Operation = (&'static str, fn(&mut Work));

/// Each leaves the keys from [`Work::first`] on stored, which the next ones get.
pub const OPERATIONS: &[Operation] = &[
    ("put of a new key", Work::put_new),
    ("put of a stored key", Work::put_again),
    ("get", Work::get),
    ("get of an absent key", Work::get_absent),
    ("batch put of new keys", Work::batch_put_new),
    ("batch put of stored keys", Work::batch_put_again),
    ("batch put that keeps", Work::batch_put_keeping),
    ("batch get", Work::batch_get),
    ("batch get of absent keys", Work::batch_get_absent),
    ("batch get, polled", Work::batch_get_polling),
    ("batch gets through a completion queue", Work::batch_get_through_queue),
    ("batch put of scattered objects", Work::put_scattered),
    ("batch get of scattered objects", Work::get_scattered),
    ("batch get of ranges", Work::get_ranges),
    ("several batches at a time", Work::several_batches),
    ("contains, key_length, prefix_match", Work::ask),
    ("contains, key_length, prefix_match of absent keys", Work::ask_absent),
    ("pin, unpin, remove, put", Work::hold_and_remove),
    ("stats", Work::stats),
    ("batches in order with a stream", Work::in_order),
];

impl Work {
    /// Objects of `bytes` bytes in batches of `items`, from memory that begins `offset` behind a page boundary.
    pub fn new(store: Store, items: usize, bytes: usize, offset: usize, stream: Option<Stream>) -> Work {
        let shape = Shape { items, bytes, segments: 1, offset };
        let (mut queue, mut queue_fd) = (ptr::null_mut(), -1);
        // SAFETY: the places are writable.
        let made = unsafe {
            [
                nixl_store_queue_create(store.handle(), &raw mut queue),
                nixl_store_queue_fd(store.handle(), queue, &raw mut queue_fd),
            ]
        };
        assert!(made.map(Status) == [OK, OK], "{}", message());
        let whole = Request::new(shape);
        Work {
            store,
            one: Request::new(Shape { items: 1, ..shape }),
            chain: whole.chain(),
            whole,
            scattered: Request::new(Shape { segments: SEGMENTS, ..shape }),
            // Odd ends, so that the blocks at both are read around the range.
            ranges: Request::ranges(Shape { bytes: bytes / 2 + 33, ..shape }, 1001),
            many: (0..BATCHES).map(|_| Request::new(Shape { items: items / BATCHES, ..shape })).collect(),
            queue,
            queue_fd,
            device: stream.as_ref().map(|_| driver().allocate(Kind::Device, 0, 1)),
            stream,
            fresh: 0,
        }
    }

    /// Makes the store keep batches for another use, each with room for as many items and segments as will ever be.
    pub fn warm_batches(&mut self) {
        self.scattered.name(ABSENT);
        // Nothing is found, so the memory that they share is left alone.
        let tickets =
            [(); BATCHES_WARM].map(|()| self.scattered.submit(&self.store, false, ptr::null_mut(), 0));
        tickets.into_iter().for_each(|ticket| self.scattered.wait(&self.store, ticket, NOT_FOUND));
        self.warm_watches();
    }

    /// Makes those batches have room for as many streams that wait for their items as there will ever be.
    fn warm_watches(&mut self) {
        let Some(stream) = &self.stream else { return };
        // Until all are watched, none may end.
        stream.hold();
        let flags = NIXL_STORE_SUBMIT_AFTER_STREAM | NIXL_STORE_SUBMIT_BEFORE_STREAM;
        stream.fill(self.device.as_ref().map_or(0, Block::address), 0, 1);
        let tickets = [(); BATCHES_WARM]
            .map(|()| self.scattered.submit_in_order(&self.store, false, flags, stream.handle));
        for ticket in tickets {
            let raw = ptr::without_provenance_mut(stream.handle);
            for item in 0..self.scattered.len() {
                // SAFETY: tickets are looked up, the stream is alive.
                let status = unsafe { nixl_store_stream_wait(self.store.handle(), ticket, item, 1, raw) };
                assert_eq!(Status(status), OK, "{}", message());
            }
        }
        stream.release();
        tickets.into_iter().for_each(|ticket| self.scattered.wait(&self.store, ticket, NOT_FOUND));
    }

    /// Closes the store; what it had done.
    pub fn end(self) -> nixl_store_stats_t {
        let stats = self.store.stats();
        assert_eq!(self.store.close(), OK);
        stats
    }

    /// The first of the keys that were put last.
    fn first(&self) -> u64 {
        self.fresh - self.whole.len() as u64
    }

    /// Numbers for as many new keys as a batch has.
    fn renew(&mut self) -> u64 {
        self.fresh += self.whole.len() as u64;
        self.first()
    }

    fn put_new(&mut self) {
        let first = self.renew();
        self.one.name(first).put_one(&self.store);
    }

    fn put_again(&mut self) {
        self.one.put_one(&self.store);
    }

    fn get(&mut self) {
        self.one.get_one(&self.store, OK);
    }

    fn get_absent(&mut self) {
        self.one.name(ABSENT).get_one(&self.store, NOT_FOUND);
    }

    fn batch_put_new(&mut self) {
        let first = self.renew();
        self.whole.name(first).put(&self.store);
    }

    fn batch_put_again(&mut self) {
        self.whole.put(&self.store);
    }

    fn batch_put_keeping(&mut self) {
        self.whole.set_flags(NIXL_STORE_ITEM_KEEP);
        self.whole.put(&self.store);
        self.whole.set_flags(0);
    }

    fn batch_get(&mut self) {
        self.whole.set_flags(NIXL_STORE_ITEM_EXACT);
        self.whole.get(&self.store, OK);
        self.whole.set_flags(0);
    }

    /// Puts and gets that lie in a stream, and a stream that waits for each of their items and for all.
    fn in_order(&mut self) {
        let Some(stream) = self.stream.as_ref().map(|stream| stream.handle) else { return };
        let first = self.first();
        self.whole.name(first);
        for is_put in [true, false] {
            let flags = NIXL_STORE_SUBMIT_AFTER_STREAM | NIXL_STORE_SUBMIT_BEFORE_STREAM;
            let ticket = self.whole.submit_in_order(&self.store, is_put, flags, stream);
            let mut bytes = 0;
            let raw = ptr::without_provenance_mut(stream);
            for item in (0..self.whole.len()).chain([NIXL_STORE_ITEMS_ALL]) {
                let wanted = u64::from(item != NIXL_STORE_ITEMS_ALL);
                // SAFETY: tickets are looked up, the stream is alive, the place is writable.
                unsafe {
                    assert_eq!(nixl_store_stream_wait(self.store.handle(), ticket, item, wanted, raw), OK.0);
                    let (store, item) = (self.store.handle(), item.min(self.whole.len() - 1));
                    assert!(nixl_store_ticket_progress(store, ticket, item, 1, 1, &raw mut bytes) >= OK.0);
                }
            }
            self.whole.wait(&self.store, ticket, OK);
        }
    }

    fn batch_get_absent(&mut self) {
        self.whole.name(ABSENT).get(&self.store, NOT_FOUND);
    }

    fn batch_get_polling(&mut self) {
        let first = self.first();
        self.whole.name(first).get_polling(&self.store);
    }

    /// Each batch gets keys and memory of its own; the queue says which has ended.
    fn batch_get_through_queue(&mut self) {
        let first = self.first();
        for (index, request) in (0..).zip(&mut self.many) {
            request.name(first + index * request.len() as u64).submit(&self.store, false, self.queue, index);
        }
        let mut left = BATCHES;
        while left > 0 {
            let mut poll = libc::pollfd { fd: self.queue_fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd.
            unsafe { libc::poll(&raw mut poll, 1, -1) };
            let empty = nixl_store_completion_t { ticket: 0, user_data: 0, status: 0, reserved: [0; 3] };
            let (mut completions, mut count) = ([empty; BATCHES / 2], 0);
            let (place, room) = (completions.as_mut_ptr(), completions.len());
            // SAFETY: the array is as long as stated, the count writable.
            let status = unsafe {
                nixl_store_queue_drain(self.store.handle(), self.queue, place, room, &raw mut count)
            };
            assert_eq!(Status(status), OK, "{}", message());
            for completion in &completions[..count] {
                self.many[completion.user_data as usize].wait(&self.store, completion.ticket, OK);
            }
            left -= count;
        }
    }

    fn put_scattered(&mut self) {
        let first = self.renew();
        self.scattered.name(first).put(&self.store);
    }

    fn get_scattered(&mut self) {
        self.scattered.get(&self.store, OK);
    }

    fn get_ranges(&mut self) {
        let first = self.first();
        self.ranges.name(first).get(&self.store, OK);
    }

    fn several_batches(&mut self) {
        let first = self.renew();
        for is_put in [true, false] {
            let mut tickets = [0; BATCHES];
            for ((index, request), ticket) in (0..).zip(&mut self.many).zip(&mut tickets) {
                let first = first + index * request.len() as u64;
                *ticket = request.name(first).submit(&self.store, is_put, ptr::null_mut(), 0);
            }
            for (request, ticket) in self.many.iter_mut().zip(tickets) {
                request.wait(&self.store, ticket, OK);
            }
        }
    }

    fn ask(&mut self) {
        let first = self.first();
        self.whole.name(first).ask(&self.store, &self.chain, OK);
    }

    fn ask_absent(&mut self) {
        self.whole.name(ABSENT).ask(&self.store, &self.chain, NOT_FOUND);
    }

    fn hold_and_remove(&mut self) {
        let first = self.first();
        self.whole.name(first).hold_and_remove(&self.store);
        self.whole.put(&self.store);
    }

    fn stats(&mut self) {
        assert_eq!(self.store.stats().corruptions, 0);
    }
}
