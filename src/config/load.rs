//! From a document to a [`Config`]: every setting looked up where it belongs, checked alone, then against the others.

use std::path::PathBuf;

use super::document::Document;
use super::names::{self, Depth};
use super::setting::{Level, Setting};
use super::tree::Value;
use super::types::CHUNK_SIZE_TOKENS_DEFAULT;
use super::{BackendKind, BufferDevice, CachePolicy, Config, Environment};
use super::{backend_params, effective, endpoint, store_settings};
use crate::error::Result;

/// Largest `chunk_size`, in tokens.
const CHUNK_SIZE_TOKENS_MAX: u64 = 1 << 24;
/// Smallest `nixl_buffer_size`, in bytes: four blocks of 64 KiB, each with its checksum.
const BUFFER_BYTES_MIN: u64 = 256 << 10;
/// Largest `nixl_buffer_size`, in bytes: 4 TiB, the memory of the largest hosts.
const BUFFER_BYTES_MAX: u64 = 1 << 42;
/// Most slots of a static pool.
const POOL_SIZE_MAX: u32 = 1 << 30;
/// Most entries of `nixl_path`.
const PATHS_MAX: usize = 256;
/// Longest entry of `nixl_path`, in bytes, without the final NUL of the kernel's limit.
const PATH_BYTES_MAX: usize = 4095;
/// Most entries of `nixl_endpoint_list`.
const ENDPOINTS_MAX: usize = 1024;
/// Largest N of `cuda:N`.
const CUDA_DEVICE_MAX: u32 = 1023;

const POLICIES: [(&str, CachePolicy); 5] = [
    ("LRU", CachePolicy::Lru),
    ("LFU", CachePolicy::Lfu),
    ("FIFO", CachePolicy::Fifo),
    ("MRU", CachePolicy::Mru),
    ("REUSE", CachePolicy::Reuse),
];

/// Names of NIXL's `nixl_thread_sync_t`.
const SYNC_MODES: [(&str, ()); 4] = [("NONE", ()), ("STRICT", ()), ("RW", ()), ("DEFAULT", ())];

/// Backends that NIXL has and this library has not, so that a refusal can say which mistake it is.
const NIXL_ONLY: [&str; 10] = [
    "AZURE_BLOB",
    "DOCA_MEMOS",
    "GPUNETIO",
    "GUSLI",
    "INFINIA",
    "LIBFABRIC",
    "MOONCAKE",
    "UCCL",
    "UCX",
    "UCX_MO",
];

/// Checks everything in the document.
pub(super) fn config(document: &Document, environment: Environment<'_>) -> Result<Config> {
    let (top, extra) = (document.top_of_file(), document.extra());
    let mut unknown = names::allows_unknown(&extra)?.then(Vec::new);
    names::check(&top, Depth::Top, unknown.as_mut())?;
    names::check(&extra, Depth::Extra, unknown.as_mut())?;
    enabled(&extra).map_err(|error| document.not_enabled(error))?;
    let mut notices = Vec::new();
    let backend = backend(&extra)?;
    let pool_size = pool_size(&extra)?;
    let buffer_device = buffer_device(document, backend)?;
    let cache_policy = match document.top("cache_policy")? {
        Some(setting) => setting.choice(&POLICIES, true)?,
        None => CachePolicy::default(),
    };
    let mut config = Config {
        source: document.path.clone(),
        chunk_size_tokens: CHUNK_SIZE_TOKENS_DEFAULT,
        buffer_bytes: None,
        buffer_device,
        cache_policy,
        backend,
        pool_size,
        paths: paths(&extra, backend, &mut notices)?,
        backend_params: backend_params::read(&extra, backend, environment, &mut notices)?,
        use_direct_io: false,
        use_hugepages: hugepages(document, &extra, buffer_device, &mut notices)?,
        presence_cache: false,
        presence_cache_only: false,
        endpoint_list: endpoints(&extra, backend, &mut notices)?,
        store: store_settings::read(&extra, backend, pool_size, cache_policy, &mut notices)?,
        notices: Vec::new(),
        warning: unknown.and_then(|names| unknown_names(&names)),
        effective: Vec::new(),
    };
    if let Some(setting) = document.top("chunk_size")? {
        config.chunk_size_tokens = setting.whole(1..=CHUNK_SIZE_TOKENS_MAX, "tokens")?;
    }
    if let Some(setting) = document.top("nixl_buffer_size")? {
        config.buffer_bytes = Some(setting.whole(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX, "bytes")?);
    }
    if let Some(setting) = extra.find("use_direct_io")? {
        config.use_direct_io = setting.boolean()?;
        if config.use_direct_io && !backend.uses_paths() {
            note(&mut notices, &setting, &format!("{} opens no files", backend.name()));
        }
    }
    presence_cache(&extra, &mut config, &mut notices)?;
    note_idle(&extra, &mut notices)?;
    let overridden =
        !config.endpoint_list.is_empty() && config.backend_params.0.remove("endpoint_override").is_some();
    if overridden {
        notices.push(String::from(
            "endpoint_override has no effect: nixl_endpoint_list is set and wins, as in LMCache.",
        ));
    }
    config.notices = notices;
    config.effective = effective::list(document, &config)?;
    Ok(config)
}

