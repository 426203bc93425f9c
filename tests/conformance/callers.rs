//! Blocking calls, which small objects in page-aligned memory pass on the caller's own thread.

use crate::common::status::{NOT_FOUND, OK};
use crate::common::{Memory, payload};
use crate::{Case, KIB, MIB};

/// More threads than a store carries at a time put, get and miss at once, in aligned memory and beside it, small
/// objects and large ones: each gets its own bytes, whichever way they went, and none behind them is touched.
pub fn callers_at_once_get_their_own_bytes(case: &Case) {
    const CALLERS: usize = 12;
    const LENGTHS: [usize; 5] = [1, 4096, 70_001, MIB, MIB + 4097];
    // A put that replaces may need a slot beside the old one.
    let opened = case.open((2 * CALLERS * LENGTHS.len()) as u32, 2 * MIB);
    let store = &opened.store;
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                let mut memory = Memory::new(2 * MIB);
                // Every third thread's memory cannot go direct.
                let offset = if caller % 3 == 2 { 24 } else { 0 };
                for (round, length) in LENGTHS.into_iter().cycle().take(2 * LENGTHS.len()).enumerate() {
                    let key = format!("{caller}/{length}").into_bytes();
                    let object = payload((caller * 100 + round) as u64, length);
                    let buffer = &mut memory.bytes_mut()[offset..offset + MIB + 64 * KIB];
                    let what = format!("caller {caller}, round {round}");
                    if round < LENGTHS.len() {
                        assert_eq!(store.get(&key, buffer).0, NOT_FOUND, "{what}");
                    }
                    buffer[..length].copy_from_slice(&object);
                    assert_eq!(store.put(&key, &buffer[..length]), OK, "{what}");
                    buffer.fill(0xa5);
                    assert_eq!(store.get(&key, buffer), (OK, Some(length)), "{what}");
                    assert!(buffer[..length] == object, "{what}: other bytes");
                    assert!(
                        buffer[length..].iter().all(|&byte| byte == 0xa5),
                        "{what}: bytes behind the object"
                    );
                }
            });
        }
    });
    assert_eq!(store.stats().keys, (CALLERS * LENGTHS.len()) as u64);
    opened.end();
}
