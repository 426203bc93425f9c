//! The settings `nixl_store_*`: this library's own, each with a default and a range. LMCache ignores them.

use std::ops::RangeInclusive;
use std::path::Path;

use super::names;
use super::setting::{Level, Setting};
use super::{BackendKind, CachePolicy, Layout, StoreSettings};
use crate::error::Result;

/// Largest `nixl_store_chunk_bytes`: 1 TiB.
const CHUNK_BYTES_MAX: u64 = 1 << 40;
/// Smallest `nixl_store_capacity_bytes`: 1 MiB. Less is a slip, such as GiB left out.
const CAPACITY_BYTES_MIN: u64 = 1 << 20;
/// Largest `nixl_store_capacity_bytes`: 8 EiB less one, what file offsets can name.
const CAPACITY_BYTES_MAX: u64 = i64::MAX as u64;
/// Longest `nixl_store_prefix`, in bytes: leaves room for the name within the 1024 bytes of an S3 key.
const PREFIX_BYTES_MAX: usize = 256;
/// Largest `nixl_store_unverified_bytes`: 1 TiB, as for chunks.
const UNVERIFIED_BYTES_MAX: u64 = CHUNK_BYTES_MAX;
/// Largest `nixl_store_index_sums_bytes`: 1 TiB.
const INDEX_SUMS_BYTES_MAX: u64 = 1 << 40;
/// Most `nixl_store_io_threads`.
const IO_THREADS_MAX: u32 = 64;
/// Longest `nixl_store_timeout_ms`: a day.
const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Range of `nixl_store_queue_items`.
const QUEUE_ITEMS_MIN: u32 = 16;
const QUEUE_ITEMS_MAX: u32 = 1 << 20;
/// Range of `nixl_store_reuse_quantile`. At 0 and 1 nothing would be learned.
const REUSE_QUANTILE: RangeInclusive<f64> = 0.05..=0.99;
/// Most `nixl_store_reuse_ghost_entries`: half a KiB for each object.
const REUSE_GHOST_ENTRIES_MAX: u32 = 64;

