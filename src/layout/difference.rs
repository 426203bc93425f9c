//! How a static pool that is there differs from the one that is asked for, wherever it lies.

use std::fmt::Write;

/// What a pool is made with, under the names of the settings.
const NAMES: [&str; 3] = [
    "nixl_pool_size",
    "chunk bytes (the open options', else nixl_store_chunk_bytes, else nixl_buffer_size / nixl_pool_size)",
    "chunk_size",
];

/// Every difference with both values, each behind a semicolon; empty if there is none. Slots, chunk bytes, tokens of a chunk.
pub(super) fn differences(made: [u64; 3], asked: [u64; 3]) -> String {
    let mut text = String::new();
    for (name, (made, asked)) in NAMES.into_iter().zip(made.into_iter().zip(asked)) {
        if made != asked {
            let _ = write!(text, "; {name}: made with {made}, asked for {asked}");
        }
    }
    text
}
