//! A batch as a C program prepares it once and submits it again and again: keys change in place.

use std::ptr;

use nixl_store::capi::*;

use crate::common::memory::segment;
use crate::common::status::{IN_PROGRESS, NOT_FOUND, OK, Status, message};
use crate::common::{Memory, Store};

/// Bytes of every key.
const KEY_BYTES: usize = 40;
type Key = [u8; KEY_BYTES];

/// What an item's memory looks like.
#[derive(Clone, Copy)]
pub struct Shape {
    pub items: usize,
    /// Bytes of one item.
    pub bytes: usize,
    /// Segments of one item.
    pub segments: usize,
    /// Bytes that each segment begins behind a page boundary.
    pub offset: usize,
}

/// Items, their keys and memory, and room for their results.
pub struct Request {
    keys: Box<[Key]>,
    segments: Box<[nixl_store_segment_t]>,
    items: Box<[nixl_store_item_t]>,
    results: Box<[nixl_store_result_t]>,
    bytes: usize,
    _memory: Memory,
}

/// A key that can be a file's name, ending in the digits of the number.
fn key(mut number: u64) -> Key {
    let mut key = [b'k'; KEY_BYTES];
    for place in key.iter_mut().rev().take(u64::BITS as usize / 4) {
        *place = b"0123456789abcdef"[number as usize % 16];
        number /= 16;
    }
    key
}

fn options() -> nixl_store_submit_options_t {
    nixl_store_submit_options_t {
        struct_size: size_of::<nixl_store_submit_options_t>(),
        deadline_ms: 0,
        queue: ptr::null_mut(),
        user_data: 0,
        flags: 0,
        reserved: 0,
        cuda_stream: ptr::null_mut(),
        request: 0,
    }
}

impl Request {
    /// The segments of an item come in descending order of address: the least convenient one.
    pub fn new(shape: Shape) -> Request {
        let Shape { items, bytes, segments, offset } = shape;
        let piece = bytes / segments;
        let stride = (piece + offset).next_multiple_of(4096);
        let memory = Memory::new(items * segments * stride);
        let at =
            |index: usize| memory.address().wrapping_add((items * segments - 1 - index) * stride + offset);
        let all: Box<[_]> = (0..items * segments).map(|index| segment(at(index).cast(), piece)).collect();
        let keys: Box<[Key]> = (0..items as u64).map(key).collect();
        let item = |index: usize| nixl_store_item_t {
            key: keys[index].as_ptr().cast(),
            key_length: KEY_BYTES as u64,
            segments: &raw const all[index * segments],
            segment_count: segments as u64,
            object_offset: 0,
            flags: 0,
            reserved: [0; 5],
        };
        let result =
            nixl_store_result_t { status: 0, os_error: 0, bytes: 0, object_length: 0, reserved: [0; 3] };
        Request {
            items: (0..items).map(item).collect(),
            results: vec![result; items].into(),
            bytes: piece * segments,
            keys,
            segments: all,
            _memory: memory,
        }
    }

    /// The same with each item a range of an object.
    pub fn ranges(shape: Shape, object_offset: u64) -> Request {
        let mut request = Request::new(shape);
        for item in &mut request.items {
            (item.object_offset, item.flags) = (object_offset, NIXL_STORE_ITEM_RANGE);
        }
        request
    }

