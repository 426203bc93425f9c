//! How long items took that moved their bytes: histograms by direction and size.
//!
//! An item costs two additions here, to its bucket and to the time of its series. Its bucket is also what counts it: the totals
//! of hits and of stored puts are sums over buckets, so that each such item is in a histogram exactly once, by construction.
//! Misses, failures, and items that ended early have counters of their own: they move nothing, and a miss of a microsecond
//! among the hits would hide how long a hit takes.

use std::time::Duration;

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the size classes, in payload bytes; a last class has what is above. Four times as many bytes each: an engine
/// uses one or two chunk sizes, which fall into classes of their own.
pub const SIZE_BYTES_MAX: [u64; 5] = [1 << SIZE_BITS_FIRST, 1 << 18, 1 << 20, 1 << 22, 1 << 24];
/// Size classes.
pub const SIZES: usize = SIZE_BYTES_MAX.len() + 1;
/// The first bound is 2 to this, and each further one 2 to so many more.
const SIZE_BITS_FIRST: u32 = 16;
const SIZE_BITS_STEP: u32 = 2;

/// Buckets with a bound: up to 1, 2, 4, ... microseconds, the last up to 67 seconds. A power of two each is as fine as
/// buckets can be had without a table, tells a quantile to within its factor of two, and leaves few enough series for one
/// store of each GPU to be scraped.
pub const BOUNDS: usize = 27;
/// With the one for what took longer.
const BUCKETS: usize = BOUNDS + 1;

/// The upper bound of a bucket.
pub fn bound(bucket: usize) -> Duration {
    Duration::from_micros(1 << bucket.min(BOUNDS - 1))
}

/// Latencies of one direction, live.
#[derive(Debug, Default)]
pub struct Latency([Series; SIZES]);

#[derive(Debug, Default)]
struct Series {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// Latencies of one direction and size class at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Items in each bucket; those below are not counted again.
    pub buckets: [u64; BUCKETS],
    /// The sum of their times, in nanoseconds; an item that ends now may be in one of the two alone.
    pub nanoseconds: u64,
}

impl Latency {
    /// Counts an item that moved `bytes` in so many `nanoseconds`.
    #[inline]
    pub fn add(&self, bytes: u64, nanoseconds: u64) {
        let series = &self.0[size_class(bytes)];
        series.buckets[bucket_of(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        series.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Items counted.
    pub fn count(&self) -> u64 {
        let buckets = self.0.iter().flat_map(|series| &series.buckets);
        buckets.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// All size classes, from the smallest on.
    pub fn snapshot(&self) -> [Histogram; SIZES] {
        std::array::from_fn(|size| Histogram {
            buckets: std::array::from_fn(|bucket| self.0[size].buckets[bucket].load(Ordering::Relaxed)),
            nanoseconds: self.0[size].nanoseconds.load(Ordering::Relaxed),
        })
    }
}

impl Histogram {
    /// Items counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The class of so many bytes, without a branch.
fn size_class(bytes: u64) -> usize {
    let above_first = bits(bytes).saturating_sub(SIZE_BITS_FIRST);
    (above_first.div_ceil(SIZE_BITS_STEP) as usize).min(SIZES - 1)
}

fn bucket_of(nanoseconds: u64) -> usize {
    (bits(nanoseconds.div_ceil(1000)) as usize).min(BUCKETS - 1)
}

/// The least `n` with 2 to the `n` not below `number`; 0 for 0.
fn bits(number: u64) -> u32 {
    u64::BITS - number.saturating_sub(1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound belongs to its bucket and class, as `le` says, and one more does not.
    #[test]
    fn an_item_is_counted_at_or_below_its_bound() {
        for (class, bytes) in SIZE_BYTES_MAX.into_iter().enumerate() {
            assert_eq!(size_class(bytes), class, "{bytes} bytes");
            assert_eq!(size_class(bytes + 1), class + 1, "{bytes} bytes and one");
        }
        assert_eq!((size_class(0), size_class(1), size_class(u64::MAX)), (0, 0, SIZES - 1));
        for bucket in 0..BOUNDS {
            let nanoseconds = bound(bucket).as_nanos() as u64;
            assert_eq!(bucket_of(nanoseconds), bucket, "{nanoseconds} ns");
            assert_eq!(bucket_of(nanoseconds + 1), bucket + 1, "{nanoseconds} ns and one");
        }
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(u64::MAX)), (0, 0, BUCKETS - 1));
        assert!(bound(BOUNDS - 1) > Duration::from_secs(60));
    }

    /// Threads that add at once lose nothing.
    #[test]
    fn every_item_of_every_thread_is_counted() {
        const THREADS: u64 = 4;
        const ITEMS: u64 = 1000;
        let latency = Latency::default();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..ITEMS).for_each(|item| latency.add(item << 10, item * 1000)));
            }
        });
        let histograms = latency.snapshot();
        assert_eq!(latency.count(), THREADS * ITEMS);
        assert_eq!(histograms.iter().map(Histogram::count).sum::<u64>(), THREADS * ITEMS);
        let nanoseconds: u64 = histograms.iter().map(|histogram| histogram.nanoseconds).sum();
        assert_eq!(nanoseconds, THREADS * 1000 * ITEMS * (ITEMS - 1) / 2);
    }
}
