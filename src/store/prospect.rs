//! What opening a store would come to, found out without opening it: nothing is made on storage, and nobody's pool is locked.

use std::path::{Path, PathBuf};

use super::settings::{self, Chosen};
use super::{OpenOptions, open, place};
use crate::backend::{Backend, IoPath, Medium, REGION_BYTES_MAX};
use crate::config::{Config, Effective};
use crate::error::{Error, Result};
#[cfg(feature = "obj")]
use crate::layout::bucket::Names;
#[cfg(feature = "obj")]
use crate::layout::bucket::manifest::PoolShape;
use crate::layout::pool::PoolParameters;
use crate::memory::HostSlice;
use crate::sync::Arc;
use crate::sys::event::Event;
use crate::sys::habits::Habits;

/// What a lane of a store would find.
#[derive(Debug)]
pub struct Prospect {
    /// The path in effect.
    pub path: IoPath,
    /// I/O threads.
    pub io_threads: usize,
    /// Bytes of the staging buffer.
    pub buffer_bytes: u64,
    /// Whether the staging buffer is in huge pages.
    pub has_huge_pages: bool,
    /// Whether the staging buffer is registered with the kernel.
    pub is_registered: bool,
    /// Why the kernel refused to register it, if it did.
    pub unregistered: Option<std::io::Error>,
    /// Every setting as it would be in effect.
    pub settings: Vec<Effective>,
}

/// Where a static pool of files is, and what it is made with.
#[derive(Clone, Debug)]
pub struct PoolPlace {
    /// The directory that holds it.
    pub parent: PathBuf,
    /// Its name there.
    pub name: String,
    /// What it is made with.
    pub parameters: PoolParameters,
}

/// Makes what a lane needs of a backend, as opening a store does, and lets go of it again.
///
/// # Errors
/// What opening the store would answer: a staging buffer that cannot be had, a queue that cannot be opened.
pub fn prospect(config: &Config, options: &OpenOptions, backend: &dyn Backend) -> Result<Prospect> {
    let found = nearest(config, options).map_or(Medium::Device, |path| place::medium(&path));
    let medium = backend.medium(found);
    let buffer = open::staging(config, |bytes| backend.staging(bytes, config.use_hugepages))?;
    let failed = |error: &std::io::Error| {
        Error::told(error).cloned().unwrap_or_else(|| Error::os("starting the I/O threads", error))
    };
    let waker = Arc::new(Event::new().map_err(|error| failed(&error))?);
    let mut queue = backend.open_queue(waker, medium).map_err(|error| failed(&error))?;
    let (mut is_registered, mut unregistered) = (buffer.device().is_none(), None);
    if let Some(region) = buffer.region().host() {
        for (index, start) in (0..).zip((0..region.length).step_by(REGION_BYTES_MAX)) {
            let length = (region.length - start).min(REGION_BYTES_MAX);
            match queue.register(index, HostSlice { pointer: region.pointer.offset(start), length }) {
                Ok(gained) => is_registered &= gained,
                Err(error) => {
                    (is_registered, unregistered) = (false, Some(error));
                    break;
                }
            }
        }
    }
    drop(queue);
    let io_threads = config.store.io_threads.unwrap_or_else(|| backend.lanes_default(medium)).max(1) as usize;
    let buffer_bytes = buffer.bytes() as u64;
    let chunk_bytes = place::chunk_bytes(config, options).ok();
    let settings = settings::list(config, options, &Chosen { buffer_bytes, chunk_bytes, io_threads });
    let has_huge_pages = buffer.is_huge();
    let path = backend.path();
    Ok(Prospect { path, io_threads, buffer_bytes, has_huge_pages, is_registered, unregistered, settings })
}

/// Where the static pool of files would be that this configuration describes; `None` for a store that has none.
///
/// # Errors
/// The bytes of a chunk are not known.
pub fn pool_place(
    config: &Config,
    options: &OpenOptions,
    supports_direct_io: bool,
    habits: Habits,
) -> Result<Option<PoolPlace>> {
    let path = config.path_of(options.cuda_device, options.worker_id);
    let Some(parent) = path.filter(|_| config.pool_size > 0) else { return Ok(None) };
    let parameters = place::pool_parameters(config, options, supports_direct_io, habits)?;
    Ok(Some(PoolPlace { parent: parent.to_owned(), name: place::pool_name(options), parameters }))
}

/// The names and the shape of the static pool in a bucket that this configuration describes; `None` for a store that has none.
///
/// # Errors
/// The bytes of a chunk are not known; a prefix that cannot be used.
#[cfg(feature = "obj")]
pub fn bucket_pool(config: &Config, options: &OpenOptions) -> Result<Option<(Names, PoolShape)>> {
    if config.pool_size == 0 {
        return Ok(None);
    }
    let names = Names::of_pool(&config.store.prefix, &place::pool_name(options))?;
    Ok(Some((names, place::pool_shape(config, options)?)))
}

/// Bytes of a slot of the static pool that this configuration describes, in files or elsewhere.
///
/// # Errors
/// They are not known, or the store is none with a pool.
pub fn chunk_bytes(config: &Config, options: &OpenOptions) -> Result<u64> {
    place::chunk_bytes(config, options)
}

/// This worker's path, or as much of it as is there.
fn nearest(config: &Config, options: &OpenOptions) -> Option<PathBuf> {
    let path = std::path::absolute(config.path_of(options.cuda_device, options.worker_id)?).ok()?;
    path.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_owned)
}
