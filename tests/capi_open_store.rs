//! The C API on an open store: what each call does with right arguments and with wrong ones.
//!
//! Everything runs against a store in memory, so that what fails here is the C layer or the store,
//! not a disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, in which a panic is a failure")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nixl_store::capi::*;

/// A store in memory with its configuration file; both are gone at the end of the test.
struct Fixture {
    store: *mut nixl_store_t,
    directory: PathBuf,
}

// SAFETY: a handle may be used from any thread; that is what some of these tests are about.
unsafe impl Send for Fixture {}
// SAFETY: as above.
unsafe impl Sync for Fixture {}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with_options(ptr::null())
    }

    fn with_options(options: *const nixl_store_open_options_t) -> Fixture {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("nixl_store_capi_{}_{serial}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("lmcache.yaml");
        std::fs::write(
            &path,
            format!(
                "chunk_size: 256\nnixl_buffer_size: 4194304\nnixl_buffer_device: cpu\nextra_config:\n  \
                 enable_nixl_storage: true\n  nixl_backend: MEMORY\n  nixl_pool_size: 16\n  nixl_path: {}\n  \
                 nixl_store_chunk_bytes: 65536\n",
                directory.display()
            ),
        )
        .unwrap();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let mut store = ptr::null_mut();
        // SAFETY: a path, options of the stated size or NULL, a place for the handle.
        let status = unsafe { nixl_store_open(path.as_ptr(), options, &raw mut store) };
        assert_eq!(status, NIXL_STORE_OK, "{}", message());
        Fixture { store, directory }
    }

    fn close(&self) -> nixl_store_status_t {
        // SAFETY: whether the handle is still open is what the call has to find out.
        unsafe { nixl_store_close(self.store) }
    }

    fn put(&self, key: &[u8], data: &[u8]) -> nixl_store_status_t {
        // SAFETY: both slices are readable for their lengths.
        unsafe {
            nixl_store_put(self.store, key.as_ptr().cast(), key.len(), data.as_ptr().cast(), data.len())
        }
    }

    fn get(&self, key: &[u8], buffer: &mut [u8]) -> (nixl_store_status_t, usize) {
        let mut length = UNTOUCHED;
        // SAFETY: the slices are readable and writable for their lengths.
        let status = unsafe {
            nixl_store_get(
                self.store,
                key.as_ptr().cast(),
                key.len(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut length,
            )
        };
        (status, length)
    }

    fn submit(
        &self,
        put: bool,
        items: &[nixl_store_item_t],
        options: *const nixl_store_submit_options_t,
    ) -> Result<nixl_store_ticket_t, nixl_store_status_t> {
        let submit = if put { nixl_store_batch_put } else { nixl_store_batch_get };
        let mut ticket = 0;
        // SAFETY: the array has as many items; their memory lives until the tests waited.
        let status = unsafe { submit(self.store, items.as_ptr(), items.len(), options, &raw mut ticket) };
        if status == NIXL_STORE_OK {
            assert_ne!(ticket, 0);
            return Ok(ticket);
        }
        assert_eq!(ticket, 0, "an output is written on success only");
        assert!(!message().is_empty());
        Err(status)
    }

    fn wait(&self, ticket: nixl_store_ticket_t, results: &mut [nixl_store_result_t]) -> nixl_store_status_t {
        let infinite = NIXL_STORE_TIMEOUT_INFINITE;
        // SAFETY: the slice is writable for its length.
        unsafe { nixl_store_ticket_wait(self.store, ticket, infinite, results.as_mut_ptr(), results.len()) }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Some tests closed it already, which is none of this one's business.
        self.close();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const UNTOUCHED: usize = 0x5555;

const NO_RESULT: nixl_store_result_t =
    nixl_store_result_t { status: 77, os_error: 0, bytes: 0, object_length: 0, reserved: 0 };

fn message() -> String {
    // SAFETY: never NULL, NUL-terminated, valid until this thread's next call.
    unsafe { CStr::from_ptr(nixl_store_error_message()) }.to_str().unwrap().to_owned()
}

fn segment(memory: &mut [u8]) -> nixl_store_segment_t {
    nixl_store_segment_t {
        address: memory.as_mut_ptr().cast(),
        length: memory.len() as u64,
        memory_kind: NIXL_STORE_MEMORY_AUTO,
        reserved: 0,
    }
}

fn item(key: &[u8], segments: &[nixl_store_segment_t]) -> nixl_store_item_t {
    nixl_store_item_t {
        key: key.as_ptr().cast(),
        key_length: key.len() as u64,
        segments: segments.as_ptr(),
        segment_count: segments.len() as u64,
        object_offset: 0,
        flags: 0,
        reserved: 0,
    }
}

fn submit_options() -> nixl_store_submit_options_t {
    nixl_store_submit_options_t {
        struct_size: size_of::<nixl_store_submit_options_t>(),
        timeout_ms: 0,
        queue: ptr::null_mut(),
        user_data: 0,
    }
}

/// The four calls of the simple layer, as the header's first page shows them.
#[test]
fn simple_put_and_get_give_the_bytes_back() {
    let fixture = Fixture::new();
    let mut buffer = [0u8; 16];
    assert_eq!(fixture.get(b"key", &mut buffer), (NIXL_STORE_NOT_FOUND, UNTOUCHED));
    assert_eq!(message(), "");
    assert_eq!(fixture.put(b"key", b"Hello"), NIXL_STORE_OK);
    assert_eq!(fixture.get(b"key", &mut buffer), (NIXL_STORE_OK, 5));
    assert_eq!(&buffer[..5], b"Hello");
    assert_eq!(fixture.get(b"key", &mut buffer[..5]), (NIXL_STORE_OK, 5));
}

/// A get into too small a buffer says how much is needed, and the same get with as much then works.
#[test]
fn too_small_a_buffer_is_told_the_length() {
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"key", &[7; 5000]), NIXL_STORE_OK);
    let mut buffer = vec![0u8; 5000];
    assert_eq!(fixture.get(b"key", &mut buffer[..4999]), (NIXL_STORE_ERROR_BUFFER_TOO_SMALL, 5000));
    assert!(message().contains("5000"), "{}", message());
    assert_eq!(fixture.get(b"key", &mut buffer), (NIXL_STORE_OK, 5000));
    assert_eq!(buffer, [7; 5000]);
}

/// Every pointer of every call, NULL or misaligned in turn, with everything else right.
#[test]
fn every_null_or_misaligned_pointer_is_refused() {
    let fixture = Fixture::new();
    let store = fixture.store;
    let mut memory = [0u8; 64];
    let segments = [segment(&mut memory)];
    let items = [item(b"key", &segments)];
    let key: *const c_void = b"key".as_ptr().cast();
    let data: *const c_void = b"data".as_ptr().cast();
    let mut place = [0u64; 200];
    let buffer: *mut c_void = place.as_mut_ptr().cast();
    let (mut length, mut wide, mut ticket, mut fd) = (0usize, 0u64, 0u64, 0i32);
    let mut address = ptr::null_mut();
    let mut queue = ptr::null_mut();
    let odd = buffer.wrapping_byte_add(1);
    // SAFETY: each call has one pointer that is NULL or misaligned, which it has to notice before
    // it uses anything; all others are right.
    let statuses = unsafe {
        [
            ("put key", nixl_store_put(store, ptr::null(), 3, data, 4)),
            ("put data", nixl_store_put(store, key, 3, ptr::null(), 4)),
            ("get key", nixl_store_get(store, ptr::null(), 3, buffer, 8, &raw mut length)),
            ("get buffer", nixl_store_get(store, key, 3, ptr::null_mut(), 8, &raw mut length)),
            ("get length", nixl_store_get(store, key, 3, buffer, 8, ptr::null_mut())),
            ("get odd length", nixl_store_get(store, key, 3, buffer, 8, odd.cast())),
            ("put items", nixl_store_batch_put(store, ptr::null(), 1, ptr::null(), &raw mut ticket)),
            ("put odd items", nixl_store_batch_put(store, odd.cast(), 1, ptr::null(), &raw mut ticket)),
            ("put ticket", nixl_store_batch_put(store, items.as_ptr(), 1, ptr::null(), ptr::null_mut())),
            ("put odd options", nixl_store_batch_put(store, items.as_ptr(), 1, odd.cast(), &raw mut ticket)),
            ("get items", nixl_store_batch_get(store, ptr::null(), 1, ptr::null(), &raw mut ticket)),
            ("get ticket", nixl_store_batch_get(store, items.as_ptr(), 1, ptr::null(), ptr::null_mut())),
            ("get odd ticket", nixl_store_batch_get(store, items.as_ptr(), 1, ptr::null(), odd.cast())),
            ("odd results", nixl_store_ticket_wait(store, 1, 0, odd.cast(), 1)),
            ("queue", nixl_store_queue_create(store, ptr::null_mut())),
            ("register", nixl_store_memory_register(store, ptr::null_mut(), 4096)),
            ("unregister", nixl_store_memory_unregister(store, ptr::null_mut())),
            ("allocate", nixl_store_memory_allocate(store, 4096, ptr::null_mut())),
            ("free", nixl_store_memory_free(store, ptr::null_mut())),
            ("contains", nixl_store_key_contains(store, ptr::null(), 3)),
            ("length key", nixl_store_key_length(store, ptr::null(), 3, &raw mut wide)),
            ("length", nixl_store_key_length(store, key, 3, ptr::null_mut())),
            ("odd length", nixl_store_key_length(store, key, 3, odd.cast())),
            ("keys", nixl_store_prefix_match(store, ptr::null(), 1, &raw mut length)),
            ("odd keys", nixl_store_prefix_match(store, odd.cast(), 1, &raw mut length)),
            ("matched", nixl_store_prefix_match(store, [].as_ptr(), 0, ptr::null_mut())),
            ("remove", nixl_store_key_remove(store, ptr::null(), 3)),
            ("pin", nixl_store_key_pin(store, ptr::null(), 3)),
            ("unpin", nixl_store_key_unpin(store, ptr::null(), 3)),
            ("odd removed", nixl_store_clear(store, odd.cast())),
            ("stats", nixl_store_stats_read(store, ptr::null_mut())),
            ("odd stats", nixl_store_stats_read(store, odd.cast())),
            ("capabilities", nixl_store_capabilities_read(store, ptr::null_mut())),
        ]
    };
    for (what, status) in statuses {
        assert_eq!(status, NIXL_STORE_ERROR_INVALID_ARGUMENT, "{what}");
    }
    // SAFETY: a queue to try the queue calls on, again with one pointer wrong each.
    unsafe {
        assert_eq!(nixl_store_queue_create(store, &raw mut queue), NIXL_STORE_OK, "{}", message());
        let invalid = NIXL_STORE_ERROR_INVALID_ARGUMENT;
        assert_eq!(nixl_store_queue_fd(store, queue, ptr::null_mut()), invalid);
        let none = ptr::null_mut();
        assert_eq!(nixl_store_queue_drain(store, queue, none, 1, &raw mut length), invalid);
        let mut completions = [0u64; 6];
        let place = completions.as_mut_ptr().cast::<nixl_store_completion_t>();
        assert_eq!(nixl_store_queue_drain(store, queue, place, 2, ptr::null_mut()), invalid);
        assert_eq!(nixl_store_queue_drain(store, queue, place, 0, &raw mut length), invalid);
        assert_eq!(nixl_store_queue_drain(store, queue, place, 2, place.cast()), invalid);
        let null = ptr::null_mut();
        assert_eq!(nixl_store_queue_fd(store, null, &raw mut fd), NIXL_STORE_ERROR_INVALID_HANDLE);
        let status = nixl_store_queue_drain(store, null, place, 2, &raw mut length);
        assert_eq!(status, NIXL_STORE_ERROR_INVALID_HANDLE);
        assert_eq!(nixl_store_queue_destroy(store, null), NIXL_STORE_ERROR_INVALID_HANDLE);
        // What may be NULL stays accepted.
        assert_eq!(nixl_store_clear(store, ptr::null_mut()), NIXL_STORE_OK, "{}", message());
        assert_eq!(nixl_store_prefix_match(store, ptr::null(), 0, &raw mut length), NIXL_STORE_OK);
        assert_eq!(nixl_store_memory_allocate(store, 0, &raw mut address), invalid);
    }
    assert!(address.is_null());
    assert_eq!(length, 0);
}

/// Lengths that are zero, too large, or wrap around the end of memory, in the simple calls.
#[test]
fn impossible_lengths_are_refused() {
    let fixture = Fixture::new();
    let store = fixture.store;
    let key = vec![b'k'; NIXL_STORE_KEY_BYTES_MAX + 1];
    let mut buffer = [0u8; 16];
    assert_eq!(fixture.put(&key[..NIXL_STORE_KEY_BYTES_MAX], b"fits"), NIXL_STORE_OK);
    assert_eq!(fixture.put(&key, b"x"), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(fixture.put(b"", b"x"), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(fixture.put(b"key", b""), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(fixture.get(&key, &mut buffer), (NIXL_STORE_ERROR_INVALID_ARGUMENT, UNTOUCHED));
    assert_eq!(fixture.get(b"key", &mut []), (NIXL_STORE_ERROR_INVALID_ARGUMENT, UNTOUCHED));
    let at: *const c_void = buffer.as_ptr().cast();
    for length in [usize::MAX, 1 << 63, usize::MAX - 4096] {
        // SAFETY: the lengths are impossible, which the calls have to notice.
        unsafe {
            let invalid = NIXL_STORE_ERROR_INVALID_ARGUMENT;
            assert_eq!(nixl_store_put(store, at, 3, at, length), invalid);
            assert_eq!(nixl_store_put(store, at, length, at, 3), invalid);
            let mut got = 0;
            assert_eq!(nixl_store_get(store, at, 3, at.cast_mut(), length, &raw mut got), invalid);
            assert_eq!(nixl_store_memory_register(store, at.cast_mut(), length), invalid);
        }
    }
    // SAFETY: the length lies in the buffer, which the call has to notice.
    let status = unsafe {
        let mut words = [0usize; 4];
        let inside = words.as_mut_ptr();
        nixl_store_get(store, at, 3, inside.cast(), 32, inside.add(2))
    };
    assert_eq!(status, NIXL_STORE_ERROR_INVALID_ARGUMENT);
}

/// A batch is refused as a whole, before anything of it happens, for one wrong field anywhere.
#[test]
fn one_wrong_field_refuses_the_batch() {
    let fixture = Fixture::new();
    let mut memory = [0u8; 64];
    let good_segments = [segment(&mut memory)];
    let good = item(b"good", &good_segments);
    let with_segment = |wrong: nixl_store_segment_t, check: &dyn Fn(nixl_store_item_t)| {
        let segments = [good_segments[0], wrong];
        check(item(b"wrong", &segments));
    };
    let refused = |wrong: nixl_store_item_t, put: bool| {
        let outcome = fixture.submit(put, &[good, wrong], ptr::null());
        assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
        assert!(message().contains("item 1"), "{}", message());
    };
    for put in [false, true] {
        refused(nixl_store_item_t { key: ptr::null(), ..good }, put);
        refused(nixl_store_item_t { key_length: 0, ..good }, put);
        refused(nixl_store_item_t { key_length: 1025, ..good }, put);
        refused(nixl_store_item_t { key_length: u64::MAX, ..good }, put);
        refused(nixl_store_item_t { segments: ptr::null(), ..good }, put);
        refused(nixl_store_item_t { segments: ptr::without_provenance(12), ..good }, put);
        refused(nixl_store_item_t { segment_count: 0, ..good }, put);
        refused(nixl_store_item_t { segment_count: 65537, ..good }, put);
        refused(nixl_store_item_t { segment_count: u64::MAX, ..good }, put);
        refused(nixl_store_item_t { flags: 2, ..good }, put);
        refused(nixl_store_item_t { reserved: 1, ..good }, put);
        refused(nixl_store_item_t { object_offset: 1, ..good }, put);
        let base = good_segments[0];
        for wrong in [
            nixl_store_segment_t { address: ptr::null_mut(), ..base },
            nixl_store_segment_t { length: 0, ..base },
            nixl_store_segment_t { length: u64::MAX, ..base },
            nixl_store_segment_t { memory_kind: 3, ..base },
            nixl_store_segment_t { reserved: 1, ..base },
        ] {
            with_segment(wrong, &|item| refused(item, put));
        }
    }
    refused(nixl_store_item_t { flags: NIXL_STORE_ITEM_RANGE, ..good }, true);
    let past = nixl_store_item_t { flags: NIXL_STORE_ITEM_RANGE, object_offset: u64::MAX, ..good };
    refused(past, false);
    assert_eq!(fixture.submit(true, &[], ptr::null()), Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
    let many = vec![good; NIXL_STORE_BATCH_ITEMS_MAX + 1];
    assert_eq!(fixture.submit(true, &many, ptr::null()), Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
    let mut buffer = [0u8; 64];
    assert_eq!(fixture.get(b"good", &mut buffer).0, NIXL_STORE_NOT_FOUND, "nothing was submitted");
}

/// Device memory is none that this build serves, and is said to be so instead of being touched.
#[test]
fn device_memory_is_unsupported() {
    let fixture = Fixture::new();
    let mut memory = [0u8; 64];
    let device = [nixl_store_segment_t { memory_kind: NIXL_STORE_MEMORY_CUDA, ..segment(&mut memory) }];
    let items = [item(b"key", &device)];
    assert_eq!(fixture.submit(true, &items, ptr::null()), Err(NIXL_STORE_ERROR_UNSUPPORTED));
    assert_eq!(fixture.submit(false, &items, ptr::null()), Err(NIXL_STORE_ERROR_UNSUPPORTED));
}

/// Two segments of a get that share a byte would leave its content to chance; of a put they are fine.
#[test]
fn overlapping_segments_are_refused_in_gets_only() {
    let fixture = Fixture::new();
    let mut memory = [5u8; 64];
    let whole = segment(&mut memory);
    let inner = nixl_store_segment_t { length: 1, ..whole };
    let (one, two) = ([whole], [inner]);
    let within = [whole, inner];
    let across = [item(b"a", &one), item(b"b", &two)];
    let refused = Err(NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(fixture.submit(false, &[item(b"a", &within)], ptr::null()), refused);
    assert_eq!(fixture.submit(false, &across, ptr::null()), refused);
    let ticket = fixture.submit(true, &across, ptr::null()).unwrap();
    assert_eq!(fixture.wait(ticket, &mut [NO_RESULT; 2]), NIXL_STORE_OK, "{}", message());
    let mut buffer = [0u8; 65];
    assert_eq!(fixture.get(b"b", &mut buffer), (NIXL_STORE_OK, 1));
}

/// A batch in segments, whole and in a range; every item has its own result.
#[test]
fn a_batch_gathers_scatters_and_reads_ranges() {
    let fixture = Fixture::new();
    let mut object: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let (head, tail) = object.split_at_mut(1000);
    let pieces = [segment(head), segment(tail)];
    let ticket = fixture.submit(true, &[item(b"key", &pieces)], ptr::null()).unwrap();
    let mut results = [NO_RESULT; 2];
    assert_eq!(fixture.wait(ticket, &mut results[..1]), NIXL_STORE_OK, "{}", message());
    assert_eq!((results[0].status, results[0].bytes), (NIXL_STORE_OK, 3000));

    let (mut range, mut missing) = ([0u8; 100], [0u8; 100]);
    let (first, second) = range.split_at_mut(30);
    let (range_segments, missing_segments) = ([segment(first), segment(second)], [segment(&mut missing)]);
    let ranged = nixl_store_item_t {
        object_offset: 500,
        flags: NIXL_STORE_ITEM_RANGE,
        ..item(b"key", &range_segments)
    };
    let items = [ranged, item(b"absent", &missing_segments)];
    let ticket = fixture.submit(false, &items, ptr::null()).unwrap();
    assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_NOT_FOUND, "{}", message());
    assert_eq!((results[0].status, results[0].bytes), (NIXL_STORE_OK, 100));
    assert_eq!(results[1].status, NIXL_STORE_NOT_FOUND);
    assert!(results.iter().all(|result| result.reserved == 0));
    assert_eq!(range[..], object[500..600]);
}

/// The status of a batch is its first error; the message names the item.
#[test]
fn a_batch_answers_with_its_first_error() {
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"long", &[1; 100]), NIXL_STORE_OK);
    let (mut small, mut missing) = ([0u8; 10], [0u8; 10]);
    let (small_segments, missing_segments) = ([segment(&mut small)], [segment(&mut missing)]);
    let items = [item(b"absent", &missing_segments), item(b"long", &small_segments)];
    let ticket = fixture.submit(false, &items, ptr::null()).unwrap();
    let mut results = [NO_RESULT; 2];
    assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_ERROR_BUFFER_TOO_SMALL);
    assert!(message().contains("item 1"), "{}", message());
    assert_eq!(results[0].status, NIXL_STORE_NOT_FOUND);
    assert_eq!((results[1].status, results[1].object_length), (NIXL_STORE_ERROR_BUFFER_TOO_SMALL, 100));
}

/// A ticket is consumed once; then, and before, only what was submitted is a ticket.
#[test]
fn a_ticket_is_consumed_once() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let ticket = fixture.submit(true, &[item(b"key", &segments)], ptr::null()).unwrap();
    let mut results = [NO_RESULT; 4];
    assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_OK);
    assert_eq!(results[1].status, 77, "only as many results as items");
    for wrong in [0, ticket, ticket + 1, u64::MAX] {
        // SAFETY: none of these is a ticket, which the calls have to notice.
        unsafe {
            let invalid = NIXL_STORE_ERROR_INVALID_HANDLE;
            assert_eq!(nixl_store_ticket_wait(fixture.store, wrong, 0, ptr::null_mut(), 0), invalid);
            assert_eq!(nixl_store_ticket_poll(fixture.store, wrong), invalid);
            assert_eq!(nixl_store_ticket_cancel(fixture.store, wrong), invalid);
        }
    }
}

/// Too small an array for the results must not cost the caller its results.
#[test]
fn a_result_array_too_small_keeps_the_ticket() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let items = [item(b"a", &segments), item(b"b", &segments)];
    let ticket = fixture.submit(true, &items, ptr::null()).unwrap();
    let mut results = [NO_RESULT; 2];
    assert_eq!(fixture.wait(ticket, &mut results[..1]), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(results[0].status, 77, "an output is written on success only");
    assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_OK, "{}", message());
    assert_eq!(results.map(|result| result.status), [NIXL_STORE_OK; 2]);
}

