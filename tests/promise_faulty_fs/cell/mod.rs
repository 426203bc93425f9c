//! One kind of store meets one fault: what is asked of it, and what its answers are held to.

mod calls;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nixl_store::capi::*;

use crate::cases::{Case, Hangs, Kind, LARGE};
use crate::crash_common::api::{self, Failure, Log, Outcome, Store};
use crate::crash_common::{Scratch, descriptors, helper};
use crate::faulty_fs::{Fault, FaultyFs, Op, Options};
use crate::model::Model;

/// Lengths: below a page, a block, a request, more than one, and two that are odd.
pub const LENGTHS: [usize; 6] = [1000, 64 << 10, 1 << 20, LARGE, 200_000, 70_001];
/// Violations that are told of one step of a cell, and lines of the log of the whole.
const TOLD_MAX: usize = 3;

/// How the gets and the rest ended while the fault was armed.
#[derive(Default)]
pub struct Counts {
    pub hits: u32,
    pub misses: u32,
    pub errors: u32,
    pub struck: u64,
}

pub struct Cell<'a> {
    pub kind: &'a Kind,
    pub case: &'a Case,
    pub fs: FaultyFs,
    pub model: Model,
    pub counts: Counts,
    store: Option<Store>,
    config: PathBuf,
    is_armed: bool,
    /// Errors before it was armed.
    errors_before: u32,
    flush_failed: bool,
    violations: Vec<String>,
    /// Those of this step.
    told: usize,
    log: Arc<Log>,
    _scratch: Scratch,
}

