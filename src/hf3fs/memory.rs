//! Memory that the daemon shares: it reads and writes there and nowhere else.

use std::io;
use std::sync::Arc;

use super::client::Client;
use super::types::{MadeIov, RawIov};
use crate::memory::{HostPtr, HostSlice};

/// Bytes of one block of such memory; no transfer crosses from one to the next. The daemon registers each with the network's card
/// by itself, and small ones cost it time.
pub(super) const BLOCK_BYTES: usize = 1 << 30;

/// A stretch of shared memory (an *iov*), zeroed at first. Made and destroyed by the client's thread.
pub struct Iov {
    raw: Option<MadeIov>,
    block_bytes: usize,
    client: Arc<Client>,
}

impl Iov {
    /// Makes one of `bytes`, which are more than none.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    pub fn new(client: &Arc<Client>, bytes: usize) -> io::Result<Iov> {
        let block_bytes = if bytes > BLOCK_BYTES { BLOCK_BYTES } else { bytes };
        let raw = client.make_iov(bytes, if block_bytes == bytes { 0 } else { block_bytes })?;
        Ok(Iov { raw: Some(raw), block_bytes, client: Arc::clone(client) })
    }

    pub(super) fn raw(&self) -> Option<&RawIov> {
        self.raw.as_ref().map(|made| &made.0.raw)
    }

    /// All of it.
    pub fn memory(&self) -> HostSlice {
        let (base, length) = self.raw().map_or((std::ptr::null_mut(), 0), |raw| (raw.base, raw.size));
        // SAFETY: mapped for as long as this lives; who hands out parts of it keeps this.
        HostSlice { pointer: unsafe { HostPtr::new(base) }, length }
    }

    /// Whether all of `slice` lies in it.
    pub fn holds(&self, slice: HostSlice) -> bool {
        let all = self.memory();
        let from = slice.pointer.addr().wrapping_sub(all.pointer.addr());
        from <= all.length && slice.length <= all.length - from
    }

    /// How many of the `length` bytes from an address of it on are in the same block.
    pub fn in_one_block(&self, pointer: HostPtr, length: usize) -> usize {
        let from = pointer.addr().wrapping_sub(self.memory().pointer.addr());
        length.min(left_of_block(from, self.block_bytes))
    }
}

/// Bytes from that one on to the end of its block.
fn left_of_block(from: usize, block_bytes: usize) -> usize {
    block_bytes - from % block_bytes
}

impl Drop for Iov {
    fn drop(&mut self) {
        if let Some(made) = self.raw.take() {
            self.client.destroy_iov(made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut at the ends of blocks, a transfer crosses none, wherever it begins.
    #[test]
    fn no_transfer_crosses_a_block() {
        const BLOCK: usize = 1000;
        for (first, length) in [(0, 1), (0, 1000), (0, 1001), (999, 2), (1000, 1000), (1, 5000), (2999, 2002)]
        {
            let (mut at, end) = (first, first + length);
            let mut parts = Vec::new();
            while at < end {
                let part = (end - at).min(left_of_block(at, BLOCK));
                assert!(part > 0 && at / BLOCK == (at + part - 1) / BLOCK);
                parts.push(part);
                at += part;
            }
            assert_eq!(parts.iter().sum::<usize>(), length);
            assert_eq!(parts.len(), (end - 1) / BLOCK - first / BLOCK + 1);
        }
    }
}
