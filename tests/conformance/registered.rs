//! The engine's registered memory and the store's own as source and target.

use crate::common::memory::segment;
use crate::common::payload::assert_same;
use crate::common::status::{IN_PROGRESS, INVALID_ARGUMENT, OK, OUT_OF_MEMORY};
use crate::common::{Batch, Memory, Random, Submit, payload};
use crate::{Case, KIB, MIB};

/// Puts from and gets into all kinds of places in `length` bytes at `address`, which hold nothing else.
fn use_memory(case: &Case, store: &crate::common::Store, address: *mut u8, length: usize) {
    let mut random = Random::new(length as u64);
    for round in 0..24 {
        let size = random.between(1, length.min(700 * KIB) / 2);
        // Where a get's target is a page boundary the transfer may go direct, else it may not.
        let aligned = |at: usize| if round % 2 == 0 { at / 4096 * 4096 } else { at };
        let from = aligned(random.below(length / 2 - size + 1));
        let to = length / 2 + aligned(random.below(length / 2 - size + 1));
        let object = payload(round, size);
        // SAFETY: the memory is the test's until the batch below is submitted.
        let bytes = unsafe { std::slice::from_raw_parts_mut(address, length) };
        bytes.fill(0xee);
        bytes[from..from + size].copy_from_slice(&object);
        let mut wanted = bytes.to_vec();
        wanted[to..to + size].copy_from_slice(&object);

        let at = |offset: usize| vec![segment(address.wrapping_add(offset).cast(), size)];
        let (mut puts, mut gets) = (Batch::new(), Batch::new());
        puts.raw(b"key", at(from), None);
        gets.raw(b"key", at(to), None);
        assert_eq!((store.put_batch(&puts).0, store.get_batch(&gets).0), (OK, OK), "{}", case.name);
        // SAFETY: both batches have ended.
        let bytes = unsafe { std::slice::from_raw_parts(address, length) };
        assert_same(bytes, &wanted, &format_args!("{size} bytes from {from} to {to}"));
    }
}

/// An engine registers its KV cache once and then puts and gets in the middle of it. Registering changes the speed of
/// it and nothing else.
pub fn registered_memory_is_source_and_target(case: &Case) {
    let opened = case.open(4, MIB);
    let store = &opened.store;
    let memory = Memory::new(3 * MIB);
    let start = memory.address();
    // The region itself need not begin or end at a page.
    for (offset, length) in [(0, 3 * MIB), (4097, 2 * MIB + 77)] {
        let address = start.wrapping_add(offset);
        assert_eq!(store.register(address, length), OK);
        assert_eq!(store.register(address.wrapping_add(length - 1), 10), INVALID_ARGUMENT, "overlaps");
        use_memory(case, store, address, length);
        assert_eq!(store.unregister(address.wrapping_add(1)), INVALID_ARGUMENT, "not its start");
        assert_eq!(store.unregister(address), OK);
        assert_eq!(store.unregister(address), INVALID_ARGUMENT, "no more");
        use_memory(case, store, address, length);
    }
    // Registered when the store is closed: the memory is the caller's alone again.
    assert_eq!(store.register(start, MIB), OK);
    opened.end();
}

/// Memory of the store's own serves as any other, and what is lent comes back.
pub fn allocated_memory_is_source_and_target(case: &Case) {
    let opened = case.open(4, MIB);
    let store = &opened.store;
    let whole = case.setup.buffer_bytes as usize;
    assert_eq!(store.allocate(whole + 1), Err(OUT_OF_MEMORY));
    assert_eq!(store.allocate(whole), Err(OUT_OF_MEMORY), "the store keeps some for itself");
    for length in [1, 4096, whole / 4, whole / 2] {
        let address = store.allocate(length).unwrap();
        assert_eq!(address.addr() % 4096, 0);
        if length > 4096 {
            use_memory(case, store, address, length);
        }
        assert_eq!(store.free(address.wrapping_add(1)), INVALID_ARGUMENT);
        assert_eq!((store.free(address), store.free(address)), (OK, INVALID_ARGUMENT));
    }
    // All of it, over and over: what is freed can be had again.
    for _ in 0..3 {
        let lent: Vec<_> = std::iter::from_fn(|| store.allocate(whole / 8).ok()).collect();
        assert!(!lent.is_empty());
        let object = payload(1, 100 * KIB);
        assert_eq!(store.put(b"staged", &object), OK, "the lanes have some left");
        assert_eq!(store.fetch(b"staged", 100 * KIB + 1), Some(object));
        for address in lent {
            assert_eq!(store.free(address), OK);
        }
    }
    opened.end();
}

/// An engine unregisters or frees memory while a batch still uses it. The call waits for that batch, so that what
/// becomes of the memory afterwards can harm no transfer.
pub fn memory_is_given_back_when_its_transfers_are_over(case: &Case) {
    let opened = case.open(16, MIB);
    let store = &opened.store;
    let memory = Memory::new(MIB);
    let object = payload(3, (200 * KIB).min(case.setup.buffer_bytes as usize / 4));
    for round in 0..6 {
        let lent = store.allocate(object.len()).unwrap();
        for (address, is_lent) in [(memory.address(), false), (lent, true)] {
            // SAFETY: mapped or lent, and as long as the object.
            unsafe { std::ptr::copy_nonoverlapping(object.as_ptr(), address, object.len()) };
            if !is_lent {
                assert_eq!(store.register(address, MIB), OK);
            }
            let mut puts = Batch::new();
            for index in 0..12 {
                let key = format!("key-{index}");
                puts.raw(key.as_bytes(), vec![segment(address.cast(), object.len())], None);
            }
            let pending = store.submit_puts(&puts, Submit::default()).unwrap();
            let given_back = if is_lent { store.free(address) } else { store.unregister(address) };
            assert_eq!(given_back, OK);
            assert_ne!(pending.poll(), IN_PROGRESS, "round {round}");
            assert_eq!(pending.wait().0, OK);
        }
    }
    for index in 0..12 {
        assert_eq!(store.fetch(format!("key-{index}").as_bytes(), MIB).as_ref(), Some(&object));
    }
    opened.end();
}
