//! Gets from the front: the trailer first, then blocks that are proven as they land, in whatever order.

use std::io;
use std::time::Duration;

use super::{Bench, MIB};
use crate::backend::{Medium, Reach};
use crate::batch::{Batch, Direction, Wish};
use crate::error::Status;
use crate::layout::record::CHECKSUM_BLOCK_BYTES;
use crate::sync::{Arc, lock};

const FRONT: Wish = Wish { range_offset: None, exact: false, keep: false, must: false, front: true };

fn object(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 31 + index / 257) as u8).collect()
}

fn front(batch: &Arc<Batch>) -> usize {
    batch.wait_bytes(0, 0, Some(Duration::ZERO)).1 as usize
}

/// A store with one object, that object, and room for as much.
fn stored(bytes: usize) -> (Bench, Vec<u8>, Vec<u8>) {
    with_object(Bench::new(2), bytes)
}

/// The same behind a server, which brings sums along.
fn served(bytes: usize) -> (Bench, Vec<u8>, Vec<u8>) {
    with_object(Bench::on(2, Medium::Server, Reach { sums: true, ..Reach::HOST }), bytes)
}

fn with_object(mut bench: Bench, bytes: usize) -> (Bench, Vec<u8>, Vec<u8>) {
    let mut stored = object(bytes);
    bench.put("key", &mut stored);
    (bench, stored, vec![0; bytes])
}

impl Bench {
    /// A get from the front that has all of its requests with the device.
    fn get_from_the_front(&mut self, wish: Wish, into: &mut [u8]) -> Arc<Batch> {
        let batch = self.submit_wish(wish, Direction::Get, "key", into);
        self.turn();
        batch
    }

    /// Lets the device answer the request that it holds at a place.
    fn answer_one(&mut self, at: usize) {
        let mut device = lock(&self.device);
        device.held.swap(0, at);
        device.answer(1);
        // The others as they were.
        device.held.make_contiguous()[..at].rotate_right(usize::from(at > 0));
        drop(device);
        self.turn();
    }
}

/// Pieces land from the last to the first: nothing counts before its turn has come, and then all that has landed does. What counts
/// is right.
#[test]
fn blocks_count_from_the_front_in_whatever_order_they_land() {
    const BYTES: usize = 5 * MIB + 4096 + 100;
    let (mut bench, stored, mut into) = stored(BYTES);
    let batch = bench.get_from_the_front(FRONT, &mut into);
    let first = lock(&bench.device).held[0].bytes();
    assert!(first <= 8192, "the trailer is asked for first, and not {first} bytes");
    assert_eq!(front(&batch), 0);
    bench.answer_one(0);
    assert_eq!(front(&batch), 0);
    let mut last = 0;
    while !batch.is_done() {
        let held = lock(&bench.device).held.len();
        bench.answer_one(held - 1);
        let now = front(&batch);
        assert!(now >= last && into[..now] == stored[..now], "{now} bytes are said to be there");
        if !batch.is_done() && !lock(&bench.device).held.is_empty() {
            assert_eq!(now, 0, "the first piece has not landed");
        }
        last = now;
    }
    assert_eq!((batch.summary(), last), (Status::Ok, BYTES));
    assert!(into == stored);
}

/// From the first to the last they count one by one.
#[test]
fn the_front_moves_with_each_piece() {
    const BYTES: usize = 3 * MIB;
    let (mut bench, stored, mut into) = stored(BYTES);
    let batch = bench.get_from_the_front(FRONT, &mut into);
    let mut seen = vec![front(&batch)];
    while !batch.is_done() {
        bench.answer_one(0);
        seen.push(front(&batch));
    }
    seen.dedup();
    assert!(seen.is_sorted() && seen.len() > 3, "{seen:?}");
    assert_eq!(*seen.last().unwrap(), BYTES);
    assert!(into == stored);
}

