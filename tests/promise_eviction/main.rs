//! What stays, and what is worth being written: the policies LRU and REUSE as an engine meets them, through the C ABI.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod requests;
mod stories;

use common::status::{NOT_ADMITTED, OK, Status};
use common::{Batch, Setup, Store, Submit, payload};

/// Bytes of a block of these tests.
const BLOCK_BYTES: usize = 4096;

/// A pool in memory under REUSE.
const REUSE: Setup =
    Setup { policy: "REUSE", chunk_bytes: BLOCK_BYTES as u64, buffer_bytes: 1 << 20, ..Setup::MEMORY };

/// The chain of a prompt: its blocks' keys.
type Prompt = Vec<Vec<u8>>;

fn prompt(name: &str, length: usize) -> Prompt {
    (0..length).map(|block| format!("{name}/{block}").into_bytes()).collect()
}

fn keys(prompt: &[Vec<u8>]) -> Vec<&[u8]> {
    prompt.iter().map(Vec::as_slice).collect()
}

fn block(key: &[u8]) -> Vec<u8> {
    payload(
        key.iter().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte))),
        BLOCK_BYTES,
    )
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Served {
    hits: usize,
    written: usize,
    declined: usize,
}

/// Serves a request as an engine does: asks how much of the chain is stored, gets that in one batch, every byte of which has to
/// be right, and puts the rest in another.
#[track_caller]
fn serve(store: &Store, prompt: &[Vec<u8>]) -> Served {
    let hits = store.prefix_match(&keys(prompt));
    get(store, &prompt[..hits]);
    let statuses = put(store, &prompt[hits..], Submit::default());
    let written = statuses.iter().filter(|status| **status == OK).count();
    Served { hits, written, declined: statuses.len() - written }
}

/// Gets blocks that are stored; what another thread evicted since may be missing.
#[track_caller]
fn get(store: &Store, prompt: &[Vec<u8>]) -> usize {
    if prompt.is_empty() {
        return 0;
    }
    let mut memory = vec![0; prompt.len() * BLOCK_BYTES];
    let results = {
        let mut batch = Batch::new();
        for (key, memory) in prompt.iter().zip(memory.chunks_mut(BLOCK_BYTES)) {
            batch.get(key, memory);
        }
        store.get_batch(&batch).1
    };
    let mut found = 0;
    for ((key, memory), result) in prompt.iter().zip(memory.chunks(BLOCK_BYTES)).zip(results) {
        if Status(result.status) == OK {
            assert!(memory == block(key), "{} came back wrong", key.escape_ascii());
            found += 1;
        }
    }
    found
}

/// Puts blocks, leaving what is stored, and tells how each ended.
#[track_caller]
fn put(store: &Store, prompt: &[Vec<u8>], options: Submit<'_>) -> Vec<Status> {
    if prompt.is_empty() {
        return Vec::new();
    }
    let blocks: Vec<_> = prompt.iter().map(|key| block(key)).collect();
    let mut batch = Batch::new();
    for (key, block) in prompt.iter().zip(&blocks) {
        batch.put(key, block);
        batch.flag(nixl_store::capi::NIXL_STORE_ITEM_KEEP);
    }
    let (_, results) = store.submit_puts(&batch, options).expect("submitted").wait();
    let statuses: Vec<_> = results.iter().map(|result| Status(result.status)).collect();
    assert!(statuses.iter().all(|status| [OK, NOT_ADMITTED].contains(status)), "{statuses:?}");
    statuses
}

fn stored(store: &Store, prompt: &[Vec<u8>]) -> usize {
    prompt.iter().filter(|key| store.contains(key) == OK).count()
}
