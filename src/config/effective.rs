//! What each setting came to, and where from: one list for the log, so that nobody has to guess which of file,
//! variable and default won. It holds nothing that may be a credential.

use super::backend_params;
use super::document::Document;
use super::setting::{Origin, Setting, quote};
use super::types::{Effective, SettingOrigin};
use super::{BufferDevice, Config};
use crate::error::Result;

/// Paths and endpoints of a list that are shown; of more, only the number.
const LISTED_MAX: usize = 4;

/// Every setting that has an effect, in the order of the documentation.
pub(super) fn list(document: &Document, config: &Config) -> Result<Vec<Effective>> {
    let store = &config.store;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| String::from("none"));
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let paths: Vec<String> = config.paths.iter().map(|path| quote(&path.to_string_lossy())).collect();
    let endpoints: Vec<String> = config.endpoint_list.iter().map(|url| quote(url)).collect();
    let device = match config.buffer_device {
        BufferDevice::Cpu => String::from("cpu"),
        BufferDevice::Cuda(None) => String::from("cuda"),
        BufferDevice::Cuda(Some(number)) => format!("cuda:{number}"),
    };
    let top = [
        ("chunk_size", config.chunk_size_tokens.to_string()),
        ("nixl_buffer_size", or_none(number(config.buffer_bytes))),
        ("nixl_buffer_device", device),
        ("cache_policy", config.cache_policy.name().to_owned()),
    ];
    let extra = [
        ("nixl_backend", config.backend.name().to_owned()),
        ("nixl_path", some_of(&paths)),
        ("use_direct_io", config.use_direct_io.to_string()),
        ("nixl_presence_cache", config.presence_cache.to_string()),
        ("nixl_presence_cache_only", config.presence_cache_only.to_string()),
        ("nixl_endpoint_list", some_of(&endpoints)),
        ("nixl_store_chunk_bytes", or_none(number(store.chunk_bytes))),
        ("nixl_store_layout", store.layout.name().to_owned()),
        ("nixl_store_capacity_bytes", or_none(number(store.capacity_bytes))),
        ("nixl_store_prefix", quote(&store.prefix)),
        ("nixl_store_serve_unverified", store.serve_unverified.to_string()),
        ("nixl_store_unverified_bytes", or_none(number(store.unverified_bytes))),
        ("nixl_store_io_threads", or_none(store.io_threads.map(|threads| threads.to_string()))),
        ("nixl_store_map_files", store.map_files.to_string()),
        ("nixl_store_index_sums_bytes", store.index_sums_bytes.to_string()),
        ("nixl_store_timeout_ms", or_none(number(store.timeout_ms))),
        ("nixl_store_queue_items", store.queue_items.to_string()),
        ("nixl_store_reuse_quantile", store.reuse_quantile.to_string()),
        ("nixl_store_reuse_ghost_entries", store.reuse_ghost_entries.to_string()),
        (
            "nixl_store_hf3fs_library",
            or_none(store.hf3fs_library.as_ref().map(|path| quote(&path.to_string_lossy()))),
        ),
        ("nixl_store_status_socket", store.status_socket.to_string()),
        ("nixl_store_allow_unknown", store.allow_unknown.to_string()),
    ];
    let level = document.extra();
    let mut list = Vec::new();
    for (name, value) in top {
        list.push(Effective { name, value, origin: origin(document.top(name)?) });
    }
    let (old, new) = (level.find("nixl_use_hugepages")?, document.top("local_cpu_use_hugepages")?);
    let value = config.use_hugepages.to_string();
    list.push(Effective { name: "local_cpu_use_hugepages", value, origin: origin(new.or(old)) });
    let (old, new) = (level.find("nixl_file_pool_size")?, level.find("nixl_pool_size")?);
    let value = config.pool_size.to_string();
    list.push(Effective { name: "nixl_pool_size", value, origin: origin(new.or(old)) });
    for (name, value) in extra {
        list.push(Effective { name, value, origin: origin(level.find(name)?) });
    }
    let params = level.find("nixl_backend_params")?;
    let value = backend_params::shown(config.backend, &config.backend_params);
    list.push(Effective { name: "nixl_backend_params", value, origin: origin(params) });
    Ok(list)
}

fn origin(setting: Option<Setting<'_>>) -> SettingOrigin {
    match setting {
        None => SettingOrigin::Default,
        Some(setting) => match setting.place.origin {
            Origin::File(_) => SettingOrigin::Line(setting.place.line),
            Origin::Variable(name) => SettingOrigin::Variable(name),
        },
    }
}

fn some_of(values: &[String]) -> String {
    match values {
        [] => String::from("none"),
        [one] => one.clone(),
        _ => {
            let shown = values.get(..LISTED_MAX).unwrap_or(values).join(", ");
            let more = values.len().saturating_sub(LISTED_MAX);
            if more > 0 { format!("[{shown} and {more} more]") } else { format!("[{shown}]") }
        }
    }
}
