//! What there is to see of one store between two moments.

use nixl_store::status::Socket;
use serde::Serialize;

use super::sample::{Buckets, Sample};

/// One store over one interval. The names are those of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// The process, as it calls itself.
    pub pid: u32,
    /// The number of the store in it.
    pub store: u64,
    /// Rank of the worker.
    pub worker: String,
    /// `POSIX`, `OBJ`, ….
    pub backend: String,
    /// `static`, `dynamic/sharded`, ….
    pub layout: String,
    /// How its bytes move: `io_uring`, `threads`, ….
    pub path: String,
    /// Directory or bucket.
    pub location: String,
    /// What its configuration is called.
    pub config: String,
    /// Version of its library.
    pub version: String,
    /// Seconds that the rates are of.
    pub interval_seconds: f64,
    /// Gets of that time.
    pub gets: Gets,
    /// Puts of that time.
    pub puts: Puts,
    /// Keys evicted a second.
    pub evictions_per_second: f64,
    /// Latencies of that time, by direction and size.
    pub latencies: Vec<Latency>,
    /// What it holds.
    pub holds: Holds,
    /// Items that wait or are under way.
    pub items_in_flight: f64,
    /// What should not be, since it was opened.
    pub trouble: Trouble,
}

/// Gets of an interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gets {
    /// Gets that ended, a second.
    pub per_second: f64,
    /// Payload bytes a second.
    pub bytes_per_second: f64,
    /// Part of hits and misses that were hits; none without either.
    pub hit_ratio: Option<f64>,
}

/// Puts of an interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Puts {
    /// Puts that ended, a second.
    pub per_second: f64,
    /// Payload bytes a second.
    pub bytes_per_second: f64,
    /// Puts declined by the eviction policy, a second.
    pub declined_per_second: f64,
}

/// Latencies of one direction and size class.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// `get` or `put`.
    pub direction: String,
    /// Most payload bytes, as the metrics name them.
    pub size: String,
    /// Items a second.
    pub per_second: f64,
    /// Half of them took at most so long, in seconds; none if it is beyond what is measured.
    pub p50_seconds: Option<f64>,
    /// All but one in a hundred.
    pub p99_seconds: Option<f64>,
}

/// What a store holds now.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Holds {
    /// Keys.
    pub keys: f64,
    /// Of them pinned by its process.
    pub pinned_keys: f64,
    /// Bytes.
    pub bytes: f64,
    /// Most bytes; 0 without a limit.
    pub capacity_bytes: f64,
    /// Slots of a static pool, else 0.
    pub slots: f64,
    /// Of them free.
    pub free_slots: f64,
}

/// What should not be, since the store was opened.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Trouble {
    /// Gets that failed.
    pub gets_failed: f64,
    /// Puts that failed.
    pub puts_failed: f64,
    /// Items whose deadline passed.
    pub timed_out: f64,
    /// Reads that did not prove right.
    pub corruptions: f64,
    /// Slots out of use.
    pub quarantined_slots: f64,
    /// Whether it serves no more after a bug of the library's.
    pub is_poisoned: bool,
}

