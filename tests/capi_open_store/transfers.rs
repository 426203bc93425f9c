//! Bytes in and out, in simple calls and in batches.

use std::ptr;

use nixl_store::capi::*;

use crate::fixture::*;

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

/// A batch in segments, whole and in a range; every item has its own result.
#[test]
fn a_batch_gathers_scatters_and_reads_ranges() {
    let fixture = Fixture::new();
    let mut object: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let (head, tail) = object.split_at_mut(1000);
    let pieces = [segment(head), segment(tail)];
    let ticket = fixture.submit(true, &[item(b"key", &pieces)], ptr::null()).unwrap();
    let mut results = [STALE; 2];
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
    assert!(results.iter().all(|result| result.reserved == [0; 3]));
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
    let mut results = [STALE; 2];
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
    let mut results = [STALE; 4];
    assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_OK);
    assert_eq!(results.map(|result| result.status)[1..], [NIXL_STORE_ERROR_NO_RESULT; 3]);
    assert_eq!(results[3].bytes, 0, "nothing stale is left in an entry without a result");
    for wrong in [0, ticket, ticket + 1, u64::MAX] {
        // SAFETY: none of these is a ticket, which the calls have to notice.
        unsafe {
            let invalid = NIXL_STORE_ERROR_INVALID_HANDLE;
            assert_eq!(
                nixl_store_ticket_wait(fixture.store, wrong, 0, ptr::null_mut(), 0, ptr::null_mut()),
                invalid
            );
            assert_eq!(nixl_store_ticket_poll(fixture.store, wrong), invalid);
            assert_eq!(nixl_store_ticket_cancel(fixture.store, wrong), invalid);
        }
    }
}

/// Whatever a wait answers, an entry that it did not fill says so, and the number says how many it filled: a program
/// that looks at the results alone must not take what was in its memory for success.
#[test]
fn an_entry_without_a_result_never_looks_like_success() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let ticket = fixture.submit(true, &[item(b"key", &segments)], ptr::null()).unwrap();
    let wait = |ticket, results: &mut [nixl_store_result_t]| {
        let (infinite, mut count) = (NIXL_STORE_TIMEOUT_INFINITE, UNTOUCHED);
        let (place, capacity) = (results.as_mut_ptr(), results.len());
        // SAFETY: the slice is writable for its length.
        let status = unsafe {
            nixl_store_ticket_wait(fixture.store, ticket, infinite, place, capacity, &raw mut count)
        };
        (status, count)
    };
    let none = NIXL_STORE_ERROR_NO_RESULT;
    let mut results = [STALE; 4];
    assert_eq!(wait(ticket, &mut results), (NIXL_STORE_OK, 1));
    assert_eq!(results.map(|result| result.status), [NIXL_STORE_OK, none, none, none]);
    // The ticket is consumed, then the store is closed.
    for _ in 0..2 {
        let mut results = [STALE; 4];
        assert_eq!(wait(ticket, &mut results), (NIXL_STORE_ERROR_INVALID_HANDLE, 0));
        assert_eq!(results.map(|result| (result.status, result.bytes)), [(none, 0); 4]);
        fixture.close();
    }
}

/// The number of results may not be thrown away, nor lie where the results go.
#[test]
fn results_come_with_their_number() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let ticket = fixture.submit(true, &[item(b"key", &segments)], ptr::null()).unwrap();
    let mut results = [STALE; 2];
    let place = results.as_mut_ptr();
    let wait = |results: *mut nixl_store_result_t, count: *mut usize| {
        // SAFETY: room for as many results, and for their number, or a pointer that the call has to refuse.
        unsafe {
            nixl_store_ticket_wait(fixture.store, ticket, NIXL_STORE_TIMEOUT_INFINITE, results, 2, count)
        }
    };
    for wrong in [ptr::null_mut(), ptr::without_provenance_mut(12), place.cast()] {
        assert_eq!(wait(place, wrong), NIXL_STORE_ERROR_INVALID_ARGUMENT, "{wrong:p}");
    }
    let mut count = UNTOUCHED;
    assert_eq!(wait(ptr::null_mut(), &raw mut count), NIXL_STORE_OK, "{}", message());
    assert_eq!(count, 0, "no results were asked for");
}

/// Too small an array for the results must not cost the caller its results.
#[test]
fn a_result_array_too_small_keeps_the_ticket() {
    let fixture = Fixture::new();
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let items = [item(b"a", &segments), item(b"b", &segments)];
    let ticket = fixture.submit(true, &items, ptr::null()).unwrap();
    let mut results = [STALE; 2];
    assert_eq!(fixture.wait(ticket, &mut results[..1]), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(results[0].status, NIXL_STORE_ERROR_NO_RESULT);
    assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_OK, "{}", message());
    assert_eq!(results.map(|result| result.status), [NIXL_STORE_OK; 2]);
}