impl<'a> Cell<'a> {
    pub fn new(kind: &'a Kind, case: &'a Case) -> Option<Cell<'a>> {
        let faulty = FaultyFs::start(case.name, Options::default())?;
        let scratch = Scratch::new("faulty");
        // A store that has to make its own directory is another test's matter.
        fs::create_dir(faulty.path().join("data")).unwrap();
        fs::File::open(faulty.path()).unwrap().sync_all().unwrap();
        let config = kind.settings(&faulty.path().join("data")).write(&scratch.join("lmcache.yaml"));
        Some(Cell {
            kind,
            case,
            fs: faulty,
            model: Model::new(case.lies, case.failed_shows),
            counts: Counts::default(),
            store: None,
            config,
            is_armed: false,
            errors_before: 0,
            flush_failed: false,
            violations: Vec::new(),
            told: 0,
            log: Arc::default(),
            _scratch: scratch,
        })
    }

    /// Runs it all; what it was found to break.
    pub fn run(mut self) -> (Counts, Vec<String>) {
        let descriptors_before = descriptors();
        self.open("first");
        if self.store.is_some() {
            self.base();
            self.arm();
            match self.case.hangs {
                Hangs::Nothing => self.workload(),
                _ => crate::hang::run(&mut self),
            }
            if self.case.dies {
                self.step("close a dead one");
                let _ = self.close();
                self.counts.struck = 1;
            } else {
                self.disarm();
                self.recover();
                self.lose_power();
                self.open_and_close_under_it();
                self.end();
            }
        }
        if !self.violations.is_empty() {
            let lines = self.log.lines();
            let complaints = lines.iter().filter(|(level, _)| *level <= NIXL_STORE_LOG_WARN);
            complaints.take(TOLD_MAX).for_each(|(_, line)| helper::say(&format!("log {line}")));
        }
        let left = descriptors();
        if left != descriptors_before {
            self.violation(format!("{left} descriptors are open, {descriptors_before} were before"));
        }
        (self.counts, self.violations)
    }

    pub fn step(&mut self, what: &str) {
        helper::say(&format!("step {what}"));
        self.told = 0;
    }

    pub fn violation(&mut self, what: impl Into<String>) {
        self.told += 1;
        if self.told <= TOLD_MAX {
            self.violations.push(what.into());
        }
    }

    pub fn check(&mut self, what: &str, checked: Result<(), String>) {
        if let Err(why) = checked {
            self.violation(format!("{what}: {why}"));
        }
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    fn arm(&mut self) {
        // So that what goes through the page cache asks the file system again.
        self.fs.drop_caches();
        for rule in &self.case.rules {
            self.fs.arm(rule);
        }
        self.is_armed = true;
        self.errors_before = self.counts.errors;
    }

    pub fn disarm(&mut self) {
        if self.is_armed {
            let (struck, errors) = (self.fs.struck(), self.counts.errors - self.errors_before);
            if matches!(self.case.rules[0].fault, Fault::Errno(_)) && u64::from(errors) > struck {
                self.violation(format!("{errors} errors of {struck} faults"));
            }
            self.counts.struck += struck;
            self.fs.disarm();
            self.is_armed = false;
            // A kernel that was lied to about bytes keeps the lie.
            self.fs.drop_caches();
        }
    }

    fn open(&mut self, when: &str) {
        self.step(&format!("open, {when}"));
        let options = api::Options { log: Arc::clone(&self.log), ..api::Options::default() };
        match Store::open_with(&self.config, &options) {
            Ok(store) => self.store = Some(store),
            Err(failure) if self.is_armed => self.refused_to_open(&failure),
            Err(failure) => self.violation(format!("open, {when}: {failure}")),
        }
    }

    /// An open may fail while something is wrong; a pool that cannot be read, or reads wrong, may be called damaged.
    fn refused_to_open(&mut self, failure: &Failure) {
        self.counts.errors += 1;
        let is_damage = failure.status == NIXL_STORE_ERROR_FORMAT && self.misses();
        // What opening reads once it may report instead of reading it again.
        let is_again =
            failure.status == NIXL_STORE_ERROR_IO && self.case.rules[0].fault == Fault::Errno(libc::EAGAIN);
        if !is_damage && !is_again && !self.may_fail_with(failure.status, None) {
            self.violation(format!("open under it: {failure}"));
        }
    }

    /// What is there before anything is wrong.
    fn base(&mut self) {
        self.step("base");
        for (index, length) in LENGTHS.into_iter().enumerate() {
            self.put(&format!("base{index}"), length, "base");
        }
        self.pin("base1", "base");
        self.flush("base");
        self.get_all("base");
    }

    pub fn get_all(&mut self, what: &str) {
        for key in self.model.names() {
            self.get(&key, what);
        }
    }

    fn expect_misses(&mut self) {
        if self.misses() {
            self.model.may_be_gone(false);
        }
    }

    /// A bit of everything, while the fault is armed.
    fn workload(&mut self) {
        self.expect_misses();
        self.step("gets");
        self.get_all("armed");
        self.step("batch of gets");
        let names = self.model.names();
        self.get_batch(&names, "armed");
        self.step("puts");
        self.put("base2", 70_001, "armed");
        self.put("new0", 1000, "armed");
        self.step("batch of puts");
        let puts = [("new1", 70_001), ("new2", 1 << 20), ("new3", LARGE), ("base0", 300_000)];
        self.put_batch(&puts, "armed");
        self.expect_misses();
        self.step("names");
        for key in self.model.names() {
            self.look(&key, "armed");
        }
        for key in ["base4", "new1"] {
            self.remove(key, "armed");
        }
        self.pin("base5", "armed");
        if let Ok(true) = self.store().unpin("base5") {
            self.model.pin_ended("base5", false);
        }
        self.step("flush");
        self.flush("armed");
        self.step("gets after");
        let names = self.model.names();
        self.get_batch(&names, "armed, after");
        self.get_all("armed, after");
    }

    /// Nothing is wrong any more: the same store serves, and what it says is durable is.
    fn recover(&mut self) {
        self.step("recover");
        if self.store.is_none() {
            self.open("after it");
            self.model.reopened();
        }
        if self.store.is_none() {
            return;
        }
        self.get_all("after it");
        self.serve("after it");
        self.check_slots();
        self.step("flush after it");
        if self.flush_failed && self.flush_again() {
            return;
        }
        self.flush("after it");
        self.put("base3", 5000, "after the flush");
        self.put("late", LARGE, "after the flush");
    }

    /// A flush after one that failed either fails as well, until everything was put anew, or is taken at its word: then
    /// the power goes right here.
    fn flush_again(&mut self) -> bool {
        if self.store().flush().is_ok() {
            self.model.flushed();
            return true;
        }
        for key in self.model.names() {
            self.put(&key, 100_000, "put anew");
        }
        false
    }

    fn serve(&mut self, what: &str) {
        for (index, length) in LENGTHS.into_iter().enumerate() {
            let key = format!("use{index}");
            self.put(&key, length, what);
            self.get(&key, what);
        }
        self.remove("use4", what);
        self.get("use4", what);
    }

    fn check_slots(&mut self) {
        let stats = self.store().stats().unwrap();
        let known = stats.keys + stats.slots_free + stats.quarantined_slots;
        if self.kind.is_static && known != stats.slots {
            self.violation(format!(
                "{} keys, {} free and {} slots out of use are not {} slots",
                stats.keys, stats.slots_free, stats.quarantined_slots, stats.slots
            ));
        }
    }

    /// Twice: all that was not synced is gone, then a part of what was put since.
    fn lose_power(&mut self) {
        for (seed, what) in [(None, "after a loss of power"), (Some(7), "after another loss of power")] {
            if self.store.is_none() {
                return;
            }
            self.step(what);
            self.fs.power_off(seed);
            let _ = self.close();
            self.fs.power_on();
            self.model.power_lost();
            self.open(what);
            if self.store.is_some() {
                self.get_all(what);
                self.serve(what);
            }
        }
    }

    /// Closing and opening meet the fault as well. Whatever they answer, nothing is lost by it.
    fn open_and_close_under_it(&mut self) {
        if self.store.is_none() || self.case.hangs != Hangs::Nothing {
            return;
        }
        self.step("close under it");
        self.arm();
        self.expect_misses();
        if let Some(store) = self.store.take()
            && let Err(failure) = store.close()
        {
            self.failed("close under it", failure.status, None);
        }
        self.model.reopened();
        self.open("under it");
        if self.store.is_some() {
            if self.kind.is_static && self.case.rules[0].ops.contains(&Op::Read) {
                // Recovery gives up slots that it cannot read.
                self.model.may_be_gone(false);
            }
            self.get_all("opened under it");
            self.step("close what was opened under it");
            let _ = self.close();
        }
        self.disarm();
        self.open("after that");
        if self.store.is_some() {
            self.get_all("opened after that");
        }
    }

    fn close(&mut self) -> Outcome<()> {
        self.store.take().map_or(Ok(()), |store| store.close())
    }

    /// A last open and close, after which nothing may be left over.
    fn end(&mut self) {
        self.step("end");
        if self.store.is_none() {
            return;
        }
        if let Err(failure) = self.close() {
            self.violation(format!("the last close: {failure}"));
        }
        self.open("at the end");
        if self.store.is_none() {
            return;
        }
        self.check_slots();
        let out_of_use = self.store().stats().unwrap().quarantined_slots;
        if out_of_use > 0 && self.case.lies != crate::model::Lies::Bytes {
            self.violation(format!("{out_of_use} slots are out of use at the end"));
        }
        if let Err(failure) = self.close() {
            self.violation(format!("the last close: {failure}"));
        }
        let areas = fs::read_dir(self.fs.path().join("data/.nixl_store+tmp"));
        for area in areas.into_iter().flatten() {
            let files = fs::read_dir(area.unwrap().path()).into_iter().flatten();
            let left = files.filter(|file| file.as_ref().unwrap().file_name() != "lock").count();
            if left > 0 {
                self.violation(format!("{left} temporaries are left"));
            }
        }
    }

    /// Takes the store away, to use or close it elsewhere.
    pub fn take_store(&mut self) -> Option<Store> {
        self.store.take()
    }

    pub fn put_back(&mut self, store: Store) {
        self.store = Some(store);
    }

    pub fn config(&self) -> &Path {
        &self.config
    }
}
