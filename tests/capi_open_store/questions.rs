//! Batches of questions about keys: what the calls take, and what they refuse.

use std::ptr;

use nixl_store::capi::*;

use crate::fixture::*;

type Call = unsafe extern "C" fn(
    *mut nixl_store_t,
    *const nixl_store_key_t,
    usize,
    *const nixl_store_submit_options_t,
    *mut nixl_store_ticket_t,
) -> nixl_store_status_t;

const CALLS: [(&str, Call); 4] = [
    ("nixl_store_batch_lookup", nixl_store_batch_lookup),
    ("nixl_store_batch_remove", nixl_store_batch_remove),
    ("nixl_store_batch_pin", nixl_store_batch_pin),
    ("nixl_store_batch_unpin", nixl_store_batch_unpin),
];

fn submit(
    fixture: &Fixture,
    call: Call,
    keys: &[nixl_store_key_t],
    options: *const nixl_store_submit_options_t,
) -> Result<nixl_store_ticket_t, nixl_store_status_t> {
    let mut ticket = 0;
    // SAFETY: as many keys as stated, readable or wrong in a way that the call has to notice.
    let status = unsafe { call(fixture.store, keys.as_ptr(), keys.len(), options, &raw mut ticket) };
    assert_eq!(status == NIXL_STORE_OK, ticket != 0, "an output is written on success only");
    if status == NIXL_STORE_OK { Ok(ticket) } else { Err(status) }
}

/// Every pointer of every call, NULL or misaligned in turn, and counts that are none.
#[test]
fn every_wrong_pointer_and_count_is_refused() {
    let fixture = Fixture::new();
    let store = fixture.store;
    let keys = [link(b"key")];
    let place = [0u64; 8];
    let odd = place.as_ptr().cast::<u8>().wrapping_add(1).cast_mut();
    let mut ticket = 0;
    for (name, call) in CALLS {
        let at = keys.as_ptr();
        let none = ptr::null();
        // SAFETY: each call has one argument that is wrong, which it has to notice before it uses anything.
        let statuses = unsafe {
            [
                call(store, ptr::null(), 1, none, &raw mut ticket),
                call(store, odd.cast(), 1, none, &raw mut ticket),
                call(store, at, 0, none, &raw mut ticket),
                call(store, at, NIXL_STORE_BATCH_ITEMS_MAX + 1, none, &raw mut ticket),
                call(store, at, usize::MAX, none, &raw mut ticket),
                call(store, at, 1, odd.cast(), &raw mut ticket),
                call(store, at, 1, none, ptr::null_mut()),
                call(store, at, 1, none, odd.cast()),
            ]
        };
        assert_eq!(statuses, [NIXL_STORE_ERROR_INVALID_ARGUMENT; 8], "{name}");
        assert!(message().starts_with(&format!("{name}: ")), "{}", message());
    }
    assert_eq!(ticket, 0);
}

/// One key that cannot be one refuses the batch as a whole, and the message says which.
#[test]
fn one_wrong_key_refuses_the_batch() {
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"good", b"value"), NIXL_STORE_OK);
    let good = link(b"good");
    for (name, call) in CALLS {
        for wrong in [
            nixl_store_key_t { key: ptr::null(), ..good },
            nixl_store_key_t { key_length: 0, ..good },
            nixl_store_key_t { key_length: 1025, ..good },
            nixl_store_key_t { key_length: u64::MAX, ..good },
            nixl_store_key_t { reserved: [0, 0, 0, 1], ..good },
        ] {
            let outcome = submit(&fixture, call, &[good, wrong], ptr::null());
            assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT), "{name}");
            assert!(message().contains("key 1"), "{}", message());
        }
    }
    assert_eq!(fixture.get(b"good", &mut [0; 8]), (NIXL_STORE_OK, 5), "nothing was submitted");
}

