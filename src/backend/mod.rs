//! How bytes move: one trait, one folder or file per backend, one table of names.
//!
//! A backend knows targets, offsets and memory; it knows no keys, slots or records. Each lane (I/O
//! thread) of the store opens one [`IoQueue`] and is its only user, so a queue needs no locks and
//! backends whose rings belong to one thread fit as they are.

pub mod fault;
pub mod gds;
pub mod hf3fs;
pub mod inline;
pub mod memory;
#[cfg(feature = "obj")]
pub mod obj;
mod positioned;
pub mod posix;
pub mod queue;
mod reach;
mod target;
pub mod threads;

pub use positioned::transfer;
pub use queue::{
    Backend, IoCompletion, IoDirection, IoPath, IoQueue, IoRequest, Known, Medium, REGION_BYTES_MAX,
    REGIONS_MAX, Stores, Wait, Worker,
};
pub use reach::{IO_SLICES_MAX, Reach};
pub use target::{OpenFile, Target};

use crate::config::{BackendKind, Config};
use crate::error::{Error, Result, Status};
use crate::log::Logger;

type Constructor = fn(&Config, Worker, &Logger) -> Result<Box<dyn Backend>>;

/// The backends that are built in. Adding one adds a line.
const BACKENDS: &[(BackendKind, Constructor)] = &[
    (BackendKind::Posix, |config, _, logger| posix::open(config, logger)),
    (BackendKind::Gds, gds::open),
    (BackendKind::GdsMt, gds::open),
    (BackendKind::Hf3fs, hf3fs::open),
    #[cfg(feature = "obj")]
    (BackendKind::Obj, |config, worker, logger| obj::open(config, worker.id, logger)),
    (BackendKind::Memory, |config, _, logger| memory::open(config, logger)),
];

/// Opens the configured backend for a worker.
///
/// # Errors
/// [`Status::Unsupported`] naming the backend and those built in; else what the backend answers.
pub fn open(config: &Config, worker: Worker, logger: &Logger) -> Result<Box<dyn Backend>> {
    let Some((_, constructor)) = BACKENDS.iter().find(|(kind, _)| *kind == config.backend) else {
        let built: Vec<String> = BACKENDS.iter().map(|(kind, _)| kind.to_string()).collect();
        let left_out = match config.backend {
            BackendKind::Obj if cfg!(not(feature = "obj")) => ", which was made without the feature obj",
            _ => "",
        };
        return Err(Error::new(
            Status::Unsupported,
            format!(
                "nixl_backend {} is not part of this build of nixl_store{left_out}; set one of: {}",
                config.backend,
                built.join(", ")
            ),
        ));
    };
    fault::wrap(constructor(config, worker, logger)?, config)
}

impl std::fmt::Display for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackendKind::Posix => "POSIX",
            BackendKind::Gds => "GDS",
            BackendKind::GdsMt => "GDS_MT",
            BackendKind::Hf3fs => "HF3FS",
            BackendKind::Obj => "OBJ",
            BackendKind::Memory => "MEMORY",
        })
    }
}
