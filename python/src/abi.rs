//! The library's C interface, as safe calls: the one place of the binding that hands it pointers.
//!
//! Errors come back as [`Failure`], with the library's message, which it keeps for each thread until that thread's next call.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use nixl_store::capi::*;

/// Bytes for the text of metrics at first: enough for an engine with two sizes of objects.
const METRICS_BYTES: usize = 32 << 10;

/// What the library answered, and its words on it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// One of `NIXL_STORE_ERROR_*`.
    pub status: nixl_store_status_t,
    /// `nixl_store_error_message()`.
    pub message: String,
}

/// Of a call: a status that is no error, or what went wrong.
pub type Answer = Result<nixl_store_status_t, Failure>;

/// An open store.
///
/// The C handle is a number that the library looks up, so that a stale one is refused and not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(usize);

/// A completion queue of a store; a number as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueHandle(usize);

/// What to open a store with beside the configuration.
#[derive(Debug, Default)]
pub struct Opening {
    /// Path of the configuration.
    pub config_path: Option<CString>,
    /// The configuration itself.
    pub config_text: Option<CString>,
    /// Bytes of the largest object.
    pub chunk_bytes: u64,
    /// Rank of this worker.
    pub worker_id: u32,
    /// Workers that work together.
    pub world_size: u32,
    /// CUDA device of this worker.
    pub cuda_device: Option<u32>,
    /// What separates the keys.
    pub cache_namespace: Option<CString>,
}

/// Receives messages of the log, from any thread.
pub trait Log: Sync {
    /// One line, with the time at which it was sent, in nanoseconds since 1970, and its level, one of `NIXL_STORE_LOG_*`.
    fn message(&self, time_unix_ns: u64, level: u32, text: &str);
}

/// How a batch is submitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Submit {
    /// As `deadline_ms` of the C interface.
    pub deadline_ms: u64,
    /// Where its completion goes, and what is said there.
    pub queue: Option<(QueueHandle, u64)>,
    /// `NIXL_STORE_SUBMIT_CHAIN` or 0.
    pub flags: u32,
    /// The request that it belongs to; 0: none that is named.
    pub request: u64,
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub struct Completed {
    /// The ticket, still to be waited for.
    pub ticket: u64,
    /// What was given at submit.
    pub user_data: u64,
}

/// Keys, one after the other in one piece of memory.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// Room for so many.
    pub fn with_capacity(count: usize) -> Keys {
        // LMCache's keys have some 100 bytes.
        Keys { bytes: Vec::with_capacity(count * 128), ends: Vec::with_capacity(count) }
    }

    /// Adds one.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let key = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            key
        })
    }
}

/// What a get of one object came to.
#[derive(Debug)]
pub enum Got {
    /// The object is there, and so long.
    Found(usize),
    /// It is not stored.
    Missing,
    /// It is longer than the memory: so long, and the error that says so.
    TooSmall(usize, Failure),
}

/// Objects of a batch: a key each, and as many segments as `counts` says.
#[derive(Default)]
pub struct Objects {
    /// The keys.
    pub keys: Keys,
    /// The segments of all objects, in their order.
    pub segments: Vec<nixl_store_segment_t>,
    /// How many of them each object has.
    pub counts: Vec<usize>,
    /// Flags of each item.
    pub flags: u32,
}

/// What is to be done with a batch of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which are stored.
    Lookup,
    /// Remove them.
    Remove,
    /// Pin them.
    Pin,
    /// Unpin them.
    Unpin,
}

fn answer(status: nixl_store_status_t) -> Answer {
    if status >= NIXL_STORE_OK { Ok(status) } else { Err(Failure { status, message: message() }) }
}

/// What the library says of this thread's last call.
pub fn message() -> String {
    // SAFETY: NUL-terminated, never NULL, and the thread's own until its next call.
    unsafe { CStr::from_ptr(nixl_store_error_message()) }.to_string_lossy().into_owned()
}

/// The name of a status.
pub fn status_name(status: nixl_store_status_t) -> &'static str {
    // SAFETY: a constant string, never NULL.
    unsafe { CStr::from_ptr(nixl_store_status_name(status)) }.to_str().unwrap_or("NIXL_STORE_UNKNOWN")
}

/// The library's version.
pub fn version() -> &'static str {
    // SAFETY: a constant string, never NULL.
    unsafe { CStr::from_ptr(nixl_store_version()) }.to_str().unwrap_or_default()
}

