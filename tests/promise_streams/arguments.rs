//! What the calls refuse, and what they leave as it was.

use super::common::status::{IN_PROGRESS, INVALID_ARGUMENT, INVALID_HANDLE, NOT_FOUND, OK};
use super::*;

/// A submit with these options, of which the first `struct_size` bytes count.
fn submit(bench: &Bench, is_put: bool, options: &nixl_store_submit_options_t) -> (Status, u64) {
    let segments = [bench.block.segment(0, BYTES)];
    let item = nixl_store_item_t {
        key: b"key".as_ptr().cast(),
        key_length: 3,
        segments: segments.as_ptr(),
        segment_count: 1,
        object_offset: 0,
        flags: 0,
        reserved: [0; 5],
    };
    let call = if is_put { nixl_store_batch_put } else { nixl_store_batch_get };
    let mut ticket = 0;
    // SAFETY: arrays of one, and memory that outlives the batch.
    let status =
        unsafe { call(bench.store.handle(), &raw const item, 1, &raw const *options, &raw mut ticket) };
    (Status(status), ticket)
}

fn wait(bench: &Bench, ticket: u64) -> Status {
    let (none, no_count) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: no results are wanted.
    Status(unsafe {
        nixl_store_ticket_wait(bench.store.handle(), ticket, NIXL_STORE_TIMEOUT_INFINITE, none, 0, no_count)
    })
}

/// Programs that were compiled before streams were known go on as they were, whatever lies behind their options.
#[test]
fn options_of_older_programs_have_no_stream() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    let stream = std::ptr::without_provenance_mut(bench.stream.handle);
    let options = |struct_size, flags| nixl_store_submit_options_t {
        struct_size,
        deadline_ms: 0,
        queue: std::ptr::null_mut(),
        user_data: 0,
        flags,
        reserved: 0,
        cuda_stream: stream,
        request: 0,
    };
    let (old, new) = (40, size_of::<nixl_store_submit_options_t>());
    bench.stream.hold();
    for is_put in [true, false] {
        let (status, ticket) = submit(&bench, is_put, &options(old, 0));
        assert_eq!((status, wait(&bench, ticket)), (OK, OK));
        assert_eq!(submit(&bench, is_put, &options(new, 0)).0, INVALID_ARGUMENT, "a stream without a use");
        // An older program that asks for a stream names the legacy default one, which this thread does not have.
        for flags in [AFTER, BEFORE] {
            assert_eq!(submit(&bench, is_put, &options(old, flags)).0, INVALID_ARGUMENT);
        }
        for flags in [AFTER | NIXL_STORE_SUBMIT_CHAIN, 8, 16] {
            assert_eq!(submit(&bench, is_put, &options(new, flags)).0, INVALID_ARGUMENT);
        }
    }
    assert_eq!(bench.stream.pending(), 0, "nothing waits for what was refused");
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Items that are not there, numbers that mean nothing, streams that are none, and tickets that were consumed.
#[test]
fn wrong_arguments_are_refused() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    bench.shut();
    let pending = bench.gated(&bench.get(b"key", NIXL_STORE_ITEM_FRONT), 0);
    let stream = bench.stream.handle;
    for (item, bytes) in [(1, 1), (usize::MAX - 1, 1), (ALL, 1)] {
        assert_eq!(pending.make_wait(item, bytes, stream), INVALID_ARGUMENT, "{item} {bytes}");
    }
    assert_eq!(pending.progress(1, 0, 0), (INVALID_ARGUMENT, u64::MAX));
    assert_eq!(pending.progress(ALL, 0, 0), (INVALID_ARGUMENT, u64::MAX));
    assert_eq!(pending.progress(0, 0, 0), (IN_PROGRESS, 0));
    assert_eq!(pending.progress(0, 1, WATCHED_MS), (IN_PROGRESS, 0));
    // Every byte that there is not, and none.
    assert_eq!(pending.make_wait(0, u64::MAX, stream), OK);
    assert_eq!(bench.stream.pending(), 1);
    assert_eq!(pending.make_wait(0, 0, stream), OK);
    assert_eq!(bench.stream.pending(), 1);
    let (store, ticket) = (bench.store.handle(), pending.ticket());
    // SAFETY: NULL is refused.
    let status = unsafe { nixl_store_ticket_progress(store, ticket, 0, 0, 0, std::ptr::null_mut()) };
    assert_eq!(Status(status), INVALID_ARGUMENT);
    bench.gate.release();
    assert_eq!(pending.wait().0, NOT_FOUND);
    let (mut bytes, raw) = (7, std::ptr::without_provenance_mut(stream));
    for ticket in [0, ticket, 77] {
        // SAFETY: tickets are looked up.
        let statuses = unsafe {
            [
                nixl_store_stream_wait(store, ticket, 0, 1, raw),
                nixl_store_ticket_progress(store, ticket, 0, 0, 0, &raw mut bytes),
            ]
        };
        assert_eq!((statuses.map(Status), bytes), ([INVALID_HANDLE; 2], 7));
    }
    bench.stream.finish();
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// A batch of questions brings no bytes, so no stream waits for it; how its items are is told.
#[test]
fn questions_have_no_streams() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    let key = nixl_store_key_t { key: b"key".as_ptr().cast(), key_length: 3, reserved: [0; 4] };
    let (store, mut ticket, mut bytes) = (bench.store.handle(), 0, 7);
    let stream = std::ptr::without_provenance_mut(bench.stream.handle);
    // SAFETY: an array of one key; the stream is alive.
    unsafe {
        let options = std::ptr::null();
        assert_eq!(
            nixl_store_batch_lookup(store, &raw const key, 1, options, &raw mut ticket),
            NIXL_STORE_OK
        );
        assert_eq!(Status(nixl_store_stream_wait(store, ticket, 0, 1, stream)), INVALID_ARGUMENT);
        let status = nixl_store_ticket_progress(store, ticket, 0, 1, 1000, &raw mut bytes);
        assert_eq!((Status(status), bytes), (NOT_FOUND, 0));
    }
    assert_eq!(wait(&bench, ticket), NOT_FOUND);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}