/// A queue's descriptor becomes readable, its completion says which batch, and the ticket then waits
/// no more.
#[test]
fn a_queue_tells_what_completed() {
    let fixture = Fixture::new();
    let other = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let items = [item(b"key", &segments)];
    let mut queue = ptr::null_mut();
    // SAFETY: places for a handle, a descriptor, completions and their number.
    unsafe {
        assert_eq!(nixl_store_queue_create(fixture.store, &raw mut queue), NIXL_STORE_OK);
        let with_queue = nixl_store_submit_options_t { queue, user_data: 42, ..submit_options() };
        let foreign = other.submit(true, &items, &raw const with_queue);
        assert_eq!(foreign, Err(NIXL_STORE_ERROR_INVALID_HANDLE), "a queue belongs to its store");
        let ticket = fixture.submit(true, &items, &raw const with_queue).unwrap();

        let mut fd = -1;
        assert_eq!(nixl_store_queue_fd(fixture.store, queue, &raw mut fd), NIXL_STORE_OK);
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        assert_eq!(libc::poll(&raw mut poll, 1, 30_000), 1, "no completion came");

        let mut completions =
            [nixl_store_completion_t { ticket: 0, user_data: 0, status: 77, reserved: 1 }; 4];
        let mut count = 0;
        let drain = |completions: &mut [nixl_store_completion_t], count: &mut usize| {
            let (place, capacity) = (completions.as_mut_ptr(), completions.len());
            nixl_store_queue_drain(fixture.store, queue, place, capacity, ptr::from_mut(count))
        };
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_OK);
        assert_eq!(count, 1);
        let [first, second, ..] = completions;
        assert_eq!(
            (first.ticket, first.user_data, first.status, first.reserved),
            (ticket, 42, NIXL_STORE_OK, 0)
        );
        assert_eq!(second.status, 77, "only as many completions as came");
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_OK);
        assert_eq!(count, 0);
        let wait = nixl_store_ticket_wait(fixture.store, ticket, 0, ptr::null_mut(), 0);
        assert_eq!(wait, NIXL_STORE_OK, "a completed ticket does not block");

        assert_eq!(nixl_store_queue_destroy(fixture.store, queue), NIXL_STORE_OK);
        assert_eq!(nixl_store_queue_destroy(fixture.store, queue), NIXL_STORE_ERROR_INVALID_HANDLE);
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_ERROR_INVALID_HANDLE);
        let gone = fixture.submit(true, &items, &raw const with_queue);
        assert_eq!(gone, Err(NIXL_STORE_ERROR_INVALID_HANDLE));
    }
}

