//! A file's bytes in chunks. A chunk has a length: the bytes below it are there, and no others.

use std::collections::BTreeMap;

/// Bytes of a chunk; 512 KiB and more there.
pub const CHUNK: u64 = 64 << 10;

#[derive(Default)]
pub struct Chunks(BTreeMap<u64, Vec<u8>>);

/// The parts of `size` bytes from `offset` on: the chunk, where in it, how many bytes, and how many were before.
fn parts(offset: u64, size: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % CHUNK) as usize;
        let length = (CHUNK as usize - inside).min(size - done);
        let before = done;
        done += length;
        (length > 0).then_some((at / CHUNK, inside, length, before))
    })
}

impl Chunks {
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (number, inside, length, before) in parts(offset, data.len()) {
            let chunk = self.0.entry(number).or_default();
            if chunk.len() < inside + length {
                chunk.resize(inside + length, 0);
            }
            chunk[inside..inside + length].copy_from_slice(&data[before..before + length]);
        }
    }

    /// What is there of `size` bytes from `offset` on. A hole that bytes follow is zeros; at one that nothing follows, it ends.
    pub fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, inside, length, before) in parts(offset, size) {
            let chunk = self.0.get(&number).map_or(&[][..], Vec::as_slice);
            let there = &chunk[inside.min(chunk.len())..(inside + length).min(chunk.len())];
            if !there.is_empty() {
                bytes.resize(before, 0);
                bytes.extend_from_slice(there);
            }
        }
        bytes
    }

    /// What is behind is gone, and the last chunk reaches this length. Those before it may be missing.
    pub fn resize(&mut self, length: u64) {
        self.0.split_off(&length.div_ceil(CHUNK));
        if length > 0 {
            let last = (length - 1) / CHUNK;
            self.0.entry(last).or_default().resize((length - last * CHUNK) as usize, 0);
        }
    }

    /// Where the last byte ends.
    pub fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(number, chunk)| number * CHUNK + chunk.len() as u64)
    }

    /// Bytes that are there.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|chunk| chunk.len() as u64).sum()
    }
}
