//! Each call on the store of a cell, and what its answer is held to.

use nixl_store::capi::*;

use super::Cell;
use crate::crash_common::api::{self, Direction, Item, Submit, status_name};
use crate::crash_common::chunk;

impl Cell<'_> {
    pub(super) fn misses(&self) -> bool {
        self.case.misses || (self.case.excused)(self.kind)
    }

    /// Whether a status, and the errno where it is told, are those of the fault.
    pub(super) fn may_fail_with(&self, status: i32, errno: Option<i32>) -> bool {
        let status_of = |errno: i32| match errno {
            libc::ENOSPC => NIXL_STORE_ERROR_NO_SPACE,
            libc::EACCES | libc::EROFS => NIXL_STORE_ERROR_PERMISSION,
            _ => NIXL_STORE_ERROR_IO,
        };
        let is_of = |allowed: i32| status_of(allowed) == status && errno.is_none_or(|errno| errno == allowed);
        let is_late = self.case.may_time_out && status == NIXL_STORE_ERROR_TIMED_OUT;
        let is_excused = (self.case.excused)(self.kind) && is_of(libc::EIO);
        is_late || is_excused || self.case.errnos.iter().any(|errno| is_of(*errno))
    }

    /// A call or an item failed.
    pub(super) fn failed(&mut self, what: &str, status: i32, errno: Option<i32>) {
        self.counts.errors += 1;
        if !self.is_armed || !self.may_fail_with(status, errno) {
            let armed = if self.is_armed { "" } else { ", and nothing is wrong" };
            let message = api::message();
            self.violation(format!("{what}: {}, errno {errno:?}{armed}; {message}", status_name(status)));
        }
    }

    pub(super) fn found(&mut self, what: &str, key: &str, bytes: &[u8]) {
        self.counts.hits += u32::from(self.is_armed);
        let checked = chunk::read(key, bytes).and_then(|version| self.model.found(key, version, bytes.len()));
        self.check(what, checked);
    }

    pub(super) fn missed(&mut self, what: &str, key: &str) {
        self.counts.misses += u32::from(self.is_armed);
        let checked = self.model.missed(key);
        self.check(what, checked);
    }

    pub fn get(&mut self, key: &str, what: &str) {
        let room = self.model.longest(key) + 1;
        match self.store().get(key, room) {
            Ok(Some(bytes)) => self.found(what, key, &bytes),
            Ok(None) => self.missed(what, key),
            Err(failure) => self.failed(&format!("{what}: get {key}"), failure.status, None),
        }
    }

    /// Whole objects and a range of each that is long enough, in one batch.
    pub(super) fn get_batch(&mut self, keys: &[String], what: &str) {
        const RANGE: (u64, usize) = (61_001, 5000);
        let whole = keys.iter().map(|key| Item::new(key, vec![0; self.model.longest(key) + 1]));
        let ranges = keys.iter().filter(|key| {
            let lengths = self.model.candidates(key);
            !lengths.is_empty() && lengths.iter().all(|(_, length)| *length >= 70_000)
        });
        let ranges = ranges.map(|key| Item { range: Some(RANGE.0), ..Item::new(key, vec![0; RANGE.1]) });
        let items: Vec<Item> = whole.chain(ranges).collect();
        let results = self.store().submit(Direction::Get, items, Submit::default()).unwrap().wait().1;
        for (item, result) in results {
            let what = format!("{what}: batch get {}", item.key);
            match result.status {
                NIXL_STORE_OK if item.range.is_some() => {
                    let is_of = |(version, length): (u64, usize)| {
                        let whole = chunk::fill(&item.key, version, length);
                        whole[RANGE.0 as usize..][..RANGE.1] == item.memory
                    };
                    self.counts.hits += u32::from(self.is_armed);
                    if !self.model.candidates(&item.key).into_iter().any(is_of) {
                        self.violation(format!("{what}: a range of wrong bytes"));
                    }
                }
                NIXL_STORE_OK => self.found(&what, &item.key, &item.memory[..result.bytes as usize]),
                NIXL_STORE_NOT_FOUND => self.missed(&what, &item.key),
                status => self.failed(&what, status, Some(result.os_error)),
            }
        }
    }

    pub fn put(&mut self, key: &str, length: usize, what: &str) {
        let version = self.model.put_begins(key, length);
        let outcome = self.store().put(key, &chunk::fill(key, version, length));
        self.model.put_ended(key, version, outcome.is_ok());
        if let Err(failure) = outcome {
            self.failed(&format!("{what}: put {key}"), failure.status, None);
        }
        self.note_evictions();
    }

    pub(super) fn put_batch(&mut self, puts: &[(&str, usize)], what: &str) {
        let mut versions = Vec::new();
        let mut items = Vec::new();
        for (key, length) in puts {
            let version = self.model.put_begins(key, *length);
            versions.push(version);
            items.push(Item { pieces: 3, ..Item::new(*key, chunk::fill(key, version, *length)) });
        }
        let results = self.store().submit(Direction::Put, items, Submit::default()).unwrap().wait().1;
        for ((item, result), version) in results.into_iter().zip(versions) {
            self.model.put_ended(&item.key, version, result.status == NIXL_STORE_OK);
            if result.status != NIXL_STORE_OK {
                self.failed(&format!("{what}: batch put {}", item.key), result.status, Some(result.os_error));
            }
        }
        self.note_evictions();
    }

    /// Where the device is said to be full, a store gives up what is not pinned.
    pub(super) fn note_evictions(&mut self) {
        if self.case.evicts && self.store().stats().is_ok_and(|stats| stats.evictions > 0) {
            self.model.may_be_gone(true);
        }
    }

    pub fn remove(&mut self, key: &str, what: &str) {
        match self.store().remove(key) {
            Ok(NIXL_STORE_OK) => self.model.remove_ended(key, true),
            Ok(NIXL_STORE_NOT_FOUND) => {
                self.missed(&format!("{what}: remove"), key);
                self.model.remove_ended(key, true);
            }
            Ok(status) => self.violation(format!("{what}: remove {key}: {}", status_name(status))),
            Err(failure) => {
                self.model.remove_ended(key, false);
                self.failed(&format!("{what}: remove {key}"), failure.status, None);
            }
        }
    }

    pub fn flush(&mut self, what: &str) {
        match self.store().flush() {
            Ok(()) => self.model.flushed(),
            Err(failure) => {
                self.flush_failed = true;
                self.failed(&format!("{what}: flush"), failure.status, None);
            }
        }
    }

    pub(super) fn look(&mut self, key: &str, what: &str) {
        match self.store().contains(key) {
            Ok(true) => {}
            Ok(false) => self.missed(&format!("{what}: contains"), key),
            Err(failure) => self.failed(&format!("{what}: contains {key}"), failure.status, None),
        }
        match self.store().length(key) {
            Ok(Some(length)) => {
                let lengths = self.model.candidates(key);
                // A store that was not told to read the file cannot know that its size is a lie.
                if !self.misses() && !lengths.iter().any(|(_, of)| *of as u64 == length) {
                    self.violation(format!("{what}: length of {key} is {length}, not of {lengths:?}"));
                }
            }
            Ok(None) => self.missed(&format!("{what}: length"), key),
            Err(failure) => self.failed(&format!("{what}: length of {key}"), failure.status, None),
        }
    }

    pub(super) fn pin(&mut self, key: &str, what: &str) {
        match self.store().pin(key) {
            Ok(true) => self.model.pin_ended(key, true),
            Ok(false) => self.missed(&format!("{what}: pin"), key),
            Err(failure) => self.failed(&format!("{what}: pin {key}"), failure.status, None),
        }
    }
}
