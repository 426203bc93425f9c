//! The C functions with Rust's arguments: statuses become results, memory is owned by what uses it.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex};

use nixl_store::capi::*;

/// A failed call: its status and what the library said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: nixl_store_status_t,
    pub message: String,
}

pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn of(status: nixl_store_status_t) -> Failure {
        Failure { status, message: message() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", status_name(self.status), self.message)
    }
}

/// What the library says about this thread's last call.
pub fn message() -> String {
    // SAFETY: never NULL, NUL-terminated, valid until this thread's next call.
    let message = unsafe { CStr::from_ptr(nixl_store_error_message()) }.to_str().unwrap().to_owned();
    super::overhear(&message);
    message
}

pub fn status_name(status: nixl_store_status_t) -> &'static str {
    // SAFETY: a constant string.
    unsafe { CStr::from_ptr(nixl_store_status_name(status)) }.to_str().unwrap()
}

fn ok(status: nixl_store_status_t) -> Outcome<()> {
    if status == NIXL_STORE_OK { Ok(()) } else { Err(Failure::of(status)) }
}

/// Ok gives true, the answer "not found" false.
fn found(status: nixl_store_status_t) -> Outcome<bool> {
    match status {
        NIXL_STORE_OK => Ok(true),
        NIXL_STORE_NOT_FOUND => Ok(false),
        _ => Err(Failure::of(status)),
    }
}

/// Everything a store logged.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Vec<(u32, String)>>,
}

impl Log {
    pub fn lines(&self) -> Vec<(u32, String)> {
        self.lines.lock().unwrap().clone()
    }

    /// Messages of this level that hold `text`.
    pub fn matching(&self, level: u32, text: &str) -> Vec<String> {
        let lines = self.lines();
        lines
            .into_iter()
            .filter(|(of, line)| *of == level && line.contains(text))
            .map(|(_, line)| line)
            .collect()
    }
}

unsafe extern "C" fn keep_line(context: *mut c_void, level: u32, message: *const c_char) {
    // SAFETY: the context is the log that the store's options hold, which outlives the store.
    let log = unsafe { &*context.cast::<Log>() };
    // SAFETY: the library hands over a NUL-terminated string.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    super::overhear(&message);
    log.lines.lock().unwrap().push((level, message));
}

/// What open gets beside the file.
#[derive(Clone, Default)]
pub struct Options {
    pub chunk_bytes: u64,
    pub worker_id: u32,
    pub world_size: u32,
    pub cuda_device: Option<u32>,
    pub namespace: Option<String>,
    pub log: Arc<Log>,
}

/// An open store; dropped, it is closed.
pub struct Store {
    handle: *mut nixl_store_t,
    pub log: Arc<Log>,
}

