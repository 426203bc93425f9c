//! The static pool of files: whether it is there, fits the configuration, and is free. It is looked at, never locked.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nixl_store::error::Status;
use nixl_store::layout::pool::{Geometry, Look, look, refuse_limited, wanted_geometry};
use nixl_store::store::prospect;
use nixl_store::sys::file::available_bytes;
use nixl_store::sys::habits::Habits;

use super::files;
use super::finding::Finding;
use super::situation::{Situation, nearest};
use crate::output::bytes;

/// Bytes of a block as stat(2) counts them, whatever the file system's are.
const BLOCK_BYTES: u64 = 512;

/// Looks at the pool.
pub fn examine(situation: &Situation) -> Vec<Finding> {
    let place = match prospect::pool_place(&situation.config, &situation.options, true, Habits::default()) {
        Ok(Some(place)) => place,
        Ok(None) => return vec![Finding::ok("pool", "none: the store is dynamic, or not in files")],
        Err(error) => return vec![Finding::broken("pool", error.message())],
    };
    let wanted = match wanted_geometry(&place.parameters) {
        Ok(wanted) => wanted,
        Err(error) => return vec![Finding::broken("pool", error.message())],
    };
    let directory = place.parent.join(&place.name);
    let shown = directory.display();
    let total = bytes(wanted.total_bytes());
    match look(&place.parent, &place.name, &place.parameters) {
        Ok(Some(Look { geometry: Some(_), owner })) => {
            let fits = Finding::ok("pool", format!("{shown}, {total}, fits the configuration"));
            [fits, in_use(owner)].into_iter().chain(limited(&wanted)).collect()
        }
        Ok(found) => {
            let what = if found.is_some() {
                "is not finished; the store makes it anew"
            } else {
                "is yet to be made"
            };
            let mut findings = vec![Finding::ok("pool", format!("{shown} {what}"))];
            findings.extend(found.and_then(|look| look.owner).map(|owner| in_use(Some(owner))));
            findings.push(room(situation, wanted.total_bytes(), taken_bytes(&directory)));
            findings.extend(limited(&wanted));
            findings
        }
        Err(error) => {
            let finding = Finding::broken("pool", error.message());
            let user = rustix::process::geteuid().as_raw();
            let is_denied = error.status() == Status::Permission;
            vec![if is_denied { finding.advise(format!("chown -R {user} {shown}")) } else { finding }]
        }
    }
}

fn in_use(owner: Option<String>) -> Finding {
    match owner {
        None => Finding::ok("pool in use", "no, as far as this machine knows: it can be opened"),
        // As it should be while the engine runs, and the reason why a second one does not start.
        Some(owner) => Finding::ok("pool in use", format!("by {owner}"))
            .because("A pool has one owner at a time: a second engine needs another nixl_path or worker id."),
    }
}

/// Whether the pool is there and finished. Nothing is made beside it then when it is opened.
pub fn is_there(situation: &Situation) -> bool {
    let place = prospect::pool_place(&situation.config, &situation.options, true, Habits::default());
    let Ok(Some(place)) = place else { return false };
    let found = look(&place.parent, &place.name, &place.parameters);
    matches!(found, Ok(Some(Look { geometry: Some(_), .. })))
}

/// What is said where this process may not write files as long as the pool's; an open asks that of every pool.
fn limited(wanted: &Geometry) -> Option<Finding> {
    refuse_limited(wanted).err().map(|error| Finding::broken("file size", error.message()))
}

/// Bytes on storage of what an unfinished creation left in the pool's directory. It is removed before the pool is made.
fn taken_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.blocks() * BLOCK_BYTES).sum()
}

/// Whether the pool that is yet to be made has room; so many bytes become free before.
fn room(situation: &Situation, needed: u64, taken: u64) -> Finding {
    let path = situation.path().unwrap_or_default();
    let there = nearest(&path);
    let free = there.and_then(|there| File::open(there).ok()).and_then(|file| available_bytes(&file));
    let Some(free) = free else {
        return Finding::ok(
            "space",
            format!("the pool takes {}; the file system does not say what is free", bytes(needed)),
        );
    };
    let free = free.saturating_add(taken);
    let text = format!("{} free, the pool takes {}", bytes(free), bytes(needed));
    if needed <= free {
        return Finding::ok("space", text);
    }
    let slots = u64::from(situation.config.pool_size);
    let fits = (u128::from(free) * u128::from(slots) / u128::from(needed.max(1))) as u64;
    let finding = if situation.needs_hf3fs() || there.is_some_and(files::cannot_reserve) {
        Finding::better("space", text).because(
            "The file system does not reserve space: the store opens, and puts can meet a full disk.",
        )
    } else {
        Finding::broken("space", text)
    };
    finding.advise(format!("Make room, or lower nixl_pool_size from {slots} to at most {fits}."))
}
