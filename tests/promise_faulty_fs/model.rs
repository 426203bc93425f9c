//! What a key may be found to be, by what was asked of the store and what it answered.

use std::collections::BTreeMap;

/// How far the device cannot be held to what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    No,
    /// Bytes that it took are not there. A store finds that out, but after a loss of power it may find an older record where
    /// the newer one is not.
    Bytes,
    /// Renames and removals that it took are not there. Nobody can find that out.
    Names,
}

/// What may be found under a key.
#[derive(Clone, Debug, Default)]
struct Allowed {
    versions: Vec<u64>,
    absent: bool,
}

#[derive(Clone, Debug)]
struct Key {
    length: BTreeMap<u64, usize>,
    now: Allowed,
    /// After a loss of power.
    durable: Allowed,
    /// Puts that failed; their records may be whole.
    failed: Vec<u64>,
    pinned: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    keys: BTreeMap<String, Key>,
    next_version: u64,
    lies: Lies,
    /// Whether a put that failed may show nevertheless.
    failed_shows: bool,
    is_full: bool,
}

impl Model {
    pub fn new(lies: Lies, failed_shows: bool) -> Model {
        Model { keys: BTreeMap::new(), next_version: 1, lies, failed_shows, is_full: false }
    }

    pub fn names(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// A put is about to be submitted: its version.
    pub fn put_begins(&mut self, key: &str, length: usize) -> u64 {
        let version = self.next_version;
        self.next_version += 1;
        let missing = Allowed { versions: Vec::new(), absent: true };
        let key = self.keys.entry(key.to_owned()).or_insert_with(|| Key {
            length: BTreeMap::new(),
            now: missing.clone(),
            durable: missing,
            failed: Vec::new(),
            pinned: false,
        });
        key.length.insert(version, length);
        version
    }

    pub fn put_ended(&mut self, key: &str, version: u64, is_ok: bool) {
        let key = self.key(key);
        if is_ok {
            key.now = Allowed { versions: vec![version], absent: false };
            key.durable.versions.push(version);
            // What it replaced may be gone, and itself not yet there.
            key.durable.absent = true;
            key.failed.clear();
        } else {
            key.failed.push(version);
            key.durable.versions.push(version);
        }
    }

    pub fn remove_ended(&mut self, key: &str, is_ok: bool) {
        let key = self.key(key);
        key.durable.absent = true;
        key.now.absent = true;
        if is_ok {
            key.now.versions.clear();
        }
    }

    pub fn pin_ended(&mut self, key: &str, is_pinned: bool) {
        self.key(key).pinned = is_pinned;
    }

    pub fn flushed(&mut self) {
        for key in self.keys.values_mut() {
            key.durable = key.now.clone();
            key.durable.versions.extend(&key.failed);
        }
    }

    /// The store was opened anew, without a loss of power: what failed half way may have been recovered.
    pub fn reopened(&mut self) {
        for key in self.keys.values_mut() {
            key.now.versions.extend(&key.failed);
            key.pinned = false;
        }
    }

    pub fn power_lost(&mut self) {
        let is_truthful = self.lies == Lies::No;
        for key in self.keys.values_mut() {
            key.now = key.durable.clone();
            if !is_truthful {
                key.now = Allowed { versions: key.length.keys().copied().collect(), absent: true };
            }
            key.pinned = false;
        }
    }

    /// There is not room for everything any more: from here on each put may evict.
    pub fn has_overflown(&mut self) {
        self.is_full = true;
    }

    /// Any key may be gone; with `but_pinned`, any that is not pinned.
    pub fn may_be_gone(&mut self, but_pinned: bool) {
        for key in self.keys.values_mut().filter(|key| !(but_pinned && key.pinned)) {
            key.now.absent = true;
            key.durable.absent = true;
        }
    }

    /// A whole object was found. What is wrong is told once.
    pub fn found(&mut self, name: &str, version: u64, length: usize) -> Result<(), String> {
        if self.may_be(name, version, length) {
            return Ok(());
        }
        let key = self.key(name);
        let wanted = key.now.versions.clone();
        key.now.versions.push(version);
        Err(format!("{name}: version {version} of {length} bytes, not {wanted:?}"))
    }

    fn may_be(&self, name: &str, version: u64, length: usize) -> bool {
        let key = &self.keys[name];
        let mut is_allowed = key.now.versions.contains(&version);
        is_allowed |= self.lies == Lies::Names || self.failed_shows && key.failed.contains(&version);
        is_allowed && key.length.get(&version) == Some(&length)
    }

    /// The key was missing. What is wrong is told once.
    pub fn missed(&mut self, name: &str) -> Result<(), String> {
        let may_be_evicted = self.is_full;
        let key = self.key(name);
        if std::mem::replace(&mut key.now.absent, true) || may_be_evicted && !key.pinned {
            return Ok(());
        }
        Err(format!("{name}: missing, not {:?}", key.now.versions))
    }

    /// Bytes of the longest object that was put under a key.
    pub fn longest(&self, name: &str) -> usize {
        self.keys[name].length.values().copied().max().unwrap_or(0)
    }

    /// Versions and lengths that a range may be of.
    pub fn candidates(&self, name: &str) -> Vec<(u64, usize)> {
        let key = &self.keys[name];
        let all = key.length.iter().map(|(version, length)| (*version, *length));
        all.filter(|(version, length)| self.may_be(name, *version, *length)).collect()
    }

    fn key(&mut self, name: &str) -> &mut Key {
        self.keys.get_mut(name).expect("a key that was put")
    }
}
