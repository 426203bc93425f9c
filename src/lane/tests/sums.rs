//! Gets of records whose checksums are in memory: no trailer is read, and every block is proven all the same.

use super::{Bench, CHUNK_BYTES, DEPTH, MIB, in_memory};
use crate::backend::{Medium, Reach};
use crate::batch::{Batch, Direction, Wish};
use crate::error::Status;
use crate::layout::record;
use crate::memory::AlignedBuffer;
use crate::sync::{Arc, lock};

/// Memory for the sums of two slots.
const SUMS_BYTES: u64 = 2 * (1 + CHUNK_BYTES as u64 / record::CHECKSUM_BLOCK_BYTES as u64) * 8;
const FRONT: Wish = Wish { range_offset: None, exact: false, keep: false, must: false, front: true };
/// Ends inside a block, and with a tail block of its own.
const BYTES: usize = 3 * MIB + 70_000;

fn object(seed: usize) -> Vec<u8> {
    (0..BYTES).map(|index| (index * 31 + index / 257 + seed) as u8).collect()
}

/// A store that knows the sums of its first two slots of three.
fn bench(reach: Reach) -> Bench {
    let mut slots = in_memory(3);
    slots.keep_sums(SUMS_BYTES);
    let medium = if reach.sums { Medium::Server } else { Medium::Device };
    Bench::around(Arc::new(slots), DEPTH, medium, reach)
}

impl Bench {
    /// What a get asks the device for, in bytes, before any of it is there.
    fn asked_for(&mut self, wish: Wish, key: &str, into: &mut [u8]) -> (Arc<Batch>, usize) {
        let batch = self.submit_wish(wish, Direction::Get, key, into);
        self.turn();
        let bytes = lock(&self.device).bytes_held();
        (batch, bytes)
    }
}

fn trailer_bytes() -> usize {
    record::trailer_bytes(record::padded(CHUNK_BYTES as u64).unwrap()).unwrap() as usize
}

/// Whole, in part and from the front, with sums of the lane's own and with such as come along. The third slot has no room for sums, so
/// that its trailer is read.
#[test]
fn no_trailer_is_read_where_the_sums_are_known() {
    for reach in [Reach::HOST, Reach { sums: true, ..Reach::HOST }] {
        let mut bench = bench(reach);
        for (slot, key) in ["one", "two", "three"].into_iter().enumerate() {
            let mut stored = object(slot);
            bench.put(key, &mut stored);
            let trailer = if slot < 2 { 0 } else { trailer_bytes() };
            let padded = record::padded(BYTES as u64).unwrap() as usize;
            for wish in [Wish::default(), FRONT] {
                let mut into = AlignedBuffer::new(BYTES).unwrap();
                let into = &mut into.as_mut_slice()[..BYTES];
                let (batch, bytes) = bench.asked_for(wish, key, into);
                // What waits for a trailer that is under way is not asked for yet.
                assert!(bytes == padded + trailer || (wish.front && trailer > 0), "{key}: {bytes}");
                assert_eq!(bench.finish(&batch), Status::Ok);
                assert!(*into == stored);
                let mut part = vec![0; 100_000];
                let range = Wish { range_offset: Some(200_000), ..wish };
                let (batch, bytes) = bench.asked_for(range, key, &mut part);
                // From 196608 to 327680, in whole blocks.
                assert!(bytes == 131_072 + trailer, "{key}: {bytes}");
                assert_eq!(bench.finish(&batch), Status::Ok);
                assert!(part == stored[200_000..300_000]);
            }
        }
        assert!(bench.lane.is_idle() && !bench.shared.has_holders());
    }
}

/// Whichever request brings other bytes than were put, the get is a miss, and the slot is out of use.
#[test]
fn what_is_wrong_is_a_miss() {
    for wish in [Wish::default(), FRONT] {
        let mut at = 0;
        loop {
            let mut bench = bench(Reach::HOST);
            let mut stored = object(1);
            bench.put("key", &mut stored);
            let mut into = vec![0; BYTES];
            let batch = bench.submit_wish(wish, Direction::Get, "key", &mut into);
            bench.turn();
            let mut device = lock(&bench.device);
            let Some(held) = device.held.get_mut(at) else { break };
            // A page later, so that the last one brings what lies behind the payload.
            held.offset += 4096;
            drop(device);
            assert_eq!(bench.finish(&batch), Status::NotFound, "request {at}");
            assert_eq!(bench.shared.metrics.snapshot().corruptions, 1);
            let batch = bench.submit(Direction::Get, "key", &mut into);
            assert_eq!(bench.finish(&batch), Status::NotFound);
            assert_eq!(bench.shared.metrics.snapshot().corruptions, 1, "it is not there any more");
            assert!(bench.lane.is_idle() && !bench.shared.has_holders());
            at += 1;
        }
        assert!(at > 2, "{at} requests");
    }
}

/// Sums that come along are compared as those are that the lane computes.
#[test]
fn sums_that_come_along_are_compared() {
    let mut bench = bench(Reach { sums: true, ..Reach::HOST });
    let mut stored = object(1);
    bench.put("key", &mut stored);
    lock(&bench.device).lies = true;
    let mut into = vec![0; BYTES];
    let batch = bench.submit(Direction::Get, "key", &mut into);
    assert_eq!(bench.finish(&batch), Status::NotFound);
    assert_eq!(bench.shared.metrics.snapshot().corruptions, 1);
}

/// From the front nothing waits for a trailer: the first piece that lands counts, and what is wrong is never told of.
#[test]
fn the_front_moves_with_the_first_piece() {
    let told = |batch: &Batch| batch.wait_bytes(0, 0, Some(std::time::Duration::ZERO)).1 as usize;
    let mut bench = bench(Reach::HOST);
    let mut stored = object(1);
    bench.put("key", &mut stored);
    let mut into = vec![0; BYTES];
    let (batch, _) = bench.asked_for(FRONT, "key", &mut into);
    let first = lock(&bench.device).held[0].bytes();
    lock(&bench.device).answer(1);
    bench.turn();
    assert_eq!(told(&batch), first);
    lock(&bench.device).held[0].offset += 4096;
    lock(&bench.device).answer(1);
    bench.turn();
    assert_eq!(told(&batch), first, "a block that is not what was put");
    assert_eq!(bench.finish(&batch), Status::NotFound);
    assert!(into[..first] == stored[..first]);
}

/// A slot that changes hands is proven by the sums of what it holds now. The first two keys leave in turn, for others of the same
/// length.
#[test]
fn a_slot_is_proven_by_what_it_holds_now() {
    let mut bench = bench(Reach::HOST);
    for round in 0..9 {
        let mut stored = object(round);
        let key = format!("key-{round}");
        bench.put(&key, &mut stored);
        // Once more under the same key: in another slot.
        let mut again = object(round + 100);
        bench.put(&key, &mut again);
        let mut into = vec![0; BYTES];
        let batch = bench.submit(Direction::Get, &key, &mut into);
        assert_eq!(bench.finish(&batch), Status::Ok, "round {round}");
        assert!(into == again);
    }
    assert_eq!(bench.shared.metrics.snapshot().corruptions, 0);
}