/// Submit options follow the rules of every struct that can grow.
#[test]
fn submit_options_follow_struct_size() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let items = [item(b"key", &segments)];
    for size in [0, 7, 12, 4104, usize::MAX] {
        let wrong = nixl_store_submit_options_t { struct_size: size, ..submit_options() };
        let outcome = fixture.submit(true, &items, &raw const wrong);
        assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
    }
    // An older caller, whose struct ends before the queue: what lies behind is none of the library's.
    let older = nixl_store_submit_options_t {
        struct_size: 16,
        queue: ptr::without_provenance_mut(1),
        ..submit_options()
    };
    let ticket = fixture.submit(true, &items, &raw const older).unwrap();
    assert_eq!(fixture.wait(ticket, &mut [NO_RESULT]), NIXL_STORE_OK);
}

/// Memory calls take exactly the addresses that they know.
#[test]
fn memory_is_registered_and_allocated_by_exact_address() {
    let fixture = Fixture::new();
    let store = fixture.store;
    let mut mine = vec![0u8; 8192];
    let address: *mut c_void = mine.as_mut_ptr().cast();
    let invalid = NIXL_STORE_ERROR_INVALID_ARGUMENT;
    // SAFETY: the region lives until it is unregistered; the other addresses are wrong on purpose.
    unsafe {
        assert_eq!(nixl_store_memory_register(store, address, 8192), NIXL_STORE_OK, "{}", message());
        assert_eq!(nixl_store_memory_register(store, address.byte_add(4096), 4096), invalid);
        assert_eq!(nixl_store_memory_unregister(store, address.byte_add(1)), invalid);
        assert_eq!(nixl_store_memory_free(store, address), invalid);
        assert_eq!(nixl_store_memory_unregister(store, address), NIXL_STORE_OK);
        assert_eq!(nixl_store_memory_unregister(store, address), invalid);

        let mut allocated: *mut c_void = ptr::null_mut();
        assert_eq!(
            nixl_store_memory_allocate(store, 5000, &raw mut allocated),
            NIXL_STORE_OK,
            "{}",
            message()
        );
        assert!(allocated.addr().is_multiple_of(4096));
        allocated.cast::<u8>().write_bytes(9, 5000);
        let key: *const c_void = b"key".as_ptr().cast();
        assert_eq!(nixl_store_put(store, key, 3, allocated, 5000), NIXL_STORE_OK);
        assert_eq!(nixl_store_memory_free(store, allocated.byte_add(8)), invalid);
        assert_eq!(nixl_store_memory_free(store, allocated), NIXL_STORE_OK);
        assert_eq!(nixl_store_memory_free(store, allocated), invalid);
        let mut too_much = allocated;
        let status = nixl_store_memory_allocate(store, 1 << 40, &raw mut too_much);
        assert_eq!(status, NIXL_STORE_ERROR_OUT_OF_MEMORY);
        assert_eq!(too_much, allocated);
    }
}

