//! Something hangs: what does not need it goes on, what was not started ends by its deadline, and close waits.

use std::thread;
use std::time::{Duration, Instant};

use nixl_store::capi::*;

use crate::cases::{Hangs, LARGE};
use crate::cell::{Cell, LENGTHS};
use crate::crash_common::api::{Direction, Item, Store, Submit, status_name};
use crate::crash_common::chunk;
use crate::faulty_fs::{FaultyFs, Op, Rule};

/// What has to go on, or to end, has so long for it, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// More items than a lane takes at a time.
const MANY: usize = 600;
/// So many of them have to end while the file system hangs.
const MANY_ENDED_MIN: usize = 300;
const DEADLINE_MS: u64 = 300;

pub fn run(cell: &mut Cell) {
    let (ops, hangs) = (&cell.case.rules[0].ops, cell.case.hangs);
    // A pool's files are all open.
    if cell.kind.is_static && !ops.iter().any(|op| matches!(op, Op::Read | Op::Write | Op::FSync)) {
        return at_close_and_open(cell);
    }
    if others_go_on(cell) && matches!(hangs, Hangs::Gets | Hangs::Puts) {
        many_end_by_their_deadline(cell);
    }
    close_waits(cell);
}

/// Lets only the next request hang.
fn arm_once(cell: &Cell) {
    cell.fs.disarm();
    cell.fs.drop_caches();
    let rule = &cell.case.rules[0];
    cell.fs.arm(&Rule { ops: rule.ops.clone(), times: 1, ..rule.clone() });
}

/// What the case says that hangs, as a call that blocks.
fn hanging_call(store: &Store, hangs: Hangs, data: &[u8]) -> Result<(), String> {
    let outcome = match hangs {
        Hangs::Gets => store.get("base0", LARGE).map(drop),
        Hangs::Puts => store.put("hung", data),
        Hangs::Flush => store.flush(),
        Hangs::Removal => store.remove("base4").map(drop),
        Hangs::Nothing => Ok(()),
    };
    outcome.map_err(|failure| format!("what hung and was released: {failure}"))
}