/// Unknown names that are told; of more, only the number.
const UNKNOWN_NAMES_TOLD_MAX: usize = 16;

fn unknown_names(names: &[String]) -> Option<String> {
    let told = names.get(..UNKNOWN_NAMES_TOLD_MAX).unwrap_or(names).join(", ");
    let more = names.len().saturating_sub(UNKNOWN_NAMES_TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| {
        format!("nobody here knows these settings, and nixl_store_allow_unknown lets them pass: {told}{more}")
    })
}

fn note(notices: &mut Vec<String>, setting: &Setting<'_>, why: &str) {
    notices.push(format!("{}: {} has no effect: {why}.", setting.place, setting.key));
}

/// A required setting; where a key of the file looks like a slip for it, the refusal says so.
fn required<'a>(extra: &Level<'a>, name: &str, allowed: &str) -> Result<Setting<'a>> {
    extra.find(name)?.ok_or_else(|| match names::slip_for(extra, name) {
        Some(slip) => extra.missing(name, format_args!("{allowed} (is {slip} a slip for it?)")),
        None => extra.missing(name, allowed),
    })
}

fn enabled(extra: &Level<'_>) -> Result<()> {
    let setting = required(extra, "enable_nixl_storage", "true")?;
    if setting.boolean()? { Ok(()) } else { Err(setting.refuse("true; this file turns NIXL storage off")) }
}

fn backend(extra: &Level<'_>) -> Result<BackendKind> {
    let served = BackendKind::NAMES.map(|(name, _)| name).join(", ");
    let setting = required(extra, "nixl_backend", &served)?;
    setting.choice(&BackendKind::NAMES, false).map_err(|error| {
        let Some(scalar) = setting.scalar() else { return error };
        let name = scalar.text.trim();
        if NIXL_ONLY.contains(&name) {
            return setting
                .refuse(format_args!("{served}; {name} is a backend of NIXL that is not served here"));
        }
        match names::nearest(name, BackendKind::NAMES.iter().map(|(known, _)| *known)) {
            Some(nearest) => setting.refuse(format_args!("{served}; nearest: {nearest}")),
            None => error,
        }
    })
}

fn pool_size(extra: &Level<'_>) -> Result<u32> {
    const RANGE: std::ops::RangeInclusive<u32> = 0..=POOL_SIZE_MAX;
    const UNIT: &str = "slots (0 is dynamic)";
    let old = match extra.find("nixl_file_pool_size")? {
        Some(setting) => Some((setting.whole_u32(RANGE, UNIT)?, setting)),
        None => None,
    };
    let Some(setting) = extra.find("nixl_pool_size")? else {
        let missing = || {
            required(extra, "nixl_pool_size", "slots of a static pool, or 0 for one file or object per key")
        };
        return match old {
            Some((size, _)) => Ok(size),
            None => missing()?.whole_u32(RANGE, UNIT),
        };
    };
    let size = setting.whole_u32(RANGE, UNIT)?;
    match old {
        Some((other, setting)) if other != size => Err(setting.refuse(format_args!(
            "{size}, as in nixl_pool_size, of which it is the older name; best write that one alone"
        ))),
        _ => Ok(size),
    }
}

fn buffer_device(document: &Document, backend: BackendKind) -> Result<BufferDevice> {
    let Some(setting) = document.top("nixl_buffer_device")? else { return Ok(BufferDevice::Cpu) };
    let text = setting.scalar().map(|scalar| scalar.text.trim()).unwrap_or_default();
    let device = match text.split_once(':') {
        None if text == "cpu" => Some(BufferDevice::Cpu),
        None if text == "cuda" => Some(BufferDevice::Cuda(None)),
        Some(("cuda", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.parse().ok().filter(|n| *n <= CUDA_DEVICE_MAX).map(|n| BufferDevice::Cuda(Some(n)))
        }
        _ => None,
    };
    match device {
        Some(BufferDevice::Cpu) => Ok(BufferDevice::Cpu),
        Some(cuda) if backend.takes_cuda_buffer() => Ok(cuda),
        _ => {
            let name = backend.name();
            let allowed = if backend.takes_cuda_buffer() {
                format!("with nixl_backend {name}: cpu, cuda, cuda:N with N from 0 to {CUDA_DEVICE_MAX}")
            } else {
                format!("with nixl_backend {name}: cpu (cuda goes with GDS and GDS_MT)")
            };
            Err(setting.refuse(allowed))
        }
    }
}

/// As LMCache: a string, a comma-separated string, or a list; commas also part the entries of a list.
fn paths(extra: &Level<'_>, backend: BackendKind, notices: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    const FORM: &str = "a directory, several with commas between them, or a list of directories";
    if let Some(setting) = extra.find("nixl_path_sharding")? {
        setting.choice(&[("by_gpu", ())], false)?;
        if !backend.uses_paths() {
            note(notices, &setting, &format!("{} uses no nixl_path", backend.name()));
        }
    }
    if !backend.uses_paths() {
        if let Some(setting) = extra.find("nixl_path")? {
            let instead =
                if backend == BackendKind::Obj { "; objects go under nixl_store_prefix" } else { "" };
            note(notices, &setting, &format!("{} uses no nixl_path{instead}", backend.name()));
        }
        return Ok(Vec::new());
    }
    let setting = required(extra, "nixl_path", FORM)?;
    let nodes = match &setting.node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![setting.node],
    };
    let mut paths = Vec::new();
    for node in nodes {
        for path in setting.text_of(node, FORM)?.split(',').map(str::trim) {
            if path.is_empty() {
                return Err(setting.refuse_value(node, format_args!("{FORM}; no empty entry")));
            }
            if path.len() > PATH_BYTES_MAX || path.contains("://") || path.contains(char::is_control) {
                return Err(setting.refuse_value(
                    node,
                    format_args!(
                        "{FORM}; no URL, no control characters, at most {PATH_BYTES_MAX} bytes each"
                    ),
                ));
            }
            paths.push(PathBuf::from(path));
        }
    }
    if paths.is_empty() || paths.len() > PATHS_MAX {
        return Err(setting.refuse(format_args!("{FORM}; 1 to {PATHS_MAX} entries")));
    }
    Ok(paths)
}