/// Lookups and changes by key, with their answers.
#[test]
fn keys_answer_whether_and_how_they_are_stored() {
    let fixture = Fixture::new();
    let store = fixture.store;
    for key in [b"a", b"b", b"d"] {
        assert_eq!(fixture.put(key, b"value"), NIXL_STORE_OK);
    }
    let at = |key: &'static [u8; 1]| key.as_ptr().cast::<c_void>();
    let chain = [b"a", b"b", b"c", b"d"].map(|key| nixl_store_key_t { key: at(key), key_length: 1 });
    let (mut matched, mut length, mut removed) = (UNTOUCHED, 0u64, 0u64);
    // SAFETY: keys of one byte each; places for the answers.
    unsafe {
        assert_eq!(nixl_store_key_contains(store, at(b"a"), 1), NIXL_STORE_OK);
        assert_eq!(nixl_store_key_contains(store, at(b"c"), 1), NIXL_STORE_NOT_FOUND);
        assert_eq!(nixl_store_key_length(store, at(b"a"), 1, &raw mut length), NIXL_STORE_OK);
        assert_eq!(length, 5);
        assert_eq!(nixl_store_key_length(store, at(b"c"), 1, &raw mut length), NIXL_STORE_NOT_FOUND);

        let mut matches = |chain: &[nixl_store_key_t]| {
            let status = nixl_store_prefix_match(store, chain.as_ptr(), chain.len(), &raw mut matched);
            (status, matched)
        };
        assert_eq!(matches(&chain), (NIXL_STORE_OK, 2));
        assert_eq!(matches(&chain[2..]), (NIXL_STORE_OK, 0));
        assert_eq!(matches(&chain[..1]), (NIXL_STORE_OK, 1));
        let wrong_behind = [chain[2], nixl_store_key_t { key: ptr::null(), key_length: 1 }];
        assert_eq!(matches(&wrong_behind).0, NIXL_STORE_ERROR_INVALID_ARGUMENT);

        assert_eq!(nixl_store_key_pin(store, at(b"c"), 1), NIXL_STORE_NOT_FOUND);
        assert_eq!(nixl_store_key_unpin(store, at(b"a"), 1), NIXL_STORE_NOT_FOUND);
        assert_eq!(nixl_store_key_pin(store, at(b"a"), 1), NIXL_STORE_OK);
        assert_eq!(nixl_store_key_pin(store, at(b"a"), 1), NIXL_STORE_OK);
        assert_eq!(nixl_store_key_unpin(store, at(b"a"), 1), NIXL_STORE_OK);
        assert_eq!(nixl_store_key_remove(store, at(b"a"), 1), NIXL_STORE_PINNED);
        assert_eq!(nixl_store_clear(store, &raw mut removed), NIXL_STORE_OK);
        assert_eq!(removed, 2);
        assert_eq!(nixl_store_key_unpin(store, at(b"a"), 1), NIXL_STORE_OK);
        assert_eq!(nixl_store_key_remove(store, at(b"a"), 1), NIXL_STORE_OK);
        assert_eq!(nixl_store_key_remove(store, at(b"a"), 1), NIXL_STORE_NOT_FOUND);
        assert_eq!(nixl_store_flush(store), NIXL_STORE_OK, "{}", message());
    }
}

