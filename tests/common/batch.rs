//! Batches, what is pending of them, and completion queues.

use std::marker::PhantomData;
use std::ptr;

use nixl_store::capi::*;

use super::memory::{Pieces, segment};
use super::mirror::Mirror;
use super::status::{IN_PROGRESS, OK, Status, message};
use super::store::Store;

/// Items to be put or got. `'m` is the life of the memory that they name.
#[derive(Default)]
pub struct Batch<'m> {
    items: Vec<Item>,
    place: Where,
    memory: PhantomData<&'m mut [u8]>,
}

/// Where the memory of a batch's segments is.
#[derive(Clone, Copy, Debug, Default)]
pub enum Where {
    /// All of it of the kind that the store is tested with.
    #[default]
    AsTheStore,
    /// On the host, whatever that kind is.
    OnTheHost,
    /// Every other segment on the host.
    InTurns,
}

struct Item {
    key: Vec<u8>,
    segments: Vec<nixl_store_segment_t>,
    range_offset: Option<u64>,
    flags: u32,
}

/// How a batch is submitted.
#[derive(Clone, Copy, Default)]
pub struct Submit<'q> {
    /// The deadline in milliseconds; 0 is the store's default.
    pub timeout_ms: u64,
    pub queue: Option<&'q Queue<'q>>,
    pub user_data: u64,
    /// `NIXL_STORE_SUBMIT_*`.
    pub flags: u32,
    /// The address that stands for a stream.
    pub stream: usize,
    /// The number of the request that the batch belongs to; 0: none.
    pub request: u64,
}

impl Submit<'_> {
    pub(super) fn to_c(self) -> nixl_store_submit_options_t {
        nixl_store_submit_options_t {
            struct_size: size_of::<nixl_store_submit_options_t>(),
            deadline_ms: self.timeout_ms,
            queue: self.queue.map_or(ptr::null_mut(), |queue| queue.queue),
            user_data: self.user_data,
            flags: self.flags,
            reserved: 0,
            cuda_stream: ptr::without_provenance_mut(self.stream),
            request: self.request,
        }
    }
}