fn hugepages(
    document: &Document,
    extra: &Level<'_>,
    device: BufferDevice,
    notices: &mut Vec<String>,
) -> Result<bool> {
    let older = extra.find("nixl_use_hugepages")?;
    let newer = document.top("local_cpu_use_hugepages")?;
    let older_value = older.as_ref().map(Setting::boolean).transpose()?;
    let newer_value = newer.as_ref().map(Setting::boolean).transpose()?;
    if device != BufferDevice::Cpu {
        if let Some(setting) = &older {
            note(notices, setting, "huge pages are for a buffer in host memory");
        }
        return Ok(false);
    }
    match (older_value, newer_value, &older) {
        (Some(older), Some(newer), Some(setting)) if older != newer => {
            Err(setting
                .refuse(format_args!("{newer}, as in local_cpu_use_hugepages, or only one of the two")))
        }
        (older, newer, _) => Ok(older.or(newer).unwrap_or(false)),
    }
}

fn endpoints(extra: &Level<'_>, backend: BackendKind, notices: &mut Vec<String>) -> Result<Vec<String>> {
    let Some(setting) = extra.find("nixl_endpoint_list")? else { return Ok(Vec::new()) };
    let form = format!("a list of 1 to {ENDPOINTS_MAX} {}", endpoint::URL_FORM);
    let Value::List(items) = &setting.node.value else { return Err(setting.refuse(form)) };
    if items.is_empty() || items.len() > ENDPOINTS_MAX {
        return Err(setting.refuse(form));
    }
    let mut endpoints = Vec::with_capacity(items.len());
    for item in items {
        let url = setting.text_of(item, &form)?;
        endpoint::check_url(url).map_err(|_| setting.refuse_value(item, &form))?;
        endpoints.push(url.to_owned());
    }
    if backend == BackendKind::Obj {
        return Ok(endpoints);
    }
    note(notices, &setting, &format!("{} has no endpoints", backend.name()));
    Ok(Vec::new())
}

fn presence_cache(extra: &Level<'_>, config: &mut Config, notices: &mut Vec<String>) -> Result<()> {
    let is_static = config.pool_size > 0;
    let mut read = |name: &str| -> Result<bool> {
        let Some(setting) = extra.find(name)? else { return Ok(false) };
        if is_static {
            note(notices, &setting, "a static pool always knows what it holds");
        }
        setting.boolean()
    };
    config.presence_cache = read("nixl_presence_cache")?;
    config.presence_cache_only = read("nixl_presence_cache_only")?;
    match extra.find("nixl_presence_cache_only")? {
        Some(setting) if config.presence_cache_only && !config.presence_cache => {
            Err(setting.refuse("false, or true together with nixl_presence_cache: true"))
        }
        _ => Ok(()),
    }
}

/// Settings of NIXL's agent, which is not part of this library: checked, because LMCache would refuse a wrong value.
fn note_idle(extra: &Level<'_>, notices: &mut Vec<String>) -> Result<()> {
    if let Some(setting) = extra.find("nixl_async_put")? {
        setting.boolean()?;
        note(notices, &setting, "a put is asynchronous when the caller submits it as a batch");
    }
    if let Some(setting) = extra.find("nixl_enable_prog_thread")? {
        setting.boolean()?;
        note(notices, &setting, "the store's own threads always make progress");
    }
    if let Some(setting) = extra.find("nixl_sync_mode")? {
        setting.choice(&SYNC_MODES, true)?;
        note(notices, &setting, "a store may be used by any number of threads");
    }
    Ok(())
}