/// A range is told from its own first byte, in whole blocks of the object and then to its end.
#[test]
fn a_range_is_told_from_its_own_first_byte() {
    const BYTES: usize = 2 * MIB + 10;
    let (from, length) = (100_001, MIB + 77);
    let (mut bench, stored, _) = stored(BYTES);
    let mut into = vec![0; length];
    let batch = bench.get_from_the_front(Wish { range_offset: Some(from as u64), ..FRONT }, &mut into);
    let mut seen = Vec::new();
    while !batch.is_done() {
        bench.answer_one(0);
        let now = front(&batch);
        assert!(into[..now] == stored[from..from + now]);
        assert!(now == 0 || now == length || (from + now).is_multiple_of(CHECKSUM_BLOCK_BYTES));
        seen.push(now);
    }
    assert_eq!((batch.summary(), seen.last()), (Status::Ok, Some(&length)));
}

/// A block that is not what was stored ends the get there: what was told before stays right, and no more is told.
#[test]
fn a_damaged_block_is_never_told_of() {
    const BYTES: usize = 4 * MIB;
    let (mut bench, stored, mut into) = stored(BYTES);
    let batch = bench.get_from_the_front(FRONT, &mut into);
    bench.answer_one(0);
    bench.answer_one(0);
    let before = front(&batch);
    assert!(before > 0 && before < BYTES);
    // The next piece comes from elsewhere.
    lock(&bench.device).held[0].offset += 4096;
    bench.answer_one(0);
    assert_eq!(front(&batch), before);
    assert_eq!(bench.finish(&batch), Status::NotFound);
    assert_eq!(front(&batch), before);
    assert!(into[..before] == stored[..before]);
    assert_eq!(bench.shared.metrics.snapshot().corruptions, 1);
}

/// A request that fails, and a record that is not any more what was opened, once the front was told of: the get ends, and is not
/// begun anew over bytes that somebody may be using.
#[test]
fn what_was_told_of_is_not_read_over() {
    const BYTES: usize = 4 * MIB;
    for (error, status) in [(libc::EIO, Status::Io), (libc::ESTALE, Status::NotFound)] {
        let (mut bench, stored, mut into) = served(BYTES);
        let batch = bench.get_from_the_front(FRONT, &mut into);
        bench.answer_one(0);
        bench.answer_one(0);
        let before = front(&batch);
        assert!(before > 0);
        lock(&bench.device).refusals.push_back(io::Error::from_raw_os_error(error));
        assert_eq!(bench.finish(&batch), status);
        assert_eq!(front(&batch), before);
        assert!(into[..before] == stored[..before]);
        assert!(bench.lane.is_idle());
    }
}

/// Before anything was told a record may be opened anew, as ever.
#[test]
fn a_record_is_opened_anew_before_anything_was_told() {
    const BYTES: usize = 2 * MIB;
    let (mut bench, stored, mut into) = served(BYTES);
    lock(&bench.device).refusals.push_back(io::Error::from_raw_os_error(libc::ESTALE));
    let batch = bench.get_from_the_front(FRONT, &mut into);
    assert_eq!(bench.finish(&batch), Status::Ok);
    assert_eq!(front(&batch), BYTES);
    assert!(into == stored);
}

/// A get that did not ask to be told is told of at its end alone, and reads its trailer with the last piece.
#[test]
fn other_gets_pay_nothing() {
    const BYTES: usize = 2 * MIB;
    let (mut bench, _, mut into) = stored(BYTES);
    let plain = bench.submit(Direction::Get, "key", &mut into);
    bench.turn();
    let requests = lock(&bench.device).held.len();
    while !plain.is_done() {
        assert_eq!(front(&plain), 0);
        bench.answer_one(0);
    }
    let told = bench.get_from_the_front(FRONT, &mut into);
    assert_eq!(lock(&bench.device).held.len(), requests + 1);
    assert_eq!(bench.finish(&told), Status::Ok);
}
