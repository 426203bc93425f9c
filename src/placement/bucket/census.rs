//! How much lies in a bucket that a fleet shares, as one process can tell: its own puts to the byte, and others' from one
//! shard of 256 at a time.
//!
//! Digests spread objects evenly, so what others added to one shard since it was last listed tells what they add to all.
//! A process that is alone finds each shard as it left it, and its sum is exact.

use std::time::Instant;

use crate::layout::bucket::SHARDS;

/// How much one more shard changes what is thought of the rate of all: a tenth, so that a few unlike shards do not.
const RATE_WEIGHT: f64 = 0.1;
/// What eviction goes down to, as a part of the capacity, so that not every listing has to evict.
const LOW_MARK: f64 = 0.95;

/// What is known of the shards.
#[derive(Debug)]
pub(super) struct Census {
    shards: Vec<Option<Shard>>,
    /// Bytes that others add to a shard in a second; below 0 where they remove more.
    others_rate: f64,
}

#[derive(Clone, Copy, Debug)]
struct Shard {
    /// As listed, with what this process put and removed since.
    bytes: f64,
    listed: Instant,
}

impl Census {
    /// Nothing is known.
    pub(super) fn new() -> Census {
        Census { shards: vec![None; SHARDS], others_rate: 0.0 }
    }

    /// A shard was listed.
    pub(super) fn listed(&mut self, shard: u8, bytes: u64, now: Instant) {
        let bytes = bytes as f64;
        let Some(place) = self.shards.get_mut(usize::from(shard)) else { return };
        if let Some(before) = *place {
            let seconds = now.saturating_duration_since(before.listed).as_secs_f64();
            if seconds > 0.0 {
                let rate = (bytes - before.bytes) / seconds;
                self.others_rate += RATE_WEIGHT * (rate - self.others_rate);
            }
        }
        *place = Some(Shard { bytes, listed: now });
    }

    /// This process put bytes into a shard, or removed some from it.
    pub(super) fn change(&mut self, shard: u8, bytes: i64) {
        if let Some(Some(known)) = self.shards.get_mut(usize::from(shard)) {
            known.bytes = (known.bytes + bytes as f64).max(0.0);
        }
    }

    /// Bytes of all shards; those that were never listed are taken for average ones. `None`: nothing is known.
    pub(super) fn total(&self, now: Instant) -> Option<u64> {
        let mut known = 0usize;
        let mut bytes = 0.0;
        for shard in self.shards.iter().flatten() {
            let age = now.saturating_duration_since(shard.listed).as_secs_f64();
            known += 1;
            bytes += (shard.bytes + self.others_rate * age).max(0.0);
        }
        // Rounded, or a sum of many parts might exceed itself by a byte.
        (known > 0).then(|| (bytes * SHARDS as f64 / known as f64).round() as u64)
    }
}

/// Bytes that one shard of `shard_bytes` has to give so that the whole, of `total` bytes, comes below `capacity`: as large
/// a part of it as every other shard has to.
pub(super) fn excess_of_shard(shard_bytes: u64, total: u64, capacity: u64) -> u64 {
    if total <= capacity {
        return 0;
    }
    let keep = capacity as f64 * LOW_MARK / total as f64;
    shard_bytes.saturating_sub((shard_bytes as f64 * keep) as u64)
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A process that is alone has exact accounts, however unlike its shards are and however long ago they were listed.
    #[test]
    fn a_process_alone_counts_exactly() {
        let start = Instant::now();
        let mut census = Census::new();
        let mut bytes: Vec<u64> = (0..256).map(|shard| shard * MIB).collect();
        for (shard, bytes) in (0..=255).zip(&bytes) {
            census.listed(shard, *bytes, start);
        }
        for round in 0..1000u64 {
            let shard = (round * 37 % 256) as usize;
            bytes[shard] += 3 * MIB;
            census.change(shard as u8, 3 * MIB as i64);
            if round % 5 == 0 {
                census.listed(shard as u8, bytes[shard], start + seconds(round + 1));
            }
        }
        let total: u64 = bytes.iter().sum();
        assert_eq!(census.total(start + seconds(9999)), Some(total));
        assert_eq!(excess_of_shard(bytes[0], total, total), 0, "at the mark nothing goes");
    }

    /// What others add is seen from a few shards, long before all were listed again.
    #[test]
    fn what_others_add_is_extrapolated_from_a_part() {
        let start = Instant::now();
        let mut census = Census::new();
        (0..=255).for_each(|shard| census.listed(shard, 100 * MIB, start));
        // Others add 1 MiB to each shard in a second; one shard is listed every 5 seconds.
        for step in 1..=40u64 {
            census.listed((step * 61 % 256) as u8, (100 + 5 * step) * MIB, start + seconds(5 * step));
        }
        let truth = 256 * (100 + 200) * MIB;
        let total = census.total(start + seconds(200)).unwrap();
        assert!(total > truth / 100 * 95 && total < truth / 100 * 105, "{total} of {truth}");
    }

    /// Before all shards were listed, the others are taken for average ones.
    #[test]
    fn unlisted_shards_count_as_average() {
        let start = Instant::now();
        let mut census = Census::new();
        assert_eq!(census.total(start), None);
        census.listed(3, 10 * MIB, start);
        census.listed(200, 20 * MIB, start);
        assert_eq!(census.total(start), Some(256 * 15 * MIB));
    }

    /// A fleet in which each process evicts in the shards that it lists comes below the capacity, and stays near it.
    #[test]
    fn a_fleet_without_a_coordinator_keeps_to_the_capacity() {
        let start = Instant::now();
        let capacity = 256 * 100 * MIB;
        let mut bytes = vec![90 * MIB; 256];
        let mut fleet: Vec<Census> = (0..4).map(|_| Census::new()).collect();
        for census in &mut fleet {
            (0..=255).for_each(|shard| census.listed(shard, bytes[usize::from(shard)], start));
        }
        let mut random = 9u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize
        };
        let mut highest = 0;
        for step in 1..4000u64 {
            let now = start + seconds(step);
            for census in &mut fleet {
                // Each puts 2 MiB a second somewhere, and lists a shard.
                let put = next() % 256;
                bytes[put] += 2 * MIB;
                census.change(put as u8, 2 * MIB as i64);
                let shard = next() % 256;
                census.listed(shard as u8, bytes[shard], now);
                let total = census.total(now).unwrap();
                let excess = excess_of_shard(bytes[shard], total, capacity);
                bytes[shard] -= excess;
                census.change(shard as u8, -(excess as i64));
            }
            highest = highest.max(bytes.iter().sum::<u64>());
        }
        let total: u64 = bytes.iter().sum();
        assert!(highest < capacity / 100 * 110, "{highest} of {capacity}");
        assert!(total > capacity / 100 * 80, "{total} of {capacity}: too much was evicted");
    }
}
