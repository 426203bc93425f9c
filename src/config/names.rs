//! The names of settings: which there are, at which level they belong, and which one a misspelt name meant.

use super::setting::{Level, describe, is_secret, shown_name};
use crate::error::Result;

/// Where a setting stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Top,
    Extra,
}

impl Depth {
    fn place(self) -> &'static str {
        match self {
            Depth::Top => "the top level",
            Depth::Extra => "extra_config",
        }
    }
}

/// The setting that lets unknown names pass: those of an LMCache newer than this library.
const ALLOW_UNKNOWN: &str = "nixl_store_allow_unknown";

/// Whether unknown names pass.
pub(super) fn allows_unknown(extra: &Level<'_>) -> Result<bool> {
    extra.find(ALLOW_UNKNOWN)?.map_or(Ok(false), |setting| setting.boolean())
}

/// Every setting that is read here. `local_cpu_use_hugepages` is LMCache's and therefore not refused elsewhere.
pub(super) const KNOWN: [(&str, Depth); 36] = [
    ("chunk_size", Depth::Top),
    ("nixl_buffer_size", Depth::Top),
    ("nixl_buffer_device", Depth::Top),
    ("cache_policy", Depth::Top),
    ("enable_nixl_storage", Depth::Extra),
    ("nixl_backend", Depth::Extra),
    ("nixl_pool_size", Depth::Extra),
    ("nixl_file_pool_size", Depth::Extra),
    ("nixl_path", Depth::Extra),
    ("nixl_path_sharding", Depth::Extra),
    ("nixl_backend_params", Depth::Extra),
    ("use_direct_io", Depth::Extra),
    ("nixl_use_hugepages", Depth::Extra),
    ("nixl_async_put", Depth::Extra),
    ("nixl_presence_cache", Depth::Extra),
    ("nixl_presence_cache_only", Depth::Extra),
    ("nixl_endpoint_list", Depth::Extra),
    ("nixl_enable_prog_thread", Depth::Extra),
    ("nixl_sync_mode", Depth::Extra),
    ("nixl_store_chunk_bytes", Depth::Extra),
    ("nixl_store_layout", Depth::Extra),
    ("nixl_store_capacity_bytes", Depth::Extra),
    ("nixl_store_prefix", Depth::Extra),
    ("nixl_store_serve_unverified", Depth::Extra),
    ("nixl_store_unverified_bytes", Depth::Extra),
    ("nixl_store_io_threads", Depth::Extra),
    ("nixl_store_map_files", Depth::Extra),
    ("nixl_store_index_sums_bytes", Depth::Extra),
    ("nixl_store_timeout_ms", Depth::Extra),
    ("nixl_store_queue_items", Depth::Extra),
    ("nixl_store_reuse_quantile", Depth::Extra),
    ("nixl_store_reuse_ghost_entries", Depth::Extra),
    ("nixl_store_hf3fs_library", Depth::Extra),
    ("nixl_store_status_socket", Depth::Extra),
    (ALLOW_UNKNOWN, Depth::Extra),
    ("extra_config", Depth::Top),
];

/// LMCache's own `nixl_*` settings, all at the top level and all about transfers between engines (some of releases
/// before 0.5). A file may hold them; they mean nothing here.
const LMCACHE_OWN: [&str; 11] = [
    "nixl_backends",
    "nixl_role",
    "nixl_peer_host",
    "nixl_peer_port",
    "nixl_peer_init_port",
    "nixl_peer_alloc_port",
    "nixl_proxy_host",
    "nixl_proxy_port",
    "nixl_receiver_host",
    "nixl_receiver_port",
    "nixl_enable_gc",
];

