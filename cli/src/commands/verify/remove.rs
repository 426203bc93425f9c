//! What is damaged, taken out: of a static pool by an owner, which this process becomes for that; of all others as the store itself
//! removes.

use nixl_store::batch::Wish;
use nixl_store::config::Config;
use nixl_store::error::{Error, Status};
use nixl_store::inspect::{Inspection, Removed, Remover, Suspect};
use nixl_store::layout::record::EffectiveKey;
use nixl_store::memory::{AlignedBuffer, Stretch};
use nixl_store::store::{Direction, Store, SubmitOptions};

use super::report::{Fate, Report};
use crate::args::Global;
use crate::output::Failure;
use crate::place;

/// Removes what the report lists as damaged. What became of each stands in the report; what cannot be removed keeps none of the
/// others.
///
/// # Errors
/// If the store cannot be had for that. The report then says what was done before.
pub fn run(store: &Inspection, config: &Config, global: &Global, report: &mut Report) -> Result<(), Failure> {
    let is_pool = store.facts().pool.is_some();
    // The pool is ours from the open on: what is damaged then stays so until it is removed.
    let owner = if is_pool { Some(place::open_existing(config, global, b"")?) } else { None };
    // Objects of a pool in a bucket are removed as all objects, while its lease is held.
    let remover = if report.has_slots_alone() {
        None
    } else {
        Some(Remover::open(config, &place::options(global, b"", place::logger(global)?))?)
    };
    let mut buffer = None;
    for (suspect, fate) in report.damaged_mut() {
        let became = match (&owner, &remover) {
            (Some(owner), _) if suspect.is_slot() => of_slot(store, owner, suspect, &mut buffer),
            (_, Some(remover)) => of_object(remover, suspect),
            _ => continue,
        };
        *fate = became.unwrap_or_else(|error| Fate::Failed(error.message().to_owned()));
    }
    if let Some(owner) = owner {
        owner.close()?;
        report.mended();
    }
    Ok(())
}

fn of_object(remover: &Remover, suspect: &Suspect) -> Result<Fate, Error> {
    Ok(match remover.remove(suspect)? {
        Removed::Yes => Fate::Removed,
        Removed::Pinned => Fate::Pinned,
        Removed::Changed => Fate::Changed,
    })
}

/// The owner decides by a get of the key, which compares the record with the index and every block with its checksum, and takes out
/// what is wrong: between the pass and the open an engine may have come, put the key anew, and gone.
fn of_slot(
    store: &Inspection,
    owner: &Store,
    suspect: &Suspect,
    buffer: &mut Option<AlignedBuffer>,
) -> Result<Fate, Error> {
    let key = suspect.entry.key.as_deref().and_then(EffectiveKey::from_bytes);
    // No open takes a slot into its index that holds no record, or one of a key that it finds elsewhere.
    let Some(key) = key else { return Ok(Fate::Freed) };
    if !owner.contains_of(&key)? {
        return Ok(Fate::Freed);
    }
    let length = store.facts().pool.map_or(0, |pool| pool.chunk_bytes);
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(1);
    let buffer = match buffer {
        Some(buffer) => buffer,
        None => buffer.insert(AlignedBuffer::new(length).map_err(|error| {
            Error::os(format_args!("taking {length} bytes of memory for a record"), &error)
        })?),
    };
    let mut batch = owner.batch(Direction::Get, 1)?;
    batch.item_of(&key, Wish::default())?;
    batch.stretch(Stretch::Host(buffer.host_slice(0, length)))?;
    let ticket = batch.submit(SubmitOptions::default())?;
    let mut became = Ok(Fate::Changed);
    owner.ticket_wait(ticket, None, &mut |_, result, message| {
        became = match result.status {
            Status::Ok => Ok(Fate::Changed),
            Status::NotFound => Ok(Fate::Removed),
            status => Err(Error::new(status, message.map_or_else(|| format!("{status:?}"), str::to_owned))),
        };
    })?;
    became
}