/// Memory whose device the caller names is not asked after; a name that is wrong is an error of its item.
#[test]
fn a_device_that_is_named_is_not_looked_up() {
    let (_turn, driver) = turn();
    let bench = Bench::new(driver, &Setup::POOL);
    let named = |cuda_device| {
        let kind = NIXL_STORE_MEMORY_CUDA;
        let mut batch = Batch::new();
        let segment = bench.block.segment(0, BYTES);
        batch.raw(b"key", vec![nixl_store_segment_t { memory_kind: kind, cuda_device, ..segment }], None);
        batch
    };
    bench.block.write(0, &object(5));
    let asked = driver.calls("cuPointerGetAttributes");
    assert_eq!(bench.store.put_batch(&named(1)).0, OK);
    assert_eq!(bench.store.get_batch(&named(1)).0, OK);
    assert_eq!(driver.calls("cuPointerGetAttributes"), asked);
    assert_eq!(bench.store.put_batch(&named(0)).0, OK);
    assert!(driver.calls("cuPointerGetAttributes") > asked);
    assert_eq!(bench.store.fetch(b"key", BYTES), Some(object(5)));
    for wrong in [100, 65536] {
        assert_eq!(bench.store.put_batch(&named(wrong)).0, INVALID_ARGUMENT, "device {wrong}");
    }
    assert_eq!(bench.store.submit_puts(&named(65537), Submit::default()).err(), Some(INVALID_ARGUMENT));
    // Before anything waits for it.
    assert_eq!(
        bench.store.submit_puts(&named(64), ordered(BEFORE, &bench.stream)).err(),
        Some(INVALID_ARGUMENT)
    );
    assert_eq!(bench.stream.pending(), 0);
    assert_eq!(bench.store.close(), OK);
    assert_rules_were_kept(driver);
}
