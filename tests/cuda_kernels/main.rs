//! The table that the CUDA kernels' check compares with holds what this library computes.
//!
//! `check.cpp` beside this file runs the kernels on a CPU and needs no Rust (`scripts/check-cuda-kernels.sh`). So
//! that their sums are the library's, `sums.tsv` is made here:
//! `cargo test --test cuda_kernels -- --ignored write_the_table`.

// Helpers may unwrap as tests do.
#![cfg(test)]

use std::fmt::Write;

use nixl_store::memory::bytes::checksum_bytes;

const TABLE_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda_kernels/sums.tsv");
const BLOCK_BYTES: u64 = 65_536;
const ROUND_BYTES: u64 = 1024;

#[test]
fn the_table_holds_the_sums_of_the_library() {
    assert!(
        std::fs::read_to_string(TABLE_PATH).unwrap() == table(),
        "sums.tsv is another one; see the head of this file"
    );
}

#[test]
#[ignore = "changes the checked-in table"]
fn write_the_table() {
    std::fs::write(TABLE_PATH, table()).unwrap();
}

fn table() -> String {
    let mut text = String::from("# seed of the bytes, their number, XXH3 of them; made by main.rs\n");
    for (seed, length) in (1..).zip(lengths()) {
        let sum = checksum_bytes(&bytes_of(seed, length));
        writeln!(text, "{seed}\t{length}\t{sum:016x}").unwrap();
    }
    text
}

/// All short lengths, those around each whole number of rounds and around a whole block, and some in between.
fn lengths() -> Vec<u64> {
    let mut numbers = Numbers(1);
    let around_rounds =
        (3..BLOCK_BYTES / ROUND_BYTES).flat_map(|n| n * ROUND_BYTES - 1..=n * ROUND_BYTES + 1);
    let around_a_block = BLOCK_BYTES - 70..=BLOCK_BYTES + 70;
    let random = std::iter::repeat_with(|| 2101 + numbers.next() % (BLOCK_BYTES - 2200)).take(300);
    (0..=2100).chain(around_rounds).chain(around_a_block).chain(random).collect()
}

/// The bytes that a seed stands for; `fill` in `device.cpp` is the same.
fn bytes_of(seed: u64, length: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    (0..length).map(|_| (numbers.next() >> 23) as u8).collect()
}

struct Numbers(u64);

impl Numbers {
    /// 31 bits that look random.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