/// Reads them; what the chosen backend or pool makes pointless is noted.
pub(super) fn read(
    extra: &Level<'_>,
    backend: BackendKind,
    pool_size: u32,
    policy: CachePolicy,
    notices: &mut Vec<String>,
) -> Result<StoreSettings> {
    let mut store = StoreSettings::default();
    let mut note = |key: &str, place: &dyn std::fmt::Display, why: &str| {
        notices.push(format!("{place}: {key} has no effect: {why}."));
    };
    let is_static = pool_size > 0;
    const STATIC: &str = "the pool is static (nixl_pool_size is not 0)";
    const ONLY_REUSE: &str = "cache_policy is not REUSE";

    if let Some(setting) = extra.find("nixl_store_chunk_bytes")? {
        store.chunk_bytes = Some(setting.size(1..=CHUNK_BYTES_MAX)?);
    }
    if let Some(setting) = extra.find("nixl_store_layout")? {
        store.layout =
            setting.choice(&[("sharded", Layout::Sharded), ("lmcache", Layout::Lmcache)], false)?;
        if is_static {
            note(&setting.key, &setting.place, STATIC);
        }
    }
    if let Some(setting) = extra.find("nixl_store_capacity_bytes")? {
        let bytes = setting.size(0..=CAPACITY_BYTES_MAX)?;
        if (1..CAPACITY_BYTES_MIN).contains(&bytes) {
            return Err(setting.refuse(format_args!(
                "0 for no limit, else bytes from {CAPACITY_BYTES_MIN} to {CAPACITY_BYTES_MAX}, as a whole number or \
                 with KiB, MiB, GiB or TiB"
            )));
        }
        store.capacity_bytes = (bytes > 0).then_some(bytes);
        if is_static {
            note(&setting.key, &setting.place, STATIC);
        }
    }
    if let Some(setting) = extra.find("nixl_store_prefix")? {
        let allowed = format!(
            "text of at most {PREFIX_BYTES_MAX} bytes without control characters, not starting with /"
        );
        let prefix = setting.text(&allowed)?;
        if prefix.len() > PREFIX_BYTES_MAX || prefix.starts_with('/') || prefix.contains(char::is_control) {
            return Err(setting.refuse(allowed));
        }
        store.prefix = prefix.to_owned();
        if backend != BackendKind::Obj {
            note(&setting.key, &setting.place, "only OBJ puts objects under a prefix");
        }
    }
    if let Some(setting) = extra.find("nixl_store_serve_unverified")? {
        store.serve_unverified = setting.boolean()?;
        if store.serve_unverified && (is_static || store.layout != Layout::Lmcache) {
            note(
                &setting.key,
                &setting.place,
                "LMCache's objects are only met with nixl_store_layout: lmcache",
            );
        }
    }
    if let Some(setting) = extra.find("nixl_store_unverified_bytes")? {
        store.unverified_bytes = Some(setting.size(1..=UNVERIFIED_BYTES_MAX)?);
        if !store.serve_unverified || is_static || store.layout != Layout::Lmcache {
            let why = "it is the length of files that are served with nixl_store_serve_unverified: true";
            note(&setting.key, &setting.place, why);
        }
    }
    if let Some(setting) = extra.find("nixl_store_io_threads")? {
        store.io_threads = Some(setting.whole_u32(1..=IO_THREADS_MAX, "threads")?);
    }
    if let Some(setting) = extra.find("nixl_store_map_files")? {
        store.map_files = setting.boolean()?;
    }
    if let Some(setting) = extra.find("nixl_store_index_sums_bytes")? {
        store.index_sums_bytes = setting.size(0..=INDEX_SUMS_BYTES_MAX)?;
        if !is_static {
            note(&setting.key, &setting.place, "it is for slots of a static pool, and nixl_pool_size is 0");
        } else if backend == BackendKind::Obj {
            note(&setting.key, &setting.place, "it is for slots, and OBJ has objects");
        }
    }
    if let Some(setting) = extra.find("nixl_store_timeout_ms")? {
        store.timeout_ms = timeout(&setting)?;
    }
    if let Some(setting) = extra.find("nixl_store_queue_items")? {
        store.queue_items = setting.whole_u32(QUEUE_ITEMS_MIN..=QUEUE_ITEMS_MAX, "items")?;
    }
    if let Some(setting) = extra.find("nixl_store_reuse_quantile")? {
        store.reuse_quantile = quantile(&setting)?;
        if policy != CachePolicy::Reuse {
            note(&setting.key, &setting.place, ONLY_REUSE);
        }
    }
    if let Some(setting) = extra.find("nixl_store_reuse_ghost_entries")? {
        store.reuse_ghost_entries = setting.whole_u32(0..=REUSE_GHOST_ENTRIES_MAX, "keys for each object")?;
        if policy != CachePolicy::Reuse {
            note(&setting.key, &setting.place, ONLY_REUSE);
        }
    }
    if let Some(setting) = extra.find("nixl_store_hf3fs_library")? {
        let allowed = "the absolute path of libhf3fs_api_shared.so";
        let path = Path::new(setting.text(allowed)?);
        if !path.is_absolute() {
            return Err(setting.refuse(allowed));
        }
        store.hf3fs_library = Some(path.to_owned());
        if backend != BackendKind::Hf3fs {
            note(&setting.key, &setting.place, "only HF3FS loads that library");
        }
    }
    if let Some(setting) = extra.find("nixl_store_status_socket")? {
        store.status_socket = setting.boolean()?;
    }
    store.allow_unknown = names::allows_unknown(extra)?;
    Ok(store)
}

fn quantile(setting: &Setting<'_>) -> Result<f64> {
    let number = setting.scalar().and_then(|scalar| scalar.text.trim().parse::<f64>().ok());
    number.filter(|number| REUSE_QUANTILE.contains(number)).ok_or_else(|| {
        let (least, most) = (REUSE_QUANTILE.start(), REUSE_QUANTILE.end());
        setting.refuse(format_args!("a number from {least} to {most}, such as 0.6"))
    })
}

/// 0 is refused: elsewhere in this library a timeout of 0 does not wait, in many a configuration it waits for ever.
fn timeout(setting: &Setting<'_>) -> Result<Option<u64>> {
    if setting.scalar().is_some_and(|scalar| scalar.text.trim() == "none") {
        return Ok(None);
    }
    let whole = setting.whole(1..=TIMEOUT_MS_MAX, "milliseconds");
    whole.map(Some).map_err(|_| {
        setting.refuse(format_args!(
            "a whole number of milliseconds from 1 to {TIMEOUT_MS_MAX}, or none for no deadline"
        ))
    })
}
