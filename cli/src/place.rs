//! Which store is meant.

use std::path::Path;

use nixl_store::config::{Config, Source};
use nixl_store::log::Logger;
use nixl_store::store::OpenOptions;

use crate::args::Global;
use crate::output::Failure;

/// A variable of the environment, as the library reads it.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Reads a store's configuration: of the file, else what `$LMCACHE_CONFIG_FILE` and the other variables say.
///
/// # Errors
/// What is wrong with it, with the line.
pub fn config(path: Option<&Path>) -> Result<Config, Failure> {
    let source = path.map_or(Source::Environment, Source::File);
    Ok(Config::load(source, &environment)?)
}

/// How the store is opened, as the command line says it.
pub fn options(global: &Global, namespace: &[u8], logger: Logger) -> OpenOptions {
    OpenOptions {
        chunk_bytes: global.chunk_bytes,
        worker_id: global.worker_id,
        world_size: global.world_size,
        cuda_device: global.cuda_device,
        namespace: namespace.to_vec(),
        logger,
    }
}