    pub fn set_flags(&mut self, flags: u32) {
        self.items.iter_mut().for_each(|item| item.flags = flags);
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Gives the items the keys of these numbers.
    pub fn name(&mut self, first: u64) -> &mut Request {
        for (number, place) in (first..).zip(&mut self.keys) {
            *place = key(number);
        }
        self
    }

    /// Submits all items and gives the ticket.
    pub fn submit(
        &self,
        store: &Store,
        is_put: bool,
        queue: *mut nixl_store_queue_t,
        user_data: u64,
    ) -> nixl_store_ticket_t {
        self.submit_with(store, is_put, &nixl_store_submit_options_t { queue, user_data, ..options() })
    }

    /// Submits all items in order with a stream.
    pub fn submit_in_order(
        &self,
        store: &Store,
        is_put: bool,
        flags: u32,
        stream: usize,
    ) -> nixl_store_ticket_t {
        let cuda_stream = ptr::without_provenance_mut(stream);
        self.submit_with(store, is_put, &nixl_store_submit_options_t { flags, cuda_stream, ..options() })
    }

    fn submit_with(
        &self,
        store: &Store,
        is_put: bool,
        options: &nixl_store_submit_options_t,
    ) -> nixl_store_ticket_t {
        let submit = if is_put { nixl_store_batch_put } else { nixl_store_batch_get };
        let mut ticket = 0;
        // SAFETY: the arrays are as long as stated, and the memory is this request's, which is waited for.
        let status = unsafe {
            submit(
                store.handle(),
                self.items.as_ptr(),
                self.items.len(),
                &raw const *options,
                &raw mut ticket,
            )
        };
        assert_eq!(Status(status), OK, "{}", message());
        ticket
    }

    /// Waits for the ticket; every item has to end like this.
    pub fn wait(&mut self, store: &Store, ticket: nixl_store_ticket_t, wanted: Status) {
        let (results, count) = (self.results.as_mut_ptr(), self.results.len());
        let mut result_count = 0;
        // SAFETY: the array is as long as stated.
        let status = unsafe {
            nixl_store_ticket_wait(
                store.handle(),
                ticket,
                NIXL_STORE_TIMEOUT_INFINITE,
                results,
                count,
                &raw mut result_count,
            )
        };
        assert_eq!(Status(status), wanted, "{}", message());
        assert!(self.results.iter().all(|result| Status(result.status) == wanted));
    }

    pub fn put(&mut self, store: &Store) {
        let ticket = self.submit(store, true, ptr::null_mut(), 0);
        self.wait(store, ticket, OK);
    }

    pub fn get(&mut self, store: &Store, wanted: Status) {
        let ticket = self.submit(store, false, ptr::null_mut(), 0);
        self.wait(store, ticket, wanted);
    }

    /// Gets, asking again and again instead of waiting.
    pub fn get_polling(&mut self, store: &Store) {
        let ticket = self.submit(store, false, ptr::null_mut(), 0);
        // SAFETY: tickets are looked up.
        while Status(unsafe { nixl_store_ticket_poll(store.handle(), ticket) }) == IN_PROGRESS {
            std::thread::yield_now();
        }
        self.wait(store, ticket, OK);
    }

    /// The first item by the calls of the simple layer.
    pub fn put_one(&self, store: &Store) {
        let (key, memory) = (&self.keys[0], self.segments[0].address);
        // SAFETY: key and memory are this request's.
        let status =
            unsafe { nixl_store_put(store.handle(), key.as_ptr().cast(), KEY_BYTES, memory, self.bytes) };
        assert_eq!(Status(status), OK, "{}", message());
    }

    pub fn get_one(&self, store: &Store, wanted: Status) {
        let (key, memory, mut length) = (&self.keys[0], self.segments[0].address, 0);
        // SAFETY: key and memory are this request's, the length is writable.
        let status = unsafe {
            nixl_store_get(
                store.handle(),
                key.as_ptr().cast(),
                KEY_BYTES,
                memory,
                self.bytes,
                &raw mut length,
            )
        };
        assert_eq!(Status(status), wanted, "{}", message());
        assert!(wanted == NOT_FOUND || length == self.bytes);
    }

    /// Asks of each key whether and how long it is, and of all together as a chain.
    pub fn ask(&self, store: &Store, chain: &[nixl_store_key_t], wanted: Status) {
        for key in &self.keys {
            assert_eq!(store.contains(key), wanted);
            let (status, length) = store.length(key);
            assert_eq!(status, wanted);
            assert!(wanted == NOT_FOUND || length == self.bytes as u64);
        }
        let mut matched = usize::MAX;
        // SAFETY: the chain names this request's keys, the place is writable.
        let status =
            unsafe { nixl_store_prefix_match(store.handle(), chain.as_ptr(), chain.len(), &raw mut matched) };
        assert_eq!(Status(status), OK, "{}", message());
        assert_eq!(matched, if wanted == OK { self.len() } else { 0 });
    }

    /// The keys as a chain for [`Request::ask`].
    pub fn chain(&self) -> Box<[nixl_store_key_t]> {
        let link = |key: &Key| nixl_store_key_t {
            key: key.as_ptr().cast(),
            key_length: KEY_BYTES as u64,
            reserved: [0; 4],
        };
        self.keys.iter().map(link).collect()
    }

    /// Pins, unpins and removes each key.
    pub fn hold_and_remove(&self, store: &Store) {
        for key in &self.keys {
            assert_eq!(store.pin(key), OK);
            assert_eq!(store.unpin(key), OK);
            assert_eq!(store.remove(key), OK);
        }
    }
}