// SAFETY: the handle is a number and every function may be called from any thread.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    pub fn open(config: &Path) -> Outcome<Store> {
        Store::open_with(config, &Options::default())
    }

    pub fn open_with(config: &Path, options: &Options) -> Outcome<Store> {
        let path = CString::new(config.as_os_str().as_bytes()).unwrap();
        let namespace = options.namespace.as_ref().map(|text| CString::new(text.as_str()).unwrap());
        let log = Arc::clone(&options.log);
        let given = nixl_store_open_options_t {
            struct_size: size_of::<nixl_store_open_options_t>(),
            chunk_bytes: options.chunk_bytes,
            worker_id: options.worker_id,
            world_size: options.world_size,
            has_cuda_device: options.cuda_device.is_some().into(),
            cuda_device: options.cuda_device.unwrap_or(0),
            cache_namespace: namespace.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
            log_function: Some(keep_line),
            log_context: Arc::as_ptr(&log).cast_mut().cast(),
            config_text: ptr::null(),
            log_record_function: None,
        };
        let mut handle = ptr::null_mut();
        // SAFETY: two strings and a struct of the stated size that live during the call, a place for the handle.
        ok(unsafe { nixl_store_open(path.as_ptr(), &raw const given, &raw mut handle) })?;
        Ok(Store { handle, log })
    }

    pub fn handle(&self) -> *mut nixl_store_t {
        self.handle
    }

    /// Closes it, whatever other threads are doing.
    pub fn close(&self) -> Outcome<()> {
        // SAFETY: whether the handle is still open is for the call to find out.
        ok(unsafe { nixl_store_close(self.handle) })
    }

    pub fn put(&self, key: &str, data: &[u8]) -> Outcome<()> {
        // SAFETY: both slices are readable for their lengths.
        ok(unsafe {
            nixl_store_put(self.handle, key.as_ptr().cast(), key.len(), data.as_ptr().cast(), data.len())
        })
    }

    /// Gets into a buffer of `capacity` bytes.
    pub fn get(&self, key: &str, capacity: usize) -> Outcome<Option<Vec<u8>>> {
        let mut buffer = vec![0u8; capacity];
        let mut length = 0;
        // SAFETY: the slices are readable and writable for their lengths.
        let status = unsafe {
            nixl_store_get(
                self.handle,
                key.as_ptr().cast(),
                key.len(),
                buffer.as_mut_ptr().cast(),
                capacity,
                &raw mut length,
            )
        };
        Ok(found(status)?.then(|| {
            buffer.truncate(length);
            buffer
        }))
    }

    pub fn contains(&self, key: &str) -> Outcome<bool> {
        // SAFETY: the key is readable for its length.
        found(unsafe { nixl_store_key_contains(self.handle, key.as_ptr().cast(), key.len()) })
    }

    pub fn length(&self, key: &str) -> Outcome<Option<u64>> {
        let mut length = 0;
        // SAFETY: the key is readable for its length, the place writable.
        let status =
            unsafe { nixl_store_key_length(self.handle, key.as_ptr().cast(), key.len(), &raw mut length) };
        Ok(found(status)?.then_some(length))
    }

    /// OK, NOT_FOUND or PINNED.
    pub fn remove(&self, key: &str) -> Outcome<nixl_store_status_t> {
        // SAFETY: the key is readable for its length.
        let status = unsafe { nixl_store_key_remove(self.handle, key.as_ptr().cast(), key.len()) };
        if status < 0 { Err(Failure::of(status)) } else { Ok(status) }
    }

    pub fn pin(&self, key: &str) -> Outcome<bool> {
        // SAFETY: the key is readable for its length.
        found(unsafe { nixl_store_key_pin(self.handle, key.as_ptr().cast(), key.len()) })
    }

    pub fn unpin(&self, key: &str) -> Outcome<bool> {
        // SAFETY: the key is readable for its length.
        found(unsafe { nixl_store_key_unpin(self.handle, key.as_ptr().cast(), key.len()) })
    }

    pub fn prefix_match(&self, keys: &[&str]) -> Outcome<usize> {
        let chain: Vec<nixl_store_key_t> = keys
            .iter()
            .map(|key| nixl_store_key_t {
                key: key.as_ptr().cast(),
                key_length: key.len() as u64,
                reserved: [0; 4],
            })
            .collect();
        let mut matched = 0;
        // SAFETY: the array and the keys in it are readable for their lengths.
        ok(unsafe { nixl_store_prefix_match(self.handle, chain.as_ptr(), chain.len(), &raw mut matched) })?;
        Ok(matched)
    }

    pub fn clear(&self) -> Outcome<u64> {
        let mut removed = 0;
        // SAFETY: a writable place.
        ok(unsafe { nixl_store_clear(self.handle, &raw mut removed) })?;
        Ok(removed)
    }

    pub fn flush(&self) -> Outcome<()> {
        // SAFETY: a handle.
        ok(unsafe { nixl_store_flush(self.handle) })
    }

    pub fn stats(&self) -> Outcome<nixl_store_stats_t> {
        // SAFETY: integers only, for which zero is a value.
        let mut stats: nixl_store_stats_t = unsafe { std::mem::zeroed() };
        stats.struct_size = size_of::<nixl_store_stats_t>();
        // SAFETY: a struct of the stated size.
        ok(unsafe { nixl_store_stats_read(self.handle, &raw mut stats) })?;
        Ok(stats)
    }

    pub fn capabilities(&self) -> Outcome<Capabilities> {
        // SAFETY: integers and characters only, for which zero is a value.
        let mut told: nixl_store_capabilities_t = unsafe { std::mem::zeroed() };
        told.struct_size = size_of::<nixl_store_capabilities_t>();
        // SAFETY: a struct of the stated size.
        ok(unsafe { nixl_store_capabilities_read(self.handle, &raw mut told) })?;
        // SAFETY: the library ends each string with a NUL inside its array.
        let text = |from: &[c_char]| unsafe { CStr::from_ptr(from.as_ptr()) }.to_str().unwrap().to_owned();
        Ok(Capabilities {
            backend: text(&told.backend),
            io_path: text(&told.io_path),
            layout: text(&told.layout),
            reason: text(&told.reason),
            direct_io: told.direct_io == 1,
            registered: told.registered_buffers == 1,
            object_bytes_max: told.object_bytes_max,
        })
    }

    pub fn register(&self, address: *mut u8, length: usize) -> Outcome<()> {
        // SAFETY: the callers keep the region mapped until it is unregistered or the store closed.
        ok(unsafe { nixl_store_memory_register(self.handle, address.cast(), length) })
    }

    pub fn unregister(&self, address: *mut u8) -> Outcome<()> {
        // SAFETY: an address; the library looks it up.
        ok(unsafe { nixl_store_memory_unregister(self.handle, address.cast()) })
    }

    pub fn allocate(&self, length: usize) -> Outcome<*mut u8> {
        let mut address = ptr::null_mut();
        // SAFETY: a writable place.
        ok(unsafe { nixl_store_memory_allocate(self.handle, length, &raw mut address) })?;
        Ok(address.cast())
    }

    pub fn free(&self, address: *mut u8) -> Outcome<()> {
        // SAFETY: an address; the library looks it up.
        ok(unsafe { nixl_store_memory_free(self.handle, address.cast()) })
    }

    pub fn queue(&self) -> Outcome<Queue> {
        let mut queue = ptr::null_mut();
        // SAFETY: a writable place.
        ok(unsafe { nixl_store_queue_create(self.handle, &raw mut queue) })?;
        Ok(Queue(queue))
    }

    pub fn queue_fd(&self, queue: Queue) -> Outcome<RawFd> {
        let mut fd = -1;
        // SAFETY: a writable place.
        ok(unsafe { nixl_store_queue_fd(self.handle, queue.0, &raw mut fd) })?;
        Ok(fd)
    }

    pub fn drain(&self, queue: Queue, capacity: usize) -> Outcome<Vec<nixl_store_completion_t>> {
        let none = nixl_store_completion_t { ticket: 0, user_data: 0, status: 0, reserved: [0; 3] };
        let mut completions = vec![none; capacity];
        let mut count = 0;
        // SAFETY: the array has room for `capacity` completions, the count is elsewhere.
        ok(unsafe {
            nixl_store_queue_drain(self.handle, queue.0, completions.as_mut_ptr(), capacity, &raw mut count)
        })?;
        completions.truncate(count);
        Ok(completions)
    }

    pub fn queue_destroy(&self, queue: Queue) -> Outcome<()> {
        // SAFETY: a handle; the library looks it up.
        ok(unsafe { nixl_store_queue_destroy(self.handle, queue.0) })
    }

    pub fn poll(&self, ticket: nixl_store_ticket_t) -> nixl_store_status_t {
        // SAFETY: a handle and a number.
        unsafe { nixl_store_ticket_poll(self.handle, ticket) }
    }

    pub fn cancel(&self, ticket: nixl_store_ticket_t) -> Outcome<()> {
        // SAFETY: a handle and a number.
        ok(unsafe { nixl_store_ticket_cancel(self.handle, ticket) })
    }

    /// Submits items. Their memory is in the answer, which waits for the batch before it lets go of it.
    pub fn submit(&self, direction: Direction, items: Vec<Item>, how: Submit) -> Result<Ticket<'_>, Refused> {
        let mut items = items;
        let segments: Vec<Vec<nixl_store_segment_t>> = items.iter_mut().map(Item::segments).collect();
        let raw: Vec<nixl_store_item_t> = items
            .iter()
            .zip(&segments)
            .map(|(item, segments)| nixl_store_item_t {
                key: item.key.as_ptr().cast(),
                key_length: item.key.len() as u64,
                segments: segments.as_ptr(),
                segment_count: segments.len() as u64,
                object_offset: item.range.unwrap_or(0),
                flags: if item.range.is_some() { NIXL_STORE_ITEM_RANGE } else { 0 },
                reserved: [0; 5],
            })
            .collect();
        let options = how.to_c();
        let mut number = 0;
        let call = match direction {
            Direction::Put => nixl_store_batch_put,
            Direction::Get => nixl_store_batch_get,
        };
        // SAFETY: as many items as stated; the memory of their segments stays where it is (on the heap, owned by
        // `items`) until the ticket was waited for, which `Ticket` sees to.
        let status =
            unsafe { call(self.handle, raw.as_ptr(), raw.len(), &raw const options, &raw mut number) };
        match ok(status) {
            Ok(()) => Ok(Ticket { store: self, number, items, done: false }),
            Err(failure) => Err(Refused { failure, items }),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closed already by most tests; a second time changes nothing.
        let _ = self.close();
    }
}

