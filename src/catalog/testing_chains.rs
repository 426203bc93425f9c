//! LRU and REUSE as one would write them down: lists searched from end to end. What the catalogs do is compared with it.

use super::index::tag_of;
use super::testing::digest;
use crate::config::{CachePolicy, Eviction};

/// A stored block.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stored {
    block: u32,
    /// Of the request that put or used it last.
    base: u32,
    position: u32,
    again: bool,
}

impl Stored {
    fn last(self) -> u32 {
        self.base + self.position + 1
    }
}

/// What became of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Served {
    pub(crate) hits: Vec<u32>,
    pub(crate) put: Vec<u32>,
    pub(crate) declined: Vec<u32>,
    pub(crate) evicted: Vec<u32>,
}

/// The policy by the book.
pub(crate) struct ChainModel {
    eviction: Eviction,
    slots: usize,
    stored: Vec<Stored>,
    clock: u32,
    tau: f64,
    /// Sets of tags and when they were seen last.
    ghosts: Vec<Vec<(u32, u32)>>,
}

impl ChainModel {
    pub(crate) fn new(eviction: Eviction, slots: usize) -> ChainModel {
        let sets = (slots * eviction.ghost_entries as usize).div_ceil(8);
        let tau = (slots as f64 / 2.0).max(16.0);
        ChainModel { eviction, slots, stored: Vec::new(), clock: 0, tau, ghosts: vec![Vec::new(); sets] }
    }

    pub(crate) fn stored(&self) -> Vec<u32> {
        let mut blocks: Vec<u32> = self.stored.iter().map(|stored| stored.block).collect();
        blocks.sort_unstable();
        blocks
    }

    /// Gets the longest stored prefix, then puts the rest, one after the other, leaving what is stored.
    pub(crate) fn serve(&mut self, chain: &[u32]) -> Served {
        let base = self.clock;
        self.clock += chain.len() as u32;
        let mut served = Served::default();
        let mut in_prefix = true;
        for (index, &block) in chain.iter().enumerate() {
            let first = chain.iter().position(|other| *other == block).unwrap_or(index);
            let seen = Stored { block, base, position: first as u32, again: false };
            let at = self.stored.iter().position(|stored| stored.block == block);
            in_prefix &= at.is_some();
            if in_prefix {
                served.hits.push(block);
            }
            match at {
                Some(at) => self.see_stored(at, seen),
                None => self.put(seen, chain, &mut served),
            }
        }
        served
    }

    fn is_reuse(&self) -> bool {
        self.eviction.policy == CachePolicy::Reuse
    }

    fn see_stored(&mut self, at: usize, seen: Stored) {
        let old = self.stored[at];
        if old.last() > seen.base {
            return;
        }
        self.learn(seen.last() - old.last());
        self.stored[at] = Stored { again: self.is_reuse(), ..seen };
    }

    fn learn(&mut self, gap: u32) {
        let q = self.eviction.reuse_quantile;
        let factor = if f64::from(gap) > self.tau { 1.0 + 0.002 * q } else { 1.0 - 0.002 * (1.0 - q) };
        self.tau = (self.tau * factor).max(16.0);
    }

    fn put(&mut self, seen: Stored, chain: &[u32], served: &mut Served) {
        let Stored { block, base, .. } = seen;
        let now = seen.last();
        let ghost = self.ghost(block).filter(|_| self.is_reuse());
        let is_repeated = ghost.is_some_and(|then| then > base);
        let gap = ghost.filter(|_| !is_repeated).map(|then| now - then);
        if let Some(gap) = gap {
            self.learn(gap);
        }
        let due = gap.map_or(self.tau, |gap| f64::from(gap).min(self.tau) / 2.0);
        if self.stored.len() == self.slots {
            let victim = self.victim(seen, chain);
            if self.is_reuse() {
                let is_worth = victim.is_some_and(|victim| Self::idle(victim, now) >= due);
                if !served.declined.is_empty() || !is_worth {
                    served.declined.push(block);
                    if !is_repeated {
                        self.remember(block, now);
                    }
                    return;
                }
                self.forget(block);
            }
            if let Some(victim) = victim {
                self.stored.retain(|stored| *stored != victim);
                if self.is_reuse() {
                    self.remember(victim.block, victim.last());
                }
                served.evicted.push(victim.block);
            }
        } else if self.is_reuse() {
            self.forget(block);
        }
        served.put.push(block);
        self.stored.push(Stored { again: gap.is_some(), ..seen });
    }

    fn idle(stored: Stored, now: u32) -> f64 {
        f64::from(now.saturating_sub(stored.last())) / if stored.again { 2.0 } else { 1.0 }
    }

    /// Of the oldest of each list the one that has been idle for longer by its weight, but none of this request.
    fn victim(&self, seen: Stored, chain: &[u32]) -> Option<Stored> {
        let oldest = |again: bool| {
            let list = self.stored.iter().copied().filter(|stored| stored.again == again);
            let others = list.filter(|stored| {
                !self.is_reuse() || (stored.last() <= seen.base && !chain.contains(&stored.block))
            });
            others.min_by_key(|stored| (stored.base, u32::MAX - stored.position))
        };
        match (oldest(false), oldest(true)) {
            (Some(once), Some(again)) => {
                let now = seen.last();
                Some(if Self::idle(once, now) >= Self::idle(again, now) { once } else { again })
            }
            (once, again) => once.or(again),
        }
    }

    fn set(&mut self, block: u32) -> Option<(&mut Vec<(u32, u32)>, u32)> {
        let tag = tag_of(digest(&block.to_le_bytes()));
        let at = (u64::from(tag) * self.ghosts.len() as u64) >> 32;
        Some((self.ghosts.get_mut(at as usize)?, tag))
    }

    fn ghost(&mut self, block: u32) -> Option<u32> {
        let (set, tag) = self.set(block)?;
        set.iter().find(|entry| entry.0 == tag).map(|entry| entry.1)
    }

    fn remember(&mut self, block: u32, then: u32) {
        let Some((set, tag)) = self.set(block) else { return };
        set.retain(|entry| entry.0 != tag);
        if set.len() == 8 {
            let oldest = set.iter().map(|entry| entry.1).min();
            set.retain(|entry| Some(entry.1) != oldest);
        }
        set.push((tag, then));
    }

    fn forget(&mut self, block: u32) {
        if let Some((set, tag)) = self.set(block) {
            set.retain(|entry| entry.0 != tag);
        }
    }
}
