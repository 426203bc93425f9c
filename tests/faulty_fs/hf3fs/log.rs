//! Who read and wrote which file how, for tests that ask afterwards.

use std::collections::{BTreeSet, HashMap};

/// Reads and writes through descriptors with O_DIRECT and without. What the kernel had cached shows nowhere here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub direct_reads: u64,
    pub direct_writes: u64,
    pub buffered_reads: u64,
    pub buffered_writes: u64,
}

#[derive(Default)]
struct Record {
    /// Every path that it had.
    paths: BTreeSet<String>,
    traffic: Traffic,
    /// Written since its last fsync.
    is_unsynced: bool,
}

#[derive(Default)]
pub struct Log {
    /// By the number of the node. Those of files that are gone stay.
    records: HashMap<u64, Record>,
    /// Files that were given a name before the fsync that belongs before it.
    unsynced: Vec<String>,
}

impl Log {
    pub fn note(&mut self, node: u64, path: String, is_write: bool, is_direct: bool) {
        let record = self.records.entry(node).or_default();
        record.paths.insert(path);
        let traffic = &mut record.traffic;
        let count = match (is_write, is_direct) {
            (false, true) => &mut traffic.direct_reads,
            (true, true) => &mut traffic.direct_writes,
            (false, false) => &mut traffic.buffered_reads,
            (true, false) => &mut traffic.buffered_writes,
        };
        *count += 1;
        record.is_unsynced |= is_write;
    }

    pub fn synced(&mut self, node: u64) {
        self.records.entry(node).or_default().is_unsynced = false;
    }

    /// A file has a new name.
    pub fn named(&mut self, node: u64, from: &str, to: &str) {
        let Some(record) = self.records.get_mut(&node) else { return };
        record.paths.insert(to.to_owned());
        if record.is_unsynced {
            self.unsynced.push(format!("{from} -> {to}"));
        }
    }

    pub fn unsynced(&self) -> &[String] {
        &self.unsynced
    }

    /// The sum over the files that have, or had, a path with a part like this.
    pub fn traffic(&self, pattern: &str) -> Traffic {
        let mut sum = Traffic::default();
        for Record { traffic, .. } in self.matching(pattern) {
            sum.direct_reads += traffic.direct_reads;
            sum.direct_writes += traffic.direct_writes;
            sum.buffered_reads += traffic.buffered_reads;
            sum.buffered_writes += traffic.buffered_writes;
        }
        sum
    }

    /// Paths of those of them that were read or written without O_DIRECT.
    pub fn buffered(&self, pattern: &str) -> Vec<String> {
        let is_buffered =
            |record: &&Record| record.traffic.buffered_reads + record.traffic.buffered_writes > 0;
        let paths = self.matching(pattern).filter(is_buffered).filter_map(|record| record.paths.first());
        paths.cloned().collect()
    }

    fn matching<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.values().filter(move |record| record.paths.iter().any(|path| is_like(path, pattern)))
    }
}

/// Whether a part of a path is like a pattern, where `*` is any text.
fn is_like(path: &str, pattern: &str) -> bool {
    path.split('/').any(|part| matches(part, pattern))
}

fn matches(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            left.char_indices().map(|(at, _)| &left[at..]).chain([""]).any(|tail| matches(tail, rest))
        }),
    }
}
