//! Promises on a file system that hangs, refuses and lies: every kind of store meets every fault.
//!
//! A cell of the campaign is one kind of store and one fault ([`cases`]). It runs in a process of its own, with a file system
//! of its own: puts, gets, ranges, batches, removals, pins, flush, close and open before, under and after the fault, then a
//! loss of power. A model says what each answer may be ([`model`]): the right bytes or a miss, the system's error on the item
//! that met it and on no other, what was flushed still there. Nothing hangs, nothing is left over, and the store serves again
//! once the fault is gone.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../crash_common/mod.rs"]
mod crash_common;
#[path = "../faulty_fs/mod.rs"]
mod faulty_fs;

mod cases;
mod cell;
mod hang;
mod itself;
mod model;
mod single;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use cases::{KINDS, Kind};
use cell::Cell;
use crash_common::helper::{self, Helper, Peer};

/// How long a cell may take, on a machine that may be busy.
const CELL_TIME_MAX: Duration = Duration::from_secs(40);

/// Memory that a helper does not give back when it is freed.
const KEPT_BYTES_MAX: i32 = 64 << 20;

/// Part of the names of the faults to try, for who looks into one; not set: all.
const ONE_FAULT: &str = "NIXL_STORE_TEST_FAULT";

/// Not a test: what helper processes run.
#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    // Buffers of megabytes come and go here; fresh pages for each of them would be most of the work.
    // SAFETY: sets numbers of the allocator, in a process that has just begun.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES_MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
    }
    if faulty_fs::serve_if_asked() {
        return;
    }
    helper::play(&[("cell", run_cell), itself::HANGING_ROLE]);
}

/// What became of a cell, as the table shows it, and what it breaks.
struct Outcome {
    shown: String,
    violations: Vec<String>,
}

/// The helper's side: runs the cell that the parent names, and tells how it ended.
fn run_cell(peer: &mut Peer) {
    let (kind, case) = (peer.line().unwrap(), peer.line().unwrap());
    let kind = KINDS.iter().find(|of| of.name == kind).unwrap();
    let cases = cases::cases();
    let case = cases.iter().find(|of| of.name == case).unwrap();
    let Some(cell) = Cell::new(kind, case) else { return peer.say("skipped") };
    let (counts, violations) = cell.run();
    for violation in violations {
        peer.say(&format!("broken {}", violation.replace('\n', " ")));
    }
    let cell::Counts { hits, misses, errors, struck } = counts;
    let shown = if struck == 0 { "-".to_owned() } else { format!("{hits}/{misses}/{errors}") };
    peer.say(&format!("ended {shown}"));
}

/// Runs a cell in a helper, which is killed if it does not end.
fn watch_cell(kind: &Kind, case: &str) -> Option<Outcome> {
    let mut helper = Helper::start_for("cell", CELL_TIME_MAX);
    helper.tell(kind.name);
    helper.tell(case);
    let (mut violations, mut log) = (Vec::new(), Vec::new());
    let mut step = String::new();
    let shown = loop {
        let Some(line) = helper.line() else {
            violations.push(format!("it hung or died in step {step:?}"));
            break String::new();
        };
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("step", what) => step = what.to_owned(),
            ("broken", what) => violations.push(what.to_owned()),
            ("log", line) => log.push(format!("log: {line}")),
            ("ended", shown) => break shown.to_owned(),
            ("skipped", _) => return None,
            _ => violations.push(line),
        }
    };
    if !violations.is_empty() {
        violations.append(&mut log);
    }
    Some(Outcome { shown, violations })
}

/// What the tests of this process have found so far.
static TABLE: Mutex<BTreeMap<&'static str, Vec<String>>> = Mutex::new(BTreeMap::new());

fn campaign(kind: &'static Kind) {
    let mut column = Vec::new();
    let mut broken = Vec::new();
    let only = std::env::var(ONE_FAULT).unwrap_or_default();
    for case in cases::cases() {
        if !case.name.contains(&only) {
            column.push(String::new());
            continue;
        }
        let Some(outcome) = watch_cell(kind, case.name) else { return };
        let mark = if outcome.violations.is_empty() { "" } else { "!" };
        column.push(format!("{}{mark}", outcome.shown));
        if !outcome.violations.is_empty() {
            broken.push(format!("{}, {}:\n    {}", kind.name, case.name, outcome.violations.join("\n    ")));
        }
    }
    let mut table = TABLE.lock().unwrap();
    table.insert(kind.name, column);
    if table.len() == KINDS.len() {
        show(&table);
    }
    drop(table);
    assert!(broken.is_empty(), "{} cells are broken\n{}", broken.len(), broken.join("\n"));
}

/// The table of the campaign, past the test runner's capture.
fn show(table: &BTreeMap<&'static str, Vec<String>>) {
    let mut text =
        String::from("\nhits/misses/errors while the fault was armed; -: it did not strike; !: broken\n");
    text += &format!("{:18}", "");
    KINDS.iter().for_each(|kind| text += &format!("{:>17}", kind.name));
    for (row, case) in cases::cases().iter().enumerate() {
        text += &format!("\n{:18}", case.name);
        KINDS.iter().for_each(|kind| text += &format!("{:>17}", table[kind.name][row]));
    }
    text.push('\n');
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[test]
fn a_static_pool_with_direct_io() {
    campaign(&KINDS[0]);
}

#[test]
fn a_static_pool_through_the_page_cache() {
    campaign(&KINDS[1]);
}

#[test]
fn a_static_pool_with_threads() {
    campaign(&KINDS[2]);
}

#[test]
fn a_sharded_store_with_direct_io() {
    campaign(&KINDS[3]);
}

#[test]
fn a_sharded_store_through_the_page_cache() {
    campaign(&KINDS[4]);
}

#[test]
fn a_store_in_the_layout_of_lmcache() {
    campaign(&KINDS[5]);
}
