//! The configuration as the store uses it: LMCache's YAML, checked and typed.
//!
//! ```text
//! source  file to text          document  text and environment to levels     names  which keys there are
//! tree    text to values        setting   one value: read it or refuse it    scalar what a value means
//! load    levels to a Config, with backend_params, store_settings, endpoint for their parts
//! effective  what every setting came to, and where from
//! ```
//!
//! The file is untrusted: it cannot crash the process, make it read without end, or put a credential into a message.

use std::path::{Path, PathBuf};

use crate::error::Result;

mod backend_params;
mod document;
mod effective;
mod endpoint;
mod json;
mod load;
mod names;
mod scalar;
mod setting;
mod source;
mod store_settings;
#[cfg(test)]
mod tests;
mod tree;
mod types;

pub use backend_params::FAULT_PARAMETER;
pub use source::FILE_BYTES_MAX;
pub use types::{
    BackendKind, BufferDevice, CHUNK_SIZE_TOKENS_DEFAULT, CachePolicy, Config, Effective, Eviction, Layout,
    QUEUE_ITEMS_DEFAULT, SecretMap, SettingOrigin, StoreSettings, TIMEOUT_MS_DEFAULT,
};

/// Where a configuration comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The YAML file of this path.
    File(&'a Path),
    /// YAML, as bytes that anyone may have made.
    Text(&'a [u8]),
    /// The file that `$LMCACHE_CONFIG_FILE` names, else the variables alone.
    Environment,
}

/// Looks up an environment variable; a parameter so that tests need not touch the real environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// The policy, and what it is set to.
    pub fn eviction(&self) -> Eviction {
        Eviction {
            policy: self.cache_policy,
            reuse_quantile: self.store.reuse_quantile,
            ghost_entries: self.store.reuse_ghost_entries,
        }
    }

    /// Reads the source, applies the environment's overrides and checks everything.
    ///
    /// # Errors
    /// [`Status::Config`](crate::error::Status::Config) with a message that names the place (file and line, or
    /// variable), the key, the value unless it may be a credential, and what is allowed;
    /// [`Status::OutOfMemory`](crate::error::Status::OutOfMemory) if no thread could be had to parse it.
    pub fn load(source: Source<'_>, environment: Environment<'_>) -> Result<Config> {
        load::config(&document::Document::read(source, environment)?, environment)
    }

    /// The path of a worker among `nixl_path`: `by_gpu` picks by device, and by rank where there is no device.
    pub fn path_of(&self, device: Option<u32>, worker: u32) -> Option<&Path> {
        let configured = match self.buffer_device {
            BufferDevice::Cuda(device) => device,
            BufferDevice::Cpu => None,
        };
        let index = device.or(configured).unwrap_or(worker);
        self.paths.get(index as usize % self.paths.len().max(1)).map(PathBuf::as_path)
    }

    /// What messages call the configuration, in one line: its path, the text, or the environment.
    pub fn source_name(&self) -> String {
        source::display(&self.source)
    }
}