/// Waits until something hangs; false if what should hang ended instead.
fn await_hanging(fs: &FaultyFs, is_finished: impl Fn() -> bool) -> bool {
    while fs.hanging() == 0 {
        if is_finished() {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Releases what hangs until nothing is left to wait for.
fn release_until(fs: &FaultyFs, is_finished: impl Fn() -> bool) {
    while !is_finished() {
        fs.release();
        thread::yield_now();
    }
}

/// One request hangs. Gets of other keys go on, and puts unless they are what hangs, or need the directory whose lock the
/// kernel holds meanwhile: the one that all files of the layout lmcache are in. False: they did not.
fn others_go_on(cell: &mut Cell) -> bool {
    cell.step("one hangs, others go on");
    let hangs = cell.case.hangs;
    let store = cell.take_store().expect("an open store");
    let (key, length) = ("hung", LENGTHS[0]);
    let version = cell.model.put_begins(key, length);
    let data = chunk::fill(key, version, length);
    let free = cell.model.put_begins("free", LENGTHS[1]);
    let free_data = chunk::fill("free", free, LENGTHS[1]);
    let is_flat = cell.kind.name == "lmcache";
    arm_once(cell);
    let (fs, mut broken) = (&cell.fs, Vec::new());
    let (mut was_put, mut hung) = (false, Ok(()));
    let mut struck = false;
    thread::scope(|scope| {
        let call = scope.spawn(|| hanging_call(&store, hangs, &data));
        struck = await_hanging(fs, || call.is_finished());
        let mut tickets = Vec::new();
        let gets = (1..4).map(|index| Item::new(format!("base{index}"), vec![0; LARGE]));
        for item in gets {
            let ticket = store.submit(Direction::Get, vec![item], Submit::default()).unwrap();
            tickets.push((Direction::Get, ticket));
        }
        if hangs != Hangs::Puts && !(hangs == Hangs::Removal && is_flat) {
            let item = Item::new("free", free_data.clone());
            let ticket = store.submit(Direction::Put, vec![item], Submit::default()).unwrap();
            tickets.push((Direction::Put, ticket));
        }
        for (direction, ticket) in &tickets {
            if !ticket.ended_within(PATIENCE) {
                broken.push(format!("a {direction:?} does not go on while another request hangs"));
            }
        }
        cell.fs.disarm();
        release_until(fs, || call.is_finished());
        hung = call.join().unwrap();
        for (direction, ticket) in tickets {
            for (item, result) in ticket.wait().1 {
                if result.status != NIXL_STORE_OK {
                    broken
                        .push(format!("{direction:?} of {item:?} beside it: {}", status_name(result.status)));
                } else if direction == Direction::Put {
                    was_put = true;
                } else if let Err(why) = chunk::read(&item.key, &item.memory[..result.bytes as usize]) {
                    broken.push(why);
                }
            }
        }
    });
    cell.counts.struck += u64::from(struck);
    if hangs == Hangs::Puts {
        cell.model.put_ended(key, version, hung.is_ok());
    }
    if hangs == Hangs::Removal {
        cell.model.remove_ended("base4", hung.is_ok());
    }
    cell.model.put_ended("free", free, was_put);
    cell.check("one hangs", hung);
    let went_on = broken.is_empty();
    broken.into_iter().for_each(|what| cell.violation(what));
    cell.put_back(store);
    went_on
}

/// Everything of a kind hangs, and more is submitted than can be started.
fn many_end_by_their_deadline(cell: &mut Cell) {
    cell.step("many, with a deadline");
    let store = cell.take_store().expect("an open store");
    let length = LENGTHS[0];
    let direction = if cell.case.hangs == Hangs::Gets { Direction::Get } else { Direction::Put };
    let mut submitted = Vec::new();
    cell.fs.drop_caches();
    cell.fs.arm(&cell.case.rules[0]);
    let mut versions = Vec::new();
    for number in 0..MANY {
        let item = if direction == Direction::Get {
            Item::new("base0", vec![0; length])
        } else {
            let key = format!("many{number}");
            let version = cell.model.put_begins(&key, length);
            versions.push((key.clone(), version));
            Item::new(&key, chunk::fill(&key, version, length))
        };
        let how = Submit { timeout_ms: DEADLINE_MS, ..Submit::default() };
        submitted.push(store.submit(direction, vec![item], how).unwrap());
    }
    let until = Instant::now() + PATIENCE;
    let ended =
        || submitted.iter().filter(|ticket| store.poll(ticket.number) != NIXL_STORE_IN_PROGRESS).count();
    while ended() < MANY_ENDED_MIN && Instant::now() < until {
        thread::yield_now();
    }
    let (ended, hanging) = (ended(), cell.fs.hanging());
    if ended < MANY_ENDED_MIN {
        cell.violation(format!(
            "{ended} of {MANY} items ended, whose deadline was {DEADLINE_MS} ms, while {hanging} requests hung"
        ));
    }
    cell.fs.disarm();
    // Items may have ended while the requests made for them hang still.
    let is_over = || submitted.iter().all(|ticket| store.poll(ticket.number) != NIXL_STORE_IN_PROGRESS);
    release_until(&cell.fs, || is_over() && cell.fs.hanging() == 0);
    let mut wrong = Vec::new();
    for (number, ticket) in submitted.into_iter().enumerate() {
        for (item, result) in ticket.wait().1 {
            match result.status {
                NIXL_STORE_OK => cell.counts.hits += 1,
                NIXL_STORE_ERROR_TIMED_OUT => cell.counts.errors += 1,
                // Slots may all be taken by puts that hang.
                NIXL_STORE_ERROR_POOL_FULL if cell.kind.is_static => cell.counts.errors += 1,
                status => wrong.push(format!("{item:?}: {}", status_name(status))),
            }
            if direction == Direction::Put {
                let (key, version) = &versions[number];
                cell.model.put_ended(key, *version, result.status == NIXL_STORE_OK);
            } else if result.status == NIXL_STORE_OK
                && let Err(why) = chunk::read(&item.key, &item.memory)
            {
                wrong.push(why);
            }
        }
    }
    wrong.into_iter().for_each(|what| cell.violation(what));
    if direction == Direction::Put && cell.kind.is_static {
        // There were more puts than slots.
        cell.model.has_overflown();
    }
    cell.put_back(store);
}

/// A close while something hangs returns when it is released, and what hung ends as it would have.
fn close_waits(cell: &mut Cell) {
    cell.step("close while one hangs");
    let hangs = cell.case.hangs;
    let store = cell.take_store().expect("an open store");
    let version = cell.model.put_begins("hung", LENGTHS[2]);
    let data = chunk::fill("hung", version, LENGTHS[2]);
    arm_once(cell);
    let fs = &cell.fs;
    let (mut hung, mut closed) = (Ok(()), Ok(()));
    thread::scope(|scope| {
        let call = scope.spawn(|| hanging_call(&store, hangs, &data));
        let struck = await_hanging(fs, || call.is_finished());
        // What hangs may be what an item of an earlier step left behind; the call must be under way before the close begins.
        let moves = matches!(hangs, Hangs::Gets | Hangs::Puts);
        while moves && !call.is_finished() && store.stats().unwrap().items_in_flight == 0 {
            thread::yield_now();
        }
        let closer = scope.spawn(|| store.close());
        let refuses = |status| matches!(status, NIXL_STORE_ERROR_CLOSING | NIXL_STORE_ERROR_INVALID_HANDLE);
        while struck && !store.contains("base1").is_err_and(|failure| refuses(failure.status)) {
            thread::yield_now();
        }
        cell.fs.disarm();
        release_until(fs, || call.is_finished() && closer.is_finished());
        hung = call.join().unwrap();
        closed = closer.join().unwrap().map_err(|failure| failure.to_string());
    });
    if hangs == Hangs::Puts {
        cell.model.put_ended("hung", version, hung.is_ok());
    }
    cell.check("closed while it hung", hung);
    cell.check("close", closed);
}

/// A static pool renames, creates and removes files at its opening and closing only.
fn at_close_and_open(cell: &mut Cell) {
    cell.step("close and open, and all of it hangs");
    let store = cell.take_store().expect("an open store");
    cell.fs.disarm();
    cell.fs.arm(&cell.case.rules[0]);
    let (fs, config) = (&cell.fs, cell.config());
    let mut outcome = Ok(());
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            store.close()?;
            Store::open(config)?.close()
        });
        release_until(fs, || call.is_finished());
        outcome = call.join().unwrap().map_err(|failure| failure.to_string());
    });
    cell.check("close and open", outcome);
}
