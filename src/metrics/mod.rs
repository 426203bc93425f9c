//! Counters and latencies of one store, and their text form. Every field is a total since open unless it says otherwise.

pub mod latency;
pub mod openmetrics;

use self::latency::Latency;
use crate::sync::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The live counters, added to from every thread without ordering.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: Counter,)+
            /// How long gets took that delivered bytes.
            pub get_latency: Latency,
            /// How long puts took that wrote their object.
            pub put_latency: Latency,
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)+
            /// Gets that delivered bytes.
            pub gets_hit: u64,
            /// Puts that completed and wrote their object.
            pub puts_ok: u64,
        }

        impl Metrics {
            /// Reads all counters; each is exact, together they are not one instant.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot {
                    $($name: self.$name.get(),)+
                    gets_hit: self.get_latency.count(),
                    puts_ok: self.put_latency.count(),
                }
            }
        }
    };
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Puts that failed.
    puts_failed,
    /// Puts that the eviction policy declined.
    puts_declined,
    /// Gets that found nothing.
    gets_missed,
    /// Gets that failed.
    gets_failed,
    /// Payload bytes of completed puts.
    bytes_put,
    /// Payload bytes delivered by gets.
    bytes_got,
    /// Payload bytes that moved straight between caller memory and storage.
    bytes_direct,
    /// Payload bytes that passed through the staging buffer.
    bytes_staged,
    /// Entries evicted to make room.
    evictions,
    /// Reads whose record did not prove right (key, length or checksum); each was a miss.
    corruptions,
    /// Slots taken out of use because of that or because of I/O errors.
    quarantined_slots,
    /// Gets served without a checksum because LMCache wrote the file and the configuration allows it.
    gets_unverified,
    /// Short transfers that were completed by a further one.
    short_transfers,
    /// Transfers repeated after EINTR or EAGAIN.
    retries,
    /// Items that ended because their deadline passed.
    timed_out,
    /// Items that ended because their ticket was cancelled.
    cancelled,
}
