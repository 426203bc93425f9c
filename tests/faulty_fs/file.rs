//! The bytes of a file, page by page: as they are now, as the device has them, and as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const PAGE: u64 = 4096;
type Page = Arc<[u8; PAGE as usize]>;

#[derive(Clone, Default)]
pub struct Content {
    pub size: u64,
    pages: BTreeMap<u64, Page>,
}

impl Content {
    /// Up to `size` bytes from `offset` on, none behind the end.
    pub fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let end = (offset + size as u64).min(self.size);
        let mut bytes = Vec::with_capacity(size);
        let mut at = offset;
        while at < end {
            let inside = (at % PAGE) as usize;
            let length = (PAGE - at % PAGE).min(end - at) as usize;
            match self.pages.get(&(at / PAGE)) {
                Some(page) => bytes.extend_from_slice(&page[inside..inside + length]),
                None => bytes.resize(bytes.len() + length, 0),
            }
            at += length as u64;
        }
        bytes
    }
}

#[derive(Clone, Default)]
pub struct File {
    pub now: Content,
    synced: Content,
    /// Pages that differ from the synced ones, or may.
    dirty: BTreeSet<u64>,
    /// What pages held before they were last written.
    before: BTreeMap<u64, Page>,
    /// Pages that are reserved.
    reserved: u64,
}

impl File {
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let (number, inside) = (at / PAGE, (at % PAGE) as usize);
            let length = data.len().min(PAGE as usize - inside);
            let old = self.now.pages.get(&number);
            let mut page = old.map_or([0; PAGE as usize], |page| **page);
            page[inside..inside + length].copy_from_slice(&data[..length]);
            if let Some(old) = self.now.pages.insert(number, Arc::new(page)) {
                self.before.insert(number, old);
            }
            self.dirty.insert(number);
            data = &data[length..];
            at += length as u64;
        }
        self.now.size = self.now.size.max(at);
    }

    pub fn resize(&mut self, size: u64) {
        if size < self.now.size {
            let kept = size.div_ceil(PAGE);
            self.dirty.extend(self.now.pages.split_off(&kept).into_keys());
            if let Some(page) = self.now.pages.get_mut(&(size / PAGE)) {
                Arc::make_mut(page)[(size % PAGE) as usize..].fill(0);
                self.dirty.insert(size / PAGE);
            }
            self.reserved = self.reserved.min(kept);
        }
        self.now.size = size;
    }

    pub fn reserve(&mut self, end: u64) {
        self.reserved = self.reserved.max(end.div_ceil(PAGE));
        self.now.size = self.now.size.max(end);
    }

    /// As before the last write of each page; zeros where there was nothing before.
    pub fn stale(&self) -> Content {
        let mut content = self.now.clone();
        content.pages.retain(|number, _| self.before.contains_key(number));
        content.pages.extend(self.before.iter().map(|(number, page)| (*number, Arc::clone(page))));
        content
    }

    pub fn sync(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            self.sync_page(number);
        }
        self.synced.size = self.now.size;
    }

    /// A part of what was not synced reaches the device all the same.
    pub fn sync_some(&mut self, mut is_lucky: impl FnMut() -> bool) {
        for number in std::mem::take(&mut self.dirty) {
            if is_lucky() {
                self.sync_page(number);
            }
        }
        if is_lucky() {
            self.synced.size = self.now.size;
        }
    }

    /// What was not synced is gone.
    pub fn lose_power(&mut self) {
        self.now = self.synced.clone();
        self.dirty.clear();
        self.before.clear();
    }

    fn sync_page(&mut self, number: u64) {
        match self.now.pages.get(&number) {
            Some(page) => self.synced.pages.insert(number, Arc::clone(page)),
            None => self.synced.pages.remove(&number),
        };
    }

    /// A writeback that failed: the pages count as clean and never reach the device. `drop`: the cache loses them too.
    pub fn fail_to_sync(&mut self, drop: bool) {
        let dirty = std::mem::take(&mut self.dirty);
        for number in dirty.into_iter().filter(|_| drop) {
            match self.synced.pages.get(&number) {
                Some(page) => self.now.pages.insert(number, Arc::clone(page)),
                None => self.now.pages.remove(&number),
            };
        }
    }

    pub fn charged_pages(&self) -> u64 {
        self.reserved.max(self.now.pages.len() as u64)
    }
}
