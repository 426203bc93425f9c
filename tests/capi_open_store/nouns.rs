//! Queues, memory, keys and operations.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use nixl_store::capi::*;

use crate::fixture::*;

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
            [nixl_store_completion_t { ticket: 1, user_data: 0, status: NIXL_STORE_OK, reserved: [1; 3] }; 4];
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
            (ticket, 42, NIXL_STORE_OK, [0; 3])
        );
        assert_eq!((second.ticket, second.status), (0, NIXL_STORE_ERROR_NO_RESULT));
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_OK);
        assert_eq!(count, 0);
        let wait = nixl_store_ticket_wait(fixture.store, ticket, 0, ptr::null_mut(), 0, ptr::null_mut());
        assert_eq!(wait, NIXL_STORE_OK, "a completed ticket does not block");

        assert_eq!(nixl_store_queue_destroy(fixture.store, queue), NIXL_STORE_OK);
        assert_eq!(nixl_store_queue_destroy(fixture.store, queue), NIXL_STORE_ERROR_INVALID_HANDLE);
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_ERROR_INVALID_HANDLE);
        let gone = fixture.submit(true, &items, &raw const with_queue);
        assert_eq!(gone, Err(NIXL_STORE_ERROR_INVALID_HANDLE));
    }
}

/// Others' event loops read what they poll, and wake themselves by writing to it: neither loses a completion, and a
/// drain makes it unreadable again.
#[test]
fn a_queues_descriptor_may_be_read_and_written() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let items = [item(b"key", &segments)];
    let mut queue = ptr::null_mut();
    let mut completions =
        [nixl_store_completion_t { ticket: 0, user_data: 0, status: NIXL_STORE_OK, reserved: [0; 3] }; 4];
    let (mut fd, mut count, mut word) = (-1, 0, 0u64);
    // SAFETY: places for a handle, a descriptor, completions, their number and eight bytes.
    unsafe {
        assert_eq!(nixl_store_queue_create(fixture.store, &raw mut queue), NIXL_STORE_OK);
        assert_eq!(nixl_store_queue_fd(fixture.store, queue, &raw mut fd), NIXL_STORE_OK);
        let poll = |timeout_ms: i32| {
            let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            libc::poll(&raw mut poll, 1, timeout_ms)
        };
        let with_queue = nixl_store_submit_options_t { queue, user_data: 7, ..submit_options() };
        fixture.submit(true, &items, &raw const with_queue).unwrap();
        assert_eq!(poll(30_000), 1, "no completion came");
        assert_eq!(libc::read(fd, (&raw mut word).cast(), 8), 8);
        let drain = |completions: &mut [nixl_store_completion_t], count: &mut usize| {
            let (place, capacity) = (completions.as_mut_ptr(), completions.len());
            nixl_store_queue_drain(fixture.store, queue, place, capacity, ptr::from_mut(count))
        };
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_OK);
        assert_eq!((count, completions[0].user_data), (1, 7));
        assert_eq!(poll(0), 0);
        word = 1;
        assert_eq!(libc::write(fd, (&raw const word).cast(), 8), 8);
        assert_eq!(poll(0), 1);
        assert_eq!(drain(&mut completions, &mut count), NIXL_STORE_OK);
        assert_eq!((count, poll(0)), (0, 0));
    }
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
    let chain = [b"a", b"b", b"c", b"d"].map(|key| link(key));
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
        let wrong_behind = [chain[2], nixl_store_key_t { key: ptr::null(), ..chain[0] }];
        assert_eq!(matches(&wrong_behind).0, NIXL_STORE_ERROR_INVALID_ARGUMENT);
        let uncleared = [chain[2], nixl_store_key_t { reserved: [0, 0, 0, 1], ..chain[0] }];
        assert_eq!(matches(&uncleared).0, NIXL_STORE_ERROR_INVALID_ARGUMENT);

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
    assert_eq!(read(208), (ok, 208, 1, 1, [max; 2]));
    assert_eq!(read(216), (ok, 216, 1, 1, [0, max]));
    assert_eq!(read(224), (ok, 224, 1, 1, [0, 0]));
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
