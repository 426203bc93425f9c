//! Which store is meant.

use std::path::Path;
use std::sync::Arc;

use nixl_store::config::{Config, Source};
use nixl_store::inspect::{Inspection, Ownership};
use nixl_store::log::{self, Level, Logger, Record};
use nixl_store::store::{OpenOptions, Store};

use crate::args::Global;
use crate::output::{Failure, style};

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

/// Where the library's messages go: to standard error, warnings and errors unless `$NIXL_STORE_LOG` says otherwise.
///
/// # Errors
/// If that is no level.
pub fn logger(global: &Global) -> Result<Logger, Failure> {
    let sink = |record: &Record<'_>| {
        let (name, style) = match record.level {
            Level::Error => ("error", style::BAD),
            Level::Warn => ("warning", style::MEAGRE),
            Level::Info => ("info", style::DIM),
            Level::Debug => ("debug", style::DIM),
        };
        anstream::eprintln!("{style}{name}:{style:#} {}", record.message);
    };
    let usual = if global.quiet { Level::Error } else { Level::Warn };
    Ok(Logger::new(Arc::new(sink), log::level_from_environment(&environment, usual)?))
}

/// Looks at a store as somebody who only reads.
///
/// # Errors
/// Why it cannot be looked at.
pub fn look(config: &Config, global: &Global) -> Result<Inspection, Failure> {
    Ok(Inspection::open(config, &options(global, b"", logger(global)?))?)
}

/// Opens a store that is there already, as an engine does. One that is not there is not made, and nothing is touched of one that the
/// configuration does not fit or that an engine has.
///
/// # Errors
/// Why it cannot be had.
pub fn open_existing(config: &Config, global: &Global, namespace: &[u8]) -> Result<Store, Failure> {
    let mut wanted = options(global, namespace, logger(global)?);
    let seen = Inspection::open(config, &wanted)?;
    let facts = seen.facts();
    if let Some(misfit) = &facts.misfit {
        return Err(Failure::new(misfit.clone()));
    }
    if let Some(Ownership::Held { by }) = &facts.owner {
        return Err(Failure::new(format!(
            "the pool at {} is in use by {by}, and a static pool has one owner at a time: stop that process first",
            facts.place
        )));
    }
    // What an engine says at open the pool says as well.
    wanted.chunk_bytes = wanted.chunk_bytes.or(facts.pool.map(|pool| pool.chunk_bytes));
    Ok(Store::open(config, &wanted)?)
}
