//! Helpers of the catalogs' tests.

use crate::config::CachePolicy;

/// The policies whose order of leaving [`NaiveOrder`] knows.
pub(crate) const POLICIES: [CachePolicy; 4] =
    [CachePolicy::Lru, CachePolicy::Lfu, CachePolicy::Fifo, CachePolicy::Mru];

/// All policies.
pub(crate) const EVERY_POLICY: [CachePolicy; 5] =
    [CachePolicy::Lru, CachePolicy::Lfu, CachePolicy::Fifo, CachePolicy::Mru, CachePolicy::Reuse];

/// A digest for tests: spread like a real one.
pub(crate) fn digest(key: &[u8]) -> u128 {
    twox_hash::XxHash3_128::oneshot(key)
}

/// A small random generator: every run of a test takes the same path for the same seed.
pub(crate) struct Lcg(u64);

impl Lcg {
    pub(crate) fn new(seed: u64) -> Lcg {
        Lcg(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The low bits of such a generator are poor.
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed ^ (mixed >> 33)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The eviction order as one would write it down: a list searched from end to end.
pub(crate) struct NaiveOrder<T> {
    policy: CachePolicy,
    /// Oldest first: by put under FIFO, by put or use otherwise. LFU sorts by frequency on top.
    entries: Vec<(T, u32)>,
    parked: Vec<(T, u32)>,
}

impl<T: Copy + PartialEq> NaiveOrder<T> {
    pub(crate) fn new(policy: CachePolicy) -> NaiveOrder<T> {
        NaiveOrder { policy, entries: Vec::new(), parked: Vec::new() }
    }

    pub(crate) fn put(&mut self, item: T) {
        self.entries.push((item, 1));
    }

    pub(crate) fn put_parked(&mut self, item: T) {
        self.parked.push((item, 1));
    }

    pub(crate) fn touch(&mut self, item: T) {
        if let Some(entry) = self.parked.iter_mut().find(|entry| entry.0 == item) {
            entry.1 += 1;
        }
        if self.policy != CachePolicy::Fifo
            && let Some(at) = self.entries.iter().position(|entry| entry.0 == item)
        {
            let (item, frequency) = self.entries.remove(at);
            self.entries.push((item, frequency + 1));
        }
    }

    pub(crate) fn remove(&mut self, item: T) {
        self.entries.retain(|entry| entry.0 != item);
        self.parked.retain(|entry| entry.0 != item);
    }

    pub(crate) fn park(&mut self, item: T) {
        if let Some(at) = self.entries.iter().position(|entry| entry.0 == item) {
            self.parked.push(self.entries.remove(at));
        }
    }

    pub(crate) fn unpark(&mut self, item: T) {
        if let Some(at) = self.parked.iter().position(|entry| entry.0 == item) {
            self.entries.push(self.parked.remove(at));
        }
    }

    /// Listed items, the first to leave first.
    pub(crate) fn victims(&self) -> Vec<T> {
        let mut entries = self.entries.clone();
        match self.policy {
            CachePolicy::Lru | CachePolicy::Reuse | CachePolicy::Fifo => {}
            // A stable sort: ties stay in order of arrival at the frequency.
            CachePolicy::Lfu => entries.sort_by_key(|entry| entry.1),
            CachePolicy::Mru => entries.reverse(),
        }
        entries.into_iter().map(|entry| entry.0).collect()
    }
}
