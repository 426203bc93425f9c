//! What was read of a store, and the text that tells it: every counter, gauge and histogram, and what the store is.

use std::time::Duration;

use super::options::Stats;
use crate::metrics::latency::{Histogram, SIZE_BYTES_MAX, SIZES};
use crate::metrics::openmetrics::{Kind, Text};
use crate::sync::Arc;

/// What a store is, from its open on.
#[derive(Debug)]
pub(super) struct Identity {
    /// Its number in the process, from 1 on; none is used twice.
    pub(super) number: u64,
    /// When it was opened, after 1970.
    pub(super) opened: Duration,
    pub(super) config: String,
    pub(super) location: String,
    pub(super) backend: String,
    pub(super) layout: String,
    pub(super) io_path: String,
    pub(super) worker: u32,
}

/// A store at one moment; its numbers are exact one by one, and not of one instant.
#[derive(Debug)]
pub struct Reading {
    pub(super) identity: Arc<Identity>,
    pub(super) stats: Stats,
    pub(super) get_latency: [Histogram; SIZES],
    pub(super) put_latency: [Histogram; SIZES],
    pub(super) is_poisoned: bool,
}

/// A family of counters or gauges: name, unit, what it is, the label of its samples, and those.
type Family = (&'static str, Kind, &'static str, &'static str, &'static str, &'static [Sample]);
/// The label's value, and the number.
type Sample = (&'static str, fn(&Reading) -> u64);

const FAMILIES: &[Family] = &[
    (
        "nixl_store_gets",
        Kind::Counter,
        "",
        "Gets that ended, by outcome; without those that were cancelled or timed out.",
        "outcome",
        &[
            ("hit", |r| r.stats.totals.gets_hit),
            ("miss", |r| r.stats.totals.gets_missed),
            ("failed", |r| r.stats.totals.gets_failed),
        ],
    ),
    (
        "nixl_store_puts",
        Kind::Counter,
        "",
        "Puts that ended, by outcome; without those that were cancelled or timed out, or left a stored object as it was.",
        "outcome",
        &[
            ("stored", |r| r.stats.totals.puts_ok),
            ("declined", |r| r.stats.totals.puts_declined),
            ("failed", |r| r.stats.totals.puts_failed),
        ],
    ),
    (
        "nixl_store_ended_early",
        Kind::Counter,
        "",
        "Items, questions about keys among them, that were given up: cancelled, or too late to start; in a bucket also while under way.",
        "reason",
        &[("timed_out", |r| r.stats.totals.timed_out), ("cancelled", |r| r.stats.totals.cancelled)],
    ),
    (
        "nixl_store_payload_bytes",
        Kind::Counter,
        "bytes",
        "Payload bytes of gets that hit and of puts that stored.",
        "direction",
        &[("get", |r| r.stats.totals.bytes_got), ("put", |r| r.stats.totals.bytes_put)],
    ),
    (
        "nixl_store_moved_bytes",
        Kind::Counter,
        "bytes",
        "Payload bytes by how they moved: straight between caller and storage, or through the staging buffer.",
        "path",
        &[("direct", |r| r.stats.totals.bytes_direct), ("staged", |r| r.stats.totals.bytes_staged)],
    ),
    (
        "nixl_store_evictions",
        Kind::Counter,
        "",
        "Keys evicted to make room.",
        "",
        &[("", |r| r.stats.totals.evictions)],
    ),
    (
        "nixl_store_corruptions",
        Kind::Counter,
        "",
        "Reads whose record did not prove right; each was a miss.",
        "",
        &[("", |r| r.stats.totals.corruptions)],
    ),
    (
        "nixl_store_unverified_gets",
        Kind::Counter,
        "",
        "Gets served without a checksum, of objects that LMCache wrote.",
        "",
        &[("", |r| r.stats.totals.gets_unverified)],
    ),
    (
        "nixl_store_short_transfers",
        Kind::Counter,
        "",
        "Short transfers that a further one completed.",
        "",
        &[("", |r| r.stats.totals.short_transfers)],
    ),
    (
        "nixl_store_retries",
        Kind::Counter,
        "",
        "Transfers repeated because the system asked for it.",
        "",
        &[("", |r| r.stats.totals.retries)],
    ),
    (
        "nixl_store_keys",
        Kind::Gauge,
        "",
        "Keys stored, as far as this process knows.",
        "",
        &[("", |r| r.stats.keys)],
    ),
    (
        "nixl_store_pinned_keys",
        Kind::Gauge,
        "",
        "Keys that this process has pinned.",
        "",
        &[("", |r| r.stats.keys_pinned)],
    ),
    (
        "nixl_store_stored_bytes",
        Kind::Gauge,
        "bytes",
        "Bytes stored, as far as this process knows; in a dynamic store those of its files.",
        "",
        &[("", |r| r.stats.bytes_stored)],
    ),
    (
        "nixl_store_capacity_bytes",
        Kind::Gauge,
        "bytes",
        "Bytes that may be stored; 0 is no limit.",
        "",
        &[("", |r| r.stats.capacity_bytes)],
    ),
    (
        "nixl_store_slots",
        Kind::Gauge,
        "",
        "Slots of a static pool; 0 if dynamic.",
        "",
        &[("", |r| r.stats.slots)],
    ),
    ("nixl_store_free_slots", Kind::Gauge, "", "Slots that are free.", "", &[("", |r| r.stats.slots_free)]),
    (
        "nixl_store_quarantined_slots",
        Kind::Gauge,
        "",
        "Slots out of use after damage or I/O errors.",
        "",
        &[("", |r| r.stats.totals.quarantined_slots)],
    ),
    (
        "nixl_store_items_in_flight",
        Kind::Gauge,
        "",
        "Items that wait or are under way.",
        "",
        &[("", |r| r.stats.items_in_flight)],
    ),
    (
        "nixl_store_poisoned",
        Kind::Gauge,
        "",
        "1 after an internal error: everything is refused until the store is opened again.",
        "",
        &[("", |r| u64::from(r.is_poisoned))],
    ),
];

/// The text of these stores, in which each sample has the number of its store as a label.
pub fn metrics_text(readings: &[Reading]) -> String {
    let mut text = Text::default();
    let numbered: Vec<(String, &Reading)> =
        readings.iter().map(|reading| (reading.identity.number.to_string(), reading)).collect();
    what_they_are(&mut text, &numbered);
    for &(name, kind, unit, help, label, samples) in FAMILIES {
        text.family(name, kind, unit, help);
        for (number, reading) in &numbered {
            for (value, read) in samples {
                let labels = [("store", number.as_str()), (label, value)];
                text.sample(if label.is_empty() { &labels[..1] } else { &labels }, read(reading));
            }
        }
    }
    latencies(&mut text, &numbered);
    text.finish()
}

fn what_they_are(text: &mut Text, numbered: &[(String, &Reading)]) {
    text.family("nixl_store", Kind::Info, "", "What the store is, and which path is in effect.");
    let pid = std::process::id().to_string();
    for (number, Reading { identity, .. }) in numbered {
        let labels = [
            ("store", number.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
            ("backend", &identity.backend),
            ("layout", &identity.layout),
            ("path", &identity.io_path),
            ("worker", &identity.worker.to_string()),
            ("location", &identity.location),
            ("config", &identity.config),
            ("pid", &pid),
        ];
        text.sample(&labels, 1);
    }
    text.family(
        "nixl_store_open_time_seconds",
        Kind::Gauge,
        "seconds",
        "When the store was opened, after 1970.",
    );
    for (number, Reading { identity, .. }) in numbered {
        let opened = identity.opened;
        let seconds = format_args!("{}.{:03}", opened.as_secs(), opened.subsec_millis());
        text.sample(&[("store", number)], seconds);
    }
}

/// A size class has its samples once something was counted in it: an engine uses one or two of them.
fn latencies(text: &mut Text, numbered: &[(String, &Reading)]) {
    let help = "Time from submit to completion of gets that hit and of puts that stored, by payload bytes up to size.";
    text.family("nixl_store_latency_seconds", Kind::Histogram, "seconds", help);
    for (number, reading) in numbered {
        for (direction, histograms) in [("get", &reading.get_latency), ("put", &reading.put_latency)] {
            for (size, histogram) in
                histograms.iter().enumerate().filter(|(_, histogram)| histogram.count() > 0)
            {
                let size = size_name(size);
                text.histogram(&[("store", number), ("direction", direction), ("size", &size)], histogram);
            }
        }
    }
}

/// The upper bound of a size class.
fn size_name(size: usize) -> String {
    match SIZE_BYTES_MAX.get(size) {
        Some(bytes) if bytes >> 20 > 0 => format!("{}MiB", bytes >> 20),
        Some(bytes) => format!("{}KiB", bytes >> 10),
        None => "larger".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Snapshot;

    fn reading(number: u64, stats: Stats) -> Reading {
        let identity = Identity {
            number,
            opened: Duration::from_millis(1_700_000_000_250),
            config: "/etc/\"odd\".yaml".to_owned(),
            location: "/mnt/cache".to_owned(),
            backend: "POSIX".to_owned(),
            layout: "static".to_owned(),
            io_path: "io_uring".to_owned(),
            worker: 3,
        };
        let (get_latency, put_latency) = Default::default();
        Reading { identity: Arc::new(identity), stats, get_latency, put_latency, is_poisoned: false }
    }

    /// Every number of the stats is told, each in a sample of its own. All fields are named, so that this fails to compile when
    /// the store gets one that is not told.
    #[test]
    fn every_number_is_told() {
        let totals = Snapshot {
            puts_failed: 1001,
            puts_declined: 1002,
            gets_missed: 1003,
            gets_failed: 1004,
            bytes_put: 1005,
            bytes_got: 1006,
            bytes_direct: 1007,
            bytes_staged: 1008,
            evictions: 1009,
            corruptions: 1010,
            quarantined_slots: 1011,
            gets_unverified: 1012,
            short_transfers: 1013,
            retries: 1014,
            timed_out: 1015,
            cancelled: 1016,
            gets_hit: 1017,
            puts_ok: 1018,
        };
        let stats = Stats {
            totals,
            keys: 1019,
            bytes_stored: 1020,
            slots: 1021,
            slots_free: 1022,
            capacity_bytes: 1023,
            keys_pinned: 1024,
            items_in_flight: 1025,
        };
        let text = metrics_text(&[reading(1, stats)]);
        for number in 1001..=1025 {
            let count = text.lines().filter(|line| line.ends_with(&format!(" {number}"))).count();
            assert_eq!(count, 1, "{number} in\n{text}");
        }
        assert!(text.contains("\nnixl_store_open_time_seconds{store=\"1\"} 1700000000.250\n"), "{text}");
        assert!(text.contains("config=\"/etc/\\\"odd\\\".yaml\""), "{text}");
    }

    /// Two stores in one text: each family is told once, and every sample says whose it is.
    #[test]
    fn stores_share_their_families() {
        let text = metrics_text(&[reading(1, Stats::default()), reading(7, Stats::default())]);
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut once = types.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), types.len());
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.clone().all(|line| line.contains("{store=\"1\"") || line.contains("{store=\"7\"")));
        assert_eq!(samples.clone().filter(|line| line.contains("\"7\"")).count() * 2, samples.count());
    }

    /// The header says how large a buffer always suffices: with every size counted in, and paths as long as there can be.
    #[test]
    fn eighty_kib_are_always_enough() {
        let longest = "\"".repeat(4096);
        let mut full = reading(u64::MAX, Stats::default());
        let mut identity = Arc::into_inner(full.identity).unwrap();
        (identity.config, identity.location) = (longest.clone(), longest);
        full.identity = Arc::new(identity);
        for histogram in full.get_latency.iter_mut().chain(&mut full.put_latency) {
            histogram.buckets[0] = u64::MAX >> 1;
            histogram.nanoseconds = u64::MAX;
        }
        let length = metrics_text(&[full]).len();
        assert!((64 << 10..80 << 10).contains(&length), "{length}");
    }

    /// Without any store it is still a text that a scraper takes.
    #[test]
    fn no_store_is_an_empty_text() {
        let text = metrics_text(&[]);
        assert!(text.ends_with("# EOF\n") && text.lines().all(|line| line.starts_with("# ")), "{text}");
    }
}
