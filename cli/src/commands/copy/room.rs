//! Whether the other store has room for what is to come, said before anything is put.

use std::fs::File;

use nixl_store::config::{BackendKind, Config};
use nixl_store::inspect::{Entry, EntryKind, Inspection, Room};
use nixl_store::layout::record;
use nixl_store::store::Store;
use nixl_store::sys::file::available_bytes;

use super::names::{Named, Naming};
use crate::args::Global;
use crate::commands::ls::Filter;
use crate::many;
use crate::output::{Failure, bytes, count};

/// Refuses what does not fit. Entries are described on the way, where it takes that to know.
///
/// # Errors
/// If the store would have to evict.
pub fn check(
    from: &Inspection,
    to: &Store,
    to_config: &Config,
    global: &Global,
    entries: &mut Vec<Entry>,
    filter: &Filter,
    naming: &Naming,
) -> Result<(), Failure> {
    let stats = to.stats()?;
    let mut free_in = None;
    let (slots_free, bytes_free) = if stats.slots > 0 {
        (stats.slots_free, u64::MAX)
    } else {
        let within_capacity = match stats.capacity_bytes {
            0 => u64::MAX,
            capacity => capacity.saturating_sub(stats.bytes_stored),
        };
        // A file system that is full makes the store evict as well.
        let directory = match to_config.backend {
            BackendKind::Obj | BackendKind::Memory => None,
            _ => to_config.path_of(global.cuda_device, global.worker_id),
        };
        let on_disk = directory.and_then(|path| available_bytes(&File::open(path).ok()?));
        if let (Some(path), Some(on_disk)) = (directory, on_disk)
            && on_disk < within_capacity
        {
            free_in = Some(path);
        }
        (u64::MAX, within_capacity.min(on_disk.unwrap_or(u64::MAX)))
    };
    let taken = |entries: &[Entry]| -> u64 { entries.iter().map(record_bytes).fold(0, u64::saturating_add) };
    if entries.len() as u64 <= slots_free && taken(entries) <= bytes_free {
        return Ok(());
    }
    // Some of it may be there already, or is not wanted.
    *entries = many::described(from, std::mem::take(entries))?;
    // What is no record takes no room, and is to be told of later.
    entries.retain(|entry| entry.kind != EntryKind::Record || filter.takes(entry));
    let needed = many::each(many::threads(from), entries, Room::default, |entry, _| {
        let named = naming.name(entry.key.as_deref().unwrap_or_default());
        let is_new = match named {
            _ if entry.kind != EntryKind::Record => false,
            // What is put again takes the room of what it replaces, or nearly so.
            Named::As(key) => !to.contains_of(&key)?,
            _ => false,
        };
        Ok(is_new)
    })?;
    let (mut objects, mut needed_bytes) = (0u64, 0u64);
    for (entry, _) in entries.iter().zip(needed).filter(|(_, is_new)| *is_new) {
        objects += 1;
        needed_bytes = needed_bytes.saturating_add(record_bytes(entry));
    }
    if objects <= slots_free && needed_bytes <= bytes_free {
        return Ok(());
    }
    let has = if bytes_free == u64::MAX {
        format!("{} free slots", count(slots_free))
    } else if let Some(path) = free_in {
        format!("{} free in {}", bytes(bytes_free), path.display())
    } else {
        format!("{} free of nixl_store_capacity_bytes", bytes(bytes_free))
    };
    Err(Failure::new(format!(
        "TO has less room than FROM holds: {} objects of {} are to come, and it has {has}. With --evict it evicts what is in it, and \
         the oldest of what comes; nothing was copied",
        count(objects),
        bytes(needed_bytes)
    )))
}

/// Bytes that the record of an entry takes in a file.
fn record_bytes(entry: &Entry) -> u64 {
    if entry.is_described() {
        let padded = record::padded(entry.payload_bytes).unwrap_or(entry.payload_bytes);
        padded.saturating_add(record::trailer_bytes(padded).unwrap_or(0))
    } else {
        entry.payload_bytes
    }
}
