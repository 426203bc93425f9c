//! Where a store lies, what it was made with, and who owns it.

use crate::config::{BackendKind, Config};
use crate::layout::files::FilesView;
use crate::layout::pool::{Ownership, PoolParameters, PoolView};
use crate::store::{self, OpenOptions};
use crate::sys::habits::Habits;

/// What is known of a store before its entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `static`, `dynamic/sharded` or `dynamic/lmcache`.
    pub layout: &'static str,
    /// The configured backend.
    pub backend: BackendKind,
    /// Directory, or bucket and prefix with the endpoint.
    pub place: String,
    /// What a static pool was made with.
    pub pool: Option<PoolFacts>,
    /// Why an engine with this configuration would be refused, if it would.
    pub misfit: Option<String>,
    /// Who owns a static pool; `None` for stores that any number of processes share.
    pub owner: Option<Ownership>,
    /// Bytes that the configuration lets a dynamic store have.
    pub capacity_bytes: Option<u64>,
}

/// What a static pool was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFacts {
    /// Most objects in it.
    pub slots: u32,
    /// Bytes of the largest object.
    pub chunk_bytes: u64,
    /// `chunk_size` of the configuration it was made with.
    pub chunk_size_tokens: u64,
}

pub(super) fn of_files(config: &Config, view: &FilesView) -> Facts {
    Facts {
        layout: view.layout().dynamic_name(),
        backend: config.backend,
        place: view.path().display().to_string(),
        pool: None,
        misfit: None,
        owner: None,
        capacity_bytes: config.store.capacity_bytes,
    }
}

pub(super) fn of_pool(config: &Config, options: &OpenOptions, view: &PoolView) -> Facts {
    let geometry = view.geometry();
    let asked = PoolParameters {
        slot_count: config.pool_size,
        // Where the engine says it at open, nothing here can differ.
        chunk_bytes: store::chunk_bytes(config, options).unwrap_or(geometry.chunk_bytes()),
        chunk_size_tokens: config.chunk_size_tokens,
        direct_io: config.use_direct_io,
        habits: Habits::default(),
    };
    Facts {
        layout: "static",
        backend: config.backend,
        place: view.path().display().to_string(),
        pool: Some(PoolFacts {
            slots: geometry.slot_count(),
            chunk_bytes: geometry.chunk_bytes(),
            chunk_size_tokens: view.chunk_size_tokens(),
        }),
        misfit: view.check(&asked).err().map(|error| error.message().to_owned()),
        owner: Some(view.ownership()),
        capacity_bytes: None,
    }
}