/// Stats and capabilities are written as far as the caller has room, and not a byte further.
#[test]
fn growable_outputs_keep_to_the_callers_size() {
    #[repr(C)]
    struct Larger {
        stats: nixl_store_stats_t,
        tail: [u64; 2],
    }
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_OK);
    let canary = 0xaa_u8;
    // SAFETY: all bits are a value of these structs of integers.
    let mut larger: Larger = unsafe { std::mem::transmute([canary; size_of::<Larger>()]) };
    let mut read = |size: usize| {
        larger.stats.struct_size = size;
        larger.stats.puts_ok = u64::MAX;
        larger.tail = [u64::MAX; 2];
        // SAFETY: as large as it says, or a size that the call has to notice.
        let status = unsafe { nixl_store_stats_read(fixture.store, (&raw mut larger).cast()) };
        (status, larger.stats.struct_size, larger.stats.keys, larger.stats.puts_ok, larger.tail)
    };
    let (ok, max) = (NIXL_STORE_OK, u64::MAX);
    assert_eq!(read(16), (ok, 16, 1, max, [max; 2]));
    assert_eq!(read(200), (ok, 200, 1, 1, [max; 2]));
    assert_eq!(read(208), (ok, 208, 1, 1, [0, max]));
    assert_eq!(read(216), (ok, 216, 1, 1, [0, 0]));
    for size in [0, 7, 201, 1 << 20] {
        assert_eq!(read(size).0, NIXL_STORE_ERROR_INVALID_ARGUMENT);
    }

    // SAFETY: as above.
    let mut capabilities: nixl_store_capabilities_t =
        unsafe { std::mem::transmute([canary; size_of::<nixl_store_capabilities_t>()]) };
    capabilities.struct_size = size_of::<nixl_store_capabilities_t>();
    // SAFETY: as large as it says.
    let status = unsafe { nixl_store_capabilities_read(fixture.store, &raw mut capabilities) };
    assert_eq!(status, NIXL_STORE_OK);
    let text = |array: &[c_char]| {
        // SAFETY: `c_char` is a byte.
        let bytes = unsafe { std::slice::from_raw_parts(array.as_ptr().cast(), array.len()) };
        CStr::from_bytes_until_nul(bytes).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(text(&capabilities.backend), "MEMORY");
    for array in [&capabilities.io_path[..], &capabilities.layout, &capabilities.reason] {
        text(array);
    }
    assert_eq!(capabilities.reserved, 0);
    assert!(capabilities.direct_io <= 1 && capabilities.registered_buffers <= 1);
}