impl<'m> Batch<'m> {
    pub fn new() -> Batch<'m> {
        Batch::default()
    }

    /// A batch whose memory is there.
    pub fn of(place: Where) -> Batch<'m> {
        Batch { place, ..Batch::default() }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// An item that puts these bytes.
    pub fn put(&mut self, key: &[u8], data: &'m [u8]) {
        self.raw(key, vec![segment(data.as_ptr().cast_mut().cast(), data.len())], None);
    }

    /// An item that gets an object into this memory.
    pub fn get(&mut self, key: &[u8], buffer: &'m mut [u8]) {
        self.raw(key, vec![segment(buffer.as_mut_ptr().cast(), buffer.len())], None);
    }

    /// An item that gets a part of an object, as long as the memory.
    pub fn range(&mut self, key: &[u8], offset: u64, buffer: &'m mut [u8]) {
        self.raw(key, vec![segment(buffer.as_mut_ptr().cast(), buffer.len())], Some(offset));
    }

    /// An item whose bytes lie in pieces.
    pub fn pieces(&mut self, key: &[u8], pieces: &'m Pieces) {
        self.raw(key, pieces.segments(), None);
    }

    /// An item that gets a part of an object into pieces.
    pub fn pieces_range(&mut self, key: &[u8], offset: u64, pieces: &'m Pieces) {
        self.raw(key, pieces.segments(), Some(offset));
    }

    /// An item over segments that the test itself keeps valid until the batch has ended.
    pub fn raw(&mut self, key: &[u8], segments: Vec<nixl_store_segment_t>, range_offset: Option<u64>) {
        self.items.push(Item { key: key.to_vec(), segments, range_offset, flags: 0 });
    }

    /// Adds flags to the item added last.
    pub fn flag(&mut self, flags: u32) {
        self.items.last_mut().unwrap().flags |= flags;
    }

    pub(super) fn submit<'s>(
        &self,
        store: &'s Store,
        is_put: bool,
        options: Submit<'_>,
    ) -> Result<Pending<'s, 'm>, Status> {
        let mut segments: Vec<_> = self.items.iter().flat_map(|item| item.segments.clone()).collect();
        let mirror = match self.place {
            Where::AsTheStore => Mirror::of(store.kind(), &mut segments, is_put),
            Where::OnTheHost => None,
            Where::InTurns => {
                let mut some: Vec<_> = segments.iter().step_by(2).copied().collect();
                let mirror = Mirror::of(store.kind(), &mut some, is_put);
                segments.iter_mut().step_by(2).zip(some).for_each(|(segment, moved)| *segment = moved);
                mirror
            }
        };
        let mut rest = &segments[..];
        let items: Vec<_> = self
            .items
            .iter()
            .map(|item| {
                let (ours, behind) = rest.split_at(item.segments.len());
                rest = behind;
                (item, ours)
            })
            .map(|(item, segments)| nixl_store_item_t {
                key: item.key.as_ptr().cast(),
                key_length: item.key.len() as u64,
                segments: segments.as_ptr(),
                segment_count: segments.len() as u64,
                object_offset: item.range_offset.unwrap_or(0),
                flags: item.flags | if item.range_offset.is_some() { NIXL_STORE_ITEM_RANGE } else { 0 },
                reserved: [0; 5],
            })
            .collect();
        let options = options.to_c();
        let submit = if is_put { nixl_store_batch_put } else { nixl_store_batch_get };
        let mut ticket = 0;
        // SAFETY: the arrays are as long as stated and copied by the call; the memory lives as long as the
        // `Pending`, which waits at the latest when it is dropped.
        let status = Status(unsafe {
            submit(store.handle(), items.as_ptr(), items.len(), &raw const options, &raw mut ticket)
        });
        if status != OK {
            return Err(status);
        }
        let mut pending = Pending::new(store, ticket, items.len());
        pending.mirror = mirror;
        Ok(pending)
    }
}

/// A submitted batch. Dropping it waits, since its memory may be freed then.
#[must_use]
pub struct Pending<'s, 'm> {
    store: &'s Store,
    ticket: nixl_store_ticket_t,
    count: usize,
    waited: bool,
    /// Where the items' memory is in truth.
    mirror: Option<Mirror>,
    memory: PhantomData<&'m mut [u8]>,
}