/// Refuses what would be ignored in silence: a setting at the wrong level, and a `nixl_*` name that nobody knows,
/// unless `allowed` has room for its place and name.
pub(super) fn check(level: &Level<'_>, depth: Depth, mut allowed: Option<&mut Vec<String>>) -> Result<()> {
    for entry in &level.map.entries {
        let place = level.at(entry.line);
        let name = entry.key.as_str();
        let shown = || describe(name, &entry.value);
        let key = format!("{}{}", level.prefix, shown_name(name));
        match home(name) {
            Some(right) if right == depth => {}
            Some(right) => {
                return Err(place.error(format_args!(
                    "{key} is {} at the wrong level; allowed: {name} belongs at {}",
                    shown(),
                    right.place()
                )));
            }
            None if claims_to_be_ours(name) => {
                if let Some(allowed) = &mut allowed {
                    allowed.push(format!("{key} ({place})"));
                    continue;
                }
                let (nearest, right) = nearest_known(name);
                // A misspelt holder of credentials holds credentials.
                let shown = || describe(if is_secret(nearest) { nearest } else { name }, &entry.value);
                return Err(place.error(format_args!(
                    "{key} is {}, but there is no such setting; allowed: the nearest known name is {nearest}, at {} \
                     (a setting of a newer LMCache: {ALLOW_UNKNOWN}: true in extra_config lets it pass)",
                    shown(),
                    right.place()
                )));
            }
            None => {}
        }
    }
    Ok(())
}

/// The level at which a known name belongs.
pub(super) fn home(name: &str) -> Option<Depth> {
    if LMCACHE_OWN.contains(&name) {
        return Some(Depth::Top);
    }
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, depth)| *depth)
}

/// What `home` says, for messages.
pub(super) fn home_place(name: &str) -> Option<&'static str> {
    home(name).map(Depth::place)
}

fn claims_to_be_ours(name: &str) -> bool {
    name.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("nixl_") || start.eq_ignore_ascii_case("nixl-"))
}

fn nearest_known(name: &str) -> (&'static str, Depth) {
    let ours = KNOWN.iter().filter(|(known, _)| claims_to_be_ours(known));
    // A name that was cut short is likelier than one whose other half happens to have fewer letters.
    let ranked = ours.min_by_key(|(known, _)| distance(name, known).min(cut_short(name, known)));
    ranked.copied().unwrap_or(("nixl_backend", Depth::Extra))
}

/// 1 where `name` is the start of `known` up to a word's end.
fn cut_short(name: &str, known: &str) -> usize {
    match known.strip_prefix(name) {
        Some(rest) if rest.starts_with('_') => 1,
        _ => usize::MAX,
    }
}

/// The nearest of some names.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.min_by_key(|known| distance(name, known))
}

/// A key of the level that looks like a slip for `name`.
pub(super) fn slip_for<'a>(level: &Level<'a>, name: &str) -> Option<&'a str> {
    let names = level.map.entries.iter().map(|entry| entry.key.as_str());
    nearest(name, names).filter(|found| *found != name && distance(found, name) <= 2)
}

/// Longest name that is compared in full, in characters; no known name comes near.
const COMPARED_CHARACTERS_MAX: usize = 64;

/// Letters to insert, drop, change or swap with their neighbour to get from one name to the other; case and the
/// difference of `-` and `_` do not count.
fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .take(COMPARED_CHARACTERS_MAX)
            .map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() })
            .collect()
    };
    let (left, right) = (fold(left), fold(right));
    // Optimal string alignment over three rows: before the last, last, current.
    let mut before = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut current = vec![i + 1; right.len() + 1];
        for (j, b) in right.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut best = changed.min(last[j + 1] + 1).min(current[j] + 1);
            let swapped = i > 0 && j > 0 && left[i - 1] == *b && right[j - 1] == *a;
            if swapped {
                best = best.min(before[j - 1] + 1);
            }
            current[j + 1] = best;
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The suggestion in a refusal is only worth something if it is the name that the user meant.
    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        for (written, meant) in [
            ("nixl_bakend", "nixl_backend"),
            ("nixl_pool_sise", "nixl_pool_size"),
            ("nixl_paht", "nixl_path"),
            ("NIXL-BUFFER-SIZE", "nixl_buffer_size"),
            ("nixl_store_capacity", "nixl_store_capacity_bytes"),
            ("nixl_backend_parms", "nixl_backend_params"),
        ] {
            assert_eq!(nearest_known(written).0, meant, "{written}");
        }
    }

    /// The distance counts slips of the keyboard one each, swapped letters too.
    #[test]
    fn distance_counts_slips() {
        assert_eq!(distance("nixl_path", "nixl_path"), 0);
        assert_eq!(distance("nixl_paht", "nixl_path"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