static LOGGED: Mutex<Vec<(usize, u32, String)>> = Mutex::new(Vec::new());

unsafe extern "C" fn log(context: *mut c_void, level: u32, message: *const c_char) {
    // SAFETY: the library gives a NUL-terminated message.
    let message = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
    LOGGED.lock().unwrap().push((context.addr(), level, message));
}

/// The engine's log function gets the store's messages with the engine's context, and none after close.
#[test]
fn messages_go_to_the_log_function_until_close() {
    let options = nixl_store_open_options_t {
        struct_size: size_of::<nixl_store_open_options_t>(),
        chunk_bytes: 0,
        worker_id: 0,
        world_size: 1,
        has_cuda_device: 0,
        cuda_device: 0,
        cache_namespace: c"someone".as_ptr(),
        log_function: Some(log),
        log_context: ptr::without_provenance_mut(0x1234),
    };
    let fixture = Fixture::with_options(&raw const options);
    assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_OK);
    assert_eq!(fixture.close(), NIXL_STORE_OK);
    let logged = std::mem::take(&mut *LOGGED.lock().unwrap());
    let opened = logged.iter().any(|(_, level, _)| *level == NIXL_STORE_LOG_INFO);
    assert!(opened, "a store says how it runs: {logged:?}");
    for (context, level, message) in &logged {
        assert_eq!(*context, 0x1234);
        assert!((NIXL_STORE_LOG_ERROR..=NIXL_STORE_LOG_DEBUG).contains(level));
        assert!(!message.is_empty());
    }
    drop(fixture);
    assert!(LOGGED.lock().unwrap().is_empty());
}

