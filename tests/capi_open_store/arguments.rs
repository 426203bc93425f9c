//! Arguments that are wrong: each is told, and nothing happens.

use std::ffi::c_void;
use std::ptr;

use nixl_store::capi::*;

use crate::fixture::*;

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
            ("odd results", nixl_store_ticket_wait(store, 1, 0, odd.cast(), 1, &raw mut length)),
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
        let mut completions = [0u64; 8];
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
        refused(nixl_store_item_t { flags: 32, ..good }, put);
        refused(nixl_store_item_t { reserved: [0, 0, 1, 0, 0], ..good }, put);
        refused(nixl_store_item_t { object_offset: 1, ..good }, put);
        let base = good_segments[0];
        for wrong in [
            nixl_store_segment_t { address: ptr::null_mut(), ..base },
            nixl_store_segment_t { length: 0, ..base },
            nixl_store_segment_t { length: u64::MAX, ..base },
            nixl_store_segment_t { memory_kind: 3, ..base },
            nixl_store_segment_t { cuda_device: 1, ..base },
            nixl_store_segment_t { reserved: [0, 1], ..base },
        ] {
            with_segment(wrong, &|item| refused(item, put));
        }
    }
    refused(nixl_store_item_t { flags: NIXL_STORE_ITEM_RANGE, ..good }, true);
    refused(nixl_store_item_t { flags: NIXL_STORE_ITEM_FRONT, ..good }, true);
    refused(nixl_store_item_t { flags: NIXL_STORE_ITEM_ADMIT, ..good }, false);
    let past = nixl_store_item_t { flags: NIXL_STORE_ITEM_RANGE, object_offset: u64::MAX, ..good };
    refused(past, false);
    assert_eq!(fixture.submit(true, &[], ptr::null()), Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
    let many = vec![good; NIXL_STORE_BATCH_ITEMS_MAX + 1];
    assert_eq!(fixture.submit(true, &many, ptr::null()), Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
    let mut buffer = [0u8; 64];
    assert_eq!(fixture.get(b"good", &mut buffer).0, NIXL_STORE_NOT_FOUND, "nothing was submitted");
}

/// Without a driver there is no device memory, and what is said to be some is not touched; the message names the library.
#[test]
fn device_memory_needs_a_driver() {
    let fixture = Fixture::new();
    let mut memory = [0u8; 64];
    let device = [nixl_store_segment_t { memory_kind: NIXL_STORE_MEMORY_CUDA, ..segment(&mut memory) }];
    let items = [item(b"key", &device)];
    for is_put in [true, false] {
        let outcome = fixture.submit(is_put, &items, ptr::null());
        // On a machine with a GPU the driver is there, and does not know the address.
        if outcome != Err(NIXL_STORE_ERROR_INVALID_ARGUMENT) {
            assert_eq!(outcome, Err(NIXL_STORE_ERROR_UNSUPPORTED));
            assert!(message().contains("libcuda.so.1"), "{}", message());
        }
    }
}

/// Nor is there a stream to be ordered with, nor a device to be named. Nothing is submitted.
#[test]
fn streams_and_named_devices_need_a_driver() {
    let fixture = Fixture::new();
    let mut memory = [0u8; 64];
    let named = [nixl_store_segment_t {
        memory_kind: NIXL_STORE_MEMORY_CUDA,
        cuda_device: 1,
        ..segment(&mut memory)
    }];
    let host = [segment(&mut memory)];
    let refused = |outcome: Result<nixl_store_ticket_t, nixl_store_status_t>| {
        // On a machine with a GPU the driver is there, and this thread has no context.
        if outcome != Err(NIXL_STORE_ERROR_INVALID_ARGUMENT) {
            assert_eq!(outcome, Err(NIXL_STORE_ERROR_UNSUPPORTED));
            assert!(message().contains("libcuda.so.1"), "{}", message());
        }
    };
    for flags in [NIXL_STORE_SUBMIT_AFTER_STREAM, NIXL_STORE_SUBMIT_BEFORE_STREAM] {
        let options = nixl_store_submit_options_t { flags, ..submit_options() };
        for is_put in [true, false] {
            refused(fixture.submit(is_put, &[item(b"key", &host)], &raw const options));
            refused(fixture.submit(is_put, &[item(b"key", &named)], &raw const options));
        }
    }
    assert_eq!(fixture.get(b"key", &mut memory).0, NIXL_STORE_NOT_FOUND);
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
    assert_eq!(fixture.wait(ticket, &mut [STALE; 2]), NIXL_STORE_OK, "{}", message());
    let mut buffer = [0u8; 65];
    assert_eq!(fixture.get(b"b", &mut buffer), (NIXL_STORE_OK, 1));
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
    assert_eq!(fixture.wait(ticket, &mut [STALE]), NIXL_STORE_OK);
}