/// What the capabilities say.
#[derive(Clone, Debug)]
pub struct Capabilities {
    pub backend: String,
    pub io_path: String,
    pub layout: String,
    pub reason: String,
    pub direct_io: bool,
    pub registered: bool,
    pub object_bytes_max: u64,
}

/// A completion queue.
#[derive(Clone, Copy, Debug)]
pub struct Queue(*mut nixl_store_queue_t);

// SAFETY: a number, as the store's handle is.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Put,
    Get,
}

/// How to submit.
#[derive(Clone, Copy, Default)]
pub struct Submit {
    pub timeout_ms: u64,
    pub queue: Option<Queue>,
    pub user_data: u64,
}

impl Submit {
    pub fn to_c(self) -> nixl_store_submit_options_t {
        nixl_store_submit_options_t {
            struct_size: size_of::<nixl_store_submit_options_t>(),
            deadline_ms: self.timeout_ms,
            queue: self.queue.map_or(ptr::null_mut(), |queue| queue.0),
            user_data: self.user_data,
            flags: 0,
            reserved: 0,
            cuda_stream: std::ptr::null_mut(),
            request: 0,
        }
    }
}

/// An item with its memory, cut into as many pieces as `cuts` says.
#[derive(Clone)]
pub struct Item {
    pub key: String,
    pub memory: Vec<u8>,
    pub range: Option<u64>,
    pub pieces: usize,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.key, self.memory.len())
    }
}

