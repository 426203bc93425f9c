//! What is damaged, taken out: of a static pool by an owner, which this process becomes for that; of all others as the store itself
//! removes.

use std::thread;

use nixl_store::config::Config;
use nixl_store::error::Status;
use nixl_store::inspect::{Inspection, Place, Removed, Remover, Room, SETTLE_TIME, Suspect, Verdict};
use nixl_store::layout::record::EffectiveKey;

use super::report::{Fate, Report};
use crate::args::Global;
use crate::output::Failure;
use crate::place;

/// Removes what the report lists as damaged.
///
/// # Errors
/// If the store cannot be had for that.
pub fn run(store: &Inspection, config: &Config, global: &Global, report: &mut Report) -> Result<(), Failure> {
    if store.facts().pool.is_some() {
        return of_pool(store, config, global, report);
    }
    let remover = Remover::open(config, &place::options(global, b"", place::logger(global)?))?;
    for (suspect, fate) in report.damaged_mut() {
        *fate = match remover.remove(suspect)? {
            Removed::Yes => Fate::Removed,
            Removed::Pinned => Fate::Pinned,
            Removed::Changed => Fate::Changed,
        };
    }
    Ok(())
}

/// The pool is ours from the open on, so what is still damaged then stays so until it is removed.
fn of_pool(store: &Inspection, config: &Config, global: &Global, report: &mut Report) -> Result<(), Failure> {
    let owner = place::open_existing(config, global, b"")?;
    let mut room = Room::default();
    for (suspect, fate) in report.damaged_mut() {
        let key = suspect.entry.key.as_deref().and_then(EffectiveKey::from_bytes);
        *fate = match key {
            // No open takes such a slot into its index.
            None => Fate::Freed,
            Some(key) if is_still_damaged(store, suspect, &mut room) => match owner.remove_of(&key)? {
                Status::Ok => Fate::Removed,
                Status::Pinned => Fate::Pinned,
                // The open has found out what it is by itself.
                _ => Fate::Freed,
            },
            Some(_) => Fate::Changed,
        };
    }
    owner.close()?;
    report.mended();
    Ok(())
}

/// Between the pass and the open an engine may have come and gone.
fn is_still_damaged(store: &Inspection, suspect: &Suspect, room: &mut Room) -> bool {
    let mut settled = store.settle(suspect.clone(), room);
    if settled == Verdict::InFlux && matches!(suspect.entry.place, Place::Slot(_)) {
        thread::sleep(SETTLE_TIME);
        settled = store.prove(&suspect.entry, room);
    }
    // The snapshot that listed it is gone since the open, so a slot without a record is as damaged as it was.
    matches!(settled, Verdict::Damaged(_) | Verdict::Gone)
}
