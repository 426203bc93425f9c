//! What a store is told at open and at submit, and what it tells about itself.

use std::time::Duration;

use super::QueueId;
use super::streams::StreamOrder;
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::metrics;

/// What the engine knows and the YAML does not.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bytes of the largest object.
    pub chunk_bytes: Option<u64>,
    /// This worker's rank.
    pub worker_id: u32,
    /// Workers that work together; at least 1.
    pub world_size: u32,
    /// CUDA device of this worker, if it has one.
    pub cuda_device: Option<u32>,
    /// Separates keys of users that share a store; at most [`NAMESPACE_BYTES_MAX`] bytes.
    pub namespace: Vec<u8>,
    /// Where messages go.
    pub logger: Logger,
}

impl OpenOptions {
    /// Of a worker that is alone, and knows nothing that the configuration does not.
    pub fn of_one_worker(logger: Logger) -> OpenOptions {
        OpenOptions {
            chunk_bytes: None,
            worker_id: 0,
            world_size: 1,
            cuda_device: None,
            namespace: Vec::new(),
            logger,
        }
    }

    /// Whether there is such a worker. Each has a store of its own, so that a wrong number would mean another one's.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for a `worker_id` that is not below `world_size`.
    pub fn check_worker(&self) -> Result<()> {
        let OpenOptions { worker_id, world_size, .. } = *self;
        if worker_id < world_size.max(1) {
            return Ok(());
        }
        Err(Error::new(
            Status::InvalidArgument,
            format!(
                "worker_id is {worker_id}, world_size {world_size}: workers are numbered from 0 to world_size - 1"
            ),
        ))
    }
}

/// How a batch is submitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubmitOptions {
    /// Deadline for the whole batch from now; `None` takes the store's default.
    pub timeout: Option<Duration>,
    /// Queue that gets the completion.
    pub queue: Option<QueueId>,
    /// Given back in the completion.
    pub user_data: u64,
    /// The caller's number for the request that the batch belongs to; `None`: its keys tell, or nothing does.
    pub request: Option<u64>,
    /// A stream of the caller's, and how the batch and its work are ordered.
    pub stream: Option<StreamOrder>,
}

/// Which path is in effect and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `POSIX`, `MEMORY`, ….
    pub backend: String,
    /// `io_uring` or `threads`.
    pub io_path: String,
    /// Why a better path is not in effect; empty if nothing was degraded.
    pub reason: String,
    /// `static`, `dynamic/sharded`, `dynamic/lmcache`.
    pub layout: String,
    /// Whether O_DIRECT is in effect.
    pub direct_io: bool,
    /// Whether the staging buffer is registered with the kernel.
    pub registered_buffers: bool,
    /// Alignment of pointers and segment lengths from which transfers go direct, in bytes; 1 is any.
    pub direct_alignment: u64,
    /// Largest object in bytes; 0 if nothing but the device bounds it.
    pub object_bytes_max: u64,
    /// I/O threads.
    pub io_threads: u32,
    /// Where the staging buffer is: `cpu`, `cuda:N`.
    pub buffer_device: String,
    /// How the memory of devices is served.
    pub devices: DeviceService,
}

/// How a store serves memory of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceService {
    /// `none` while the process is without CUDA, else `staged`, `direct`, `direct_compat`.
    pub path: &'static str,
    /// What computes checksums: `none`, `cpu`, `cuda`.
    pub checksums: &'static str,
    /// Why it is not better; empty if nothing was degraded.
    pub reason: String,
}

/// Counters and gauges of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Totals since open.
    pub totals: metrics::Snapshot,
    /// Keys stored now, as far as this process knows.
    pub keys: u64,
    /// Payload bytes stored now, as far as this process knows.
    pub bytes_stored: u64,
    /// Slots of a static pool, 0 if dynamic.
    pub slots: u64,
    /// Free slots.
    pub slots_free: u64,
    /// Capacity in bytes; 0 is unlimited.
    pub capacity_bytes: u64,
    /// Keys pinned by this process.
    pub keys_pinned: u64,
    /// Items waiting or under way.
    pub items_in_flight: u64,
}
