//! OBJ: objects of a bucket, through the S3 client.
//!
//! A request is one call: a ranged GET, a PutObject, an UploadPart. What else there is to do around a transfer (sizes,
//! uploads to begin and to complete, removals, listings) is the placement's, which gets the client from [`Bucket`].

mod bucket;
mod object;
mod queue;

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::bucket::Bucket;
pub use self::object::{Learnt, Object};
use self::queue::ObjQueue;
use super::queue::{Backend, IoPath, IoQueue, Medium, Stores};
use super::reach::Reach;
use crate::config::Config;
use crate::error::Result;
use crate::log::Logger;
use crate::s3::{Client, Settings, Traits};
use crate::sys::event::Event;

/// Lanes unless `nixl_store_io_threads` or `num_threads` says otherwise: one signs and sums while the other moves bytes.
const LANES_DEFAULT: u64 = 2;
/// Bounds for `num_threads`.
const LANES_RANGE: RangeInclusive<u64> = 1..=64;
/// Requests under way of one lane, each on a connection, unless `throughput_target_gbps` says otherwise.
const LANE_REQUESTS_DEFAULT: u64 = 32;
/// Bounds for what `throughput_target_gbps` makes of it.
const LANE_REQUESTS_RANGE: RangeInclusive<u64> = 8..=256;
/// What one connection to S3 brings, in Mbit/s (85 to 90 MB/s: "Performance guidelines for Amazon S3").
const CONNECTION_MBITS: u64 = 700;
/// Questions about keys that are asked side by side: a chain of 128 keys takes two rounds. A lane's queue has a bound of
/// its own.
const QUESTIONS_MAX: usize = 128;
/// Size from which objects go in parts, unless `crtMinLimit` says otherwise.
const MULTIPART_BYTES_DEFAULT: u64 = 64 << 20;
/// Bounds for `crtMinLimit`: the least bytes of a part but the last, and a size that one PutObject takes (5 GiB at most).
const MULTIPART_BYTES_RANGE: RangeInclusive<u64> = 5 << 20..=4 << 30;
/// Longest time of one call where the store has no timeout of its own.
const CALL_TIME_DEFAULT: Duration = Duration::from_secs(60);
/// Most stretches of memory of one request: all segments that an item may have, its tail and its trailer.
const STRETCHES_MAX: usize = 65_536 + 2;

struct Obj {
    bucket: Bucket,
    lanes: u32,
    lane_requests: usize,
}

/// Opens the backend and asks the server whether the bucket is there and may be used.
///
/// # Errors
/// Settings that cannot be used; a bucket that is missing, elsewhere, closed to this identity, or out of reach.
pub(super) fn open(config: &Config, worker_id: u32, logger: &Logger) -> Result<Box<dyn Backend>> {
    let params = &config.backend_params;
    let (client, lane_requests) = client(config, worker_id, logger)?;
    let call_time_max = call_time_max(config);
    let prefix = config.store.prefix.clone();
    let traits = {
        let (client, prefix) = (client.clone(), prefix.clone());
        let deadline = Instant::now().checked_add(call_time_max);
        client.clone().block_on(async move { client.probe(&prefix, deadline).await })?
    };
    let multipart_bytes_min = params.number("crtMinLimit").unwrap_or(MULTIPART_BYTES_DEFAULT);
    let multipart_bytes_min =
        multipart_bytes_min.clamp(*MULTIPART_BYTES_RANGE.start(), *MULTIPART_BYTES_RANGE.end());
    let bucket = Bucket { client, prefix, traits, multipart_bytes_min, call_time_max };
    Ok(Box::new(Obj { bucket, lanes: lanes(config) as u32, lane_requests }))
}

/// The client for a worker's bucket, and the requests that a lane has under way. Nothing goes over the network yet.
///
/// # Errors
/// Settings that cannot be used.
pub fn client(config: &Config, worker_id: u32, logger: &Logger) -> Result<(Client, usize)> {
    let params = &config.backend_params;
    let endpoint = match config.endpoint_list.len() {
        0 => None,
        count => config.endpoint_list.get(worker_id as usize % count).map(String::as_str),
    };
    let lane_requests = match params.number("throughput_target_gbps") {
        None => LANE_REQUESTS_DEFAULT,
        Some(gbps) => (gbps * 1000).div_ceil(CONNECTION_MBITS).div_ceil(lanes(config)),
    };
    let lane_requests =
        lane_requests.clamp(*LANE_REQUESTS_RANGE.start(), *LANE_REQUESTS_RANGE.end()) as usize;
    let mut settings = Settings::new(params, endpoint, call_time_max(config))?;
    settings.connections_max = lane_requests.max(QUESTIONS_MAX);
    Ok((Client::open(settings, logger)?, lane_requests))
}

fn lanes(config: &Config) -> u64 {
    let lanes = config.backend_params.number("num_threads").unwrap_or(LANES_DEFAULT);
    lanes.clamp(*LANES_RANGE.start(), *LANES_RANGE.end())
}

/// Longest time of one call to the server.
pub fn call_time_max(config: &Config) -> Duration {
    config.store.timeout_ms.map_or(CALL_TIME_DEFAULT, Duration::from_millis)
}

/// What the server does not honour, for capabilities; empty if there is nothing.
pub fn missing_of(traits: &Traits) -> String {
    let lacks = [
        (traits.versions, "the server gives no ETag with a GET"),
        (traits.if_match, "the server ignores If-Match on GET"),
        (traits.if_none_match, "the server ignores If-None-Match on PUT"),
        (traits.deletes_if_match, "the server ignores If-Match on DELETE"),
    ];
    lacks.iter().filter(|(honoured, _)| !honoured).map(|(_, text)| *text).collect::<Vec<_>>().join("; ")
}

impl Backend for Obj {
    fn path(&self) -> IoPath {
        IoPath { name: "s3", reason: missing_of(&self.bucket.traits) }
    }

    fn reach(&self) -> Reach {
        Reach { slices_max: STRETCHES_MAX, request_bytes_max: u64::MAX, sums: true, ..Reach::HOST }
    }

    fn stores(&self) -> Stores {
        Stores::Bucket
    }

    fn bucket(&self) -> Option<&Bucket> {
        Some(&self.bucket)
    }

    fn lanes_default(&self, _medium: Medium) -> u32 {
        self.lanes
    }

    fn supports_direct_io(&self) -> bool {
        false
    }

    fn open_queue(&self, waker: Arc<Event>, _medium: Medium) -> io::Result<Box<dyn IoQueue>> {
        Ok(Box::new(ObjQueue::new(&self.bucket.client, waker, self.lane_requests)?))
    }

    fn reads_mappings(&self, _medium: Medium) -> bool {
        false
    }

    fn blocking_queue(&self) -> Option<Box<dyn IoQueue>> {
        None
    }
}