/// The keys of a lookup may be a chain; of no other batch, where it would mean nothing. Flags that do not exist are
/// refused, and an older caller, whose options end before them, has none.
#[test]
fn flags_of_a_submit_are_for_those_that_know_them() {
    let fixture = Fixture::new();
    let keys = [link(b"absent")];
    let mut memory = [1u8; 8];
    let segments = [segment(&mut memory)];
    let items = [item(b"key", &segments)];
    let chain = nixl_store_submit_options_t { flags: NIXL_STORE_SUBMIT_CHAIN, ..submit_options() };
    for (name, call) in CALLS {
        let outcome = submit(&fixture, call, &keys, &raw const chain);
        if name == "nixl_store_batch_lookup" {
            assert_eq!(fixture.wait(outcome.unwrap(), &mut [STALE]), NIXL_STORE_NOT_FOUND);
        } else {
            assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT), "{name}");
            assert!(message().contains("NIXL_STORE_SUBMIT_CHAIN"), "{}", message());
        }
        for wrong in [
            nixl_store_submit_options_t { flags: 8, ..submit_options() },
            nixl_store_submit_options_t { flags: 1 << 31, ..submit_options() },
            nixl_store_submit_options_t { reserved: 1, ..submit_options() },
        ] {
            let outcome = submit(&fixture, call, &keys, &raw const wrong);
            assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT), "{name}");
            assert_eq!(
                fixture.submit(true, &items, &raw const wrong),
                Err(NIXL_STORE_ERROR_INVALID_ARGUMENT)
            );
        }
        for flags in [NIXL_STORE_SUBMIT_AFTER_STREAM, NIXL_STORE_SUBMIT_BEFORE_STREAM] {
            let ordered = nixl_store_submit_options_t { flags, ..submit_options() };
            let outcome = submit(&fixture, call, &keys, &raw const ordered);
            assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT), "{name}: no bytes, no order");
        }
        let older =
            nixl_store_submit_options_t { struct_size: 32, flags: 77, reserved: 9, ..submit_options() };
        let ticket = submit(&fixture, call, &keys, &raw const older).unwrap();
        assert_eq!(fixture.wait(ticket, &mut [STALE]), NIXL_STORE_NOT_FOUND, "{name}");
    }
    for put in [false, true] {
        let outcome = fixture.submit(put, &items, &raw const chain);
        assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_ARGUMENT));
        assert!(message().contains("NIXL_STORE_SUBMIT_CHAIN"), "{}", message());
    }
}

/// A ticket of questions is one like any other: results, a queue, and consumed once. Removals that were refused for a pin
/// are an answer of the whole, and no error.
#[test]
fn a_ticket_of_questions_is_one_like_any_other() {
    let fixture = Fixture::new();
    assert_eq!(fixture.put(b"a", b"value"), NIXL_STORE_OK);
    let keys = [link(b"a"), link(b"b")];
    let mut results = [STALE; 3];
    let mut queue = ptr::null_mut();
    // SAFETY: a place for the handle.
    assert_eq!(unsafe { nixl_store_queue_create(fixture.store, &raw mut queue) }, NIXL_STORE_OK);
    let options = nixl_store_submit_options_t { queue, user_data: 42, ..submit_options() };
    let answers = [NIXL_STORE_NOT_FOUND, NIXL_STORE_PINNED, NIXL_STORE_NOT_FOUND, NIXL_STORE_NOT_FOUND];
    // Looked up, then pinned so that it is not removed, then unpinned.
    for (at, wanted) in [0, 2, 1, 3].into_iter().zip([answers[0], answers[2], answers[1], answers[3]]) {
        let (name, call) = CALLS[at];
        let ticket = submit(&fixture, call, &keys, &raw const options).unwrap();
        assert_eq!(fixture.wait(ticket, &mut results), wanted, "{name}: {}", message());
        let first = if name == "nixl_store_batch_remove" { NIXL_STORE_PINNED } else { NIXL_STORE_OK };
        let statuses = results.map(|result| result.status);
        assert_eq!(statuses, [first, NIXL_STORE_NOT_FOUND, NIXL_STORE_ERROR_NO_RESULT], "{name}");
        assert_eq!(results[0].object_length, if at == 0 { 5 } else { 0 }, "{name}");
        let mut completion =
            nixl_store_completion_t { ticket: 0, user_data: 0, status: 77, reserved: [1; 3] };
        let mut count = 0;
        // SAFETY: room for one completion, and for their number.
        let drained =
            unsafe { nixl_store_queue_drain(fixture.store, queue, &raw mut completion, 1, &raw mut count) };
        assert_eq!((drained, count), (NIXL_STORE_OK, 1), "{name}");
        assert_eq!((completion.ticket, completion.user_data, completion.status), (ticket, 42, wanted));
        assert_eq!(fixture.wait(ticket, &mut results), NIXL_STORE_ERROR_INVALID_HANDLE);
    }
    let other = Fixture::new();
    let foreign = submit(&other, nixl_store_batch_lookup, &keys, &raw const options);
    assert_eq!(foreign, Err(NIXL_STORE_ERROR_INVALID_HANDLE), "a queue belongs to its store");
    assert_eq!(fixture.close(), NIXL_STORE_OK);
    for (name, call) in CALLS {
        let outcome = submit(&fixture, call, &keys, ptr::null());
        assert_eq!(outcome, Err(NIXL_STORE_ERROR_INVALID_HANDLE), "{name}");
    }
}
