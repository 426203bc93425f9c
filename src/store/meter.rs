//! What can be read of a store from outside, by whoever holds this: also by a thread that the store does not wait for.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::options::Stats;
use super::reading::{Identity, Reading};
use super::{Capabilities, OpenOptions};
use crate::backend::Backend;
use crate::config::{BackendKind, Config};
use crate::lane::shared::Shared;
use crate::placement::Keys;
use crate::sync::{Arc, AtomicU64, Ordering};

/// A store's numbers, and what it is.
pub(super) struct Meter {
    shared: Arc<Shared>,
    keys: Arc<dyn Keys>,
    identity: Arc<Identity>,
}

impl Meter {
    pub(super) fn new(shared: &Arc<Shared>, keys: &Arc<dyn Keys>, identity: Identity) -> Meter {
        Meter { shared: Arc::clone(shared), keys: Arc::clone(keys), identity: Arc::new(identity) }
    }

    /// The number of the store in its process.
    pub(super) fn number(&self) -> u64 {
        self.identity.number
    }

    /// Counters and gauges.
    pub(super) fn stats(&self) -> Stats {
        let gauges = self.keys.gauges();
        let mut totals = self.shared.metrics.snapshot();
        totals.quarantined_slots = gauges.slots_quarantined;
        totals.evictions = gauges.evictions;
        totals.corruptions += gauges.files_damaged;
        Stats {
            totals,
            keys: gauges.keys,
            bytes_stored: gauges.bytes,
            slots: gauges.slots,
            slots_free: gauges.slots_free,
            capacity_bytes: gauges.capacity_bytes,
            keys_pinned: gauges.keys_pinned,
            items_in_flight: self.shared.in_flight() as u64,
        }
    }

    /// All of it. Also of a store that is poisoned: that is what somebody has to see.
    pub(super) fn read(&self) -> Reading {
        let metrics = &self.shared.metrics;
        Reading {
            identity: Arc::clone(&self.identity),
            stats: self.stats(),
            get_latency: metrics.get_latency.snapshot(),
            put_latency: metrics.put_latency.snapshot(),
            is_poisoned: self.shared.is_poisoned(),
        }
    }
}

/// What a store is that opens now: the next of its process.
pub(super) fn identity(
    config: &Config,
    options: &OpenOptions,
    backend: &dyn Backend,
    capabilities: &Capabilities,
) -> Identity {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Identity {
        number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
        opened: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        config: config.source_name(),
        location: location(config, options, backend),
        backend: capabilities.backend.clone(),
        layout: capabilities.layout.clone(),
        io_path: capabilities.io_path.clone(),
        worker: options.worker_id,
    }
}

/// Where the objects are: a directory, a bucket with what names in it begin with, or nowhere but in memory.
#[cfg_attr(not(feature = "obj"), allow(unused_variables, reason = "the backend is asked for its bucket"))]
fn location(config: &Config, options: &OpenOptions, backend: &dyn Backend) -> String {
    #[cfg(feature = "obj")]
    if let Some(bucket) = backend.bucket() {
        return format!("{}/{}", bucket.client.bucket(), bucket.prefix);
    }
    let path = config.path_of(options.cuda_device, options.worker_id);
    path.filter(|_| config.backend != BackendKind::Memory)
        .map(Path::to_string_lossy)
        .unwrap_or_default()
        .into_owned()
}