impl Item {
    /// A put of `memory`, or a get into it.
    pub fn new(key: impl Into<String>, memory: Vec<u8>) -> Item {
        Item { key: key.into(), memory, range: None, pieces: 1 }
    }

    fn segments(&mut self) -> Vec<nixl_store_segment_t> {
        let piece = self.memory.len().div_ceil(self.pieces.max(1)).max(1);
        let segment = |memory: &mut [u8]| nixl_store_segment_t {
            address: memory.as_mut_ptr().cast(),
            length: memory.len() as u64,
            memory_kind: NIXL_STORE_MEMORY_AUTO,
            cuda_device: 0,
            reserved: [0; 2],
        };
        self.memory.chunks_mut(piece).map(segment).collect()
    }
}

/// A submit that was refused; nothing holds the memory.
#[derive(Debug)]
pub struct Refused {
    pub failure: Failure,
    pub items: Vec<Item>,
}

/// A batch under way and the memory that it uses.
pub struct Ticket<'a> {
    store: &'a Store,
    pub number: nixl_store_ticket_t,
    items: Vec<Item>,
    done: bool,
}

const NO_RESULT: nixl_store_result_t =
    nixl_store_result_t { status: 77, os_error: 0, bytes: 0, object_length: 0, reserved: [0; 3] };

impl Ticket<'_> {
    /// Waits for the end: the status of the whole, and each item with its result.
    pub fn wait(mut self) -> (nixl_store_status_t, Vec<(Item, nixl_store_result_t)>) {
        let mut results = vec![NO_RESULT; self.items.len()];
        let status = self.wait_for(NIXL_STORE_TIMEOUT_INFINITE, &mut results);
        assert_ne!(status, NIXL_STORE_IN_PROGRESS, "an endless wait came back early");
        self.done = true;
        (status, std::mem::take(&mut self.items).into_iter().zip(results).collect())
    }

    /// Whether the batch ended within the time. The ticket is kept.
    pub fn ended_within(&self, time: std::time::Duration) -> bool {
        let deadline = std::time::Instant::now() + time;
        while self.store.poll(self.number) == NIXL_STORE_IN_PROGRESS {
            if std::time::Instant::now() >= deadline {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    fn wait_for(&self, timeout_ms: u64, results: &mut [nixl_store_result_t]) -> nixl_store_status_t {
        let mut count = 0;
        // SAFETY: the slice is writable for its length.
        unsafe {
            nixl_store_ticket_wait(
                self.store.handle,
                self.number,
                timeout_ms,
                results.as_mut_ptr(),
                results.len(),
                &raw mut count,
            )
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.done {
            let mut results = vec![NO_RESULT; self.items.len()];
            // A store that is closed has let go of the memory already.
            self.wait_for(NIXL_STORE_TIMEOUT_INFINITE, &mut results);
        }
    }
}