impl View {
    /// What was between two samples of one store; without an earlier one, nothing has a rate.
    pub fn between(socket: &Socket, earlier: Option<&Sample>, now: &Sample) -> View {
        let seconds = earlier.map_or(0.0, |earlier| (now.at - earlier.at).as_secs_f64());
        let total = |name: &str, labels: &[(&str, &str)]| now.value(name, labels);
        let rate = |name: &str, labels: &[(&str, &str)]| match earlier {
            Some(earlier) if seconds > 0.0 => {
                ((now.value(name, labels) - earlier.value(name, labels)) / seconds).max(0.0)
            }
            _ => 0.0,
        };
        let ended = |name: &str, outcomes: &[&str]| -> f64 {
            outcomes.iter().map(|outcome| rate(name, &[("outcome", outcome)])).sum()
        };
        let (hits, misses) =
            (ended("nixl_store_gets_total", &["hit"]), ended("nixl_store_gets_total", &["miss"]));
        let info = |label: &str| now.info(label).to_owned();
        View {
            pid: socket.pid,
            store: socket.store,
            worker: info("worker"),
            backend: info("backend"),
            layout: info("layout"),
            path: info("path"),
            location: info("location"),
            config: info("config"),
            version: info("version"),
            interval_seconds: seconds,
            gets: Gets {
                per_second: hits + misses + ended("nixl_store_gets_total", &["failed"]),
                bytes_per_second: rate("nixl_store_payload_bytes_total", &[("direction", "get")]),
                hit_ratio: (hits + misses > 0.0).then(|| hits / (hits + misses)),
            },
            puts: Puts {
                per_second: ended("nixl_store_puts_total", &["stored", "declined", "failed"]),
                bytes_per_second: rate("nixl_store_payload_bytes_total", &[("direction", "put")]),
                declined_per_second: ended("nixl_store_puts_total", &["declined"]),
            },
            evictions_per_second: rate("nixl_store_evictions_total", &[]),
            latencies: latencies(earlier, now, seconds),
            holds: Holds {
                keys: total("nixl_store_keys", &[]),
                pinned_keys: total("nixl_store_pinned_keys", &[]),
                bytes: total("nixl_store_stored_bytes", &[]),
                capacity_bytes: total("nixl_store_capacity_bytes", &[]),
                slots: total("nixl_store_slots", &[]),
                free_slots: total("nixl_store_free_slots", &[]),
            },
            items_in_flight: total("nixl_store_items_in_flight", &[]),
            trouble: Trouble {
                gets_failed: total("nixl_store_gets_total", &[("outcome", "failed")]),
                puts_failed: total("nixl_store_puts_total", &[("outcome", "failed")]),
                timed_out: total("nixl_store_ended_early_total", &[("reason", "timed_out")]),
                corruptions: total("nixl_store_corruptions_total", &[]),
                quarantined_slots: total("nixl_store_quarantined_slots", &[]),
                is_poisoned: total("nixl_store_poisoned", &[]) > 0.0,
            },
        }
    }
}

impl View {
    /// Where its objects are.
    pub fn location_or_memory(&self) -> &str {
        if self.location.is_empty() { "in its memory" } else { &self.location }
    }
}

impl Holds {
    /// How full it is: of its slots, else of its bytes; none without a limit.
    pub fn fullness(&self) -> Option<f64> {
        if self.slots > 0.0 {
            return Some((self.slots - self.free_slots) / self.slots);
        }
        (self.capacity_bytes > 0.0).then(|| (self.bytes / self.capacity_bytes).min(1.0))
    }
}

impl Trouble {
    /// What there is, in words; nothing if all is well.
    pub fn words(&self) -> Vec<String> {
        let counted = [
            (self.gets_failed, "gets failed"),
            (self.puts_failed, "puts failed"),
            (self.timed_out, "timed out"),
            (self.corruptions, "reads not proven right"),
            (self.quarantined_slots, "slots out of use"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0.0);
        let poisoned =
            self.is_poisoned.then(|| "poisoned: serves no more until it is opened again".to_owned());
        poisoned.into_iter().chain(counted.map(|(count, what)| format!("{count} {what}"))).collect()
    }
}

fn latencies(earlier: Option<&Sample>, now: &Sample, seconds: f64) -> Vec<Latency> {
    let before = earlier.map(Sample::latencies).unwrap_or_default();
    let find = |direction: &str, size: &str| -> Option<&Buckets> {
        before.iter().find(|(d, s, _)| d == direction && s == size).map(|(_, _, buckets)| buckets)
    };
    let mut latencies = Vec::new();
    for (direction, size, buckets) in now.latencies() {
        let buckets = buckets.since(find(&direction, &size));
        let bound = |part: f64| buckets.quantile(part).filter(|seconds| seconds.is_finite());
        let (p50_seconds, p99_seconds) = (bound(0.5), bound(0.99));
        let per_second = if seconds > 0.0 { buckets.count() / seconds } else { 0.0 };
        latencies.push(Latency { direction, size, per_second, p50_seconds, p99_seconds });
    }
    latencies
}
