//! The one line that tells what is in effect: every setting with where it came from, what the open options said over
//! it, and what the store chose where nobody said anything.

use super::OpenOptions;
use crate::config::{Config, Effective, SettingOrigin};

/// What the store itself decided at open.
pub(super) struct Chosen {
    /// Bytes of the staging buffer.
    pub buffer_bytes: u64,
    /// Bytes of a slot; `None` in a dynamic store.
    pub chunk_bytes: Option<u64>,
    /// I/O threads.
    pub io_threads: usize,
}

/// Every setting as it is in effect.
pub(super) fn list(config: &Config, options: &OpenOptions, chosen: &Chosen) -> Vec<Effective> {
    config.effective.iter().map(|setting| in_effect(setting, options, chosen)).collect()
}

/// Says it, in one line without a credential.
pub(super) fn log(config: &Config, options: &OpenOptions, chosen: &Chosen) {
    let settings = list(config, options, chosen);
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let OpenOptions { worker_id, world_size, cuda_device, .. } = options;
    let device = cuda_device.map_or(String::new(), |device| format!(", CUDA device {device}"));
    options.logger.info(format_args!(
        "settings from {}: {}; worker {worker_id} of {world_size}{device} (open options)",
        config.source_name(),
        settings.join(", ")
    ));
}

fn in_effect(setting: &Effective, options: &OpenOptions, chosen: &Chosen) -> Effective {
    let mut setting = setting.clone();
    match setting.name {
        // The store rounds it to whole slices.
        "nixl_buffer_size" => setting.value = chosen.buffer_bytes.to_string(),
        "nixl_store_io_threads" => setting.value = chosen.io_threads.to_string(),
        "nixl_store_chunk_bytes" => {
            if let Some(bytes) = chosen.chunk_bytes {
                setting.value = bytes.to_string();
                if options.chunk_bytes.is_some() {
                    setting.origin = SettingOrigin::Options;
                }
            }
        }
        _ => {}
    }
    setting
}