impl<'s> Pending<'s, '_> {
    pub(super) fn new(store: &'s Store, ticket: nixl_store_ticket_t, count: usize) -> Self {
        assert_ne!(ticket, 0);
        Pending { store, ticket, count, waited: false, mirror: None, memory: PhantomData }
    }

    pub fn ticket(&self) -> nixl_store_ticket_t {
        self.ticket
    }

    /// Waits for the end; the summary and how each item ended.
    pub fn wait(mut self) -> (Status, Vec<nixl_store_result_t>) {
        self.waited = true;
        self.wait_for(NIXL_STORE_TIMEOUT_INFINITE)
    }

    /// Waits for some time; `Err` gives the pending batch back.
    pub fn try_wait(mut self, timeout_ms: u64) -> Result<(Status, Vec<nixl_store_result_t>), Self> {
        match self.wait_for(timeout_ms) {
            (IN_PROGRESS, _) => Err(self),
            ended => {
                self.waited = true;
                Ok(ended)
            }
        }
    }

    pub fn poll(&self) -> Status {
        // SAFETY: tickets are looked up.
        Status(unsafe { nixl_store_ticket_poll(self.store.handle(), self.ticket) })
    }

    pub fn cancel(&self) -> Status {
        // SAFETY: tickets are looked up.
        Status(unsafe { nixl_store_ticket_cancel(self.store.handle(), self.ticket) })
    }

    /// How an item is, and how many of its bytes are in place, after at most that time.
    pub fn progress(&self, item: usize, wanted: u64, timeout_ms: u64) -> (Status, u64) {
        let mut bytes = u64::MAX;
        let (store, ticket) = (self.store.handle(), self.ticket);
        // SAFETY: tickets are looked up, the place is writable.
        let status =
            unsafe { nixl_store_ticket_progress(store, ticket, item, wanted, timeout_ms, &raw mut bytes) };
        (Status(status), bytes)
    }

    /// Brings what is in the items' memory now to where the test looks.
    pub fn look(&self) {
        if let Some(mirror) = &self.mirror {
            mirror.give_back();
        }
    }

    /// Makes a stream wait for bytes of an item, or for all items.
    pub fn make_wait(&self, item: usize, bytes: u64, stream: usize) -> Status {
        let stream = ptr::without_provenance_mut(stream);
        // SAFETY: tickets are looked up; the stream is the driver's to judge.
        Status(unsafe { nixl_store_stream_wait(self.store.handle(), self.ticket, item, bytes, stream) })
    }

    fn wait_for(&self, timeout_ms: u64) -> (Status, Vec<nixl_store_result_t>) {
        let unwritten = nixl_store_result_t {
            status: i32::MIN,
            os_error: 0,
            bytes: 0,
            object_length: 0,
            reserved: [0; 3],
        };
        let mut results = vec![unwritten; self.count];
        let mut count = usize::MAX;
        // SAFETY: the array is as long as stated.
        let status = Status(unsafe {
            nixl_store_ticket_wait(
                self.store.handle(),
                self.ticket,
                timeout_ms,
                results.as_mut_ptr(),
                results.len(),
                &raw mut count,
            )
        });
        if status != IN_PROGRESS {
            self.mirror.iter().for_each(Mirror::give_back);
        }
        assert_eq!(
            count,
            results.iter().filter(|result| result.status != NIXL_STORE_ERROR_NO_RESULT).count()
        );
        (status, results)
    }
}

impl Drop for Pending<'_, '_> {
    fn drop(&mut self) {
        if !self.waited {
            self.wait_for(NIXL_STORE_TIMEOUT_INFINITE);
        }
    }
}

/// A completion queue.
pub struct Queue<'s> {
    store: &'s Store,
    queue: *mut nixl_store_queue_t,
}

impl<'s> Queue<'s> {
    #[track_caller]
    pub(super) fn new(store: &'s Store) -> Queue<'s> {
        let mut queue = ptr::null_mut();
        // SAFETY: the place is writable.
        let status = Status(unsafe { nixl_store_queue_create(store.handle(), &raw mut queue) });
        assert_eq!(status, OK, "{}", message());
        Queue { store, queue }
    }

    /// What has completed, without waiting.
    #[track_caller]
    pub fn drain(&self) -> Vec<nixl_store_completion_t> {
        let empty = nixl_store_completion_t { ticket: 0, user_data: 0, status: 0, reserved: [0; 3] };
        let mut completions = vec![empty; 64];
        let mut count = 0;
        // SAFETY: the array is as long as stated, the count writable.
        let status = Status(unsafe {
            nixl_store_queue_drain(
                self.store.handle(),
                self.queue,
                completions.as_mut_ptr(),
                completions.len(),
                &raw mut count,
            )
        });
        assert_eq!(status, OK, "{}", message());
        completions.truncate(count);
        completions
    }

    /// Sleeps on the eventfd until `count` batches have completed, and tells of them in their order.
    pub fn take(&self, count: usize) -> Vec<nixl_store_completion_t> {
        let mut fd = -1;
        // SAFETY: the place is writable.
        let status = Status(unsafe { nixl_store_queue_fd(self.store.handle(), self.queue, &raw mut fd) });
        assert_eq!(status, OK, "{}", message());
        let mut taken = Vec::new();
        while taken.len() < count {
            let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd.
            unsafe { libc::poll(&raw mut poll, 1, -1) };
            taken.extend(self.drain());
        }
        taken
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: looked up; a closed store has released it already.
        unsafe { nixl_store_queue_destroy(self.store.handle(), self.queue) };
    }
}
