//! What lanes do for the sake of a server: records opened anew, errors with words, checksums that come along, deadlines.

use std::io;
use std::time::{Duration, Instant};

use super::Bench;
use crate::backend::{Medium, Reach};
use crate::batch::Direction;
use crate::error::{Error, Status};
use crate::sync::lock;

const BYTES: usize = 300_000;

fn bench() -> (Bench, Vec<u8>) {
    let mut bench = Bench::on(4, Medium::Server, Reach { sums: true, ..Reach::HOST });
    let mut object: Vec<u8> = (0..BYTES).map(|index| (index * 7 + index / 251) as u8).collect();
    bench.put("key", &mut object);
    (bench, object)
}

/// A record that is not any more what was opened is opened anew, and what is there then is served.
#[test]
fn a_record_that_was_replaced_is_opened_anew() {
    let (mut bench, object) = bench();
    let mut into = vec![0; BYTES];
    for staleness in 1..=2 {
        into.fill(0);
        let stale = || io::Error::from_raw_os_error(libc::ESTALE);
        lock(&bench.device).refusals.extend((0..staleness).map(|_| stale()));
        let batch = bench.submit(Direction::Get, "key", &mut into);
        assert_eq!(bench.finish(&batch), Status::Ok);
        assert!(into == object);
    }
    assert!(bench.lane.is_idle() && !bench.shared.has_holders());
}

/// A record that is another one each time is a miss in the end: a get does not go on for ever. Nothing is taken out of
/// the store for it.
#[test]
fn a_record_that_is_never_the_same_is_a_miss() {
    let (mut bench, object) = bench();
    let mut into = vec![0; BYTES];
    lock(&bench.device).refusals.extend((0..3).map(|_| io::Error::from_raw_os_error(libc::ESTALE)));
    let batch = bench.submit(Direction::Get, "key", &mut into);
    assert_eq!(bench.finish(&batch), Status::NotFound);
    assert_eq!(batch.result(batch.item(0)).os_error, 0);
    assert!(bench.lane.is_idle() && !bench.shared.has_holders());
    let batch = bench.submit(Direction::Get, "key", &mut into);
    assert_eq!(bench.finish(&batch), Status::Ok);
    assert!(into == object);
}

/// What a backend says of a failure reaches the item: its status, and its words.
#[test]
fn an_error_keeps_the_words_of_its_backend() {
    let (mut bench, _) = bench();
    let mut into = vec![0; BYTES];
    let told = Error::new(Status::TimedOut, "reading object ab/cd: no answer in 3 s");
    lock(&bench.device).refusals.push_back(io::Error::other(told));
    let batch = bench.submit(Direction::Get, "key", &mut into);
    assert_eq!(bench.finish(&batch), Status::TimedOut);
    assert_eq!(batch.messages()[0].1, "reading object ab/cd: no answer in 3 s");
}

/// Checksums that a backend computed as the bytes came take the place of the lane's own, and are compared all the same.
#[test]
fn checksums_that_come_along_are_compared() {
    let (mut bench, object) = bench();
    let mut into = vec![0; BYTES];
    let batch = bench.submit(Direction::Get, "key", &mut into);
    assert_eq!(bench.finish(&batch), Status::Ok);
    assert!(into == object);
    lock(&bench.device).lies = true;
    let batch = bench.submit(Direction::Get, "key", &mut into);
    assert_eq!(bench.finish(&batch), Status::NotFound);
}

/// A request carries its batch's deadline, for a queue that can call it back.
#[test]
fn requests_carry_the_deadline_of_their_batch() {
    let (mut bench, _) = bench();
    let mut into = vec![0; BYTES];
    let deadline = Instant::now().checked_add(Duration::from_secs(3600));
    let batch = bench.submit_until(deadline, Direction::Get, "key", &mut into);
    bench.turn();
    assert!(lock(&bench.device).held.iter().all(|held| held.deadline == deadline));
    assert_eq!(bench.finish(&batch), Status::Ok);
}
