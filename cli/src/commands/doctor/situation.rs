//! What is looked at: a configuration, for a worker.

use std::path::{Path, PathBuf};

use nixl_store::config::{BackendKind, BufferDevice, Config, Layout};
use nixl_store::log::Logger;
use nixl_store::store::{OpenOptions, prospect};

use crate::args::Global;
use crate::output::bytes;
use crate::place;

/// A store that may be opened, by whom.
pub struct Situation {
    /// Its configuration.
    pub config: Config,
    /// How the engine opens it.
    pub options: OpenOptions,
}

impl Situation {
    /// A store as the command line names it.
    pub fn new(config: Config, global: &Global) -> Situation {
        // What there is to say is found, and not logged.
        let options = place::options(global, b"", Logger::silent());
        Situation { config, options }
    }

    /// This worker's directory, absolute.
    pub fn path(&self) -> Option<PathBuf> {
        let path = self.config.path_of(self.options.cuda_device, self.options.worker_id)?;
        Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// Whether device memory is to be used.
    pub fn needs_cuda(&self) -> bool {
        self.config.buffer_device != BufferDevice::Cpu || self.options.cuda_device.is_some()
    }

    /// Whether cuFile moves the bytes.
    pub fn needs_cufile(&self) -> bool {
        matches!(self.config.backend, BackendKind::Gds | BackendKind::GdsMt)
    }

    /// Whether 3FS's rings move the bytes.
    pub fn needs_hf3fs(&self) -> bool {
        self.config.backend == BackendKind::Hf3fs
    }

    /// Whether the store is in a bucket.
    pub fn needs_bucket(&self) -> bool {
        self.config.backend == BackendKind::Obj
    }

    /// What kind of store it is, in a line.
    pub fn describe(&self) -> String {
        let config = &self.config;
        let kind = match (config.pool_size, config.store.layout) {
            (0, Layout::Sharded) => "dynamic store, sharded".to_owned(),
            (0, Layout::Lmcache) => "dynamic store, as LMCache names files".to_owned(),
            (slots, _) => {
                let of = prospect::chunk_bytes(config, &self.options);
                let of = of.map_or(String::new(), |chunk| format!(" of {}", bytes(chunk)));
                format!("static pool, {slots} slots{of}")
            }
        };
        let OpenOptions { worker_id, world_size, .. } = self.options;
        format!("{}, {kind}, worker {worker_id} of {world_size}", config.backend)
    }
}

/// The part of a path that is there.
pub fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok())
}