/// Many threads close one store while others use it: one close works, every other call gets an
/// answer that fits, and the handle is stale for ever after.
#[test]
fn one_of_many_closes_wins() {
    for _ in 0..20 {
        let fixture = Fixture::new();
        let closed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match fixture.close() {
                    NIXL_STORE_OK => {
                        closed.fetch_add(1, Ordering::Relaxed);
                    }
                    NIXL_STORE_ERROR_CLOSING | NIXL_STORE_ERROR_INVALID_HANDLE => {}
                    status => panic!("status {status}: {}", message()),
                });
                scope.spawn(|| {
                    for _ in 0..100 {
                        match fixture.put(b"key", b"value") {
                            NIXL_STORE_OK | NIXL_STORE_ERROR_CLOSING | NIXL_STORE_ERROR_INVALID_HANDLE => {}
                            status => panic!("status {status}: {}", message()),
                        }
                    }
                });
            }
        });
        assert_eq!(closed.into_inner(), 1);
        assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_ERROR_INVALID_HANDLE);
    }
}

/// In a forked child every call says so and none waits for threads that stayed behind; the child can
/// close, once, and the parent's store does not notice.
#[test]
fn a_forked_child_may_only_close() {
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"key", b"value"), NIXL_STORE_OK);
    let store = fixture.store;
    let mut buffer = [0u8; 8];
    let mut length = 0usize;
    // SAFETY: the child calls what the header allows and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: as above; an alarm ends a child that hangs.
        unsafe {
            libc::alarm(30);
            let key: *const c_void = b"key".as_ptr().cast();
            let get = nixl_store_get(store, key, 3, (&raw mut buffer).cast(), 8, &raw mut length);
            let wrong = [
                get != NIXL_STORE_ERROR_FORKED,
                nixl_store_put(store, key, 3, key, 3) != NIXL_STORE_ERROR_FORKED,
                nixl_store_key_contains(store, key, 3) != NIXL_STORE_ERROR_FORKED,
                nixl_store_flush(store) != NIXL_STORE_ERROR_FORKED,
                *nixl_store_error_message() == 0,
                nixl_store_close(store) != NIXL_STORE_OK,
                nixl_store_close(store) != NIXL_STORE_ERROR_INVALID_HANDLE,
            ];
            let first = wrong.iter().position(|wrong| *wrong);
            libc::_exit(first.map_or(0, |index| index as i32 + 1));
        }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child was ended by signal {}", libc::WTERMSIG(status));
    assert_eq!(libc::WEXITSTATUS(status), 0, "number of the first call that answered wrong");
    assert_eq!(fixture.get(b"key", &mut buffer), (NIXL_STORE_OK, 5));
}

/// Handles of closed stores are stale for good, however many stores were opened since.
#[test]
fn a_closed_handle_stays_stale() {
    let mut stale = Vec::new();
    for _ in 0..50 {
        let fixture = Fixture::new();
        assert_eq!(fixture.close(), NIXL_STORE_OK);
        stale.push(fixture.store);
    }
    let _open = Fixture::new();
    for store in stale {
        // SAFETY: stale, which the calls have to notice.
        unsafe {
            assert_eq!(nixl_store_close(store), NIXL_STORE_ERROR_INVALID_HANDLE);
            assert_eq!(nixl_store_flush(store), NIXL_STORE_ERROR_INVALID_HANDLE);
        }
    }
}