unsafe extern "C" fn log_record<L: Log>(context: *mut c_void, record: *const nixl_store_log_record_t) {
    // SAFETY: `open` gave a `&'static L` for it.
    let log = unsafe { &*context.cast::<L>() };
    // SAFETY: the library gives a record that is valid during the call.
    let record = unsafe { &*record };
    // SAFETY: the record's message is a NUL-terminated string.
    let message = unsafe { CStr::from_ptr(record.message) }.to_string_lossy();
    log.message(record.time_unix_ns, record.level, &message);
}

fn chars(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

impl Handle {
    /// Opens a store, whose messages go to `log`.
    ///
    /// # Errors
    /// The library's.
    pub fn open<L: Log>(opening: &Opening, log: &'static L) -> Result<Handle, Failure> {
        let options = nixl_store_open_options_t {
            struct_size: size_of::<nixl_store_open_options_t>(),
            chunk_bytes: opening.chunk_bytes,
            worker_id: opening.worker_id,
            world_size: opening.world_size,
            has_cuda_device: opening.cuda_device.is_some().into(),
            cuda_device: opening.cuda_device.unwrap_or(0),
            cache_namespace: chars(opening.cache_namespace.as_ref()),
            log_function: None,
            log_context: ptr::from_ref(log).cast_mut().cast(),
            config_text: chars(opening.config_text.as_ref()),
            log_record_function: Some(log_record::<L>),
        };
        let mut store = ptr::null_mut();
        let path = chars(opening.config_path.as_ref());
        // SAFETY: NUL-terminated strings that live until the call returns, a log that lives for ever.
        answer(unsafe { nixl_store_open(path, &raw const options, &raw mut store) })?;
        Ok(Handle(store.expose_provenance()))
    }

    fn raw(self) -> *mut nixl_store_t {
        ptr::with_exposed_provenance_mut(self.0)
    }

    /// Closes it.
    ///
    /// # Errors
    /// The library's.
    pub fn close(self) -> Answer {
        // SAFETY: a handle is looked up.
        answer(unsafe { nixl_store_close(self.raw()) })
    }

    /// Submits puts or gets.
    ///
    /// # Errors
    /// The library's.
    ///
    /// # Safety
    /// The memory of the segments stays valid, and is not changed by a put's caller nor looked at by a get's, until the
    /// batch has completed.
    pub unsafe fn transfer(self, is_put: bool, objects: &Objects, submit: Submit) -> Result<u64, Failure> {
        let mut items = Vec::with_capacity(objects.counts.len());
        let mut rest = objects.segments.as_slice();
        for (key, &count) in objects.keys.iter().zip(&objects.counts) {
            let (own, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = others;
            items.push(nixl_store_item_t {
                key: key.as_ptr().cast(),
                key_length: key.len() as u64,
                segments: own.as_ptr(),
                segment_count: own.len() as u64,
                object_offset: 0,
                flags: objects.flags,
                reserved: [0; 5],
            });
        }
        let (options, mut ticket) = (submit_options(submit), 0);
        let call = if is_put { nixl_store_batch_put } else { nixl_store_batch_get };
        // SAFETY: arrays of the stated lengths that live until the call returns; the memory is this function's promise.
        answer(unsafe {
            call(self.raw(), items.as_ptr(), items.len(), &raw const options, &raw mut ticket)
        })?;
        Ok(ticket)
    }

    /// Submits questions about keys.
    ///
    /// # Errors
    /// The library's.
    pub fn ask(self, question: Question, keys: &Keys, submit: Submit) -> Result<u64, Failure> {
        let array = key_array(keys);
        let (options, mut ticket) = (submit_options(submit), 0);
        let call = match question {
            Question::Lookup => nixl_store_batch_lookup,
            Question::Remove => nixl_store_batch_remove,
            Question::Pin => nixl_store_batch_pin,
            Question::Unpin => nixl_store_batch_unpin,
        };
        // SAFETY: an array of that length that lives until the call returns, as the keys do.
        answer(unsafe {
            call(self.raw(), array.as_ptr(), array.len(), &raw const options, &raw mut ticket)
        })?;
        Ok(ticket)
    }

    /// Waits for a ticket: `NIXL_STORE_IN_PROGRESS`, or the batch's status with the results of its items.
    ///
    /// # Errors
    /// The library's, where the ticket was not consumed. What the items ended with is no error of this call: it is in the
    /// results, and the message of the first in the second place.
    pub fn wait(
        self,
        ticket: u64,
        timeout_ms: u64,
        items: usize,
    ) -> Result<Option<(nixl_store_status_t, String, Vec<nixl_store_result_t>)>, Failure> {
        let empty = nixl_store_result_t {
            status: NIXL_STORE_ERROR_NO_RESULT,
            os_error: 0,
            bytes: 0,
            object_length: 0,
            reserved: [0; 3],
        };
        let (mut results, mut count) = (vec![empty; items], 0);
        // SAFETY: an array of that length, and a place for the count.
        let status = unsafe {
            nixl_store_ticket_wait(
                self.raw(),
                ticket,
                timeout_ms,
                results.as_mut_ptr(),
                results.len(),
                &raw mut count,
            )
        };
        if status == NIXL_STORE_IN_PROGRESS {
            return Ok(None);
        }
        if count == 0 {
            answer(status)?;
        }
        results.truncate(count);
        Ok(Some((status, if status < NIXL_STORE_OK { message() } else { String::new() }, results)))
    }

    /// Whether a ticket's batch has completed.
    ///
    /// # Errors
    /// The library's, where there is no such ticket.
    pub fn is_complete(self, ticket: u64) -> Result<bool, Failure> {
        // SAFETY: looked up.
        let status = unsafe { nixl_store_ticket_poll(self.raw(), ticket) };
        if status == NIXL_STORE_ERROR_INVALID_HANDLE {
            answer(status)?;
        }
        Ok(status != NIXL_STORE_IN_PROGRESS)
    }

    /// Asks for a batch to end early.
    ///
    /// # Errors
    /// The library's.
    pub fn cancel(self, ticket: u64) -> Answer {
        // SAFETY: looked up.
        answer(unsafe { nixl_store_ticket_cancel(self.raw(), ticket) })
    }

    /// Makes a queue, with its descriptor.
    ///
    /// # Errors
    /// The library's.
    pub fn queue(self) -> Result<(QueueHandle, c_int), Failure> {
        let (mut queue, mut descriptor) = (ptr::null_mut(), -1);
        // SAFETY: a place for the handle.
        answer(unsafe { nixl_store_queue_create(self.raw(), &raw mut queue) })?;
        let handle = QueueHandle(queue.expose_provenance());
        // SAFETY: a place for the descriptor.
        if let Err(failure) = answer(unsafe { nixl_store_queue_fd(self.raw(), queue, &raw mut descriptor) }) {
            self.destroy_queue(handle);
            return Err(failure);
        }
        Ok((handle, descriptor))
    }

    /// Destroys a queue; nothing where it is gone already.
    pub fn destroy_queue(self, queue: QueueHandle) {
        // SAFETY: looked up.
        let _ = unsafe { nixl_store_queue_destroy(self.raw(), ptr::with_exposed_provenance_mut(queue.0)) };
    }

    /// Takes completions out of a queue until it is empty.
    ///
    /// # Errors
    /// The library's.
    pub fn drain(self, queue: QueueHandle) -> Result<Vec<Completed>, Failure> {
        const AT_ONCE: usize = 64;
        let empty = nixl_store_completion_t {
            ticket: 0,
            user_data: 0,
            status: NIXL_STORE_ERROR_NO_RESULT,
            reserved: [0; 3],
        };
        let mut all = Vec::new();
        loop {
            let (mut some, mut count) = ([empty; AT_ONCE], 0);
            let place = some.as_mut_ptr();
            let queue = ptr::with_exposed_provenance_mut(queue.0);
            // SAFETY: an array of that length, and a place for the count.
            answer(unsafe { nixl_store_queue_drain(self.raw(), queue, place, AT_ONCE, &raw mut count) })?;
            all.extend(
                some.iter().take(count).map(|one| Completed { ticket: one.ticket, user_data: one.user_data }),
            );
            if count < AT_ONCE {
                return Ok(all);
            }
        }
    }

    /// Stores one object: `NIXL_STORE_OK`, or `NIXL_STORE_NOT_ADMITTED`.
    ///
    /// # Errors
    /// The library's.
    pub fn put(self, key: &[u8], data: &[u8]) -> Answer {
        // SAFETY: both live until the call returns.
        answer(unsafe {
            nixl_store_put(self.raw(), key.as_ptr().cast(), key.len(), data.as_ptr().cast(), data.len())
        })
    }

    /// Reads one object into memory.
    ///
    /// # Errors
    /// The library's.
    ///
    /// # Safety
    /// `capacity` bytes may be written at `address`, by nobody else, until this returns.
    pub unsafe fn get(self, key: &[u8], address: *mut c_void, capacity: usize) -> Result<Got, Failure> {
        let mut length = 0;
        // SAFETY: the key lives until the call returns; the memory is this function's promise.
        let status = unsafe {
            nixl_store_get(self.raw(), key.as_ptr().cast(), key.len(), address, capacity, &raw mut length)
        };
        match status {
            NIXL_STORE_OK => Ok(Got::Found(length)),
            NIXL_STORE_ERROR_BUFFER_TOO_SMALL => {
                Ok(Got::TooSmall(length, Failure { status, message: message() }))
            }
            _ => answer(status).map(|_| Got::Missing),
        }
    }

    /// The length of a stored object, or `None`.
    ///
    /// # Errors
    /// The library's.
    pub fn key_length(self, key: &[u8]) -> Result<Option<u64>, Failure> {
        let mut length = 0;
        // SAFETY: the key lives until the call returns, and there is a place for the length.
        let status = answer(unsafe {
            nixl_store_key_length(self.raw(), key.as_ptr().cast(), key.len(), &raw mut length)
        })?;
        Ok((status == NIXL_STORE_OK).then_some(length))
    }

    /// Asks or tells something of one key.
    ///
    /// # Errors
    /// The library's.
    pub fn key(self, call: KeyCall, key: &[u8]) -> Answer {
        // SAFETY: the key lives until the call returns.
        answer(unsafe { call(self.raw(), key.as_ptr().cast(), key.len()) })
    }

    /// How many keys at the start of a chain are stored.
    ///
    /// # Errors
    /// The library's.
    pub fn prefix_match(self, keys: &Keys) -> Result<usize, Failure> {
        let (array, mut matched) = (key_array(keys), 0);
        // SAFETY: an array of that length that lives until the call returns, as the keys do; a place for the number.
        answer(unsafe {
            nixl_store_prefix_match(self.raw(), array.as_ptr(), array.len(), &raw mut matched)
        })?;
        Ok(matched)
    }

    /// The same, and how many of the keys behind them puts would store, of so many bytes each; the others are declined. A
    /// `request` of 0 is none.
    ///
    /// # Errors
    /// The library's.
    pub fn prefix_plan(
        self,
        keys: &Keys,
        object_bytes: u64,
        request: u64,
    ) -> Result<(usize, usize), Failure> {
        let (array, mut matched, mut admitted) = (key_array(keys), 0, 0);
        // SAFETY: an array of that length that lives until the call returns, as the keys do; places for the numbers.
        answer(unsafe {
            nixl_store_prefix_plan(
                self.raw(),
                array.as_ptr(),
                array.len(),
                object_bytes,
                request,
                &raw mut matched,
                &raw mut admitted,
            )
        })?;
        Ok((matched, admitted))
    }

    /// Makes durable what was put.
    ///
    /// # Errors
    /// The library's.
    pub fn flush(self) -> Answer {
        // SAFETY: looked up.
        answer(unsafe { nixl_store_flush(self.raw()) })
    }

    /// Removes every key that is not pinned, and tells how many.
    ///
    /// # Errors
    /// The library's.
    pub fn clear(self) -> Result<u64, Failure> {
        let mut removed = 0;
        // SAFETY: a place for the number.
        answer(unsafe { nixl_store_clear(self.raw(), &raw mut removed) })?;
        Ok(removed)
    }

    /// Registers memory.
    ///
    /// # Errors
    /// The library's.
    ///
    /// # Safety
    /// It stays mapped until it is unregistered or the store is closed.
    pub unsafe fn register(self, address: usize, length: usize) -> Answer {
        // SAFETY: this function's promise.
        answer(unsafe {
            nixl_store_memory_register(self.raw(), ptr::with_exposed_provenance_mut(address), length)
        })
    }

    /// Takes back a registration.
    ///
    /// # Errors
    /// The library's.
    pub fn unregister(self, address: usize) -> Answer {
        // SAFETY: an address that is compared, not followed.
        answer(unsafe { nixl_store_memory_unregister(self.raw(), ptr::with_exposed_provenance_mut(address)) })
    }

    /// Borrows memory of the store's, and tells its address.
    ///
    /// # Errors
    /// The library's.
    pub fn allocate(self, length: usize) -> Result<usize, Failure> {
        let mut address = ptr::null_mut();
        // SAFETY: a place for the address.
        answer(unsafe { nixl_store_memory_allocate(self.raw(), length, &raw mut address) })?;
        Ok(address.expose_provenance())
    }

    /// Gives borrowed memory back.
    ///
    /// # Errors
    /// The library's.
    pub fn free(self, address: usize) -> Answer {
        // SAFETY: an address that is compared, not followed.
        answer(unsafe { nixl_store_memory_free(self.raw(), ptr::with_exposed_provenance_mut(address)) })
    }

    /// Gauges and counters.
    ///
    /// # Errors
    /// The library's.
    pub fn stats(self) -> Result<nixl_store_stats_t, Failure> {
        // SAFETY: a struct of numbers, for which all zeros are a value.
        let mut stats: nixl_store_stats_t = unsafe { std::mem::zeroed() };
        stats.struct_size = size_of::<nixl_store_stats_t>();
        // SAFETY: a struct of the size that it states.
        answer(unsafe { nixl_store_stats_read(self.raw(), &raw mut stats) })?;
        Ok(stats)
    }

    /// All that is measured, in the form of OpenMetrics.
    ///
    /// # Errors
    /// The library's.
    pub fn metrics_text(self) -> Result<String, Failure> {
        metrics_text(self.raw())
    }

    /// What is in effect.
    ///
    /// # Errors
    /// The library's.
    pub fn capabilities(self) -> Result<nixl_store_capabilities_t, Failure> {
        // SAFETY: a struct of numbers and characters, for which all zeros are a value.
        let mut capabilities: nixl_store_capabilities_t = unsafe { std::mem::zeroed() };
        capabilities.struct_size = size_of::<nixl_store_capabilities_t>();
        // SAFETY: a struct of the size that it states.
        answer(unsafe { nixl_store_capabilities_read(self.raw(), &raw mut capabilities) })?;
        Ok(capabilities)
    }
}

/// All that the stores of this process measure.
///
/// # Errors
/// The library's.
pub fn metrics_text_of_all() -> Result<String, Failure> {
    metrics_text(ptr::null_mut())
}

fn metrics_text(store: *mut nixl_store_t) -> Result<String, Failure> {
    let mut text: Vec<u8> = vec![0; METRICS_BYTES];
    loop {
        let mut length = 0;
        let (start, capacity) = (text.as_mut_ptr().cast::<c_char>(), text.len());
        // SAFETY: memory of that length, and a place for the length.
        match answer(unsafe { nixl_store_metrics_text(store, start, capacity, &raw mut length) }) {
            // It has grown meanwhile.
            Err(failure) if failure.status == NIXL_STORE_ERROR_BUFFER_TOO_SMALL => text.resize(length, 0),
            Err(failure) => return Err(failure),
            Ok(_) => {
                text.truncate(length);
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        }
    }
}

/// A function of the C interface that takes one key.
pub type KeyCall = unsafe extern "C" fn(*mut nixl_store_t, *const c_void, usize) -> nixl_store_status_t;

fn key_array(keys: &Keys) -> Vec<nixl_store_key_t> {
    keys.iter()
        .map(|key| nixl_store_key_t {
            key: key.as_ptr().cast(),
            key_length: key.len() as u64,
            reserved: [0; 4],
        })
        .collect()
}

fn submit_options(submit: Submit) -> nixl_store_submit_options_t {
    nixl_store_submit_options_t {
        struct_size: size_of::<nixl_store_submit_options_t>(),
        deadline_ms: submit.deadline_ms,
        queue: submit.queue.map_or(ptr::null_mut(), |(queue, _)| ptr::with_exposed_provenance_mut(queue.0)),
        user_data: submit.queue.map_or(0, |(_, user_data)| user_data),
        flags: submit.flags,
        reserved: 0,
        cuda_stream: ptr::null_mut(),
        request: submit.request,
    }
}

/// Characters of a fixed array up to its NUL.
pub fn text(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters
        .iter()
        .take_while(|&&character| character != 0)
        .map(|&character| character as u8)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Wakes whoever polls a queue's descriptor, which a program may write to.
pub fn wake(descriptor: c_int) {
    // SAFETY: the descriptor is the queue's, which its store keeps open as long as this is called; a `File` that is not
    // dropped does not close it.
    let mut file = std::mem::ManuallyDrop::new(unsafe {
        <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(descriptor)
    });
    // An eventfd whose counter is full is readable already.
    let _ = std::io::Write::write(&mut *file, &1u64.to_ne_bytes());
}
